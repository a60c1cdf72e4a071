//! What comes from upstream.

use super::rig::Rig;
use super::upstream::{Got, write};
use super::*;
use crate::message::Ticket;
use crate::mqtt::{Ack, Packet, Properties, Publish, SubAck};

fn inward(local_filter: &str, local: &str, remote: &str, qos: QoS) -> Mapping {
    let rest = local_filter.strip_prefix(local).unwrap();
    Mapping {
        direction: Direction::In,
        remote_filter: Some(TopicFilter::parse(&format!("{remote}{rest}")).unwrap()),
        qos_max: qos,
        ..mapping(local_filter, local, remote)
    }
}

fn maps() -> Vec<Mapping> {
    vec![
        mapping("data/#", "", ""),
        inward("lan/#", "lan/", "cloud/", QoS::ExactlyOnce),
        inward("fieldgate/gw/cmd/#", "fieldgate/gw/", "orders/", QoS::AtLeastOnce),
        inward("#", "", "all/", QoS::AtMostOnce),
    ]
}

fn online(version: Version) -> Rig {
    let mut rig = Rig::new(Config { maps: maps(), ..config(version) }, Backlog::default());
    rig.connect(false);
    rig.ack_slot();
    rig
}

fn publish(topic: &str, qos: QoS, id: u16) -> Publish<'_> {
    let packet_id = PacketId::new(id);
    let properties = Properties::EMPTY;
    Publish { dup: false, qos, retain: false, topic, packet_id, properties, payload: b"x" }
}

impl Rig {
    fn packet(&mut self, packet: Packet<'_>) {
        let bytes = write(&packet, self.version);
        self.bytes(&bytes);
    }

    fn arrives(&mut self, topic: &str, qos: QoS, id: u16) {
        self.packet(Packet::Publish(publish(topic, qos, id)));
    }

    fn delivered(&self) -> Vec<(String, QoS, bool, Option<Ticket>)> {
        let one = |output: &Output| match output {
            Output::Deliver { message, ticket } => {
                Some((message.topic.to_string(), message.qos, message.retain, *ticket))
            }
            _ => None,
        };
        self.done.iter().filter_map(one).collect()
    }

    fn said(&self, what: &str) -> usize {
        self.got.iter().filter(|got| matches!(got, Got::Other(text) if text.starts_with(what))).count()
    }

    fn accept(&mut self, ticket: Ticket) {
        self.input(Input::Accepted { ticket, safe: true });
    }

    fn release(&mut self, id: u16) {
        let ack = Ack {
            packet_id: PacketId::new(id).unwrap(),
            reason: ReasonCode::Success,
            properties: Properties::EMPTY,
        };
        self.packet(Packet::PubRel(ack));
    }
}

#[test]
fn what_a_map_takes_in_is_subscribed_to_under_its_remote_name_behind_the_birth() {
    for version in [Version::V311, Version::V5] {
        let rig = online(version);
        let at = |wanted: &dyn Fn(&Got) -> bool| rig.got.iter().position(wanted);
        let birth = at(&|got| matches!(got, Got::Publish(_)));
        let subscribe = at(&|got| matches!(got, Got::Other(text) if text.starts_with("Subscribe")));
        assert!(birth.is_some() && birth < subscribe, "{:?}", rig.got);
        let Some(Got::Other(text)) = rig.got.get(subscribe.unwrap()) else { panic!("{:?}", rig.got) };
        for filter in ["\"cloud/#\"", "\"orders/cmd/#\"", "\"all/#\""] {
            assert!(text.contains(filter), "{text}");
        }
        assert_eq!(text.contains("no_local: true"), version == Version::V5, "{text}");
    }
}

