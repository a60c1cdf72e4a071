//! A client on a blocking socket: sends bytes, takes packets apart that came back.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::packets::{Connect, Publish, V, ack, hex, packet, subscribe, unsubscribe};

/// What must come has this long on a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A PUBLISH that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    pub topic: Vec<u8>,
    /// 0 at QoS 0.
    pub id: u16,
    /// Without their length.
    pub properties: Vec<u8>,
    pub payload: Vec<u8>,
}

impl Message {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap()
    }
}

/// A client.
pub struct Client {
    stream: TcpStream,
    v: V,
    held: Vec<u8>,
    /// The whole packet that let it in; empty before.
    pub connack: Vec<u8>,
    last_id: u16,
}

impl Client {
    /// Connected to the port, nothing sent.
    pub fn open(port: u16, v: V) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, v, held: Vec::new(), connack: Vec::new(), last_id: 1_000 }
    }

    /// Let in.
    #[track_caller]
    pub fn connect(port: u16, connect: &Connect) -> Self {
        let mut client = Self::open(port, connect.v);
        client.send(&connect.bytes());
        client.connack = client.packet();
        assert_eq!((client.connack[0], client.connack[3]), (0x20, 0), "refused: {}", hex(&client.connack));
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// As [`Client::send`], to a gateway that may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Reads more; false at the end of the connection; panics when it takes too long.
    #[track_caller]
    fn fill(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "nothing came in time; held: {}", hex(&self.held));
        self.stream.set_read_timeout(Some(left)).unwrap();
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => false,
            Ok(bytes) => {
                self.held.extend_from_slice(&buffer[..bytes]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came in time; held: {}", hex(&self.held))
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The first whole packet of what is held.
    fn whole(&mut self) -> Option<Vec<u8>> {
        let (mut length, mut at) = (0, 1);
        loop {
            let byte = *self.held.get(at)?;
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        (self.held.len() >= at + length).then(|| self.held.drain(..at + length).collect())
    }

    /// The next packet, whole.
    #[track_caller]
    pub fn packet(&mut self) -> Vec<u8> {
        self.packet_by(Instant::now() + PATIENCE).expect("the connection ended, a packet was expected")
    }

    /// The next packet; `None` at the end of the connection.
    #[track_caller]
    pub fn packet_by(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        loop {
            if let Some(packet) = self.whole() {
                if is_the_gateways_own(&packet) {
                    if packet[0] & 6 == 2 {
                        let id = take_apart(&packet, self.v).id;
                        self.try_send(&ack(0x40, id));
                    }
                    continue;
                }
                return Some(packet);
            }
            if !self.fill(deadline) {
                assert!(self.held.is_empty(), "the connection ended within a packet: {}", hex(&self.held));
                return None;
            }
        }
    }

    /// All that still comes, up to the end of the connection.
    #[track_caller]
    pub fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + PATIENCE;
        while self.fill(deadline) {}
        std::mem::take(&mut self.held)
    }

    /// The next packet is exactly this.
    #[track_caller]
    pub fn expect(&mut self, bytes: &[u8]) {
        let got = self.packet();
        assert!(got == bytes, "got {}, not {}", hex(&got), hex(bytes));
    }

    /// The next packet is a PUBACK 0x40, PUBREC 0x50, PUBREL 0x62 or PUBCOMP 0x70 with this reason code, whatever
    /// else it says.
    #[track_caller]
    pub fn expect_ack(&mut self, first: u8, id: u16, code: u8) {
        let got = self.packet();
        let reason = got.get(4).copied().unwrap_or(0);
        let right = got[0] == first && got[2..4] == id.to_be_bytes() && reason == code;
        assert!(right, "got {}, not {first:02X} for {id} with {code:02X}", hex(&got));
        assert!(self.v == V::V5 || got.len() == 4, "more than 3.x knows: {}", hex(&got));
    }

    /// The next packet is the acknowledgement of a message that somebody, or nobody, gets.
    #[track_caller]
    pub fn expect_accepted(&mut self, first: u8, id: u16) {
        let got = self.packet();
        let reason = got.get(4).copied().unwrap_or(0);
        let right = got[0] == first && got[2..4] == id.to_be_bytes() && matches!(reason, 0 | 0x10);
        assert!(right, "got {}, not {first:02X} for {id}", hex(&got));
    }

    /// Nothing has come: the answer to a PINGREQ is the next packet. What this client sent before was handled.
    #[track_caller]
    pub fn nothing(&mut self) {
        self.send(&[0xC0, 0]);
        self.expect(&[0xD0, 0]);
    }

    /// The connection ends, without another byte.
    #[track_caller]
    pub fn eof(&mut self) {
        let rest = self.rest();
        assert!(rest.is_empty(), "got {} before the end", hex(&rest));
    }

    /// The connection ends; 5.0 is told why by DISCONNECT, 3.x is not.
    #[track_caller]
    pub fn closed(&mut self, code: u8) {
        if self.v == V::V5 {
            let got = self.packet();
            assert!((got[0], got[2]) == (0xE0, code), "got {}, not DISCONNECT {code:02X}", hex(&got));
        }
        self.eof();
    }

    /// The connection ends, after a DISCONNECT or without.
    #[track_caller]
    pub fn ended(&mut self) {
        let rest = self.rest();
        let told = self.v == V::V5 && rest.first() == Some(&0xE0);
        assert!(rest.is_empty() || told, "got {} before the end", hex(&rest));
    }

    /// The next packet is a PUBLISH.
    #[track_caller]
    pub fn message(&mut self) -> Message {
        let packet = self.packet();
        assert_eq!(packet[0] >> 4, 3, "no PUBLISH: {}", hex(&packet));
        take_apart(&packet, self.v)
    }

    /// The next packet is a PUBLISH; it is acknowledged to the end.
    #[track_caller]
    pub fn take(&mut self) -> Message {
        let message = self.message();
        match message.qos {
            1 => self.send(&ack(0x40, message.id)),
            2 => {
                self.send(&ack(0x50, message.id));
                self.expect_ack(0x62, message.id, 0);
                self.send(&ack(0x70, message.id));
            }
            _ => {}
        }
        message
    }

    /// The next packet is a PUBLISH with this payload; it is acknowledged to the end.
    #[track_caller]
    pub fn take_text(&mut self, payload: &str) -> Message {
        let message = self.take();
        assert_eq!(message.text(), payload);
        message
    }

    /// Publishes, to the end of the exchange; the packet identifier is chosen.
    #[track_caller]
    pub fn publish(&mut self, publish: &Publish) {
        let mut publish = publish.clone();
        if publish.qos > 0 {
            self.last_id += 1;
            publish.id = self.last_id;
        }
        self.send(&publish.bytes(self.v));
        match publish.qos {
            0 => self.nothing(),
            1 => self.expect_accepted(0x40, publish.id),
            _ => {
                self.expect_accepted(0x50, publish.id);
                self.send(&ack(0x62, publish.id));
                self.expect_ack(0x70, publish.id, 0);
            }
        }
    }

    /// Publishes with this QoS, to the end of the exchange.
    #[track_caller]
    pub fn say(&mut self, topic: &str, qos: u8, payload: &str) {
        self.publish(&Publish::new(topic, payload).qos(qos, 0));
    }

    /// Subscribes; the options' QoS is granted. Retained messages come after.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, options: u8) {
        let code = self.subscribe_with(&[], filter.as_bytes(), options);
        assert_eq!(code, options & 3, "{filter}");
    }

    /// Subscribes; gives the code.
    #[track_caller]
    pub fn subscribe_with(&mut self, properties: &[u8], filter: &[u8], options: u8) -> u8 {
        self.send(&subscribe(self.v, 77, properties, &[(filter, options)]));
        let got = self.packet();
        assert!(got[0] == 0x90 && got[2..4] == [0, 77], "no SUBACK: {}", hex(&got));
        *got.last().unwrap()
    }

    /// Unsubscribes; gives the code, 0 before 5.0.
    #[track_caller]
    pub fn unsubscribe(&mut self, filter: &str) -> u8 {
        self.send(&unsubscribe(self.v, 78, &[filter]));
        let got = self.packet();
        assert!(got[0] == 0xB0 && got[2..4] == [0, 78], "no UNSUBACK: {}", hex(&got));
        if self.v == V::V5 { *got.last().unwrap() } else { 0 }
    }

    /// DISCONNECT with nothing in it; waits until the gateway has closed.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send(&[0xE0, 0]);
        self.eof();
    }

    /// DISCONNECT with a body; waits until the gateway has closed.
    #[track_caller]
    pub fn disconnect_with(mut self, body: &[u8]) {
        self.send(&packet(0xE0, body));
        self.eof();
    }

    /// The network breaks; when this returns, the gateway knows.
    #[track_caller]
    pub fn cut(mut self) {
        // What came and was not read would make the system answer with a reset.
        let _ = self.stream.shutdown(Shutdown::Write);
        let deadline = Instant::now() + PATIENCE;
        while self.fill(deadline) {}
    }

    /// The property of CONNACK with this number, and all behind it.
    pub fn connack_property(&self, id: u8) -> Option<Vec<u8>> {
        assert!(self.v == V::V5 && self.connack.len() < 128);
        let mut rest = &self.connack[5..];
        while let [found, value @ ..] = rest {
            if *found == id {
                return Some(value.to_vec());
            }
            let length = match found {
                0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 1,
                0x13 | 0x21 | 0x22 => 2,
                0x11 | 0x27 => 4,
                0x12 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F => {
                    2 + usize::from(value[0]) * 256 + usize::from(value[1])
                }
                other => panic!("property {other:02X} in {}", hex(&self.connack)),
            };
            rest = &value[length..];
        }
        None
    }
}

