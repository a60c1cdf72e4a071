//! Other settings while messages wait or are under way.

use super::rig::Rig;
use super::upstream::Got;
use super::*;
use crate::message::SafeToken;

const V5: Version = Version::V5;

fn change(rig: &mut Rig, config: Config) {
    rig.clear();
    rig.input(Input::Reconfigure { config: Box::new(config), backlogs: Vec::new() });
}

/// What the next connection asked for.
fn hello(rig: &mut Rig) -> Got {
    rig.clear();
    rig.input(Input::Connected);
    rig.got.remove(0)
}

#[test]
fn a_link_that_waits_for_people_is_tried_at_once_with_the_new_password() {
    for refusals in [1, 5] {
        let mut rig = Rig::new(config(V5), Backlog::default());
        for _ in 0..refusals {
            rig.input(Input::ConnectFailed { error: "the certificate is wrong", permanent: true });
            rig.pass(1_000_000);
        }
        rig.input(Input::ConnectFailed { error: "the certificate is wrong", permanent: true });
        rig.append("waits");
        change(&mut rig, Config { clean_session: true, ..config(V5) });
        assert!(rig.done.contains(&Output::Connect { address: 0 }), "{:?}", rig.done);
        let Got::Connect { clean, .. } = hello(&mut rig) else { panic!("no CONNECT") };
        assert!(clean, "by the new settings");
        rig.bytes(&super::upstream::connack(V5, false, ReasonCode::Success, &[]));
        rig.ack_slot();
        assert_eq!(rig.payloads(), ["waits"]);
    }
}

#[test]
fn what_is_under_way_is_waited_for_and_nothing_is_sent_twice() {
    let mut rig = Rig::online(V5);
    for number in 0..8 {
        rig.append(&number.to_string());
    }
    let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
    assert_eq!(rig.payloads(), ["0", "1", "2", "3"], "one place is kept");
    change(&mut rig, Config { inflight_max: 9, ..config(V5) });
    for id in &ids {
        assert!(!rig.closes(), "{id}");
        rig.puback(*id);
    }
    assert!(rig.closes());
    assert_eq!(rig.payloads(), Vec::<String>::new(), "nothing more is sent on a connection that is left");
    rig.pass(100);
    rig.connect(true);
    rig.ack_slot();
    assert_eq!(rig.payloads(), ["4", "5", "6", "7"]);
    assert_eq!(rig.status().resent, 0);
}

#[test]
fn what_waits_and_no_map_leads_out_any_more_is_counted_as_lost_for_upstream() {
    let mut rig = Rig::new(config(V5), Backlog::default());
    for payload in ["1", "2", "3"] {
        rig.append(payload);
    }
    change(&mut rig, Config { maps: Vec::new(), ..config(V5) });
    rig.connect(false);
    rig.ack_slot();
    assert_eq!(rig.payloads(), Vec::<String>::new());
    let status = rig.status();
    assert_eq!(
        (status.drops.unmapped, status.drops.total(), status.backlog_records),
        (3, 3, 0),
        "{status:?}"
    );
}

#[test]
fn upstream_that_acknowledges_nothing_is_left_after_a_while_and_gets_it_again() {
    let mut rig = Rig::online(V5);
    rig.append("a");
    change(&mut rig, Config { keep_alive: Duration::from_secs(7), ..config(V5) });
    rig.pass(4_000);
    assert!(!rig.closes());
    rig.pass(1_100);
    assert!(rig.closes());
    // The same place and name: it may know the identifier.
    rig.pass(100);
    rig.connect(true);
    rig.ack_slot();
    assert!(rig.records().iter().any(|(payload, _, dup)| payload == "a" && *dup), "{:?}", rig.records());
    // Another place knows nothing of it.
    change(&mut rig, Config { places: vec![Arc::from("other:1883")], ..config(V5) });
    rig.pass(6_000);
    rig.connect(true);
    rig.ack_slot();
    assert_eq!(
        rig.records().iter().map(|(payload, _, dup)| (&**payload, *dup)).collect::<Vec<_>>(),
        [("a", false)]
    );
}

