//! Commands to the gateway's own devices.

use super::*;

fn bench() -> Bench {
    Bench::with(Config { commands: vec!["pump".into()], ..forwarding(&[]) })
}

fn client(client_id: &str, may_read_reply: bool) -> CommandBy {
    CommandBy::Client { client_id: client_id.into(), user_name: None, may_read_reply }
}

#[test]
fn what_a_client_publishes_for_a_device_is_a_command_and_a_message() {
    let mut t = bench();
    t.join(1, connect(V5, "panel"));
    t.join(2, connect(V311, "watcher"));
    t.subscribe(2, "gw/cmd/#", Q1);
    t.send(1, super::message("gw/cmd/pump/state", Q1, 7, "on"));
    let (message, by) = t.commands.pop().unwrap();
    assert_eq!(
        (&*message.topic, &message.payload[..], message.retain),
        ("gw/cmd/pump/state", &b"on"[..], false)
    );
    assert_eq!(by, client("panel", false));
    t.expect(2, super::message("gw/cmd/pump/state", Q1, 1, "on"));
    for topic in ["gw/cmd/fan", "gw/cmd", "gw/cmd/pump2", "cmd/pump", "gw/cmd/fan/pump"] {
        t.send(1, super::message(topic, Q1, 8, "on"));
        assert!(t.commands.is_empty(), "{topic}");
    }
}

#[test]
fn an_upstream_may_command_and_the_gateway_itself_does_not() {
    let mut t = bench();
    let message = local("gw/cmd/pump", Q1, false, "on");
    t.handle(Input::Bridged { from: OutboxId(3), message: message.clone(), ticket: None });
    assert_eq!(t.commands.pop().unwrap().1, CommandBy::Upstream(OutboxId(3)));
    t.handle(Input::Local(message));
    assert!(t.commands.is_empty());
}

#[test]
fn who_may_not_publish_there_commands_nothing() {
    let acl = acl::Acl::of(acl::parse_file(b"topic read #\n").unwrap());
    let mut t = Bench::with(Config { acl: Arc::new(acl), commands: vec!["pump".into()], ..config() });
    t.join(1, connect(V5, "panel"));
    t.send(1, super::message("gw/cmd/pump", Q1, 7, "on"));
    assert!(t.commands.is_empty());
}

#[test]
fn a_will_is_handed_over_as_such() {
    let mut t = bench();
    t.join(1, Connect { will: will("gw/cmd/pump", "off"), ..connect(V311, "panel") });
    t.handle(Input::Closed { conn: ConnId(1) });
    assert_eq!(t.commands.pop().unwrap().1, CommandBy::Will { client_id: "panel".into() });
}
