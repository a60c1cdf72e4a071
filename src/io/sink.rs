//! The broker's way out: one buffer per connection. A message is encoded once per layout (version, QoS, flags), into the
//! buffer of its first receiver; from there it is copied into those of the others, its packet identifier patched. Nothing is
//! written to a socket here.

use crate::broker::{ConnId, Delivery, Sink};
use crate::mqtt::encode::PublishLayout;
use crate::mqtt::{PacketId, Publish, QoS, Version, encode};

/// Buffers of closed or idle connections that are kept for the next one; each up to `POOLED_BYTES_MAX`: 2 MiB in
/// all. More are given back to the system.
const POOL_MAX: usize = 64;

/// A larger buffer isn't kept.
const POOLED_BYTES_MAX: usize = 32 * 1024;

/// The out buffers of all connections, by [`ConnId`].
#[derive(Debug, Default)]
pub struct OutBuffers {
    buffers: Vec<OutBuffer>,
    /// Those that got a message first since they were last taken, and those that got something else.
    with_message: Vec<ConnId>,
    with_answer: Vec<ConnId>,
    pool: Vec<Vec<u8>>,
    layouts: Vec<Layout>,
    /// The buffer that is being appended to, and its length before.
    appending: Option<(ConnId, usize)>,
}

#[derive(Debug, Default)]
struct OutBuffer {
    bytes: Vec<u8>,
    written: usize,
    dirty: bool,
}

/// What goes into a buffer.
#[derive(Clone, Copy, Debug)]
enum Of {
    Message,
    Answer,
}

/// Where the message at hand stands encoded.
#[derive(Clone, Copy, Debug)]
struct Layout {
    key: LayoutKey,
    /// In whose buffer, from where on, how much of it.
    conn: ConnId,
    start: usize,
    len: usize,
    packet_id_at: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LayoutKey {
    /// 3.1 and 3.1.1 have the same PUBLISH.
    v5: bool,
    dup: bool,
    qos: QoS,
    retain: bool,
}

impl OutBuffers {
    /// Makes room for a connection's number.
    pub fn open(&mut self, conn: ConnId) {
        let index = index(conn);
        if self.buffers.len() <= index {
            self.buffers.resize_with(index + 1, OutBuffer::default);
        }
        self.release(conn);
    }

    /// Forgets what a connection has not written.
    pub fn release(&mut self, conn: ConnId) {
        if let Some(buffer) = self.buffers.get_mut(index(conn)) {
            let bytes = std::mem::take(&mut buffer.bytes);
            buffer.written = 0;
            buffer.dirty = false;
            recycle(&mut self.pool, bytes);
        }
    }

    /// The connections that got bytes since the last call, those with messages first: each write takes a while, and nobody
    /// who waits for a message shall wait for the acknowledgements of others. `into` must be empty.
    pub fn take_dirty(&mut self, into: &mut Vec<ConnId>) {
        std::mem::swap(&mut self.with_message, into);
        into.append(&mut self.with_answer);
        for conn in into.iter() {
            if let Some(buffer) = self.buffers.get_mut(index(*conn)) {
                buffer.dirty = false;
            }
        }
    }

    /// Whether any connection got bytes since the last [`OutBuffers::take_dirty`].
    #[must_use]
    pub fn has_dirty(&self) -> bool {
        !self.with_message.is_empty() || !self.with_answer.is_empty()
    }

    /// What waits to be written.
    #[must_use]
    pub fn pending(&self, conn: ConnId) -> &[u8] {
        self.buffers
            .get(index(conn))
            .and_then(|buffer| buffer.bytes.get(buffer.written..))
            .unwrap_or_default()
    }

    /// So many bytes of [`OutBuffers::pending`] are on the socket. An emptied buffer goes back to the pool.
    pub fn advance(&mut self, conn: ConnId, bytes: usize) {
        let Some(buffer) = self.buffers.get_mut(index(conn)) else { return };
        buffer.written = buffer.written.saturating_add(bytes).min(buffer.bytes.len());
        if buffer.written == buffer.bytes.len() {
            buffer.written = 0;
            let bytes = std::mem::take(&mut buffer.bytes);
            recycle(&mut self.pool, bytes);
        }
    }

    /// Something has panicked: what may be half written goes, so that the next packet isn't taken for its rest.
    pub fn cut_short(&mut self) {
        self.layouts.clear();
        if let Some((conn, bytes)) = self.appending.take()
            && let Some(buffer) = self.buffers.get_mut(index(conn))
        {
            buffer.bytes.truncate(bytes);
        }
    }

    /// The buffer to append to, marked dirty with this kind of bytes.
    fn buffer(&mut self, conn: ConnId, of: Of) -> Option<&mut OutBuffer> {
        let buffer = self.buffers.get_mut(index(conn))?;
        if !buffer.dirty {
            buffer.dirty = true;
            let dirty = match of {
                Of::Message => &mut self.with_message,
                Of::Answer => &mut self.with_answer,
            };
            dirty.push(conn);
        }
        if buffer.bytes.capacity() == 0
            && let Some(pooled) = self.pool.pop()
        {
            buffer.bytes = pooled;
        }
        // What was written is cut off the front once it is the larger part, so that a buffer that never quite
        // empties doesn't grow without end.
        if buffer.written > POOLED_BYTES_MAX && buffer.written > buffer.bytes.len() / 2 {
            buffer.bytes.drain(..buffer.written);
            buffer.written = 0;
            // What stood there stands elsewhere now.
            self.layouts.retain(|layout| layout.conn != conn);
        }
        Some(buffer)
    }

