//! Each edit and the text that it leaves, comments and order included.

use serde_json::json;

use super::*;
use crate::config::{Facts, parse};

fn source(file: &str, text: &str) -> Source {
    Source { file: file.into(), text: text.into() }
}

fn edits(list: &[(&str, Json)]) -> Vec<Edit> {
    let one = |(path, value): &(&str, Json)| Edit {
        path: (*path).to_owned(),
        value: Some(value.clone()),
        toml: None,
        if_there: false,
    };
    list.iter().map(one).collect()
}

#[track_caller]
fn check(text: &str, list: &[(&str, Json)], expected: &str) {
    let edited = edit(&[source("f", text)], &edits(list)).unwrap();
    assert_eq!(edited[0].text, expected);
}

#[track_caller]
fn refused(text: &str, path: &str, value: Json, expected: &str) {
    let error = edit(&[source("f", text)], &edits(&[(path, value)])).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

const DEVICE: &str = "\
# The barn.
[[port]] # left one
name = \"p\" # its name
path = \"/dev/p\"

# Hot.
[[device]]
name = \"boiler\"
port = \"p\"
decode = \"json\"
points = [
    { name = \"temp\", from = \"t\", unit = \"C\" }, # the tank
]

[[device]]
name = \"a.b\"
port = \"p\"
decode = \"json\"
points = \"*\"
";

#[test]
fn a_value_is_changed_where_it_stands_and_comments_stay() {
    check(
        "[health] # h\nevery = \"5s\" # often\n",
        &[("health.every", json!("7s"))],
        "[health] # h\nevery = \"7s\" # often\n",
    );
    let changed = DEVICE
        .replace("unit = \"C\"", "unit = \"K\"")
        .replace("points = \"*\"\n", "points = \"*\"\nstale_after = \"3s\"\n");
    check(
        DEVICE,
        &[("device.boiler.points.temp.unit", json!("K")), ("device.a.b.stale_after", json!("3s"))],
        &changed,
    );
    check(
        DEVICE,
        &[("device.\"a.b\".port", json!("q"))],
        &DEVICE.replace(
            "port = \"p\"\ndecode = \"json\"\npoints = \"*\"",
            "port = \"q\"\ndecode = \"json\"\npoints = \"*\"",
        ),
    );
    check(
        DEVICE,
        &[("port.0.baud", json!(300))],
        &DEVICE.replace("path = \"/dev/p\"\n", "path = \"/dev/p\"\nbaud = 300\n"),
    );
}

#[test]
fn what_is_taken_out_has_its_default_again() {
    check("[health]\nevery = \"5s\"\n", &[("health.every", Json::Null)], "[health]\n");
    refused(
        "[health]\n",
        "health.every",
        Json::Null,
        "health.every is not in the file, so it can't be taken out",
    );
    refused("", "health.every", Json::Null, "health.every is not in the file, so it can't be taken out");
}

#[test]
fn tables_come_and_go_by_their_names() {
    let port = "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n";
    let other = "\n[[port]]\nname = \"q\"\npath = \"/dev/q\"\nbaud = 300\n";
    check(port, &[("port.q", json!({"path": "/dev/q", "baud": 300}))], &format!("{port}{other}"));
    check(&format!("{port}{other}"), &[("port.p", Json::Null)], other);
    check(port, &[("port.p", Json::Null)], "");
    check("", &[("port.q", json!({"path": "/dev/q", "baud": 300}))], other);
    check("# x\n", &[("gateway.site", json!("barn"))], "# x\n\n[gateway]\nsite = \"barn\"\n");
    check(port, &[("port", json!([{"name": "q", "path": "/dev/q", "baud": 300}]))], other);
    refused(port, "port.r.baud", json!(1), "there is no [[port]] named \"r.baud\"");
}

#[test]
fn a_word_becomes_a_table_where_it_gets_keys() {
    check(
        "[[device]]\nname = \"d\"\ndecode = \"json\"\n",
        &[("device.d.framing", json!({"kind": "line", "end": "cr"}))],
        "[[device]]\nname = \"d\"\ndecode = \"json\"\nframing = { kind = \"line\", end = \"cr\" }\n",
    );
    check(
        "[[device]]\nname = \"d\"\nframing = \"line\"\n",
        &[("device.d.framing.max", json!("1 KiB"))],
        "[[device]]\nname = \"d\"\nframing = { kind = \"line\", max = \"1 KiB\" }\n",
    );
}

#[test]
fn a_path_that_means_nothing_is_told_with_what_was_meant() {
    refused("", "helth.every", json!(1), "unknown key \"helth\" at the top level; did you mean \"health\"?");
    refused("", "health.evry", json!(1), "unknown key \"evry\" in [health]; did you mean \"every\"?");
    refused(
        "[health]\nevery = \"5s\"",
        "health.every.x",
        json!(1),
        "health.every is a plain value and has no keys",
    );
    refused("", "", json!(1), "the path is empty; write one such as health.every");
    refused(
        "[health\n",
        "health.every",
        json!(1),
        "f is not TOML: unclosed table, expected `]`; mend it as text",
    );
}

#[test]
fn of_several_files_the_one_that_has_the_most_of_the_path_is_changed() {
    let files = [
        source("main", "[gateway]\nid = \"a\"\n"),
        source("more", "[health]\nevery = \"5s\"\n[[port]]\nname = \"p\"\n"),
    ];
    let list = [
        ("health.every", json!("6s")),
        ("port.p.path", json!("/dev/p")),
        ("gateway.site", json!("s")),
        ("time.trust", json!("always")),
    ];
    let edited = edit(&files, &edits(&list)).unwrap();
    assert_eq!(edited[0].text, "[gateway]\nid = \"a\"\nsite = \"s\"\n\n[time]\ntrust = \"always\"\n");
    assert_eq!(edited[1].text, "[health]\nevery = \"6s\"\n[[port]]\nname = \"p\"\npath = \"/dev/p\"\n");
}

#[test]
fn what_a_person_writes_is_toml_or_a_text() {
    for (path, text, expected) in [
        ("health.every", "5s", Ok("[health]\nevery = \"5s\"\n")),
        ("health.every", "\"5s\"", Ok("[health]\nevery = \"5s\"\n")),
        ("gateway.site", "42", Ok("[gateway]\nsite = \"42\"\n")),
        ("broker.connections_max", "42", Ok("[broker]\nconnections_max = 42\n")),
        ("broker.client_id_prefixes", "[\"a\"]", Ok("[broker]\nclient_id_prefixes = [\"a\"]\n")),
    ] {
        let edited = edit(&[source("f", "")], &[written(path, text)]).map(|files| files[0].text.clone());
        assert_eq!(
            edited.as_deref().map(str::trim_start),
            expected.map_err(|_: ()| unreachable!()),
            "{path} {text}"
        );
    }
}

#[test]
fn the_annotated_config_keeps_each_comment_and_stays_right() {
    let text = include_str!("../../../config/fieldgate.toml");
    let list = [
        ("gateway.site", json!("barn")),
        ("port.usb", json!({"path": "/dev/ttyUSB0"})),
        ("device.scale", json!({"port": "usb", "decode": "json", "points": "*"})),
        ("upstream.up", json!({"host": "up.example", "map": [{"filter": "a/#"}]})),
        ("upstream.up.map.0.qos", json!(1)),
    ];
    let edited = edit(&[source("f", text)], &edits(&list)).unwrap();
    let facts = Facts { default_id: "gw".into(), ..Facts::default() };
    let config =
        parse(&edited, &facts).unwrap_or_else(|mistakes| panic!("{}", crate::config::render(&mistakes)));
    assert_eq!(config.gateway.site.as_deref(), Some("barn"));
    assert_eq!(config.upstreams[0].maps.len(), 1);
    let mut lines = edited[0].text.lines();
    for line in text.lines() {
        assert!(lines.any(|other| other == line), "{line:?} is gone or moved");
    }
}