#[test]
fn a_message_lands_where_its_map_says_and_nowhere_else() {
    for (remote, retain, expected) in [
        ("cloud/a/b", false, Some(("lan/a/b", false))),
        ("cloud/a/b", true, Some(("lan/a/b", true))),
        // `cloud/#` also matches `cloud`, which hasn't the prefix.
        ("cloud", false, None),
        ("cloudy/a", false, None),
        ("data/x", false, None),
        ("orders/cmd/scale/tare", false, Some(("fieldgate/gw/cmd/scale/tare", false))),
        ("orders/cmd/scale/tare", true, None),
        ("all/x", false, Some(("x", false))),
        ("all/fieldgate/gw/cmd/scale/tare", false, None),
        ("all/fieldgate/gw/data/scale", false, None),
        ("all/fieldgate/gw/status", true, None),
        ("all/fieldgate/gw/health", true, None),
        ("all/fieldgate/gw/info/scale", false, None),
        ("all/$SYS/uptime", false, None),
        ("all/", false, None),
        ("$SYS/uptime", false, None),
    ] {
        let mut rig = online(Version::V311);
        rig.clear();
        rig.packet(Packet::Publish(Publish { retain, ..publish(remote, QoS::AtLeastOnce, 7) }));
        let delivered = rig.delivered();
        let landed = delivered.first().map(|(topic, _, retain, _)| (topic.as_str(), *retain));
        assert_eq!(landed, expected, "{remote} {retain}");
        let inward = rig.status().inward;
        let dropped = inward.unmapped + inward.closed + inward.old_commands;
        assert_eq!((inward.received, dropped), (1, u64::from(expected.is_none())), "{remote}");
        // What goes nowhere is acknowledged, so that it stops coming; the link stays.
        assert_eq!(rig.said("PubAck"), usize::from(expected.is_none()), "{remote}");
        assert!(!rig.closes());
    }
}

#[test]
fn a_topic_that_is_none_is_dropped_counted_and_acknowledged_and_the_link_stays() {
    for topic in [&b"a/+/b"[..], b"cloud/#", b""] {
        let mut rig = online(Version::V311);
        rig.clear();
        let mut bytes = vec![0x32, u8::try_from(topic.len()).unwrap() + 5];
        bytes.extend([0, u8::try_from(topic.len()).unwrap()]);
        bytes.extend(topic);
        bytes.extend([0, 9, b'x']);
        rig.bytes(&bytes);
        assert_eq!((rig.said("PubAck"), rig.status().inward.unmapped), (1, 1), "{topic:?}");
        assert!(!rig.closes() && rig.delivered().is_empty());
    }
}

#[test]
fn an_acknowledgement_waits_until_the_lan_has_it_and_goes_in_the_order_of_arrival() {
    let mut rig = online(Version::V5);
    rig.clear();
    rig.arrives("cloud/a", QoS::AtLeastOnce, 1);
    rig.arrives("cloud/b", QoS::ExactlyOnce, 2);
    rig.arrives("cloud/c", QoS::AtLeastOnce, 3);
    let tickets: Vec<Ticket> = rig.delivered().iter().filter_map(|(.., ticket)| *ticket).collect();
    let [a, b, c] = tickets[..] else { panic!("{tickets:?}") };
    rig.accept(c);
    rig.accept(b);
    assert_eq!((rig.said("PubAck"), rig.said("PubRec")), (0, 0));
    rig.accept(a);
    assert_eq!((rig.said("PubAck"), rig.said("PubRec")), (2, 1));
}

#[test]
fn qos_2_is_delivered_once_over_any_number_of_connections_of_a_session() {
    for version in [Version::V311, Version::V5] {
        let mut rig = online(version);
        rig.clear();
        rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
        let ticket = rig.delivered()[0].3.unwrap();
        rig.cut();
        rig.connect(true);
        rig.clear();
        // Not safe yet when it comes again.
        rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
        assert_eq!(rig.said("PubRec"), 0);
        rig.accept(ticket);
        assert_eq!((rig.said("PubRec"), rig.delivered().len()), (1, 0));
        rig.cut();
        rig.connect(true);
        rig.clear();
        rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
        assert_eq!((rig.said("PubRec"), rig.delivered().len()), (1, 0));
        rig.release(5);
        rig.release(5);
        assert_eq!(rig.said("PubComp"), 2, "an unknown one is answered, too");
        rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
        assert_eq!(rig.delivered().len(), 1, "a new message under an identifier that is free");
        // Without the session the identifier says nothing.
        rig.cut();
        rig.connect(false);
        rig.clear();
        rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
        assert_eq!(rig.delivered().len(), 1);
    }
}