#[test]
fn messages_are_taken_by_the_new_maps_at_once_and_what_waits_is_sent_by_those_of_then() {
    let mut rig = Rig::online(V5);
    // Under way, so that the connection stays for now.
    rig.append("first");
    let id = rig.records()[0].1;
    let maps = vec![mapping("other/#", "", "new/"), mapping("data/#", "", "moved/")];
    change(&mut rig, Config { maps, ..config(V5) });
    rig.input(Input::Append { message: message("other/x", "taken"), token: Some(SafeToken(1)) });
    rig.append("waits");
    rig.puback(id);
    rig.pass(100);
    rig.connect(false);
    rig.ack_slot();
    let sent = |rig: &Rig| {
        let of = rig.publishes().into_iter().filter(|seen| !seen.retain);
        of.map(|seen| format!("{} {}", seen.topic, seen.payload)).collect::<Vec<_>>()
    };
    assert_eq!(sent(&rig), ["new/other/x taken", "moved/data/a waits"]);
    for (_, id, _) in rig.records() {
        rig.puback(id);
    }
    // A map that is taken out: what waits for it is not for this upstream any more, and what comes neither.
    rig.input(Input::Closed { error: "gone" });
    rig.append("too late");
    change(&mut rig, Config { maps: vec![mapping("other/#", "", "")], ..config(V5) });
    rig.append_token("for nobody", 2);
    assert!(rig.done.contains(&Output::Safe(vec![SafeToken(2)])), "{:?}", rig.done);
    rig.pass(100);
    rig.connect(false);
    rig.ack_slot();
    assert_eq!(sent(&rig), Vec::<String>::new());
    assert_eq!(rig.status().backlog_records, 0);
}

fn stream(name: &str) -> StreamConfig {
    StreamConfig {
        name: name.into(),
        drain: DrainOrder::OldestFirst,
        live_share: 50,
        priority: Priority::Normal,
    }
}

fn into(filter: &str, stream: StreamNo) -> Mapping {
    Mapping { stream, ..mapping(filter, "", "") }
}

#[test]
fn streams_keep_their_numbers_whichever_order_the_config_has() {
    let mut rig = Rig::new(
        Config {
            streams: vec![stream("a"), stream("b")],
            maps: vec![into("a/#", 1), into("b/#", 2)],
            ..config(V5)
        },
        Backlog::default(),
    );
    let waiting = |rig: &Rig| {
        let streams = rig.status().streams.into_iter();
        streams.map(|stream| (stream.name.to_string(), stream.backlog_records)).collect::<Vec<_>>()
    };
    let named = |pairs: &[(&str, u64)]| {
        pairs.iter().map(|(name, records)| ((*name).to_owned(), *records)).collect::<Vec<_>>()
    };
    let append = |rig: &mut Rig, topic: &str| {
        rig.input(Input::Append { message: message(topic, topic), token: None });
    };
    append(&mut rig, "a/1");
    append(&mut rig, "b/1");
    // A new one before both, and `a` is gone: what waits in it waits on.
    let new = Config {
        streams: vec![stream("c"), stream("b")],
        maps: vec![into("c/#", 1), into("b/#", 2), into("a/#", 0)],
        ..config(V5)
    };
    assert_eq!(rig.bridge.new_streams(&new), [Arc::from("c")]);
    let backlog = Backlog {
        acked: crate::record::RecordNo(3),
        last: crate::record::RecordNo(5),
        records: 2,
        ..Backlog::default()
    };
    rig.input(Input::Reconfigure { config: Box::new(new.clone()), backlogs: vec![backlog] });
    assert_eq!(rig.bridge.outbox_names(), ["cloud", "cloud/a", "cloud/b", "cloud/c"]);
    for topic in ["a/2", "b/2", "c/2"] {
        append(&mut rig, topic);
    }
    assert_eq!(waiting(&rig), named(&[("default", 1), ("a", 1), ("b", 2), ("c", 3)]));
    // Again the same: nothing is new any more.
    assert_eq!(rig.bridge.new_streams(&new), Vec::<Arc<str>>::new());
    assert_eq!(rig.bridge.streams_count(), 4);
}
