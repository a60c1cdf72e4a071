//! What Mosquitto's command-line clients ask of a broker beyond plain messages: request and response, and the properties
//! of MQTT 5 that their options set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use support::{Gateway, PATIENCE, Process, Tap, client, publish_with};

#[test]
fn mosquitto_rr_gets_its_answer() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    // What answers: a subscriber that sends what came back to where the request says.
    let mut service = Process::start(
        "mosquitto_sub",
        client("mosquitto_sub")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "5", "-t", "ask", "-d"])
            .args(["-F", "REQUEST|%R|%D|%p"]),
    );
    service.wait_line("Subscribed (mid");
    for (version, correlation) in [("mqttv5", Some("c-17")), ("mqttv311", None)] {
        let mut arguments =
            vec!["-V", version, "-t", "ask", "-e", "answers/1", "-m", version, "-q", "1", "-W", "25"];
        if let Some(correlation) = correlation {
            arguments.extend(["-D", "publish", "correlation-data", correlation]);
        }
        let mut asking = client("mosquitto_rr");
        asking.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(&arguments);
        let mut asking = Process::start("mosquitto_rr", &mut asking);
        let expected = match correlation {
            Some(correlation) => format!("REQUEST|answers/1|{correlation}|{version}"),
            // MQTT 3 has no properties: both must know the topic.
            None => format!("REQUEST|||{version}"),
        };
        service.wait_line(&expected);
        let answer = format!("answer to {version}");
        publish_with(port, "answers/1", &answer, &["-V", "5", "-q", "1"]);
        let status = asking.wait_end(PATIENCE);
        assert!(status.success() && asking.text().contains(&answer), "{status}: {}", asking.text());
    }
}

/// mosquitto_sub with MQTT 5 and a format of its own, subscribed.
fn listen(port: u16, topic: &str, format: &str, arguments: &[&str]) -> Process {
    let mut command = client("mosquitto_sub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "5", "-d", "-t", topic, "-F", format]);
    let mut process = Process::start("mosquitto_sub", command.args(arguments));
    process.wait_line("Subscribed (mid");
    process
}

/// The lines of its messages, which start with `MSG`.
fn messages(process: &Process) -> Vec<String> {
    process.parsed(|line| line.text.starts_with("MSG").then(|| line.text.clone()))
}

#[test]
fn properties_of_a_message_reach_mosquitto_sub_as_mosquitto_pub_gave_them() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    let mut sub = listen(
        port,
        "props/#",
        "MSG|%t|%p|%C|%R|%D|%E|%F|%P|%S",
        &["-q", "2", "-D", "subscribe", "subscription-identifier", "268435455"],
    );
    let properties = "-D publish content-type text/plain -D publish response-topic r/t \
                      -D publish correlation-data 0f -D publish message-expiry-interval 3600 \
                      -D publish payload-format-indicator 1 -D publish user-property k v \
                      -D publish user-property k w -D publish topic-alias 7";
    for qos in ["0", "1", "2"] {
        let arguments: Vec<&str> =
            ["-V", "5", "-q", qos].into_iter().chain(properties.split_whitespace()).collect();
        publish_with(port, "props/a", qos, &arguments);
        sub.wait_line(&format!("MSG|props/a|{qos}|text/plain|r/t|0f|3600|1|k:v k:w|268435455"));
    }
}

#[test]
fn many_lines_through_one_alias_and_a_window_of_one_arrive_in_order() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    // It can publish through an alias, but takes an empty topic for a fault, so it must not ask for any.
    let limits = ["-q", "1", "-D", "connect", "receive-maximum", "1"];
    let mut sub = listen(port, "lines", "MSG%p", &limits);
    let mut command = client("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "5", "-t", "lines", "-q", "1", "-l"]);
    command.args(["-D", "publish", "topic-alias", "1"]);
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..300).map(|line| line.to_string()).collect();
    std::fs::write(dir.path().join("lines"), lines.join("\n") + "\n").unwrap();
    command.stdin(std::fs::File::open(dir.path().join("lines")).unwrap());
    assert!(command.status().unwrap().success());
    sub.wait_line("MSG299");
    let expected: Vec<String> = lines.iter().map(|line| format!("MSG{line}")).collect();
    assert_eq!(messages(&sub), expected);
}

#[test]
fn a_message_above_the_subscribers_maximum_is_left_out_and_the_next_one_comes() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    let mut sub = listen(port, "size", "MSG %p", &["-q", "1", "-D", "connect", "maximum-packet-size", "100"]);
    publish_with(port, "size", &"x".repeat(200), &["-q", "1"]);
    publish_with(port, "size", "small", &["-q", "1"]);
    sub.wait_line("MSG small");
    assert_eq!(messages(&sub), ["MSG small"]);
}

#[test]
fn an_expiry_at_disconnect_counts_instead_of_the_one_at_connect() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    let ends = ["-V", "5", "-x", "3600", "-D", "disconnect", "session-expiry-interval", "0"];
    let stays = ["-V", "5", "-x", "3600"];
    for (client_id, arguments) in [("ends", &ends[..]), ("stays", &stays)] {
        Tap::register(port, "expiry", client_id, arguments);
    }
    publish_with(port, "expiry", "while away", &["-q", "1"]);
    let stays = Tap::resume(port, "expiry", "stays", &stays);
    stays.wait_payload("while away");
    let ends = Tap::resume(port, "expiry", "ends", &["-V", "5"]);
    // Its subscription is a new one, which this message finds.
    ends.wait_subscribed();
    publish_with(port, "expiry", "later", &["-q", "1"]);
    ends.wait_payload("later");
    assert_eq!(ends.messages().len(), 1, "its session had ended with its connection");
}

#[test]
fn unsubscribing_leaves_the_other_subscriptions_of_a_session_alone() {
    let gateway = Gateway::start("");
    let port = gateway.lan_port;
    for version in ["mqttv31", "mqttv311", "mqttv5"] {
        let session = ["-V", version, "-t", "stays/too"];
        Tap::register(port, "goes", version, &session);
        let mut command = client("mosquitto_sub");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-V",
            version,
            "-c",
            "-i",
            version,
            "-q",
            "1",
        ]);
        Process::run_well("mosquitto_sub -U", command.args(["-U", "goes", "-t", "stays", "-E"]));
        for topic in ["goes", "stays", "stays/too"] {
            publish_with(port, topic, topic, &["-q", "1"]);
        }
        let tap = Tap::resume(port, "stays", version, &["-V", version]);
        tap.wait_payload("stays/too");
        let payloads: Vec<String> = tap.messages().into_iter().map(|message| message.payload).collect();
        assert_eq!(payloads, ["stays", "stays/too"], "{version}");
    }
}