#[test]
fn what_the_lan_cant_keep_is_not_acknowledged_but_asked_for_again() {
    let mut rig = online(Version::V311);
    rig.clear();
    rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
    let ticket = rig.delivered()[0].3.unwrap();
    rig.input(Input::Accepted { ticket, safe: false });
    assert!(rig.closes());
    assert_eq!((rig.said("PubRec"), rig.status().inward.not_kept), (0, 1));
    rig.attempt();
    rig.connect(true);
    rig.clear();
    rig.arrives("cloud/a", QoS::ExactlyOnce, 5);
    assert_eq!(rig.delivered().len(), 1, "it is a new message");
}

#[test]
fn commands_that_upstream_kept_while_we_were_away_are_dropped_and_those_of_now_are_not() {
    for version in [Version::V311, Version::V5] {
        let mut rig = online(version);
        rig.clear();
        let command = "orders/cmd/pump/state";
        rig.arrives(command, QoS::AtLeastOnce, 4);
        assert_eq!(rig.delivered().len(), 1, "a new session has kept nothing");
        rig.cut();
        rig.connect(true);
        rig.clear();
        // What was kept comes at once, with other messages in between, and is acknowledged so that it stops coming.
        for id in 5..15 {
            rig.arrives(command, QoS::AtLeastOnce, id);
            rig.arrives("cloud/a", QoS::AtMostOnce, 0);
            rig.pass(400);
        }
        let topics: Vec<String> = rig.delivered().into_iter().map(|(topic, ..)| topic).collect();
        assert_eq!(topics, vec!["lan/a"; 10]);
        assert_eq!((rig.said("PubAck"), rig.status().inward.old_commands), (10, 10));
        rig.pass(600);
        rig.arrives(command, QoS::AtLeastOnce, 20);
        rig.arrives(command, QoS::AtLeastOnce, 21);
        assert_eq!(rig.delivered().len(), 12);
        // A stream that never breaks doesn't keep commands out for ever.
        rig.cut();
        rig.connect(true);
        rig.clear();
        for _ in 0..20 {
            rig.arrives("cloud/a", QoS::AtMostOnce, 0);
            rig.pass(500);
        }
        rig.arrives(command, QoS::AtLeastOnce, 22);
        assert_eq!(rig.delivered().len(), 21);
    }
}

#[test]
fn a_refused_subscription_is_told_in_words_and_costs_only_itself() {
    for (version, code, words) in [
        (Version::V311, 0x80, "unspecified error"),
        (Version::V5, 0x87, "not authorized"),
        (Version::V5, 0x8F, "topic filter invalid"),
    ] {
        let mut rig = online(version);
        rig.clear();
        let packet_id = PacketId::new(0xFF00).unwrap();
        let codes = &[2, code, 0];
        rig.packet(Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }));
        let status = rig.status();
        assert_eq!(status.state, LinkState::Online);
        assert_eq!(status.not_subscribed, [("orders/cmd/#".to_owned(), words)]);
        rig.cut();
        rig.connect(true);
        assert_eq!(rig.said("Subscribe"), 1, "asked for again");
        assert!(rig.status().not_subscribed.is_empty());
    }
}

#[test]
fn without_a_suback_the_link_stays_and_the_status_says_so() {
    let mut rig = online(Version::V5);
    rig.clear();
    for _ in 0..4 {
        rig.pass(10_000);
        rig.bytes(&[0xD0, 0]);
    }
    let status = rig.status();
    assert_eq!((status.state, status.not_subscribed.len()), (LinkState::Online, 3), "{:?}", status.error);
    assert_eq!(status.not_subscribed[0].1, "no SUBACK came");
}