/// Status and health of the gateway, which a subscriber of everything gets too; no test here is about them.
fn is_the_gateways_own(packet: &[u8]) -> bool {
    packet[0] >> 4 == 3 && packet.windows(13).take(8).any(|part| part == b"fieldgate/gw/")
}

fn take_apart(packet: &[u8], v: V) -> Message {
    fn split<'a>(rest: &mut &'a [u8], at: usize) -> &'a [u8] {
        let (front, back) = rest.split_at(at);
        *rest = back;
        front
    }
    fn number(rest: &mut &[u8]) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = split(rest, 1)[0];
            value |= usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let first = packet[0];
    let mut rest = &packet[1..];
    number(&mut rest);
    let topic_len = split(&mut rest, 2);
    let topic_len = usize::from(topic_len[0]) * 256 + usize::from(topic_len[1]);
    let topic = split(&mut rest, topic_len).to_vec();
    let qos = first >> 1 & 3;
    let id = if qos > 0 { u16::from_be_bytes(split(&mut rest, 2).try_into().unwrap()) } else { 0 };
    let properties = if v == V::V5 {
        let length = number(&mut rest);
        split(&mut rest, length).to_vec()
    } else {
        Vec::new()
    };
    Message {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        topic,
        id,
        properties,
        payload: rest.to_vec(),
    }
}
