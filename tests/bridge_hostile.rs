//! Upstreams that break rules, refuse, or forget to answer: a scripted server on a real socket. The gateway goes on, loses
//! nothing that it need not, and says what it lost.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use fieldgate::mqtt::{self, Packet, QoS, ReasonCode, Version};
use serde_json::Value as Json;
use support::{Gateway, Mosquitto, Process, Tap, eventually, fieldgate, publish, publish_with, upstream};

/// What the script says to a PUBLISH, by its payload and how many connections there were.
type Script = fn(connection: usize, payload: &str, id: u16) -> Answer;

enum Answer {
    /// These bytes.
    Bytes(Vec<u8>),
    /// Nothing.
    Silence,
}

/// A server of MQTT 5 that takes what it is sent, and answers by a script.
struct Hostile {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Connect { clean: bool },
    Publish { payload: String },
    Ack(Vec<u8>),
    Disconnect(ReasonCode),
}

const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

fn puback(id: u16, reason: u8) -> Answer {
    let [high, low] = id.to_be_bytes();
    Answer::Bytes(vec![0x40, 3, high, low, reason])
}

impl Hostile {
    /// `greeting` is sent behind the first CONNACK.
    fn start(script: Script, greeting: Vec<u8>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = seen.clone();
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                let (told, greeting) = (told.clone(), greeting.clone());
                std::thread::spawn(move || serve(stream.unwrap(), connection, script, &greeting, &told));
            }
        });
        Self { port, seen }
    }

    fn count(&self, wanted: impl Fn(&Seen) -> bool) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| wanted(seen)).count()
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Seen) -> bool) {
        eventually(what, || (self.count(&wanted) > 0).then_some(()));
    }

    fn wait_payload(&self, payload: &str) {
        self.wait(payload, |seen| matches!(seen, Seen::Publish { payload: p } if p == payload));
    }

    fn config(&self, more: &str) -> String {
        format!("{}version = \"5\"\n{more}", upstream(self.port))
    }
}

