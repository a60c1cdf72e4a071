//! Tables of rules, clients and topics.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use super::*;

/// An ACL file as a Mosquitto user would have it.
const FILE: &str = "\
# general
topic read public/#

user alice
topic read sensors/#
topic write cmd/alice
topic deny sensors/secret/#

user bob
topic readwrite bob/#
topic readwrite shared/with spaces

# again: it adds up
user alice
topic alice/#

pattern read down/%u/#
pattern write up/%c/data
\tpattern\twrite  tab/%c
pattern deny up/%c/data/hidden
";

fn acl() -> Acl {
    Acl::of(parse_file(FILE.as_bytes()).unwrap())
}

#[test]
fn an_acl_file_gives_each_client_what_its_lines_say() {
    let acl = acl();
    for (client_id, user, topic, read, write) in [
        ("c1", None, "public/news", true, false),
        ("c1", None, "public", true, false),
        ("c1", None, "sensors/a", false, false),
        ("c1", Some("alice"), "public/news", false, false),
        ("c1", Some("alice"), "sensors/a", true, false),
        ("c1", Some("alice"), "sensors/secret", false, false),
        ("c1", Some("alice"), "sensors/secret/x", false, false),
        ("c1", Some("alice"), "sensors/secrets", true, false),
        ("c1", Some("alice"), "cmd/alice", false, true),
        ("c1", Some("alice"), "alice/x", true, true),
        ("c1", Some("bob"), "alice/x", false, false),
        ("c1", Some("bob"), "shared/with spaces", true, true),
        ("c1", Some("Bob"), "bob/x", false, false),
        ("c1", Some("bob"), "down/bob/x", true, false),
        ("c1", Some("bob"), "down/alice/x", false, false),
        ("c1", None, "down//x", false, false),
        ("c1", None, "up/c1/data", false, true),
        ("c1", None, "tab/c1", false, true),
        ("c2", None, "up/c1/data", false, false),
        ("c1", None, "$SYS/broker/uptime", false, false),
        // What would widen or move the pattern matches nothing.
        ("+", None, "up/c1/data", false, false),
        ("+", None, "up/+/data", false, false),
        ("#", None, "up/x/data", false, false),
        ("a/b", None, "up/a/b/data", false, false),
        ("", None, "up//data", false, false),
        ("c\u{1}", None, "up/c\u{1}/data", false, false),
        ("c1", Some("+"), "down/bob/x", false, false),
        ("c1", Some("#"), "down/bob/x", false, false),
        ("c1", Some(""), "down//x", false, false),
        ("%u", Some("bob"), "up/bob/data", false, false),
        ("%u", Some("bob"), "up/%u/data", false, true),
    ] {
        let rights = acl.rights(client_id, user);
        assert_eq!(rights.may_read(topic), read, "{client_id} {user:?} reads {topic}");
        assert_eq!(rights.may_write(topic), write, "{client_id} {user:?} writes {topic}");
    }
}

#[test]
fn a_file_without_rules_denies_everything_and_no_file_allows_everything() {
    for text in ["", "\n\n", "# nothing\n# here", "user alice\n"] {
        let rights = Acl::of(parse_file(text.as_bytes()).unwrap()).rights("c", Some("alice"));
        assert!(!rights.may_read("a") && !rights.may_write("a") && !rights.may_subscribe("#"), "{text:?}");
    }
    let rights = Acl::open().rights("c", None);
    assert!(rights.may_read("a") && rights.may_write("a") && rights.may_subscribe("#"));
}

#[test]
fn a_mistake_in_an_acl_file_names_its_line_and_cause() {
    for (text, line, cause) in [
        ("user", 1, "the name is missing"),
        ("# x\n\nuser  \n", 3, "the name is missing"),
        ("topic", 1, "topic: the topic is missing"),
        ("topic a\ntopic reed a/b", 2, "\"reed\" is none of read, write, readwrite, deny"),
        ("topic read a/#/b", 1, "topic: \"a/#/b\" has a # that is not alone in the last level"),
        ("pattern read a+", 1, "has a + that is not alone"),
        ("pattern read %u+", 1, "has a + that is not alone"),
        ("topic read $share/g/a", 1, "is a shared subscription"),
        ("subscribe a", 1, "\"subscribe\" is none of user, topic, pattern"),
        ("Topic a", 1, "is none of user, topic, pattern"),
    ] {
        let mistake = parse_file(text.as_bytes()).unwrap_err();
        assert_eq!(mistake.line, line, "{text:?}");
        assert!(mistake.to_string().contains(cause), "{text:?}: {mistake}");
    }
    assert_eq!(parse_file(b"topic a\ntopic \xff").unwrap_err().line, 2);
    let many = "topic a\n".repeat(10_001);
    assert_eq!(parse_file(many.as_bytes()).unwrap_err().line, 10_001);
}

