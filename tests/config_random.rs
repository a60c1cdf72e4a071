//! Whatever bytes stand in a config file: the answer is a config or a list of mistakes that can be shown.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "tests"
)]

use fieldgate::config::{Facts, Source, parse, render};
use proptest::prelude::*;

const SEEDS: &[&str] = &[
    include_str!("../config/fieldgate.toml"),
    include_str!("../config/examples/weather-station.toml"),
    include_str!("../config/examples/scale-regex.toml"),
    include_str!("../config/examples/csv-logger.toml"),
    include_str!("../config/examples/two-ports.toml"),
    include_str!("../config/examples/upstream-tls.toml"),
    include_str!("../config/examples/lan-broker-only.toml"),
];

/// Pieces that change the meaning of what stands around them.
const PIECES: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u",
    "\n",
    "\r",
    "#",
    ".",
    ",",
    "-",
    "0x",
    "é",
    "\u{1f600}",
    "\0",
    "\u{feff}",
    "(",
    "(?<a>",
    "[^",
    "nan",
    "1e999",
    "99999999999999999999",
    "9.",
    "true",
    "password = x",
    "[gateway]",
    "[[port]]",
    "[[device.points]]",
    "a.b.c",
    "*",
];

fn check(texts: &[String]) {
    let sources: Vec<Source> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| Source { file: n.to_string(), text: text.clone() })
        .collect();
    let Err(mistakes) = parse(&sources, &Facts { default_id: "gw".into(), ..Facts::default() }) else {
        return;
    };
    assert!(!mistakes.is_empty(), "refused without a word: {texts:?}");
    assert!(mistakes.len() <= 501);
    assert!(!render(&mistakes).is_empty());
    for mistake in mistakes {
        let source =
            sources.iter().find(|source| source.file == mistake.file).expect("a file that was given");
        let lines = source.text.split('\n').count();
        assert!((1..=lines).contains(&mistake.line), "{mistake:?}");
        assert!(
            mistake.column >= 1 && mistake.len >= 1 && mistake.excerpt.chars().count() <= 160,
            "{mistake:?}"
        );
        assert!(!mistake.excerpt.contains(|c: char| c.is_control()), "{mistake:?}");
        assert!(!mistake.message.is_empty() && !mistake.message.contains('\n'), "{mistake:?}");
    }
}

fn nearest_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[derive(Clone, Debug)]
enum Edit {
    Insert(usize, usize),
    Remove(usize, usize),
    Double(usize, usize),
    Uncomment,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<usize>(), 0..PIECES.len()).prop_map(|(at, piece)| Edit::Insert(at, piece)),
        3 => (any::<usize>(), 1..40usize).prop_map(|(at, len)| Edit::Remove(at, len)),
        2 => (any::<usize>(), 1..200usize).prop_map(|(at, len)| Edit::Double(at, len)),
        1 => Just(Edit::Uncomment),
    ]
}

fn edited(mut text: String, edits: &[Edit]) -> String {
    for edit in edits {
        let place = |at: usize| nearest_boundary(&text, at % (text.len() + 1));
        match *edit {
            Edit::Insert(at, piece) => text.insert_str(place(at), PIECES[piece]),
            Edit::Remove(at, len) => {
                let (from, to) = (place(at), nearest_boundary(&text, place(at).saturating_add(len)));
                text.replace_range(from..to.max(from), "");
            }
            Edit::Double(at, len) => {
                let (from, to) = (place(at), nearest_boundary(&text, place(at).saturating_add(len)));
                let piece = text[from..to.max(from)].to_owned();
                text.insert_str(from, &piece);
            }
            Edit::Uncomment => text = text.replace("\n#", "\n"),
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_mutated_config_never_panics(seed in 0..SEEDS.len(), edits in prop::collection::vec(edit(), 1..6)) {
        check(&[edited(SEEDS[seed].to_owned(), &edits)]);
    }

    #[test]
    fn several_mutated_files_never_panic(
        a in 0..SEEDS.len(), b in 0..SEEDS.len(), edits in prop::collection::vec(edit(), 0..3),
    ) {
        check(&[SEEDS[a].to_owned(), edited(SEEDS[b].to_owned(), &edits)]);
    }

    #[test]
    fn random_text_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check(&[String::from_utf8_lossy(&bytes).into_owned()]);
    }

    #[test]
    fn random_pieces_never_panic(pieces in prop::collection::vec(0..PIECES.len(), 0..60)) {
        check(&[pieces.into_iter().map(|piece| PIECES[piece]).collect()]);
    }
}

#[test]
fn every_beginning_of_a_config_gets_an_answer() {
    for seed in SEEDS.iter().skip(1) {
        for at in (0..seed.len()).filter(|at| seed.is_char_boundary(*at)) {
            check(&[seed[..at].to_owned()]);
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_not_followed() {
    for text in
        ["[".repeat(100_000), "a=[".repeat(20_000), "a={a=".repeat(20_000), "a.".repeat(50_000) + "b=1"]
    {
        check(&[text]);
    }
}
