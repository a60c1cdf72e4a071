//! The independent subscriber at the upstream broker: an MQTT client of its own, with a persistent session and
//! QoS 1, that enters every reading it gets into the ledger.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};

use super::ledger::{Ledger, parse_seq};
use crate::mqtt::{
    self, Ack, ConnAck, Connect, Disconnect, Packet, PacketId, Properties, QoS, ReasonCode, Subscribe,
    SubscribeFilter, SubscribeOptions, Version,
};

/// Every gateway's readings.
const FILTER: &str = "fieldgate/+/data/#";

/// The client identifier, and with it the session.
const CLIENT_ID: &str = "fieldgate-demo-subscriber";

/// The largest packet taken; a reading is a few hundred bytes.
const PACKET_BYTES_MAX: usize = 256 * 1024;

/// Seconds, as in CONNECT.
const KEEP_ALIVE: u16 = 30;

/// A lost connection is made again after this; the session keeps what came meanwhile.
const RETRY: Duration = Duration::from_millis(200);

/// The broker must answer a CONNECT, and the last PINGREQ, within this.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A running subscriber.
#[derive(Debug)]
pub(super) struct Subscriber {
    stop: watch::Sender<bool>,
    subscribed: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Subscriber {
    /// Starts it; returns when the broker has confirmed the subscription.
    ///
    /// # Errors
    /// In words.
    pub(super) async fn start(address: SocketAddr, ledger: Rc<RefCell<Ledger>>) -> Result<Self, String> {
        let (stop, stopping) = watch::channel(false);
        let (tell, subscribed) = watch::channel(false);
        let task = spawn_local(run(address, ledger, stopping, tell));
        let mut subscriber = Self { stop, subscribed, task };
        let confirmed = subscriber.subscribed.wait_for(|subscribed| *subscribed);
        match tokio::time::timeout(ANSWER_MAX, confirmed).await {
            Ok(Ok(_)) => {}
            _ => return Err(format!("the upstream broker at {address} doesn't confirm a subscription")),
        }
        Ok(subscriber)
    }

    /// Takes what the broker still has, then disconnects.
    pub(super) async fn finish(mut self) {
        self.stop.send_replace(true);
        // Bounded: a broker that doesn't answer has nothing more to tell.
        let _ = tokio::time::timeout(ANSWER_MAX, &mut self.task).await;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    address: SocketAddr,
    ledger: Rc<RefCell<Ledger>>,
    mut stop: watch::Receiver<bool>,
    subscribed: watch::Sender<bool>,
) {
    loop {
        match Session::open(address, &ledger).await {
            Ok(mut session) => match session.serve(&mut stop, &subscribed).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "the demo's subscriber lost its connection"),
            },
            Err(error) => tracing::warn!(%error, "the demo's subscriber can't connect"),
        }
        if *stop.borrow() {
            return;
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// One connection.
struct Session<'a> {
    stream: TcpStream,
    input: BytesMut,
    output: Vec<u8>,
    ledger: &'a RefCell<Ledger>,
    finishing: bool,
}

/// What the broker's packets came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Nothing,
    Connected,
    Subscribed,
    Finished,
}

impl<'a> Session<'a> {
    /// Connects and sends CONNECT.
    async fn open(address: SocketAddr, ledger: &'a RefCell<Ledger>) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut session = Self {
            stream,
            input: BytesMut::with_capacity(16 * 1024),
            output: Vec::new(),
            ledger,
            finishing: false,
        };
        session.put(&Packet::Connect(Connect {
            version: Version::V311,
            bridge: false,
            clean_start: false,
            keep_alive: KEEP_ALIVE,
            client_id: CLIENT_ID,
            will: None,
            user_name: None,
            password: None,
            properties: Properties::EMPTY,
        }))?;
        session.flush().await?;
        Ok(session)
    }

