//! rumqttc in the matrix of LAN clients: its client for MQTT 3.1.1 and its client for MQTT 5. What each does is told in
//! `tests/py/matrix/scenario.py`; a line for each check goes to standard output.

use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::mpsc;

/// The longest that a message may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const TRANSPORTS: [&str; 5] = ["tcp", "tls", "ws", "wss", "unix"];

/// Topic, payload, QoS, retain.
type Message = (String, Vec<u8>, u8, bool);

/// What a client is to be.
#[derive(Clone, Copy, Default)]
struct Wish<'a> {
    durable: bool,
    /// The will's topic; its payload is `gone`.
    will: Option<&'a str>,
}

/// What a connection tells.
enum Told {
    Connected { session_present: bool },
    Subscribed,
    Delivered,
    Message(Message),
    Ended(String),
}

/// Host and port as rumqttc wants them for this transport, and the transport.
fn way(ways: &Json, transport: &str) -> (String, u16, rumqttc::Transport) {
    let ca = || std::fs::read(ways["ca"].as_str().expect("the CA's path")).expect("the CA");
    let port = ways[transport].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or_default();
    let host = "127.0.0.1".to_owned();
    match transport {
        "tls" => (host, port, rumqttc::Transport::tls(ca(), None, None)),
        "ws" => (format!("ws://{host}:{port}/mqtt"), port, rumqttc::Transport::ws()),
        "wss" => (format!("wss://{host}:{port}/mqtt"), port, rumqttc::Transport::wss(ca(), None, None)),
        "unix" => {
            (ways["unix"].as_str().expect("the socket's path").to_owned(), port, rumqttc::Transport::unix())
        }
        _ => (host, port, rumqttc::Transport::tcp()),
    }
}

