//! Topic names, filters, wildcards.

use crate::raw::{BOTH, Connect, Lan, Publish, V, Will, subscribe, unsubscribe};

#[test]
fn statement_57_a_wildcard_at_the_front_matches_no_dollar_topic() {
    // Where the broker's own `$SYS` topics are published, the wildcards see none of them.
    let busy = Lan::start("sys_interval = \"1s\"");
    let mut watcher = busy.join(V::V311, "watcher");
    watcher.subscribe("$SYS/broker/uptime", 0);
    let mut wide = busy.join(V::V5, "wide");
    for filter in ["#", "+/broker/uptime", "$share/g/#"] {
        wide.subscribe(filter, 0);
    }
    for _ in 0..2 {
        watcher.packet();
    }
    wide.nothing();

    let lan = Lan::start("sys_interval = \"0s\"");
    for v in BOTH {
        let mut s = lan.join(v, "s");
        for filter in ["#", "+/x", "+/#", "$share/g/#"] {
            s.subscribe(filter, 1);
        }
        s.nothing();
        let mut named = lan.join(v, "named");
        named.subscribe("$SYS/#", 1);
        named.subscribe("$other/x", 1);
        // Clients may not publish there: it is refused, and reaches nobody, live or retained.
        let mut publisher = lan.join(V::V5, "publisher");
        for topic in ["$SYS/x", "$other/x", "$share/x", "$"] {
            for publish in [Publish::new(topic, "x"), Publish::new(topic, "x").retain()] {
                publisher.send(&publish.qos(1, 3).bytes(V::V5));
                publisher.expect_ack(0x40, 3, 0x87);
            }
        }
        let refused = lan.answer(&Connect::new(V::V5, "w").will(Will::new("$SYS/x", "x")).bytes());
        assert_eq!((refused[0], refused[3]), (0x20, 0x87));
        s.nothing();
        let mut late = lan.join(v, "late");
        late.subscribe("#", 1);
        late.nothing();
        late.subscribe("$other/#", 1);
        late.nothing();
    }
}

#[test]
fn statement_58_wildcards_stand_alone_in_their_level_and_match_whole_levels() {
    let lan = Lan::start("");
    let mut s = lan.join(V::V5, "s");
    for filter in ["a#", "a/#/b", "a+", "+a/b", "#/", "a/b#", "a/+b", "##", "++"] {
        assert_eq!(s.subscribe_with(&[], filter.as_bytes(), 0), 0x8F, "{filter}");
    }
    let mut publisher = lan.join(V::V5, "publisher");
    for (filter, topic, matches) in [
        ("a/#", "a", true),
        ("a/#", "a/", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("a/+", "a/", true),
        ("a/+", "a", false),
        ("a/+", "a/b/c", false),
        ("/+", "/x", true),
        ("+/+", "/x", true),
        ("+", "/x", false),
        ("+", "x", true),
        ("#", "/", true),
        ("/#", "/", true),
        ("/#", "x", false),
        ("+/b", "a/b", true),
        ("a/+/c", "a//c", true),
    ] {
        s.subscribe(filter, 0);
        publisher.say(topic, 0, "x");
        if matches {
            assert_eq!(s.take_text("x").topic, topic.as_bytes(), "{filter}");
        }
        s.nothing();
        s.unsubscribe(filter);
    }
}

#[test]
fn statement_59_a_topic_name_with_a_wildcard_ends_the_connection() {
    let lan = Lan::start("");
    for v in BOTH {
        for topic in ["a/+", "#", "a#", "+"] {
            let mut client = lan.join(v, "a");
            client.send(&Publish::new(topic, "x").qos(1, 1).bytes(v));
            client.closed(0x90);
        }
    }
    for answer_to in [&b"\x08\x00\x03a/+"[..], b"\x08\x00\x01#"] {
        let mut client = lan.join(V::V5, "a");
        client.send(&Publish::new("t", "x").property(answer_to).bytes(V::V5));
        client.closed(0x82);
    }
}

#[test]
fn statement_60_empty_names_are_refused_and_names_are_compared_byte_by_byte() {
    let lan = Lan::start("");
    for v in BOTH {
        let empty = |bytes: Vec<u8>| {
            let mut client = lan.join(v, "a");
            client.send(&bytes);
            client.ended();
        };
        empty(Publish::new("", "x").bytes(v));
        empty(subscribe(v, 1, &[], &[(b"", 0)]));
        empty(unsubscribe(v, 1, &[""]));
        let mut publisher = lan.join(v, "publisher");
        let mut s = lan.join(v, "s");
        for (filter, topic) in [
            ("A", "a"),
            ("a//b", "a/b"),
            ("a/b", "a//b"),
            ("a/", "a"),
            ("a", "a/"),
            ("/a", "a"),
            ("\u{e9}", "e\u{301}"),
            ("e\u{301}", "\u{e9}"),
            (" a", "a"),
        ] {
            s.subscribe(filter, 0);
            publisher.say(topic, 0, "other");
            s.nothing();
            publisher.say(filter, 0, "same");
            assert_eq!(s.take_text("same").topic, filter.as_bytes());
            s.unsubscribe(filter);
        }
    }
}

#[test]
fn statement_61_long_and_deep_topics_are_served_or_refused_and_stall_nobody() {
    let long = "x".repeat(65_535);
    let deep = "/".repeat(60_000);
    let lan = Lan::start("");
    let mut witness = lan.join(V::V311, "witness");
    witness.subscribe("#", 0);
    for v in BOTH {
        for topic in [&long, &deep] {
            let mut client = lan.join(v, "a");
            client.send(&Publish::new(topic, "x").qos(1, 1).bytes(v));
            match v {
                V::V5 => client.expect_ack(0x40, 1, 0x90),
                _ => client.eof(),
            }
            let mut client = lan.join(v, "a");
            let code = client.subscribe_with(&[], topic.as_bytes(), 0);
            assert_eq!(code, if v == V::V5 { 0x8F } else { 0x80 });
            client.nothing();
        }
        witness.nothing();
    }
    // 128 levels are taken by default, and a longest topic where the config says so.
    let levels = "/".repeat(127);
    lan.join(V::V5, "a").say(&levels, 1, "deep");
    assert_eq!(witness.take_text("deep").topic, levels.as_bytes());
    let lan = Lan::start("topic_max = \"65535 B\"");
    for v in BOTH {
        let mut s = lan.join(v, "s");
        s.subscribe(&long, 0);
        lan.join(v, "publisher").say(&long, 1, "long");
        assert_eq!(s.take_text("long").topic, long.as_bytes());
    }
}