proptest::proptest! {
    #[test]
    fn whatever_stands_in_an_acl_file_is_rules_or_a_mistake_with_its_line(
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300),
        text in "((user|topic|pattern|#|x)( (read|write|deny|%c|%u|\\+|#|a/b)){0,3}\n){0,8}",
    ) {
        let _ = parse_file(&bytes);
        match parse_file(text.as_bytes()) {
            Ok(rules) => {
                let wanted = |line: &&str| line.starts_with("topic") || line.starts_with("pattern");
                assert_eq!(rules.len(), text.lines().filter(wanted).count());
            }
            Err(mistake) => {
                assert!((1..=text.lines().count()).contains(&mistake.line), "{text:?}");
                // Everything above that line is right.
                let above: String = text.lines().take(mistake.line - 1).map(|line| format!("{line}\n")).collect();
                assert!(parse_file(above.as_bytes()).is_ok());
            }
        }
        // No identifier makes a rule wider than it stands there.
        if let Ok(rules) = parse_file(text.as_bytes()) {
            let rights = Acl::of(rules).rights("+", Some("#"));
            assert!(!rights.may_read("other/topic") || text.contains("pattern") && text.contains(['+', '#']));
        }
    }
}

#[test]
fn a_word_that_stands_alone_behind_topic_is_the_topic() {
    let rules = parse_file(b"topic read\ntopic deny\r\n").unwrap();
    let got: Vec<(&str, bool)> = rules.iter().map(|rule| (rule.filter.as_str(), rule.allow)).collect();
    assert_eq!(got, [("read", true), ("deny", true)]);
}

#[test]
fn two_filters_have_exactly_their_common_topics_in_common() {
    for (a, b, common) in [
        ("#", "a/b", Some("a/b")),
        ("#", "#", Some("#")),
        ("+", "#", Some("+")),
        ("a/#", "+/b", Some("a/b")),
        ("a/#", "a", Some("a")),
        ("a/+", "a/#", Some("a/+")),
        ("a/#", "+/b/#", Some("a/b/#")),
        ("+/+", "a/b/c", None),
        ("a/+/c", "+/b/+", Some("a/b/c")),
        ("a", "b", None),
        ("a/b", "a", None),
        ("/+", "+", None),
        ("/+", "+/+", Some("/+")),
        ("#", "$SYS/#", None),
        ("+/x", "$SYS/x", None),
        ("$SYS/#", "$SYS/broker/+", Some("$SYS/broker/+")),
        ("a/#", "a/+/#", Some("a/+/#")),
    ] {
        assert_eq!(intersection(a, b).as_deref(), common, "{a} {b}");
        assert_eq!(intersection(b, a).as_deref(), common, "{b} {a}");
    }
}

#[test]
fn a_filter_covers_what_matches_nothing_else() {
    for (wide, narrow, expected) in [
        ("#", "a/+", true),
        ("#", "$SYS/#", false),
        ("a/#", "a", true),
        ("a/#", "a/b/#", true),
        ("a/+", "a/b", true),
        ("a/+", "a/+", true),
        ("a/+", "a/#", false),
        ("+", "#", false),
        ("a/b", "a/+", false),
        ("a", "a/b", false),
        ("+/b", "a/b", true),
        ("+/b", "a/b/c", false),
    ] {
        assert_eq!(covers(wide, narrow), expected, "{wide} {narrow}");
    }
}