/// Both of rumqttc's clients have the same methods, but no trait for them.
macro_rules! client {
    ($name:ident, $client:path, $event:path, $packet:path, $qos:path, $options:expr, $topic:expr) => {
        struct $name {
            client: $client,
            told: mpsc::UnboundedReceiver<Told>,
            messages: std::collections::VecDeque<Message>,
            driver: tokio::task::JoinHandle<()>,
        }

        impl $name {
            /// Connects; tells whether a session was there.
            async fn connect(
                ways: &Json,
                transport: &str,
                id: &str,
                qos: u8,
                wish: Wish<'_>,
            ) -> Result<(Self, bool), String> {
                use $client as Client;
                use $event as Event;
                use $packet as Packet;
                let options = $options(ways, transport, id, qos, wish);
                let (client, mut events) = Client::new(options, 64);
                let (tell, told) = mpsc::unbounded_channel();
                let driver = tokio::spawn(async move {
                    loop {
                        let news = match events.poll().await {
                            Ok(Event::Incoming(Packet::ConnAck(ack))) => {
                                Told::Connected { session_present: ack.session_present }
                            }
                            Ok(Event::Incoming(Packet::SubAck(_))) => Told::Subscribed,
                            Ok(Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_))) => Told::Delivered,
                            Ok(Event::Incoming(Packet::Publish(publish))) => {
                                let topic = $topic(&publish);
                                Told::Message((
                                    topic,
                                    publish.payload.to_vec(),
                                    publish.qos as u8,
                                    publish.retain,
                                ))
                            }
                            Ok(_) => continue,
                            Err(error) => Told::Ended(error.to_string()),
                        };
                        let ended = matches!(news, Told::Ended(_));
                        if tell.send(news).is_err() || ended {
                            return;
                        }
                    }
                });
                let mut connected = Self { client, told, messages: Default::default(), driver };
                let told = connected.until("CONNACK", |told| match told {
                    Told::Connected { session_present } => Some(*session_present),
                    _ => None,
                });
                let present = told.await?;
                Ok((connected, present))
            }

            async fn until<T>(
                &mut self,
                what: &str,
                mut wanted: impl FnMut(&Told) -> Option<T>,
            ) -> Result<T, String> {
                loop {
                    let told = tokio::time::timeout(PATIENCE, self.told.recv()).await;
                    let told = told.map_err(|_| format!("no {what}"))?.ok_or("the client has ended")?;
                    if let Some(found) = wanted(&told) {
                        return Ok(found);
                    }
                    match told {
                        Told::Message(message) => self.messages.push_back(message),
                        Told::Ended(error) => return Err(format!("no {what}: {error}")),
                        _ => {}
                    }
                }
            }

            async fn subscribe(&mut self, filter: &str, qos: u8) -> Result<(), String> {
                use $qos as qos_of;
                let qos = qos_of(qos).expect("a QoS");
                self.client.subscribe(filter, qos).await.map_err(|error| error.to_string())?;
                self.until("SUBACK", |told| matches!(told, Told::Subscribed).then_some(())).await
            }

            async fn publish(
                &mut self,
                topic: &str,
                payload: &[u8],
                qos: u8,
                retain: bool,
            ) -> Result<(), String> {
                use $qos as qos_of;
                let level = qos_of(qos).expect("a QoS");
                let published = self.client.publish(topic, level, retain, payload.to_vec()).await;
                published.map_err(|error| error.to_string())?;
                if qos == 0 {
                    return Ok(());
                }
                self.until("PUBACK or PUBCOMP", |told| matches!(told, Told::Delivered).then_some(())).await
            }

            async fn expect(
                &mut self,
                topic: &str,
                payload: &[u8],
                qos: u8,
                retain: bool,
            ) -> Result<(), String> {
                let got = match self.messages.pop_front() {
                    Some(message) => message,
                    None => {
                        let message = |told: &Told| match told {
                            Told::Message(message) => Some(message.clone()),
                            _ => None,
                        };
                        self.until("message", message).await?
                    }
                };
                if got == (topic.to_owned(), payload.to_vec(), qos, retain) {
                    return Ok(());
                }
                Err(format!("got {}, {} bytes, QoS {}, retain {}", got.0, got.1.len(), got.2, got.3))
            }

            async fn disconnect(mut self) -> Result<(), String> {
                self.client.disconnect().await.map_err(|error| error.to_string())?;
                self.until("end", |told| matches!(told, Told::Ended(_)).then_some(())).await
            }

            /// Takes the socket away and says nothing.
            async fn vanish(self) {
                self.driver.abort();
                // Cancelled, that is what was asked for.
                let _ = self.driver.await;
            }

            async fn check(
                main: &mut Self,
                ways: &Json,
                transport: &str,
                root: &str,
                qos: u8,
                check: &str,
            ) -> Result<(), String> {
                let id = root.replace('/', "-");
                match check {
                    "echo" => {
                        let topic = format!("{root}/echo");
                        let large: Vec<u8> = (0..=255).cycle().take(256 * 70).collect();
                        for payload in [&large[..], b"", b"\0"] {
                            main.publish(&topic, payload, qos, false).await?;
                            main.expect(&topic, payload, qos, false).await?;
                        }
                    }
                    "retained" => {
                        let topic = format!("{root}/kept");
                        main.publish(&topic, b"kept", qos, true).await?;
                        main.expect(&topic, b"kept", qos, false).await?;
                        let id = format!("{id}-late");
                        let (mut late, _) = Self::connect(ways, transport, &id, qos, Wish::default()).await?;
                        late.subscribe(&topic, qos).await?;
                        late.expect(&topic, b"kept", qos, true).await?;
                        late.disconnect().await?;
                        main.publish(&topic, b"", qos, true).await?;
                        main.expect(&topic, b"", qos, false).await?;
                    }
                    "will" => {
                        let topic = format!("{root}/will");
                        let wish = Wish { will: Some(&topic), ..Wish::default() };
                        let id = format!("{id}-doomed");
                        let (doomed, _) = Self::connect(ways, transport, &id, qos, wish).await?;
                        doomed.vanish().await;
                        main.expect(&topic, b"gone", qos, false).await?;
                    }
                    _ => {
                        let (topic, id) = (format!("{root}/away"), format!("{id}-sleeper"));
                        let wish = Wish { durable: true, ..Wish::default() };
                        let (mut sleeper, present) = Self::connect(ways, transport, &id, qos, wish).await?;
                        if present {
                            return Err("there is a session that nobody has made".into());
                        }
                        sleeper.subscribe(&topic, qos).await?;
                        sleeper.disconnect().await?;
                        main.publish(&topic, b"while away", qos, false).await?;
                        main.expect(&topic, b"while away", qos, false).await?;
                        let (mut sleeper, present) = Self::connect(ways, transport, &id, qos, wish).await?;
                        if !present {
                            return Err("the session is gone".into());
                        }
                        sleeper.expect(&topic, b"while away", qos, false).await?;
                        sleeper.disconnect().await?;
                    }
                }
                Ok(())
            }

            async fn cell(ways: &Json, version: u8, transport: &str, qos: u8) {
                let root = format!("rumqttc/{version}/{transport}/{qos}");
                let id = root.replace('/', "-");
                let mut main = match Self::connect(ways, transport, &id, qos, Wish::default()).await {
                    Ok((main, _)) => Ok(main),
                    Err(error) => Err(error),
                };
                if let Ok(client) = &mut main
                    && let Err(error) = client.subscribe(&format!("{root}/#"), qos).await
                {
                    main = Err(error);
                }
                for check in ["echo", "retained", "will", "session"] {
                    if check == "session" && qos == 0 {
                        continue;
                    }
                    let result = match &mut main {
                        Ok(main) => Self::check(main, ways, transport, &root, qos, check).await,
                        Err(error) => Err(error.clone()),
                    };
                    let result = result.err().unwrap_or_else(|| "ok".into());
                    println!("CELL|rumqttc 0.25.1|{version}|{transport}|{qos}|{check}|{result}");
                }
            }
        }
    };
}

