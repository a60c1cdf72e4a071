//! Clients of the board's broker that live until its power is cut.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::SLOW_MAX;
use crate::raw::{Connect, V, ack, subscribe};

/// A connection through the emulated network.
pub struct Client {
    stream: TcpStream,
    /// Whether the broker had its session.
    pub resumed: bool,
}

/// A message that came.
pub struct Message {
    pub topic: String,
    pub retain: bool,
    pub payload: Vec<u8>,
}

impl Client {
    /// Whether anybody is let in by now. Each call is another client: one that gave up may be let in late, and would throw
    /// its successor of the same name out.
    pub fn is_let_in(port: u16) -> bool {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let id = format!("call {}", CALLS.fetch_add(1, Ordering::Relaxed));
        Self::connect_within(port, &id, true, Duration::from_secs(2)).is_ok()
    }

    /// A client of a gateway that lets clients in.
    pub fn connect(port: u16, id: &str, clean: bool) -> Result<Self> {
        Self::connect_within(port, id, clean, SLOW_MAX)
    }

    fn connect_within(port: u16, id: &str, clean: bool, limit: Duration) -> Result<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        // The emulator lets in whoever comes, also before the board does.
        stream.set_read_timeout(Some(limit))?;
        let connect = Connect::new(V::V311, id);
        stream.write_all(&if clean { connect } else { connect.resume() }.bytes())?;
        let mut connack = [0; 4];
        stream.read_exact(&mut connack)?;
        assert_eq!((connack[0], connack[3]), (0x20, 0), "refused: {connack:?}");
        stream.set_read_timeout(None)?;
        Ok(Self { stream, resumed: connack[2] == 1 })
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)
    }

    /// Subscribes; returns once that is confirmed, before anything else came.
    pub fn subscribe(&mut self, filter: &str, qos: u8) -> Result<()> {
        self.send(&subscribe(V::V311, 1, &[], &[(filter.as_bytes(), qos)]))?;
        let (first, body) = self.packet()?;
        assert_eq!((first, body), (0x90, vec![0, 1, qos]));
        Ok(())
    }

    /// The next packet: its first byte, and what comes after its length.
    pub fn packet(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        let first = byte[0];
        let (mut length, mut shift) = (0, 0);
        loop {
            self.stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }

    /// The next message; one with QoS 1 is acknowledged.
    pub fn message(&mut self) -> Result<Message> {
        let (first, mut body) = self.packet()?;
        assert_eq!(first & 0xf0, 0x30, "a PUBLISH is due");
        let mut rest = body.split_off(2 + usize::from(u16::from_be_bytes([body[0], body[1]])));
        if first & 6 != 0 {
            let id = u16::from_be_bytes([rest[0], rest[1]]);
            self.send(&ack(0x40, id))?;
            rest.drain(..2);
        }
        Ok(Message {
            topic: String::from_utf8(body.split_off(2)).unwrap(),
            retain: first & 1 == 1,
            payload: rest,
        })
    }

    /// Messages until `found` takes one, or the time is over.
    pub fn wait<T>(&mut self, limit: Duration, mut found: impl FnMut(Message) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.message() {
                Ok(message) => {
                    if let Some(found) = found(message) {
                        return Some(found);
                    }
                }
                Err(_) => return None,
            }
        }
        None
    }
}