    /// Runs until it was told to finish and has taken all that the broker had.
    async fn serve(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        subscribed: &watch::Sender<bool>,
    ) -> io::Result<()> {
        let mut ping = tokio::time::interval(Duration::from_secs(u64::from(KEEP_ALIVE)) / 2);
        ping.reset();
        let mut connected = false;
        loop {
            tokio::select! {
                read = self.stream.read_buf(&mut self.input) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    match self.take_packets()? {
                        Progress::Nothing => {}
                        Progress::Connected => connected = true,
                        Progress::Subscribed => {
                            subscribed.send_replace(true);
                        }
                        Progress::Finished => return self.flush().await,
                    }
                }
                _ = ping.tick() => self.put(&Packet::PingReq)?,
                _ = stop.wait_for(|stop| *stop), if connected && !self.finishing => {
                    // Its answer comes behind everything that the broker has sent before.
                    self.finishing = true;
                    self.put(&Packet::PingReq)?;
                }
            }
            self.flush().await?;
        }
    }

    /// Handles all whole packets; answers go to `output`.
    fn take_packets(&mut self) -> io::Result<Progress> {
        let mut progress = Progress::Nothing;
        let input = self.input.split();
        let mut rest: &[u8] = &input;
        while let Some(frame) = mqtt::frame(rest, PACKET_BYTES_MAX).map_err(io::Error::other)? {
            let packet = mqtt::decode(frame, Version::V311).map_err(io::Error::other)?;
            match self.take(&packet)? {
                Progress::Nothing => {}
                made => progress = made,
            }
            rest = rest.get(frame.len..).unwrap_or_default();
        }
        self.input.extend_from_slice(rest);
        Ok(progress)
    }

    fn take(&mut self, packet: &Packet<'_>) -> io::Result<Progress> {
        match packet {
            Packet::ConnAck(ConnAck { reason: ReasonCode::Success, .. }) => {
                self.subscribe()?;
                Ok(Progress::Connected)
            }
            Packet::ConnAck(refusal) => Err(io::Error::other(format!("refused: {:?}", refusal.reason))),
            // 3.1.1, 3.9.3: 0x80 is a failure.
            Packet::SubAck(answer) if answer.codes.contains(&0x80) => {
                Err(io::Error::other("the subscription was refused"))
            }
            Packet::SubAck(_) => Ok(Progress::Subscribed),
            Packet::Publish(publish) => {
                if let Some((device, seq)) = reading(publish.topic, publish.payload) {
                    self.ledger.borrow_mut().saw(device, seq);
                }
                if let Some(packet_id) = publish.packet_id {
                    self.put(&Packet::PubAck(Ack {
                        packet_id,
                        reason: ReasonCode::Success,
                        properties: Properties::EMPTY,
                    }))?;
                }
                Ok(Progress::Nothing)
            }
            Packet::PingResp if self.finishing => {
                self.put(&Packet::Disconnect(Disconnect {
                    reason: ReasonCode::Success,
                    properties: Properties::EMPTY,
                }))?;
                Ok(Progress::Finished)
            }
            _ => Ok(Progress::Nothing),
        }
    }

    fn subscribe(&mut self) -> io::Result<()> {
        let packet_id = PacketId::new(1).ok_or(io::ErrorKind::InvalidInput)?;
        let options = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        self.put(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: vec![SubscribeFilter { filter: FILTER, options }],
        }))
    }

    fn put(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        mqtt::encode(packet, Version::V311, &mut self.output).map_err(io::Error::other)
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.output).await?;
        self.output.clear();
        Ok(())
    }
}

/// The device and the number of a reading; `None` for anything else.
fn reading<'a>(topic: &'a str, payload: &[u8]) -> Option<(&'a str, crate::reading::Seq)> {
    let mut levels = topic.splitn(4, '/');
    let (_, _, data, device) = (levels.next()?, levels.next()?, levels.next()?, levels.next()?);
    let payload: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let seq = parse_seq(payload.get("seq")?.as_str()?)?;
    (data == "data").then_some((device, seq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_known_by_its_topic_and_its_seq() {
        let good = br#"{"time":"2026-11-20T14:51:05.123Z","seq":"17-1842","values":{"t":21.5}}"#;
        let (device, seq) = reading("fieldgate/demo/data/scale", good).unwrap();
        assert_eq!((device, seq.to_string().as_str()), ("scale", "17-1842"));
        for (topic, payload) in [
            ("fieldgate/demo/status", &good[..]),
            ("fieldgate/demo/status/scale", &good[..]),
            ("fieldgate/demo/data/scale", b"{}"),
            ("fieldgate/demo/data/scale", br#"{"seq":17}"#),
            ("fieldgate/demo/data/scale", b"\xff"),
        ] {
            assert!(reading(topic, payload).is_none(), "{topic}");
        }
    }
}