client!(
    V4,
    rumqttc::AsyncClient,
    rumqttc::Event,
    rumqttc::Packet,
    qos_of_v4,
    |ways: &Json, transport: &str, id: &str, qos: u8, wish: Wish<'_>| {
        let (host, port, transport) = way(ways, transport);
        let mut options = rumqttc::MqttOptions::new(id, host, port);
        options.set_transport(transport).set_clean_session(!wish.durable);
        options.set_max_packet_size(1 << 16, 1 << 16);
        if let Some(topic) = wish.will {
            let qos = qos_of_v4(qos).expect("a QoS");
            options.set_last_will(rumqttc::LastWill::new(topic, "gone", qos, false));
        }
        options
    },
    |publish: &rumqttc::Publish| publish.topic.clone()
);

client!(
    V5,
    rumqttc::v5::AsyncClient,
    rumqttc::v5::Event,
    rumqttc::v5::mqttbytes::v5::Packet,
    qos_of_v5,
    |ways: &Json, transport: &str, id: &str, qos: u8, wish: Wish<'_>| {
        let (host, port, transport) = way(ways, transport);
        let mut options = rumqttc::v5::MqttOptions::new(id, host, port);
        options.set_transport(transport).set_clean_start(!wish.durable);
        options.set_session_expiry_interval(wish.durable.then_some(3600));
        options.set_max_packet_size(Some(1 << 16));
        if let Some(topic) = wish.will {
            let qos = qos_of_v5(qos).expect("a QoS");
            let will = rumqttc::v5::mqttbytes::v5::LastWill::new(topic, "gone", qos, false, None);
            options.set_last_will(will);
        }
        options
    },
    |publish: &rumqttc::v5::mqttbytes::v5::Publish| String::from_utf8_lossy(&publish.topic).into_owned()
);

fn qos_of_v4(qos: u8) -> Option<rumqttc::QoS> {
    rumqttc::qos(qos).ok()
}

fn qos_of_v5(qos: u8) -> Option<rumqttc::v5::mqttbytes::QoS> {
    rumqttc::v5::mqttbytes::qos(qos)
}

fn main() {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.expect("nothing else has installed one");
    let ways = std::env::args().nth(1).expect("the ways into the broker, as JSON");
    let ways: Json = serde_json::from_str(&ways).expect("JSON");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for transport in TRANSPORTS {
            for qos in 0..3 {
                V4::cell(&ways, 4, transport, qos).await;
                V5::cell(&ways, 5, transport, qos).await;
            }
        }
    });
}
