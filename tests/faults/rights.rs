//! What a check of rights must see: each filter, the effective topic, the filter within a share.

use crate::exhaustion::not_grown;
use crate::raw::{BOTH, Connect, Lan, Publish, V, Will, subscribe};
use crate::support::Gateway;

#[test]
fn fault_35_a_client_id_with_wildcards_or_levels_in_it_matches_no_pattern() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("acl");
    std::fs::write(&rules, "pattern readwrite c/%c/x\n").unwrap();
    let lan = Lan::start(&format!("acl_file = {rules:?}"));
    for (id, may) in [("plain", true), ("#", false), ("+", false), ("a/b", false), ("+/+", false)] {
        let mut client = lan.join(V::V5, id);
        let granted = client.subscribe_with(&[], format!("c/{id}/x").as_bytes(), 0);
        // "c/#/x" is no filter at all.
        let refused = if id == "#" { 0x8F } else { 0x87 };
        assert_eq!(granted, if may { 0 } else { refused }, "{id}");
        if !id.contains(['#', '+']) {
            client.send(&Publish::new(format!("c/{id}/x"), "x").qos(1, 1).bytes(V::V5));
            if may {
                client.take_text("x");
            }
            client.expect_ack(0x40, 1, if may { 0 } else { 0x87 });
        }
    }
}

#[test]
fn fault_40_each_filter_of_a_subscribe_is_judged() {
    let lan = Lan::start("");
    for v in BOTH {
        let mut client = lan.join(v, "a");
        client.send(&subscribe(v, 1, &[], &[(b"a", 0), (b"b/#/c", 0), (b"c", 1)]));
        let suback = client.packet();
        let refused = if v == V::V5 { 0x8F } else { 0x80 };
        assert_eq!(suback[suback.len() - 3..], [0, refused, 1]);
        for (topic, heard) in [("a", true), ("b/x/c", false), ("c", true)] {
            client.send(&Publish::new(topic, "x").bytes(v));
            if heard {
                client.take_text("x");
            }
            client.nothing();
        }
    }
}

#[test]
fn fault_41_shared_and_plain_subscriptions_are_ended_each_by_its_own_name() {
    let lan = Lan::start("");
    let mut client = lan.join(V::V5, "a");
    let round = |client: &mut crate::raw::Client| {
        client.subscribe("$share/g/t", 0);
        assert_eq!(client.unsubscribe("t"), 0x11);
        assert_eq!(client.unsubscribe("$share/g/t"), 0);
        client.subscribe("t", 0);
        assert_eq!(client.unsubscribe("$share/g/t"), 0x11);
        assert_eq!(client.unsubscribe("t"), 0);
    };
    (0..100).for_each(|_| round(&mut client));
    let before = lan.rss();
    (0..900).for_each(|_| round(&mut client));
    assert_eq!(lan.count("subscriptions"), 0);
    not_grown(&lan, before, 1024 * 1024);
}

#[test]
fn fault_42_rights_hold_for_the_effective_topic_and_for_wills() {
    let lan = Lan::start("");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("fieldgate/+/data/#", 0);
    witness.subscribe("$SYS/x", 0);
    for own in ["$SYS/x".to_owned(), Gateway::topic("data/scale"), Gateway::topic("status")] {
        let mut client = lan.join(V::V5, "a");
        for topic in [own.as_str(), "", ""] {
            client.send(&Publish::new(topic, "x").alias(1).qos(1, 1).bytes(V::V5));
            client.expect_ack(0x40, 1, 0x87);
        }
        // 3.x can't be told: it gets its acknowledgement, and nobody the message.
        let mut old = lan.join(V::V311, "b");
        old.say(&own, 1, "x");
        for v in BOTH {
            let answer = lan.answer(&Connect::new(v, "w").will(Will::new(&own, "x")).bytes());
            assert_eq!(answer[3], if v == V::V5 { 0x87 } else { 5 });
        }
        witness.nothing();
    }
    assert!(lan.count("received") > 0);
}
