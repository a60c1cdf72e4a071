//! One client's connection: a blocking handshake, then bytes without blocking, plain or through TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustls::ClientConnection;

use super::target::Target;
use crate::mqtt::{
    Connect, Frame, Packet, PacketId, Properties, PropertiesBuf, Property, PropertyId, QoS, Subscribe,
    SubscribeFilter, SubscribeOptions, Version, decode, encode, frame,
};

/// The broker has so long for each answer of the handshake.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// No packet of a load is longer.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Filters of one SUBSCRIBE.
const FILTERS_MAX: usize = 100;

/// Seconds; no run is as long, so that no ping disturbs it.
const KEEP_ALIVE_S: u16 = 3_600;

/// Who connects.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    pub(super) client_id: &'a str,
    /// A session that ends with the connection.
    pub(super) clean: bool,
}

/// A connected client.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) stream: mio::net::TcpStream,
    pub(super) version: Version,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// Bytes to send; those before `sent` have gone.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// Received bytes that are no whole packet yet.
    rest: Vec<u8>,
    tls: Option<Box<ClientConnection>>,
}

impl Link {
    /// Connects, waits for CONNACK and, with filters, for SUBACK.
    pub(super) fn open(
        target: &Target,
        who: Identity<'_>,
        filters: &[String],
        qos: QoS,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", target.name);
        let Greeting { stream, tls, rest, taken } = Greeting::open(target, who, filters, qos)?;
        stream.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            stream: mio::net::TcpStream::from_std(stream),
            version: target.version,
            readable: true,
            writable: true,
            out: Vec::new(),
            sent: 0,
            rest: rest.get(taken..).unwrap_or_default().to_vec(),
            tls,
        })
    }

    /// Whether all is on the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Sends what waits, until done or the socket is full.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            if !self.out.is_empty() {
                let taken = tls.writer().write(&self.out)?;
                self.out.drain(..taken);
            }
            while self.writable && tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) => self.writable = passes(error, self.writable)?,
                }
            }
            return Ok(());
        }
        while self.writable
            && let Some(waiting) = self.out.get(self.sent..).filter(|waiting| !waiting.is_empty())
        {
            match self.stream.write(waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(bytes) => self.sent += bytes,
                Err(error) => self.writable = passes(error, self.writable)?,
            }
        }
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads once and hands each whole packet to `handle`, which may append replies.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut handle: impl FnMut(&Frame<'_>, &mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), String> {
        let kept = self.rest.len();
        let (before, room) = scratch.split_at_mut_checked(kept).ok_or("a packet is too large")?;
        before.copy_from_slice(&self.rest);
        let fresh = match &mut self.tls {
            None => read_plain(&mut self.stream, room, &mut self.readable),
            Some(tls) => read_tls(tls, &mut self.stream, room, &mut self.readable),
        };
        let filled = kept + fresh.map_err(|error| format!("the broker is gone: {error}"))?;
        let mut bytes = scratch.get(..filled).unwrap_or_default();
        while let Some(frame) = frame(bytes, PACKET_BYTES_MAX).map_err(|error| error.to_string())? {
            handle(&frame, &mut self.out)?;
            bytes = bytes.get(frame.len..).unwrap_or_default();
        }
        self.rest.clear();
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// Says goodbye, so that a broker that keeps the session takes it for an end that was meant.
    pub(super) fn disconnect(mut self) {
        if encode(&Packet::Disconnect(goodbye()), self.version, &mut self.out).is_ok() {
            // Whether it gets there is the broker's affair: the connection ends either way.
            let _ = self.flush();
        }
    }
}

const fn goodbye() -> crate::mqtt::Disconnect<'static> {
    crate::mqtt::Disconnect { reason: crate::mqtt::ReasonCode::Success, properties: Properties::EMPTY }
}

/// A full or empty socket is no error: false then, `before` if a signal came in between.
fn passes(error: io::Error, before: bool) -> io::Result<bool> {
    match error.kind() {
        ErrorKind::WouldBlock => Ok(false),
        ErrorKind::Interrupted => Ok(before),
        _ => Err(error),
    }
}

fn read_plain(stream: &mut mio::net::TcpStream, room: &mut [u8], readable: &mut bool) -> io::Result<usize> {
    match stream.read(room) {
        Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
        Ok(bytes) => {
            // A short read has emptied the socket; what comes later raises a new event.
            *readable = bytes == room.len();
            Ok(bytes)
        }
        Err(error) => {
            *readable = passes(error, *readable)?;
            Ok(0)
        }
    }
}

fn read_tls(
    tls: &mut ClientConnection,
    stream: &mut mio::net::TcpStream,
    room: &mut [u8],
    readable: &mut bool,
) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(free) = room.get_mut(filled..).filter(|free| !free.is_empty()) {
        match tls.reader().read(free) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                filled += bytes;
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match tls.read_tls(stream) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                tls.process_new_packets().map_err(io::Error::other)?;
            }
            Err(error) => {
                *readable = passes(error, true)?;
                if !*readable {
                    break;
                }
            }
        }
    }
    Ok(filled)
}