fn serve(mut stream: TcpStream, connection: usize, script: Script, greeting: &[u8], seen: &Mutex<Vec<Seen>>) {
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        buffer.extend_from_slice(&chunk[..read]);
        while let Ok(Some(frame)) = mqtt::frame(&buffer, usize::MAX) {
            let len = frame.len;
            let whole = buffer[..len].to_vec();
            let mut answer = Vec::new();
            match mqtt::decode(frame, Version::V5).expect("the gateway breaks no rule") {
                Packet::Connect(connect) => {
                    seen.lock().unwrap().push(Seen::Connect { clean: connect.clean_start });
                    answer.extend_from_slice(CONNACK);
                    if connection == 0 {
                        answer.extend_from_slice(greeting);
                    }
                }
                Packet::Publish(publish) => {
                    let payload = String::from_utf8_lossy(publish.payload).into_owned();
                    let own = publish.topic.starts_with("fieldgate/");
                    let id = publish.packet_id.map_or(0, mqtt::PacketId::get);
                    let said = if own { puback(id, 0) } else { script(connection, &payload, id) };
                    if !own {
                        seen.lock().unwrap().push(Seen::Publish { payload });
                    }
                    if let (Answer::Bytes(bytes), QoS::AtLeastOnce) = (said, publish.qos) {
                        answer.extend(bytes);
                    }
                }
                Packet::PingReq => answer.extend([0xD0, 0]),
                Packet::Disconnect(disconnect) => {
                    seen.lock().unwrap().push(Seen::Disconnect(disconnect.reason))
                }
                Packet::PubAck(_) | Packet::PubRec(_) => seen.lock().unwrap().push(Seen::Ack(whole)),
                // No SUBACK ever.
                _ => {}
            }
            buffer.drain(..len);
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

const OUT: &str = "[[upstream.map]]\nfilter = \"lan/#\"\n";

#[test]
fn each_refusal_for_good_costs_one_message_that_is_laid_aside_with_its_reason() {
    let server = Hostile::start(
        |_, payload, id| {
            puback(id, u8::from_str_radix(payload.trim_start_matches("refuse "), 16).unwrap_or(0))
        },
        Vec::new(),
    );
    let mut gateway = Gateway::start(&server.config(OUT));
    gateway.wait_online();
    let codes = ["80", "83", "87", "90", "95", "99"];
    for code in codes {
        publish(gateway.lan_port, "lan/x", &format!("refuse {code}"));
        publish(gateway.lan_port, "lan/x", &format!("good {code}"));
        server.wait_payload(&format!("good {code}"));
    }
    let status = gateway.wait_drained();
    assert_eq!(status["upstreams"][0]["drops"]["refused"], codes.len(), "{status:#}");
    assert_eq!(status["upstreams"][0]["connections"], 1);
    let backlog = gateway.ask("backlog");
    let letters = backlog[0]["refused"].as_array().unwrap();
    let payloads: Vec<&str> = letters.iter().map(|letter| letter["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, codes.map(|code| format!("refuse {code}")));
    assert_eq!(letters[2]["reason"], "not authorized");
    assert_eq!(letters[2]["topic"], "lan/x");
}

#[test]
fn refused_messages_outlive_a_crash_and_go_once_more_when_they_are_asked_to() {
    let server = Hostile::start(
        // The rights are mended when the third connection comes.
        |connection, payload, id| {
            puback(id, if connection < 2 && payload.starts_with("bad") { 0x87 } else { 0 })
        },
        Vec::new(),
    );
    let mut gateway = Gateway::start(&server.config(OUT));
    gateway.wait_online();
    publish(gateway.lan_port, "lan/x", "bad 1");
    publish(gateway.lan_port, "lan/x", "good 1");
    server.wait_payload("good 1");
    let note = gateway.data_dir().join("outbox-up/note-refused");
    eventually("it is noted", || note.exists().then_some(()));
    gateway.kill9();
    gateway.start_again();
    gateway.wait_online();
    let deadletters = |arguments: &[&str]| {
        let mut command = fieldgate();
        command.args(["deadletters", "--socket"]).arg(gateway.socket()).args(arguments);
        Process::run("deadletters", &mut command)
    };
    let (status, listed) = deadletters(&["list"]);
    assert!(status.success() && listed.contains("lan/x (5 bytes): not authorized"), "{listed}");
    let (_, json) = deadletters(&["list", "--json"]);
    let json: Json = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["upstream"], "up", "{json:#}");
    let (_, exported) = deadletters(&["export", "--upstream", "up"]);
    let letter: Json = serde_json::from_str(exported.trim()).unwrap();
    assert_eq!((&letter["payload"], &letter["upstream"]), (&"bad 1".into(), &"up".into()));
    let (status, words) = deadletters(&["list", "--upstream", "other"]);
    assert!(!status.success() && words.contains("no upstream"), "{words}");

    // Still refused: it comes back, and is noted again.
    let (_, words) = deadletters(&["retry"]);
    assert!(words.contains("1 to be sent again"), "{words}");
    eventually("refused again", || {
        (gateway.ask("status")["upstreams"][0]["drops"]["refused"] == 1).then_some(())
    });
    gateway.stop();
    gateway.start_again();
    gateway.wait_online();
    let deadletters = |arguments: &[&str]| {
        let mut command = fieldgate();
        command.args(["deadletters", "--socket"]).arg(gateway.socket()).args(arguments);
        Process::run("deadletters", &mut command).1
    };
    deadletters(&["retry"]);
    eventually("it is taken", || (gateway.ask("status")["upstreams"][0]["delivered"] == 1).then_some(()));
    assert!(deadletters(&["list"]).contains("no message was refused"));
}

#[test]
fn an_upstream_that_forgets_to_acknowledge_is_left_and_gets_the_message_again() {
    let server = Hostile::start(
        |connection, _, id| if connection == 0 { Answer::Silence } else { puback(id, 0) },
        Vec::new(),
    );
    let mut gateway = Gateway::start(&server.config(&format!("ack_timeout = \"1s\"\n{OUT}")));
    gateway.wait_online();
    publish_with(gateway.lan_port, "lan/x", "kept", &["-q", "0"]);
    publish(gateway.lan_port, "lan/x", "needed");
    let status = gateway.wait("it is there", |status| {
        status["upstreams"][0]["delivered"] == 2 && status["upstreams"][0]["state"] == "online"
    });
    assert_eq!(status["upstreams"][0]["drops"]["refused"], 0);
    assert!(gateway.log().contains("no PUBACK for 1 s"), "{}", gateway.log());
}

#[test]
fn an_upstream_that_answers_with_the_wrong_acknowledgement_gets_a_new_session() {
    let server = Hostile::start(
        |connection, _, id| {
            let [high, low] = id.to_be_bytes();
            // PUBREC, which belongs to QoS 2.
            if connection == 0 { Answer::Bytes(vec![0x50, 2, high, low]) } else { puback(id, 0) }
        },
        Vec::new(),
    );
    let mut gateway = Gateway::start(&server.config(OUT));
    gateway.wait_online();
    publish(gateway.lan_port, "lan/x", "needed");
    gateway.wait("it is there", |status| status["upstreams"][0]["delivered"] == 1);
    assert_eq!(server.count(|seen| *seen == Seen::Connect { clean: true }), 1);
    assert_eq!(server.count(|seen| *seen == Seen::Disconnect(ReasonCode::ProtocolError)), 1);
}

/// A PUBLISH of MQTT 5 with QoS 1.
fn publish_bytes(topic: &str, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.to_be_bytes());
    body.push(0);
    body.extend(payload);
    let mut bytes = vec![0x32];
    let mut len = body.len();
    while len > 127 {
        bytes.push(u8::try_from(len % 128).unwrap() | 0x80);
        len /= 128;
    }
    bytes.push(u8::try_from(len).unwrap());
    bytes.extend(body);
    bytes
}

#[test]
fn topics_that_nobody_asked_for_are_dropped_counted_and_acknowledged() {
    let topics = [
        "elsewhere",
        "cloud",
        "$SYS/uptime",
        "$CONTROL/dynamic-security/v1",
        "cloud/+/x",
        "cloud/#",
        "all/fieldgate/gw/data/scale",
        "all/fieldgate/gw/status",
        "all/fieldgate/gw/cmd/pump",
        "all/$SYS/x",
    ];
    let mut greeting: Vec<u8> =
        (1..).zip(topics).flat_map(|(id, topic)| publish_bytes(topic, id, b"x")).collect();
    greeting.extend(publish_bytes("cloud/good", 99, b"good"));
    let server = Hostile::start(|_, _, id| puback(id, 0), greeting);
    let map = |local: &str, remote: &str| {
        format!(
            "[[upstream.map]]\nfilter = \"{local}#\"\ndirection = \"in\"\nlocal_prefix = \"{local}\"\n\
             remote_prefix = \"{remote}\"\n"
        )
    };
    let config = format!("ack_timeout = \"2s\"\n{}{}", map("lan/", "cloud/"), map("", "all/"));
    let mut gateway = Gateway::start(&server.config(&config));
    let count = |status: &Json, key: &str| status["upstreams"][0]["inward"]["drops"][key].as_u64().unwrap();
    let status = gateway.wait("all were looked at", |status| {
        status["upstreams"][0]["inward"]["received"] == topics.len() + 1
    });
    assert_eq!((count(&status, "unmapped"), count(&status, "closed")), (6, 4), "{status:#}");
    eventually("all are acknowledged", || {
        (server.count(|seen| matches!(seen, Seen::Ack(_))) == topics.len() + 1).then_some(())
    });
    // SUBACK never comes: told, and the link stays.
    let status = gateway.wait("the missing SUBACK is told", |status| {
        status["problems"].to_string().contains("refuses the subscription cloud/#: no SUBACK came")
    });
    assert_eq!(status["upstreams"][0]["connections"], 1);
}

#[test]
fn a_packet_that_is_too_large_ends_the_connection_and_the_next_is_clean() {
    let server =
        Hostile::start(|_, _, id| puback(id, 0), publish_bytes("cloud/big", 1, &vec![0; 2 * 1024 * 1024]));
    let mut gateway = Gateway::start(&server.config(OUT));
    server.wait("it is told why", |seen| *seen == Seen::Disconnect(ReasonCode::PacketTooLarge));
    server.wait("a clean session", |seen| *seen == Seen::Connect { clean: true });
    gateway.wait_online();
    publish(gateway.lan_port, "lan/x", "goes on");
    server.wait_payload("goes on");
}

#[test]
fn a_late_will_is_put_right_and_another_gateway_under_the_same_id_is_told() {
    for version in ["3.1.1", "5"] {
        let dir = tempfile::tempdir().unwrap();
        let mosquitto = Mosquitto::start(dir.path());
        let topic = Gateway::topic("status");
        let tap = Tap::subscribe(mosquitto.port, &topic);
        let map = "[[upstream.map]]\nfilter = \"lan/#\"\ndirection = \"both\"\n";
        let config = format!("{}version = \"{version}\"\n{map}", upstream(mosquitto.port));
        let mut gateway = Gateway::start(&config);
        gateway.wait_online();
        let online = tap.wait("online", |message| message.json()["state"] == "online").json();
        let instance = online["instance"].as_str().unwrap();
        let will = format!(r#"{{"state":"offline","epoch":"0-9","instance":"{instance}","version":"x"}}"#);
        publish_with(mosquitto.port, &topic, &will, &["-q", "1", "-r"]);
        let late = tap.wait_payload(&will).at;
        let again = eventually("online again", || {
            let again = tap.messages().into_iter().rfind(|message| message.payload != will)?;
            (again.at > late).then_some(again)
        });
        assert_eq!(again.json()["state"], "online");
        println!("MQTT {version}: put right after {:?}", again.at - late);
        let kept = Tap::subscribe(mosquitto.port, &topic).wait("what is kept", |message| message.retain);
        assert_eq!(kept.json()["state"], "online");

        let before = tap.messages().len();
        let foreign = r#"{"state":"online","epoch":"1-1","instance":"feedbeef","version":"x"}"#;
        publish_with(mosquitto.port, &topic, foreign, &["-q", "1", "-r"]);
        let status = gateway.wait("the other one is told", |status| {
            status["upstreams"][0]["rival"].as_str().is_some_and(|rival| rival.contains("feedbeef"))
        });
        assert_eq!(status["upstreams"][0]["status_repairs"], 1);
        // Health turns degraded, and that the status says; it isn't fought over.
        assert!(tap.messages().len() <= before + 2, "{:?}", tap.messages());
    }
}