    /// Appends a copy of what stands in a buffer.
    fn copy(&mut self, from: Layout, to: ConnId, packet_id: Option<PacketId>) {
        let range = from.start..from.start + from.len;
        let start = if from.conn == to {
            let Some(buffer) = self.buffers.get_mut(index(to)) else { return };
            let start = buffer.bytes.len();
            if range.end > start {
                return;
            }
            buffer.bytes.extend_from_within(range);
            start
        } else {
            let both = self.buffers.get_disjoint_mut([index(from.conn), index(to)]);
            let Ok([source, buffer]) = both else { return };
            let start = buffer.bytes.len();
            buffer.bytes.extend_from_slice(source.bytes.get(range).unwrap_or_default());
            start
        };
        if let (Some(offset), Some(packet_id)) = (from.packet_id_at, packet_id)
            && let Some(buffer) = self.buffers.get_mut(index(to))
            && let Some(field) = buffer.bytes.get_mut(start + offset..start + offset + 2)
        {
            field.copy_from_slice(&packet_id.get().to_be_bytes());
        }
    }

    /// Encodes the message into a receiver's buffer. Gives where it stands, if it does.
    fn encode(&mut self, to: ConnId, delivery: &Delivery<'_>) -> Option<(usize, PublishLayout)> {
        let start = self.buffer(to, Of::Message)?.bytes.len();
        self.appending = Some((to, start));
        let buffer = self.buffers.get_mut(index(to))?;
        let (publish, own) = (publish_of(delivery), delivery.own_properties);
        // The broker checked all lengths at intake; nothing is appended on error.
        let layout = encode::publish_with(&publish, own, delivery.version, &mut buffer.bytes).ok();
        self.appending = None;
        layout.map(|layout| (start, layout))
    }
}

impl Sink for OutBuffers {
    fn begin(&mut self) {
        self.layouts.clear();
    }

    fn publish(&mut self, to: ConnId, delivery: &Delivery<'_>) -> usize {
        let key = LayoutKey {
            v5: delivery.version == Version::V5,
            dup: delivery.dup,
            qos: delivery.qos,
            retain: delivery.retain,
        };
        if key.v5 && !delivery.own_properties.is_empty() {
            self.encode(to, delivery);
            return self.buffered(to);
        }
        if !self.layouts.is_empty() {
            // Making room may move what stands there.
            self.buffer(to, Of::Message);
        }
        if let Some(layout) = self.layouts.iter().find(|layout| layout.key == key) {
            self.copy(*layout, to, delivery.packet_id);
        } else if let Some((start, PublishLayout { len, packet_id_at })) = self.encode(to, delivery) {
            self.layouts.push(Layout { key, conn: to, start, len, packet_id_at });
        }
        self.buffered(to)
    }

    fn raw(&mut self, to: ConnId, packet: &[u8]) -> usize {
        let Some(buffer) = self.buffer(to, Of::Answer) else { return 0 };
        buffer.bytes.extend_from_slice(packet);
        buffer.bytes.len() - buffer.written
    }

    fn buffered(&self, conn: ConnId) -> usize {
        self.buffers.get(index(conn)).map_or(0, |buffer| buffer.bytes.len() - buffer.written)
    }
}

fn publish_of<'a>(delivery: &Delivery<'a>) -> Publish<'a> {
    Publish {
        dup: delivery.dup,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: delivery.topic,
        packet_id: delivery.packet_id,
        properties: delivery.properties,
        payload: delivery.payload,
    }
}

fn recycle(pool: &mut Vec<Vec<u8>>, mut bytes: Vec<u8>) {
    if bytes.capacity() > 0 && bytes.capacity() <= POOLED_BYTES_MAX && pool.len() < POOL_MAX {
        bytes.clear();
        pool.push(bytes);
    }
}

