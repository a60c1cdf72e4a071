//! Tests of [`super`]: which commands are carried out, how often, and who is told.

use serde_json::{Value as Json, json};

use super::payload::PAYLOAD_BYTES_MAX;
use super::*;
use crate::time::{ClockTrust, Timestamp};

const BASE: &str = "fieldgate/gw";

fn at(seconds: u64) -> Now {
    let mono = Mono::from_nanos(seconds * 1_000_000_000);
    Now { mono, wall: Timestamp::default(), trust: ClockTrust::Synced }
}

fn client() -> Asker {
    Asker::Client { client_id: "panel".into(), user_name: Some("eve".into()), may_read_reply: true }
}

fn message(topic: &str, payload: &str, properties: &[Property<'_>]) -> Message {
    let mut buf = PropertiesBuf::new();
    for property in properties {
        assert!(buf.push(*property));
    }
    Message {
        topic: format!("{BASE}/{topic}").into(),
        payload: Bytes::from(payload.to_owned()),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: buf,
        reading: None,
    }
}

fn asking(payload: &str, correlation: &[u8]) -> Message {
    let properties = [
        Property::Str(PropertyId::ResponseTopic, "panel/answers"),
        Property::Bin(PropertyId::CorrelationData, correlation),
    ];
    message("cmd/pump", payload, &properties)
}

fn commands() -> Commands {
    Commands::new(BASE.into())
}

fn outputs(commands: &mut Commands) -> Vec<Output> {
    std::iter::from_fn(|| commands.poll_output()).collect()
}

/// What is executed, what is answered, what is written down.
fn seen(commands: &mut Commands) -> (Vec<Command>, Vec<Json>, Vec<(&'static str, bool)>) {
    let mut seen = (Vec::new(), Vec::new(), Vec::new());
    for output in outputs(commands) {
        match output {
            Output::Execute(command) => seen.0.push(command),
            Output::Reply(message) => {
                assert_eq!((&*message.topic, message.retain), ("panel/answers", false));
                seen.1.push(serde_json::from_slice(&message.payload).unwrap());
            }
            Output::Audit(audit) => seen.2.push((audit.outcome.as_str(), audit.duplicate)),
            Output::Answer(..) => panic!("nobody asked on this machine"),
        }
    }
    seen
}

#[test]
fn a_topic_names_a_device_and_perhaps_a_point() {
    for (topic, expected) in [
        ("fieldgate/gw/cmd/pump", Some(("pump", None))),
        ("fieldgate/gw/cmd/pump/state", Some(("pump", Some("state")))),
        ("fieldgate/gw/cmd/pump/a/b", Some(("pump", Some("a/b")))),
        ("fieldgate/gw/cmd/", None),
        ("fieldgate/gw/cmd", None),
        ("fieldgate/gw/cmd//x", None),
        ("fieldgate/gw/cmd/pump/", None),
        ("fieldgate/gw2/cmd/pump", None),
        ("cmd/pump", None),
    ] {
        assert_eq!(target(topic, BASE), expected, "{topic}");
    }
}

#[test]
fn a_payload_is_a_word_a_json_value_or_an_object_with_a_value() {
    let text = |text: &str| Some(Value::Text(text.into()));
    for (payload, expected) in [
        ("on", text("on")),
        (" OFF\n", text("OFF")),
        ("true", Some(Value::Bool(true))),
        ("1", Some(Value::Integer(1))),
        ("21.5", Some(Value::Number(21.5))),
        ("\"auto\"", text("auto")),
        (r#"{"value":false}"#, Some(Value::Bool(false))),
        (r#"{"value":"on"}"#, text("on")),
        (r#"{"value":1,"toggle":true}"#, None),
        (r#"{"state":1}"#, None),
        ("[1]", None),
        ("null", None),
        ("", None),
        ("{", None),
        ("\"x", None),
    ] {
        assert_eq!(value(payload.as_bytes()).ok(), expected, "{payload:?}");
    }
    assert!(value(&[0xFF]).is_err());
    assert!(value(&[b'a'; PAYLOAD_BYTES_MAX + 1]).is_err());
}

#[test]
fn a_command_is_executed_answered_and_written_down() {
    let mut commands = commands();
    commands.arrived(at(1), at(1).mono, &asking("on", b"7"), client());
    let (executed, answers, audits) = seen(&mut commands);
    let [command] = executed.as_slice() else { panic!("one") };
    assert_eq!(
        (&*command.device, &command.point, &command.value),
        ("pump", &None, &Value::Text("on".into()))
    );
    assert_eq!((answers.len(), audits.len()), (0, 0), "it is not done yet");
    commands.ended(command.id, &Outcome::Done(Some(Value::Bool(true))));
    let all = outputs(&mut commands);
    let [Output::Reply(reply), Output::Audit(audit)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(reply.payload, r#"{"device":"pump","result":"done","value":true}"#);
    assert_eq!(reply.properties.as_properties().binary(PropertyId::CorrelationData), Some(&b"7"[..]));
    assert_eq!((audit.by.to_string().as_str(), audit.duplicate), ("client panel (eve)", false));
    assert_eq!(commands.counts(), Counts { done: 1, ..Counts::default() });
}

#[test]
fn the_same_correlation_data_within_a_minute_act_once() {
    let mut commands = commands();
    commands.arrived(at(1), at(1).mono, &asking("on", b"7"), client());
    let id = seen(&mut commands).0[0].id;
    // Once more while it is carried out: the second asker waits with the first.
    commands.arrived(at(2), at(2).mono, &asking("on", b"7"), client());
    assert_eq!(seen(&mut commands).0.len(), 0);
    commands.ended(id, &Outcome::Done(None));
    let (_, answers, audits) = seen(&mut commands);
    assert_eq!(audits, [("done", false), ("done", true)]);
    assert_eq!((answers[0].get("duplicate"), &answers[1]["duplicate"]), (None, &json!(true)));
    // Once more when it is done, whatever it says.
    commands.arrived(at(60), at(60).mono, &asking("off", b"7"), client());
    let (executed, answers, audits) = seen(&mut commands);
    assert_eq!((executed.len(), answers.len(), audits), (0, 1, vec![("done", true)]));
    // Another point, other data, and after a minute: other commands.
    let properties = [Property::Bin(PropertyId::CorrelationData, b"7")];
    commands.arrived(at(60), at(60).mono, &message("cmd/fan", "on", &properties), client());
    commands.arrived(at(60), at(60).mono, &asking("on", b"8"), client());
    commands.arrived(at(61), at(61).mono, &asking("off", b"7"), client());
    assert_eq!(seen(&mut commands).0.len(), 3);
    // Without correlation data each of them is one of its own.
    for _ in 0..2 {
        commands.arrived(at(62), at(62).mono, &message("cmd/pump", "on", &[]), client());
    }
    assert_eq!(seen(&mut commands).0.len(), 2);
    assert_eq!(commands.counts().duplicates, 2);
}

#[test]
fn what_is_retained_late_expired_or_a_will_is_never_executed() {
    let expiry = |seconds| [Property::U32(PropertyId::MessageExpiryInterval, seconds)];
    let check = |now: Now, message: Message, by: Asker, expected: Option<&str>| {
        let mut commands = commands();
        commands.arrived(now, at(100).mono, &message, by);
        let all = outputs(&mut commands);
        match (expected, all.as_slice()) {
            (None, [Output::Execute(_)]) => {}
            (Some(why), [Output::Audit(Audit { outcome: Outcome::Refused(words), .. })]) => {
                assert!(words.contains(why), "{words}");
                assert_eq!(commands.counts(), Counts { refused: 1, stale: 1, ..Counts::default() });
            }
            _ => panic!("{expected:?}: {all:?}"),
        }
    };
    let plain = || message("cmd/pump", "on", &[]);
    check(at(100), plain(), client(), None);
    check(at(104), plain(), client(), None);
    check(at(105), plain(), client(), Some("too late"));
    check(at(100), Message { retain: true, ..plain() }, client(), Some("retained"));
    check(at(100), plain(), Asker::Will { client_id: "x".into() }, Some("will"));
    check(at(100), message("cmd/pump", "on", &expiry(0)), client(), Some("expired"));
    check(at(101), message("cmd/pump", "on", &expiry(2)), client(), None);
    check(at(102), message("cmd/pump", "on", &expiry(2)), client(), Some("expired"));
    check(at(105), message("cmd/pump", "on", &expiry(60)), client(), Some("too late"));
}

#[test]
fn what_can_not_be_read_is_refused_in_words() {
    let mut commands = commands();
    commands.arrived(at(1), at(1).mono, &asking("{", b"7"), client());
    let (executed, answers, audits) = seen(&mut commands);
    assert_eq!((executed.len(), audits), (0, vec![("refused", false)]));
    assert_eq!(answers[0]["result"], "refused");
    assert!(answers[0]["error"].as_str().unwrap().contains("JSON"), "{answers:?}");
    // It may be put right under the same correlation data.
    commands.arrived(at(2), at(2).mono, &asking("on", b"7"), client());
    assert_eq!(seen(&mut commands).0.len(), 1);
}

#[test]
fn answers_go_only_where_the_asker_may_hear_them() {
    let check = |topic: &str, by: Asker, expected: bool| {
        let mut commands = commands();
        let properties = [Property::Str(PropertyId::ResponseTopic, topic)];
        commands.arrived(at(1), at(1).mono, &message("cmd/pump", "{", &properties), by);
        let replies = outputs(&mut commands).into_iter().filter(|o| matches!(o, Output::Reply(_))).count();
        assert_eq!(replies == 1, expected, "{topic}");
    };
    check("panel/answers", client(), true);
    check("panel/answers", Asker::Upstream("cloud".into()), true);
    for own in ["fieldgate/gw/data/pump", "fieldgate/gw/status", "$SYS/x", "fieldgate/gw/cmd/fan"] {
        check(own, client(), false);
        check(own, Asker::Upstream("cloud".into()), false);
    }
    let deaf = Asker::Client { client_id: "a".into(), user_name: None, may_read_reply: false };
    check("panel/answers", deaf, false);
}

#[test]
fn what_is_remembered_is_bounded_and_nothing_is_forgotten_early() {
    let mut commands = commands();
    for number in 0..REMEMBERED_MAX {
        commands.arrived(at(1), at(1).mono, &asking("on", &number.to_be_bytes()), client());
        for command in seen(&mut commands).0 {
            commands.ended(command.id, &Outcome::Done(None));
        }
    }
    seen(&mut commands);
    commands.arrived(at(2), at(2).mono, &asking("on", b"one more"), client());
    assert_eq!(seen(&mut commands).2, [("refused", false)]);
    commands.arrived(at(2), at(2).mono, &asking("on", &0_usize.to_be_bytes()), client());
    assert_eq!(seen(&mut commands).2, [("done", true)]);
    commands.arrived(at(61), at(61).mono, &asking("on", b"one more"), client());
    assert_eq!(seen(&mut commands).0.len(), 1);
    let mut commands = self::commands();
    for _ in 0..PENDING_MAX + 1 {
        commands.arrived(at(1), at(1).mono, &message("cmd/pump", "on", &[]), client());
    }
    let (executed, _, audits) = seen(&mut commands);
    assert_eq!((executed.len(), audits), (PENDING_MAX, vec![("refused", false)]));
}

#[test]
fn a_person_on_this_machine_is_answered_by_number() {
    let mut commands = commands();
    commands.asked(at(1), 42, "pump", None, Value::Bool(true));
    let [Output::Execute(command)] = &outputs(&mut commands)[..] else { panic!("one command") };
    commands.ended(command.id, &Outcome::Failed("reads off".into()));
    let all = outputs(&mut commands);
    let [Output::Answer(42, Outcome::Failed(_)), Output::Audit(audit)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(audit.by.to_string(), "this machine");
    assert_eq!(commands.counts().failed, 1);
}
