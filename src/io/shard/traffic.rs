//! Bytes between sockets and the machine: one read into the shared scratch buffer, one write of what waits. Where a
//! connection has a codec, its bytes pass through it here; without one they go as they are.

use std::io::ErrorKind;

use super::{Core, Read, Shard, index};
use crate::broker::{ConnId, Input, Sink};
use crate::io::codec::{CHUNK_BYTES_MAX, Codec};
use crate::io::memory::LOOK_BYTES;
use crate::io::sink::OutBuffers;
use crate::io::stream::{Link, Socket};

impl Shard {
    /// Reads once and hands what came to the machine.
    pub(in crate::io) fn read(&self, conn: ConnId, link: &Link) -> Read {
        let mut core = self.core.borrow_mut();
        let taken = self.work_on(&mut core, conn, |core| take(core, conn, link));
        self.after_input(&mut core);
        let came = core.broker.bytes_received();
        if came.saturating_sub(self.told_of.get()) >= LOOK_BYTES {
            self.told_of.set(came);
            self.much_came.notify_one();
        }
        drop(core);
        let Some(outcome) = taken else { return Read::Gone };
        if link.codec.is_some() {
            // Answers of the codec itself: a pong, an alert, a new key. A client that is gone is seen by the next read.
            self.flush(conn);
        }
        outcome
    }

    /// Hands the machine what came before the connection was opened.
    pub(in crate::io) fn early(&self, conn: ConnId, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.input(Input::Bytes { conn, bytes });
        }
    }

    /// Writes what waits for one connection, as far as the socket takes it. False if the client is gone.
    pub(in crate::io) fn flush(&self, conn: ConnId) -> bool {
        let mut core = self.core.borrow_mut();
        let (alive, drained) = self.write(&mut core, conn);
        drop(core);
        if drained {
            self.input(Input::Drained { conn });
        }
        alive
    }

    /// Whether nothing waits to be written to the connection.
    pub(in crate::io) fn is_flushed(&self, conn: ConnId, link: &Link) -> bool {
        let encoded = link.codec.as_ref().is_none_or(|codec| codec.borrow().pending().is_empty());
        encoded && self.core.borrow().out.pending(conn).is_empty()
    }

    /// Writes what waits for all connections.
    pub(super) fn flush_dirty(&self) {
        let mut drained = Vec::new();
        {
            let mut core = self.core.borrow_mut();
            let mut dirty = std::mem::take(&mut core.dirty);
            core.out.take_dirty(&mut dirty);
            for conn in dirty.drain(..) {
                if self.write(&mut core, conn).1 {
                    drained.push(conn);
                }
            }
            core.dirty = dirty;
        }
        for conn in drained {
            self.input(Input::Drained { conn });
        }
    }

    /// Returns whether the client is alive, and whether its buffer fell below half of its mark.
    fn write(&self, core: &mut Core, conn: ConnId) -> (bool, bool) {
        let Some(slot) = core.slots.get(index(conn)) else { return (false, false) };
        let Some(link) = slot.link.clone() else { return (false, false) };
        let before = core.out.buffered(conn);
        let written = self.work_on(core, conn, |core| write_out(&mut core.out, conn, &link));
        let (alive, blocked) = written.unwrap_or((false, false));
        let Core { out, slots, .. } = core;
        let Some(slot) = slots.get_mut(index(conn)) else { return (false, false) };
        if !alive {
            // The reader sees the reset as well and ends the connection; what waited goes nowhere.
            out.release(conn);
        }
        let blocked = blocked && alive;
        let after = out.buffered(conn);
        if blocked != slot.blocked {
            slot.blocked = blocked;
            slot.ring();
        }
        if slot.closing {
            slot.ring();
        }
        (alive, before > self.drained_below.get() && after <= self.drained_below.get())
    }
}

/// Reads once and hands what came to the machine.
fn take(core: &mut Core, conn: ConnId, link: &Link) -> Read {
    let now = core.clock.now();
    let Core { broker, out, scratch, plain, .. } = core;
    let (outcome, bytes) = match link.socket.try_read(scratch) {
        Ok(0) => (Read::Gone, None),
        Ok(bytes) => {
            let outcome = if bytes == scratch.len() { Read::Full } else { Read::Short };
            (outcome, scratch.get(..bytes))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => (Read::Short, None),
        Err(_) => (Read::Gone, None),
    };
    let mut ended = false;
    match (bytes, &link.codec) {
        (None, _) => {}
        (Some(bytes), None) => broker.handle(now, Input::Bytes { conn, bytes }, out),
        (Some(bytes), Some(codec)) => {
            plain.clear();
            ended = codec.borrow_mut().incoming(bytes, plain).is_err();
            // What came before the end still counts.
            if !plain.is_empty() {
                broker.handle(now, Input::Bytes { conn, bytes: plain }, out);
            }
            plain.shrink_to(scratch.len());
        }
    }
    if ended { Read::Ended } else { outcome }
}

/// Returns whether the client is alive, and whether something still waits.
fn write_out(out: &mut OutBuffers, conn: ConnId, link: &Link) -> (bool, bool) {
    match &link.codec {
        None => (write_plain(out, conn, &link.socket), out.buffered(conn) > 0),
        Some(codec) => {
            let mut codec = codec.borrow_mut();
            let alive = write_encoded(out, conn, &link.socket, &mut codec);
            (alive, out.buffered(conn) > 0 || !codec.pending().is_empty())
        }
    }
}

/// False if the client is gone.
fn write_plain(out: &mut OutBuffers, conn: ConnId, socket: &Socket) -> bool {
    while !out.pending(conn).is_empty() {
        match socket.try_write(out.pending(conn)) {
            Ok(bytes) => out.advance(conn, bytes),
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
    true
}

/// The same through a codec. Only so much is encoded as the socket may soon take.
fn write_encoded(out: &mut OutBuffers, conn: ConnId, socket: &Socket, codec: &mut Codec) -> bool {
    loop {
        while codec.has_room() && !out.pending(conn).is_empty() {
            let pending = out.pending(conn);
            let chunk = pending.get(..CHUNK_BYTES_MAX).unwrap_or(pending);
            let bytes = chunk.len();
            codec.outgoing(chunk);
            out.advance(conn, bytes);
        }
        if codec.pending().is_empty() {
            return true;
        }
        match socket.try_write(codec.pending()) {
            Ok(bytes) => codec.advance(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(_) => {
                codec.give_up();
                return false;
            }
        }
    }
}
