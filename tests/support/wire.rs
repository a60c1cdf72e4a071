//! MQTT packets as raw bytes, for what a test must see exactly: none of the gateway's own code makes or reads them.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// A connection on which whole packets are sent and read.
pub struct Wire {
    stream: TcpStream,
    version: u8,
}

/// What a CONNECT says.
#[derive(Clone, Copy, Default)]
pub struct Hello<'a> {
    pub client_id: &'a str,
    pub user: Option<&'a str>,
    pub password: Option<&'a str>,
    /// Topic; the payload is `gone`.
    pub will: Option<&'a str>,
    /// Goes on with its session, which outlives it by an hour.
    pub resume: bool,
}

impl Wire {
    /// Connects; gives the connection and the reason or return code of CONNACK.
    pub fn connect(port: u16, version: u8, hello: Hello<'_>) -> (Self, u8) {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut wire = Self { stream, version };
        let mut flags = u8::from(!hello.resume) << 1;
        let mut body = Vec::new();
        string(&mut body, if version == 3 { "MQIsdp" } else { "MQTT" });
        body.push(version);
        let flags_at = body.len();
        body.extend([0, 0, 60]);
        if version == 5 {
            // Session expiry; no reason strings.
            body.extend([7, 0x11, 0, 0, 0x0E, 0x10, 0x17, 0]);
        }
        string(&mut body, hello.client_id);
        if let Some(topic) = hello.will {
            flags |= 0x04;
            if version == 5 {
                body.push(0);
            }
            string(&mut body, topic);
            string(&mut body, "gone");
        }
        if let Some(user) = hello.user {
            flags |= 0x80;
            string(&mut body, user);
        }
        if let Some(password) = hello.password {
            flags |= 0x40;
            string(&mut body, password);
        }
        body[flags_at] = flags;
        wire.send(0x10, &body);
        let (first, body) = wire.read().expect("a CONNACK");
        assert_eq!(first, 0x20);
        (wire, body[1])
    }

    /// Sends a packet.
    pub fn send(&mut self, first: u8, body: &[u8]) {
        let mut packet = vec![first];
        let mut rest = body.len();
        loop {
            let low = u8::try_from(rest % 128).unwrap();
            rest /= 128;
            packet.push(if rest > 0 { low | 0x80 } else { low });
            if rest == 0 {
                break;
            }
        }
        packet.extend(body);
        self.stream.write_all(&packet).unwrap();
    }

    /// The next packet: its first byte and its body. `None` if the connection was closed.
    pub fn read(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut first = [0];
        if self.stream.read(&mut first).unwrap_or(0) == 0 {
            return None;
        }
        let (mut len, mut shift) = (0_usize, 0);
        loop {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            len |= usize::from(byte[0] & 0x7F) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body).unwrap();
        Some((first[0], body))
    }

    /// Subscribes with QoS 1; gives the codes of SUBACK.
    pub fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let mut body = vec![0, 9];
        if self.version == 5 {
            body.push(0);
        }
        for filter in filters {
            string(&mut body, filter);
            body.push(1);
        }
        self.send(0x82, &body);
        let (first, body) = self.read().unwrap();
        assert_eq!(first, 0x90);
        body[if self.version == 5 { 3 } else { 2 }..].to_vec()
    }

    /// Publishes with QoS 1; gives the reason code of PUBACK, 0 where it has none.
    pub fn publish(&mut self, topic: &str, payload: &str, retain: bool) -> u8 {
        let mut body = Vec::new();
        string(&mut body, topic);
        body.extend([0, 1]);
        if self.version == 5 {
            body.push(0);
        }
        body.extend(payload.as_bytes());
        self.send(0x32 | u8::from(retain), &body);
        let (first, body) = self.read().unwrap();
        assert_eq!((first, &body[..2]), (0x40, &[0, 1][..]));
        // That nobody has subscribed (0x10) is no refusal.
        body.get(2).copied().filter(|code| *code != 0x10).unwrap_or(0)
    }

    /// Asks whether the broker lives; whatever it sends before the answer comes back.
    pub fn ping(&mut self) -> Vec<(u8, Vec<u8>)> {
        self.send(0xC0, &[]);
        let mut before = Vec::new();
        loop {
            match self.read().expect("a PINGRESP") {
                (0xD0, _) => return before,
                packet => before.push(packet),
            }
        }
    }
}

fn string(body: &mut Vec<u8>, text: &str) {
    body.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    body.extend(text.as_bytes());
}