/// A connection whose owner waits for each answer.
#[derive(Debug)]
pub(super) struct Greeting {
    pub(super) stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    /// Received bytes; those before `taken` have been looked at.
    rest: Vec<u8>,
    taken: usize,
}

impl Greeting {
    /// Connects, waits for CONNACK and, with filters, for SUBACK.
    pub(super) fn open(
        target: &Target,
        who: Identity<'_>,
        filters: &[String],
        qos: QoS,
    ) -> Result<Self, String> {
        let mut greeting = Self::dial(target).map_err(|error| format!("{}: {error}", target.name))?;
        greeting.connect(target, who)?;
        for some in filters.chunks(FILTERS_MAX) {
            greeting.subscribe(target, some, qos)?;
        }
        Ok(greeting)
    }

    fn dial(target: &Target) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&target.address, ANSWER_MAX)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        let mut tls = None;
        if let Some(settings) = &target.tls {
            let mut connection = Box::new(settings.connection().map_err(io::Error::other)?);
            connection.set_buffer_limit(None);
            connection.complete_io(&mut stream)?;
            tls = Some(connection);
        }
        Ok(Self { stream, tls, rest: Vec::new(), taken: 0 })
    }

    fn connect(&mut self, target: &Target, who: Identity<'_>) -> Result<(), String> {
        let mut properties = PropertiesBuf::new();
        if target.version == Version::V5 && !who.clean {
            properties.push(Property::U32(PropertyId::SessionExpiryInterval, u32::MAX));
        }
        let login = target.login.as_ref();
        self.send(
            target.version,
            &Packet::Connect(Connect {
                version: target.version,
                bridge: false,
                clean_start: who.clean,
                keep_alive: KEEP_ALIVE_S,
                client_id: who.client_id,
                will: None,
                user_name: login.map(|(user, _)| user.as_str()),
                password: login.and_then(|(_, password)| password.as_ref()).map(|secret| secret.expose()),
                properties: properties.as_properties(),
            }),
        )?;
        self.wait(target.version, |packet| match packet {
            Packet::ConnAck(answer) if answer.reason.is_error() => {
                Some(Err(format!("{}: the broker refused the connection: {}", target.name, answer.reason)))
            }
            Packet::ConnAck(_) => Some(Ok(())),
            _ => None,
        })
    }

    fn subscribe(&mut self, target: &Target, filters: &[String], qos: QoS) -> Result<(), String> {
        let Some(packet_id) = PacketId::new(1) else { return Ok(()) };
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        let wanted = filters.iter().map(|filter| SubscribeFilter { filter, options }).collect();
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters: wanted };
        self.send(target.version, &Packet::Subscribe(subscribe))?;
        self.wait(target.version, |packet| match packet {
            Packet::SubAck(answer) => {
                let refused = answer.codes.iter().zip(filters).find(|(code, _)| **code != qos.as_u8());
                Some(refused.map_or(Ok(()), |(code, filter)| {
                    Err(format!("{}: {filter} is not granted: {code:#04x}", target.name))
                }))
            }
            _ => None,
        })
    }

    /// Sends a packet.
    pub(super) fn send(&mut self, version: Version, packet: &Packet<'_>) -> Result<(), String> {
        self.send_bytes(version, packet, usize::MAX)
    }

    /// Sends so many bytes of a packet.
    pub(super) fn send_bytes(
        &mut self,
        version: Version,
        packet: &Packet<'_>,
        bytes_max: usize,
    ) -> Result<(), String> {
        let mut bytes = Vec::new();
        encode(packet, version, &mut bytes).map_err(|error| error.to_string())?;
        bytes.truncate(bytes_max);
        let written = match &mut self.tls {
            None => self.stream.write_all(&bytes),
            Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).write_all(&bytes),
        };
        written.map_err(|error| format!("the broker is gone: {error}"))
    }

    /// Reads until `is_it` has found its packet; what comes before it is passed over.
    pub(super) fn wait(
        &mut self,
        version: Version,
        is_it: impl Fn(&Packet<'_>) -> Option<Result<(), String>>,
    ) -> Result<(), String> {
        loop {
            while let Some(bytes) = self.rest.get(self.taken..)
                && let Some(frame) = frame(bytes, PACKET_BYTES_MAX).map_err(|error| error.to_string())?
            {
                let len = frame.len;
                let packet = decode(frame, version).map_err(|error| error.to_string())?;
                let outcome = is_it(&packet);
                self.taken += len;
                if let Some(outcome) = outcome {
                    return outcome;
                }
            }
            self.rest.drain(..self.taken);
            self.taken = 0;
            let mut chunk = [0; 16_384];
            let read = match &mut self.tls {
                None => self.stream.read(&mut chunk),
                Some(tls) => rustls::Stream::new(&mut **tls, &mut self.stream).read(&mut chunk),
            };
            match read {
                Ok(0) => return Err("the broker closed the connection before it answered".into()),
                Ok(bytes) => self.rest.extend_from_slice(chunk.get(..bytes).unwrap_or_default()),
                Err(error) => return Err(format!("no answer of the broker: {error}")),
            }
        }
    }
}