fn index(conn: ConnId) -> usize {
    usize::try_from(conn.0).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{Packet, PacketId, Properties, PropertiesBuf, Property, PropertyId, decode, frame};

    fn delivery(version: Version, packet_id: u16) -> Delivery<'static> {
        Delivery {
            version,
            dup: false,
            qos: if packet_id == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce },
            retain: false,
            packet_id: PacketId::new(packet_id),
            topic: "a/b",
            properties: Properties::EMPTY,
            own_properties: Properties::EMPTY,
            payload: b"payload",
        }
    }

    fn publishes(out: &OutBuffers, conn: ConnId, version: Version) -> Vec<(Option<u16>, Vec<u8>)> {
        let mut bytes = out.pending(conn);
        let mut found = Vec::new();
        while let Some(frame) = frame(bytes, 1_000).unwrap() {
            let Packet::Publish(publish) = decode(frame, version).unwrap() else { panic!("not a PUBLISH") };
            found.push((publish.packet_id.map(PacketId::get), publish.payload.to_vec()));
            bytes = &bytes[frame.len..];
        }
        assert!(bytes.is_empty());
        found
    }

    #[test]
    fn one_encoding_serves_receivers_with_other_packet_ids_versions_and_qos() {
        let mut out = OutBuffers::default();
        for conn in 0..3 {
            out.open(ConnId(conn));
        }
        out.begin();
        out.publish(ConnId(0), &delivery(Version::V311, 7));
        out.publish(ConnId(1), &delivery(Version::V5, 8));
        out.publish(ConnId(2), &delivery(Version::V31, 0));
        out.publish(ConnId(0), &delivery(Version::V311, 9));
        assert_eq!(
            publishes(&out, ConnId(0), Version::V311),
            [(Some(7), b"payload".to_vec()), (Some(9), b"payload".to_vec())]
        );
        assert_eq!(publishes(&out, ConnId(1), Version::V5), [(Some(8), b"payload".to_vec())]);
        assert_eq!(publishes(&out, ConnId(2), Version::V31), [(None, b"payload".to_vec())]);
        let mut dirty = Vec::new();
        out.take_dirty(&mut dirty);
        assert_eq!(dirty, [ConnId(0), ConnId(1), ConnId(2)]);
        assert!(!out.has_dirty());
    }

    #[test]
    fn a_new_message_is_never_sent_with_the_bytes_of_the_one_before() {
        let mut out = OutBuffers::default();
        out.open(ConnId(0));
        out.begin();
        out.publish(ConnId(0), &delivery(Version::V311, 1));
        out.begin();
        out.publish(ConnId(0), &Delivery { payload: b"other", ..delivery(Version::V311, 2) });
        assert_eq!(
            publishes(&out, ConnId(0), Version::V311),
            [(Some(1), b"payload".to_vec()), (Some(2), b"other".to_vec())]
        );
    }

    #[test]
    fn messages_are_written_before_answers_each_in_the_order_in_which_they_came() {
        let mut out = OutBuffers::default();
        (0..4).for_each(|conn| out.open(ConnId(conn)));
        let taken = |out: &mut OutBuffers| {
            let mut taken = Vec::new();
            out.take_dirty(&mut taken);
            taken
        };
        for (publisher, receiver) in [(2, 3), (0, 1)] {
            out.raw(ConnId(publisher), &[0x40, 2, 0, 1]);
            out.begin();
            out.publish(ConnId(receiver), &delivery(Version::V311, 1));
            out.raw(ConnId(receiver), &[0x62, 2, 0, 1]);
        }
        assert_eq!(taken(&mut out), [ConnId(3), ConnId(1), ConnId(2), ConnId(0)]);
        assert_eq!(taken(&mut out), []);
        out.raw(ConnId(3), &[0x62, 2, 0, 1]);
        assert_eq!(taken(&mut out), [ConnId(3)], "what it got before counts no more");
    }

    #[test]
    fn what_was_half_written_when_something_panicked_is_not_sent() {
        let mut out = OutBuffers::default();
        out.open(ConnId(0));
        out.raw(ConnId(0), b"whole");
        out.appending = Some((ConnId(0), 5));
        out.buffers[0].bytes.extend_from_slice(b"half");
        out.cut_short();
        assert_eq!(out.pending(ConnId(0)), b"whole");
        out.cut_short();
        out.raw(ConnId(0), b" next");
        assert_eq!(out.pending(ConnId(0)), b"whole next");
    }

    #[test]
    fn subscription_identifiers_stand_on_their_own_copy_only() {
        let mut own = PropertiesBuf::new();
        own.push(Property::Varint(PropertyId::SubscriptionIdentifier, 5));
        let mut out = OutBuffers::default();
        out.open(ConnId(0));
        out.open(ConnId(1));
        out.begin();
        out.publish(ConnId(0), &Delivery { own_properties: own.as_properties(), ..delivery(Version::V5, 1) });
        out.publish(ConnId(1), &delivery(Version::V5, 1));
        let ids = |conn| {
            let frame = frame(out.pending(conn), 1_000).unwrap().unwrap();
            let Packet::Publish(publish) = decode(frame, Version::V5).unwrap() else {
                panic!("not a PUBLISH")
            };
            publish.properties.number(PropertyId::SubscriptionIdentifier)
        };
        assert_eq!(ids(ConnId(0)), Some(5));
        assert_eq!(ids(ConnId(1)), None);
    }

    #[test]
    fn a_buffer_that_never_quite_empties_does_not_grow_without_end() {
        let mut out = OutBuffers::default();
        out.open(ConnId(0));
        out.raw(ConnId(0), &[0; 1_000]);
        for _ in 0..10_000 {
            out.raw(ConnId(0), &[0; 1_000]);
            out.advance(ConnId(0), 1_000);
        }
        assert_eq!(out.buffered(ConnId(0)), 1_000);
        assert!(out.buffers[0].bytes.capacity() < 8 * POOLED_BYTES_MAX);
    }
}
