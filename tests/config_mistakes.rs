//! Bad configs, and exactly what each must be told: every mistake with line, column, what is wrong and what to write
//! instead, in the order of the lines. The rows stand in `config_mistakes/*.txt`: a config, `----`, its mistakes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "tests"
)]

use fieldgate::config::{Facts, Mistake, Source, parse, render};

const TABLES: &[(&str, &str)] = &[
    ("top", include_str!("config_mistakes/top.txt")),
    ("gateway", include_str!("config_mistakes/gateway.txt")),
    ("port", include_str!("config_mistakes/port.txt")),
    ("device", include_str!("config_mistakes/device.txt")),
    ("gpio", include_str!("config_mistakes/gpio.txt")),
    ("point", include_str!("config_mistakes/point.txt")),
    ("cell", include_str!("config_mistakes/cell.txt")),
    ("codec", include_str!("config_mistakes/codec.txt")),
    ("framing", include_str!("config_mistakes/framing.txt")),
    ("command", include_str!("config_mistakes/command.txt")),
    ("meter", include_str!("config_mistakes/meter.txt")),
    ("poll", include_str!("config_mistakes/poll.txt")),
    ("publish", include_str!("config_mistakes/publish.txt")),
    ("sources", include_str!("config_mistakes/sources.txt")),
    ("profile", include_str!("config_mistakes/profile.txt")),
    ("broker", include_str!("config_mistakes/broker.txt")),
    ("upstream", include_str!("config_mistakes/upstream.txt")),
    ("web", include_str!("config_mistakes/web.txt")),
    ("syntax", include_str!("config_mistakes/syntax.txt")),
];

fn facts() -> Facts {
    Facts { default_id: "gw".into(), ..Facts::default() }
}

fn mistakes(files: &[(&str, &str)]) -> Vec<Mistake> {
    let sources: Vec<Source> =
        files.iter().map(|(file, text)| Source { file: (*file).into(), text: (*text).into() }).collect();
    match parse(&sources, &facts()) {
        Ok(config) => panic!("this was taken for a good config: {files:?}\n{config:#?}"),
        Err(mistakes) => mistakes,
    }
}

fn told(files: &[(&str, &str)]) -> Vec<String> {
    mistakes(files).iter().map(ToString::to_string).collect()
}

#[test]
fn each_bad_config_gets_all_its_mistakes_and_no_other() {
    let mut rows = 0;
    for (table, cases) in TABLES {
        for case in cases.split("====\n") {
            let (text, expected) = case.split_once("----\n").expect("a row is a config, ----, mistakes");
            let expected: Vec<String> = expected.lines().map(|line| format!("f:{line}")).collect();
            assert!(!expected.is_empty(), "{table}: a row without mistakes:\n{text}");
            assert_eq!(told(&[("f", text)]), expected, "{table}:\n{text}");
            rows += 1;
        }
    }
    assert!(rows >= 100, "only {rows} rows were read");
}

#[test]
fn the_offending_text_is_the_one_under_the_carets() {
    for (text, expected) in [
        ("[[port]]\nname = \"a\"\npath = \"/dev/a\"\n\tbauds = 9600 # fast\n", "bauds"),
        ("[health]\nevery   =   30\n", "30"),
        ("[gateway]\nid = \"ä ö\"\n", "\"ä ö\""),
        ("[gatway]\n", "gatway"),
        ("[[port]]\nname = \"a\"\n", "[[port]]"),
        (
            "[[device]]\nname=\"d\"\nport=\"\"\npoints=\"*\"\ndecode={kind=\"regex\",pattern='é[z-a]'}\n",
            "\"\"",
        ),
        ("gateway = { id = \"a\", colour = 1 }", "colour"),
    ] {
        let mistake = mistakes(&[("f", text)]).remove(0);
        let shown: String = mistake.excerpt.chars().skip(mistake.caret).take(mistake.len).collect();
        assert_eq!(shown, expected, "{text}");
        assert!(mistake.excerpt.chars().skip(mistake.column - 1).collect::<String>().starts_with(expected));
    }
}

#[test]
fn an_error_in_a_pattern_is_put_at_its_column() {
    let text = "[[port]]\nname='p'\npath='/p'\n[[device]]\nname='d'\nport='p'\npoints='*'\ndecode={kind='regex',pattern='é(?<a>x)[z-a]'}";
    let mistake = mistakes(&[("f", text)]).remove(0);
    let shown: String = mistake.excerpt.chars().skip(mistake.caret).take(mistake.len).collect();
    assert_eq!((mistake.line, shown.as_str()), (8, "z-a"));
}

#[test]
fn a_filter_that_breaks_a_rule_of_mqtt_is_told_which() {
    for (filter, why) in [
        ("a/#/b", "has a # that is not alone in the last level"),
        ("a#", "has a # that is not alone in the last level"),
        ("a/b+/c", "has a + that is not alone in its level"),
    ] {
        let text = format!("[[upstream]]\nhost = \"a\"\n[[upstream.map]]\nfilter = \"{filter}\"\n");
        assert_eq!(told(&[("f", &text)]), [format!("f:4:10: filter: {filter:?} {why}")]);
    }
}