/// All names and filters of up to three levels over a small alphabet: overlap and cover against the definition.
#[test]
fn overlap_and_cover_agree_with_matching_itself() {
    let all = |words: &[&str]| {
        let mut lists: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut last = lists.clone();
        for _ in 0..2 {
            let longer =
                |head: &String| words.iter().map(move |word| format!("{head}/{word}")).collect::<Vec<_>>();
            last = last.iter().flat_map(longer).collect();
            lists.extend(last.clone());
        }
        lists
    };
    // Four levels of names, so that `#` has something to match behind three levels of a filter.
    let mut names = all(&["a", "b", "$x", "other"]);
    names.extend(names.clone().iter().map(|name| format!("{name}/other")));
    let filters: Vec<TopicFilter> =
        all(&["a", "b", "$x", "+", "#"]).iter().filter_map(|text| TopicFilter::parse(text).ok()).collect();
    assert!(filters.len() > 90);
    for a in &filters {
        let of_a: Vec<&String> = names.iter().filter(|name| a.matches(name)).collect();
        for b in &filters {
            let both: Vec<&&String> = of_a.iter().filter(|name| b.matches(name)).collect();
            let common = intersection(a.as_str(), b.as_str());
            let matched: Vec<&String> = names
                .iter()
                .filter(|name| {
                    common.as_deref().is_some_and(|common| crate::mqtt::topic::matches(common, name))
                })
                .collect();
            assert!(matched.iter().eq(both.iter().copied()), "{a} and {b} have {common:?} in common");
            assert_eq!(covers(b.as_str(), a.as_str()), both.len() == of_a.len(), "{b} covers {a}");
        }
    }
}

#[test]
fn a_subscription_is_granted_if_anything_of_it_may_be_read() {
    let acl = acl();
    let alice = acl.rights("c1", Some("alice"));
    for (filter, expected) in [
        ("#", true),
        // `sensors/#` matches `sensors` too.
        ("+", true),
        ("+/#", true),
        ("/+", false),
        ("sensors/+", true),
        ("sensors/a", true),
        ("sensors/secret/x", false),
        ("sensors/secret/#", false),
        ("sensors/+/x", true),
        ("cmd/alice", false),
        ("cmd/#", false),
        ("alice", true),
        ("bob/#", false),
        ("down/alice/+", true),
        ("down/bob/+", false),
        ("down/+/x", true),
        ("$SYS/#", false),
    ] {
        assert_eq!(alice.may_subscribe(filter), expected, "{filter}");
    }
}

#[test]
fn a_right_to_subscribe_alone_grants_the_subscription_and_no_message() {
    let rule = |allow, access, filter: &str| Rule {
        who: Who::Everyone,
        allow,
        access,
        filter: TopicFilter::parse(filter).unwrap(),
        substitutes: true,
    };
    let acl = Acl::of(vec![rule(true, Access::SUBSCRIBE, "a/#"), rule(false, Access::SUBSCRIBE, "a/x")]);
    let rights = acl.rights("c", None);
    assert!(rights.may_subscribe("a/b") && !rights.may_read("a/b"));
    assert!(!rights.may_subscribe("a/x") && !rights.may_subscribe("b"));
}

#[test]
fn client_identifiers_are_matched_with_stars() {
    for (text, pattern, expected) in [
        ("sensor-1", "sensor-1", true),
        ("sensor-1", "sensor-*", true),
        ("sensor-", "sensor-*", true),
        ("xsensor-1", "sensor-*", false),
        ("a-b-c", "*-b-*", true),
        ("a-b-c", "*-c", true),
        ("a-b-c", "*-b", false),
        ("abcabc", "abc*abc", true),
        ("abc", "abc*abc", false),
        ("abab", "*ab*ab", true),
        ("aba", "*ab*ba", false),
        ("x", "*", true),
        ("", "*", true),
        ("", "a*", false),
        ("a*b", "a*b", true),
        ("äöü", "*ö*", true),
    ] {
        assert_eq!(is_like(text, pattern), expected, "{text} {pattern}");
    }
    let rule = Rule {
        who: Who::ClientId("meter-*".into()),
        allow: true,
        access: Access::WRITE,
        filter: TopicFilter::parse("meters/%c/+").unwrap(),
        substitutes: true,
    };
    let acl = Acl::of(vec![rule]);
    assert!(acl.rights("meter-7", None).may_write("meters/meter-7/x"));
    assert!(!acl.rights("meter-7", None).may_write("meters/meter-8/x"));
    assert!(!acl.rights("gauge-7", None).may_write("meters/gauge-7/x"));
}