#[test]
fn an_upstream_that_doesnt_know_bridges_is_asked_as_a_client() {
    let mut rig = Rig::new(Config { maps: maps(), ..config(Version::V311) }, Backlog::default());
    let level = |rig: &mut Rig| {
        rig.bridge.handle(rig.now, Input::Connected);
        let mut level = None;
        while let Some(output) = rig.bridge.poll_output() {
            if let Output::Send(bytes) = output {
                level = bytes.windows(5).find(|w| w.starts_with(b"MQTT")).map(|w| w[4]);
            }
        }
        level.unwrap()
    };
    assert_eq!(level(&mut rig), 0x84);
    rig.bytes(&[0x20, 2, 0, 1]);
    rig.attempt();
    assert_eq!(level(&mut rig), 4);
    // It closes without a word: each way in turn.
    rig.cut();
    assert_eq!(level(&mut rig), 0x84);
    rig.cut();
    assert_eq!(level(&mut rig), 4);
}

#[test]
fn each_byte_that_a_hostile_upstream_changes_leaves_a_link_that_comes_back() {
    let v = Version::V5;
    let mut valid: Vec<Vec<u8>> = vec![
        super::upstream::connack(v, false, ReasonCode::Success, &[super::upstream::receive_maximum(9)]),
        write(&Packet::Publish(publish("cloud/a", QoS::ExactlyOnce, 5)), v),
        super::upstream::puback(v, 1, ReasonCode::QuotaExceeded),
    ];
    let packet_id = PacketId::new(0xFF00).unwrap();
    let codes = &[0, 1, 2];
    valid.push(write(&Packet::SubAck(SubAck { packet_id, properties: Properties::EMPTY, codes }), v));
    for (which, packet) in valid.iter().enumerate() {
        for at in 0..packet.len() {
            for value in 0..=u8::MAX {
                let mut rig = Rig::new(Config { maps: maps(), ..config(v) }, Backlog::default());
                if which == 0 {
                    rig.input(Input::Connected);
                } else {
                    rig.connect(false);
                }
                let mut bytes = packet.clone();
                bytes[at] = value;
                rig.bytes(&bytes);
                if rig.bridge.next_deadline().is_some() && rig.status().state != LinkState::Online {
                    if rig.status().state == LinkState::Connecting {
                        rig.input(Input::Closed { error: "gone" });
                    }
                    rig.attempt();
                    rig.connect(false);
                }
                assert_eq!(rig.status().state, LinkState::Online, "packet {which}, byte {at} = {value:#04x}");
            }
        }
    }
}

#[test]
fn a_device_stands_where_the_map_wants_it() {
    let by_device = |local: &str, remote: &str| Mapping {
        device_behind: Some(Arc::from("fieldgate/gw/data/")),
        ..mapping("fieldgate/gw/#", local, remote)
    };
    for (local, remote, topic, expected) in [
        ("fieldgate/gw/data/", "plant/{device}/", "fieldgate/gw/data/scale", Some("plant/scale/scale")),
        (
            "fieldgate/gw/data/{device}",
            "plant/{device}/raw",
            "fieldgate/gw/data/scale",
            Some("plant/scale/raw"),
        ),
        ("fieldgate/gw/", "plant/{device}/", "fieldgate/gw/other/x", None),
        ("fieldgate/gw/", "plant/{device}/", "fieldgate/gw/data/", None),
    ] {
        let mapped = super::mapping::map(&[by_device(local, remote)], &message(topic, "x"));
        assert_eq!(mapped.map(|mapped| mapped.topic).as_deref(), expected, "{topic}");
    }
}

#[test]
fn retain_is_kept_taken_or_set_as_the_map_says() {
    for (rule, published, expected) in [
        (RetainRule::Keep, true, true),
        (RetainRule::Keep, false, false),
        (RetainRule::Never, true, false),
        (RetainRule::Always, false, true),
    ] {
        let out = Mapping { retain: rule, ..mapping("a", "", "") };
        let mapped = super::mapping::map(&[out], &Message { retain: published, ..message("a", "x") });
        assert_eq!(mapped.unwrap().retain, expected);
        let back = Mapping { retain: rule, ..inward("a", "", "r/", QoS::AtLeastOnce) };
        let mapped = super::mapping::inward(&[back], "base", ("r/a", QoS::AtMostOnce, published));
        assert_eq!(mapped.unwrap().retain, expected);
    }
}