#[test]
fn what_a_person_sees_has_place_line_carets_and_advice() {
    let text = "[[port]]\nname = \"a\"\npath = \"/dev/a\"\nbauds = 9600\nparity = \"evn\"\n";
    assert_eq!(
        render(&mistakes(&[("/etc/fieldgate/fieldgate.toml", text)])),
        "\
error: unknown key \"bauds\" in [[port]]
 --> /etc/fieldgate/fieldgate.toml:4:1
  |
4 | bauds = 9600
  | ^^^^^
  = help: did you mean \"baud\"?

error: parity: expected \"none\", \"odd\" or \"even\", found string \"evn\"
 --> /etc/fieldgate/fieldgate.toml:5:10
  |
5 | parity = \"evn\"
  |          ^^^^^
  = help: did you mean \"even\"?

2 mistakes
"
    );
}

#[test]
fn a_plain_password_is_never_repeated() {
    for text in [
        "[[upstream]]\nhost = \"a\"\nuser_name = \"u\"\npassword = \"hunter2\"\n",
        "[[upstream]]\nhost = \"a\"\nuser_name = \"u\"\npassword = hunter2\n",
        "[[upstream]]\nhost = \"a\"\nuser_name = \"u\"\npassword = { plain = \"hunter2\" }\n",
        "[[upstream]]\nhost = \"a\"\nuser_name = \"u\"\npassword = [\"hunter2\"]\n",
        "[[upstream]]\nhost = \"a\"\npasswort = \"x\"\nuser_name = \"u\"\npassword = \"\"\"hunter2\"\"\"\n",
        "[[upstream]]\nhost = \"a\"\npassword = \"\"\"\nhunter2\n",
        "[[upstream]]\nhost = \"a\"\npassword = '''\nhunter2\n''' x\n",
        "[[broker.user]]\nname = \"a\"\npassword.plain = \"hunter2\"\n",
        "[broker.user.password]\nplain = \"hunter2\"\n",
        "broker = { user = [{ name = \"a\", colour = 1, password = 'hunter2' }] }\n",
        "[[upstream]]\nhost = \"a\"\npassword = \"hunter2\npassword = 'hunter2'\n",
    ] {
        let mistakes = mistakes(&[("f", text)]);
        let all = format!("{mistakes:?}\n{}", render(&mistakes));
        assert!(!all.contains("hunter2"), "{all}");
    }
}

#[test]
fn files_are_told_apart_and_a_value_may_stand_in_one_only() {
    let main = "[gateway]\nid = \"a\"\n[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[health]\nevery = \"5\"\n";
    let more = "[health]\nevery = \"5s\"\n[gateway]\nsite = \"x\"\nid = \"b\"\n[[port]]\nname = \"p\"\npath = \"/dev/q\"\n";
    assert_eq!(
        told(&[("main.toml", main), ("conf.d/more.toml", more)]),
        [
            "main.toml:7:9: every: \"5\" is no duration; write a whole number and ms, s, min, h or d, such as \"5s\"",
            "conf.d/more.toml:5:1: \"id\" is also in main.toml:2; a key may stand in one file only",
            "conf.d/more.toml:7:8: name: \"p\" is taken by the [[port]] at main.toml:4",
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_hides_only_what_depends_on_it() {
    let broken = "[gateway]\nid = \"a b\"\n[[port]]\nname = \n[[prt]]\n";
    let other = "[log]\nlevel = \"loud\"\n";
    assert_eq!(
        told(&[("a", broken), ("b", other)]),
        [
            "a:2:6: id: \"a b\" has ' '; a name here is made of A-Z a-z 0-9 _ . -; write \"a-b\"",
            "a:4:8: this is not TOML: string values must be quoted, expected literal string",
            "b:2:9: level: expected \"off\", \"error\", \"warn\", \"info\", \"debug\" or \"trace\", found string \"loud\"",
        ]
    );
}

#[test]
fn mistakes_are_bounded_and_so_is_the_work() {
    let text =
        "x".repeat(200_000).split_inclusive("xxxx").map(|key| format!("{key} = 1\n")).collect::<String>();
    assert!(told(&[("f", &text)]).len() <= 501);
    let many: String = (0..2_000).map(|n| format!("[[prt{n}]]\n")).collect();
    let told = told(&[("f", &many)]);
    assert_eq!(told.len(), 501);
    assert!(told.last().unwrap().contains("1500 more mistakes are not listed"), "{:?}", told.last());
    let ports: String =
        (0..65).map(|n| format!("[[port]]\nname = \"p{n}\"\npath = \"/dev/p{n}\"\n")).collect();
    assert_eq!(
        self::told(&[("f", &ports)]),
        ["f:193:1: there are 65 [[port]], at most 64 may be"],
        "the first one too many is shown"
    );
    let upstream = |n: usize| format!("[[upstream]]\nhost = \"h{n}\"\n");
    let (a, b) = ((0..9).map(upstream).collect::<String>(), (9..17).map(upstream).collect::<String>());
    assert_eq!(self::told(&[("a", &a), ("b", &b)]), ["b:15:1: there are 17 [[upstream]], at most 16 may be"]);
}
