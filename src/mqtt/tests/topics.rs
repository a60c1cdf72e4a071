//! Names, filters, and what matches (4.7, 4.8.2).

use proptest::prelude::*;

use super::super::topic::{TopicError, TopicFilter, check_name, matches};

#[test]
fn names_obey_4_7() {
    let check = |name: &str, expected| assert_eq!(check_name(name), expected, "{name:?}");
    for good in
        ["a", "/", "//", "a/b", " ", "$SYS/x", "$share/g/t", "é", "\u{FEFF}", "a/ b", &"/".repeat(65_535)]
    {
        check(good, Ok(()));
    }
    check("", Err(TopicError::Empty));
    check(&"a".repeat(65_536), Err(TopicError::TooLong));
    check("a\0", Err(TopicError::Nul));
    check("+\0", Err(TopicError::Nul));
    for wildcard in ["+", "#", "a/+", "a/#", "a+b", "a#"] {
        check(wildcard, Err(TopicError::WildcardInName));
    }
}

#[test]
fn filters_obey_4_7() {
    use TopicError::{Empty, MultiLevelMisplaced, Nul, SingleLevelMisplaced, TooLong};
    let good =
        ["#", "+", "/", "a", "a/#", "+/#", "/#", "+/+", "/+", "a/+/b", "+//#", "$SYS/#", "$shared/a", "$"];
    for filter in good {
        let parsed = TopicFilter::parse(filter).unwrap();
        assert_eq!((parsed.as_str(), parsed.share(), parsed.to_string()), (filter, None, filter.to_owned()));
    }
    let check = |filter: &str, expected| assert_eq!(TopicFilter::parse(filter), Err(expected), "{filter:?}");
    check("", Empty);
    check(&"a".repeat(65_536), TooLong);
    check("a\0/#", Nul);
    for filter in ["a#", "#a", "a/#/b", "#/", "#/a", "##", "a/b#", "+#", "#+"] {
        check(filter, MultiLevelMisplaced);
    }
    for filter in ["a+", "+a", "++", "+a/b", "a/b+/c", "a/+b/#"] {
        check(filter, SingleLevelMisplaced);
    }
}

#[test]
fn shared_filters_obey_4_8_2() {
    let good = [
        ("$share/g/t", "g", "t"),
        ("$share/g//", "g", "/"),
        ("$share/g/#", "g", "#"),
        ("$share/a b/+/x", "a b", "+/x"),
    ];
    for (whole, share, filter) in good {
        let parsed = TopicFilter::parse(whole).unwrap();
        assert_eq!((parsed.as_str(), parsed.share()), (filter, Some(share)), "{whole}");
        assert_eq!(parsed.to_string(), whole);
    }
    let check = |filter: &str, expected| assert_eq!(TopicFilter::parse(filter), Err(expected), "{filter:?}");
    for filter in
        ["$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/a#/t", "$share/", "$share", "$share/#/t"]
    {
        check(filter, TopicError::ShareInvalid);
    }
    check("$share/g/a#", TopicError::MultiLevelMisplaced);
    check("$share/g/a+", TopicError::SingleLevelMisplaced);
    check("$share/g/\0", TopicError::Nul);
}

#[test]
fn filters_match_by_levels() {
    let matching = [
        ("a", "a"),
        ("#", "a"),
        ("#", "/"),
        ("#", "a/b/c"),
        ("+", "a"),
        ("a/#", "a"),
        ("a/#", "a/"),
        ("a/#", "a/b/c"),
        ("a/+", "a/"),
        ("a/+", "a/b"),
        ("/+", "/x"),
        ("+/+", "/x"),
        ("+/+", "/"),
        ("/#", "/"),
        ("/#", "/a"),
        ("+/#", "a"),
        ("+/#", "/a"),
        ("a/+/c", "a//c"),
        ("a/+/#", "a/b"),
        ("$SYS/#", "$SYS"),
        ("$SYS/#", "$SYS/x"),
        ("$SYS/+", "$SYS/x"),
        ("a/#", "a/$SYS"),
        ("a/+", "a/$b"),
        ("é", "é"),
        ("a//b", "a//b"),
    ];
    let others = [
        ("a", "b"),
        ("a", "A"),
        ("a", "a/"),
        ("a/", "a"),
        ("a", "/a"),
        ("a/+", "a"),
        ("a/+", "a/b/c"),
        ("+", "a/b"),
        ("+", "/a"),
        ("a//b", "a/b"),
        ("a/#", "ab"),
        ("a/#", "b"),
        ("a/+/#", "a"),
        ("#", "$SYS/x"),
        ("#", "$"),
        ("+/x", "$SYS/x"),
        ("+/#", "$SYS/x"),
        ("+", "$SYS"),
        ("a/b", "a"),
        ("a", "a/b"),
        ("e\u{301}", "é"),
        ("ab", "a"),
        ("/#", "a"),
    ];
    for (filter, name) in matching {
        assert!(TopicFilter::parse(filter).unwrap().matches(name), "{filter} must match {name}");
    }
    for (filter, name) in others {
        assert!(!TopicFilter::parse(filter).unwrap().matches(name), "{filter} must not match {name}");
    }
    let shared = TopicFilter::parse("$share/g/#").unwrap();
    assert!(shared.matches("a/b") && !shared.matches("$SYS/x")); // 4.7.2-1 holds behind the share name
}

#[test]
fn deep_topics_match_in_one_pass() {
    let deep = "/".repeat(65_535);
    assert!(matches("#", &deep) && matches(&deep, &deep));
    assert!(!matches(&format!("{}a", "+/".repeat(32_000)), &deep));
}

/// The standard's words as a regular expression.
fn oracle(filter: &str, name: &str) -> bool {
    let (levels, multi) = match filter.strip_suffix('#') {
        Some(parent) => (parent, true),
        None => (filter, false),
    };
    let literal = regex::escape(levels.trim_end_matches(|c| multi && c == '/')).replace(r"\+", "[^/]*");
    let pattern = match (multi, levels.is_empty()) {
        (false, _) => format!("^{literal}$"),
        (true, true) => "^.*$".to_owned(),
        (true, false) => {
            // All slashes but the last one stand for empty levels.
            let slashes = levels.len() - levels.trim_end_matches('/').len();
            format!("^{literal}{}(/.*)?$", "/".repeat(slashes - 1))
        }
    };
    let hidden = name.starts_with('$') && filter.starts_with(['+', '#']);
    !hidden && regex::Regex::new(&pattern).unwrap().is_match(name)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn matching_agrees_with_the_oracle(
        filter in r"(\$|a|b|\+)?(/(a|b|\+|\$)?){0,3}(/#)?|#",
        name in r"(\$|a|b)?(/(a|b|\$)?){0,4}",
    ) {
        prop_assume!(!name.is_empty() && TopicFilter::parse(&filter).is_ok());
        prop_assert_eq!(matches(&filter, &name), oracle(&filter, &name), "{} {}", filter, name);
    }

    /// A filter made of the name itself, some levels replaced: most of them match.
    #[test]
    fn a_name_matches_what_is_made_of_it(
        name in r"[a-c]?(/[a-c]?){0,4}",
        plus in proptest::collection::vec(any::<bool>(), 6),
        cut in proptest::option::of(0_usize..6),
    ) {
        prop_assume!(!name.is_empty());
        let replaced = name.split('/').zip(plus).map(|(level, plus)| if plus { "+" } else { level });
        let mut levels: Vec<&str> = replaced.collect();
        if let Some(cut) = cut {
            levels.truncate(cut);
            levels.push("#");
        }
        prop_assert!(matches(&levels.join("/"), &name));
    }
}
