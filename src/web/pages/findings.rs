//! What a scan has found, in words, and what to do with it: the lines for the config, and the form that has them filled in.
//! Pure: from the events of a scan to what the page shows.

use serde_json::Value as Json;

use super::status::{list, text};
use crate::hex;
use crate::web::guard::encoded;
use crate::web::texts::Catalogue;

/// Values of one device that are shown.
const VALUES_MAX: usize = 6;

/// Bytes of what was heard that are shown.
const SAMPLE_BYTES_MAX: usize = 48;

/// The line that was scanned.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// The port's name, or a device file that no port means.
    pub name: &'a str,
    /// For one that no port means: what to write into a port, such as `path = "/dev/ttyUSB0"`.
    pub unused: Option<&'a str>,
    /// `serial`, `modbus`, `mbus`.
    pub kind: &'a str,
}

/// Something that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finding {
    /// One line.
    pub title: String,
    /// More of it.
    pub details: Vec<String>,
    /// What to write into the config.
    pub toml: String,
    /// Where the config's form has it filled in.
    pub link: String,
}

/// What a scan told, with what was heard at each rate apart from what can be used.
#[must_use]
pub fn findings(line: Line<'_>, events: &[Json], t: &Catalogue) -> (Vec<Finding>, Vec<String>) {
    let mut found: Vec<(Option<u64>, Finding, Json)> = Vec::new();
    let mut heard = Vec::new();
    for event in events {
        let unit = event.get("unit_id").and_then(Json::as_u64);
        let known = |found: &mut Vec<(Option<u64>, Finding, Json)>, detail: String| {
            let last = found.iter_mut().rev().find(|(known, ..)| *known == unit);
            if let Some((_, finding, _)) = last.filter(|_| !detail.is_empty()) {
                finding.details.push(detail);
            }
        };
        match text(event, "event").as_str() {
            "heard" => heard.push(in_words(event, t)),
            "best" => found.push((None, best(line, event, t), Json::Null)),
            "unit" => found.push((unit, answered(line, event, t), event.clone())),
            "identity" => known(&mut found, identity(event, t)),
            "profiles" => {
                known(&mut found, profiles(event, t));
                let last = found.iter_mut().rev().find(|(known, ..)| *known == unit);
                if let Some((_, finding, answer)) = last {
                    (finding.toml, finding.link) = device(line, answer, &names(event, "profiles"));
                }
            }
            "registers" => known(&mut found, registers(event, t)),
            _ => {}
        }
    }
    (found.into_iter().map(|(_, finding, _)| finding).collect(), heard)
}

fn number(event: &Json, key: &str) -> u64 {
    event.get(key).and_then(Json::as_u64).unwrap_or_default()
}

fn names(event: &Json, key: &str) -> Vec<String> {
    list(event, key).iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// `9600 8N1`.
fn settings(event: &Json) -> String {
    match event.get("baud").and_then(Json::as_u64) {
        Some(baud) => format!("{baud} {}", text(event, "frame")),
        None => String::new(),
    }
}

/// Rate and frame as the keys of a port.
fn keys(event: &Json) -> Vec<(&'static str, String)> {
    let Some(baud) = event.get("baud").and_then(Json::as_u64) else { return Vec::new() };
    let frame = text(event, "frame");
    let mut keys = vec![("baud", baud.to_string())];
    if frame.starts_with('7') {
        keys.push(("data_bits", "7".to_owned()));
    }
    match frame.as_bytes().get(1) {
        Some(b'E') => keys.push(("parity", "even".to_owned())),
        Some(b'O') => keys.push(("parity", "odd".to_owned())),
        _ => {}
    }
    keys
}

fn toml_of(keys: &[(&'static str, String)]) -> String {
    let line = |(key, value): &(&str, String)| match *key {
        "parity" => format!("{key} = {value:?}\n"),
        _ => format!("{key} = {value}\n"),
    };
    keys.iter().map(line).collect()
}

fn with(keys: &[(&'static str, String)]) -> String {
    keys.iter().map(|(key, value)| format!("&with.{key}={}", encoded(value))).collect()
}

/// The port of the line: its lines in the config, and the form. One that no port means gets a new one.
fn port(line: Line<'_>, event: &Json) -> (String, String) {
    let keys = keys(event);
    let Some(unused) = line.unused else {
        let toml = format!("# [[port]] {}\n{}", line.name, toml_of(&keys));
        return (toml, format!("/config?path={}{}", encoded(&format!("port.{}", line.name)), with(&keys)));
    };
    let toml = format!("[[port]]\nname = \"line\"\n{unused}\n{}", toml_of(&keys));
    let (key, value) = unused.split_once(" = ").unwrap_or(("path", line.name));
    // A text stands in its field as it is, anything else as TOML.
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let link = format!("/config?path=port&new=1&with.name=line&with.{key}={}{}", encoded(value), with(&keys));
    (toml, link)
}

/// The most likely rate.
fn best(line: Line<'_>, event: &Json, t: &Catalogue) -> Finding {
    let (mut toml, link) = port(line, event);
    let profiles: Vec<String> = list(event, "matches").iter().map(|found| text(found, "profile")).collect();
    if let Some(first) = profiles.first() {
        let name = if line.unused.is_some() { "line" } else { line.name };
        toml += &format!(
            "\n[[device]]\nname = \"sensor\"\nport = {name:?}\nprofile = {first:?}{}\n",
            or(&profiles)
        );
    }
    Finding {
        title: t.fill("port.most_likely", &[("settings", &settings(event))]),
        details: vec![in_words(event, t)],
        toml,
        link,
    }
}

/// What else it could be.
fn or(profiles: &[String]) -> String {
    match profiles {
        [] | [_] => String::new(),
        [_, others @ ..] => format!("    # or {}", others.join(", ")),
    }
}

/// Somebody answers at an address.
fn answered(line: Line<'_>, event: &Json, t: &Catalogue) -> Finding {
    let latency = event.get("latency_ms").and_then(Json::as_f64).unwrap_or_default();
    let late = event.get("late").and_then(Json::as_bool).unwrap_or_default();
    let after = format!("{latency:.0} ms");
    let mut details = vec![t.fill(if late { "port.late" } else { "port.after" }, &[("time", &after)])];
    details.extend(Some(text(event, "answer")).filter(|answer| !answer.is_empty()));
    let (toml, link) = device(line, event, &[]);
    let address = number(event, "unit_id").to_string();
    Finding {
        title: t
            .fill("port.answers", &[("address", &address), ("settings", &settings(event))])
            .trim_end()
            .to_owned(),
        details,
        toml,
        link,
    }
}

/// The lines and the form of a device that answers.
fn device(line: Line<'_>, answer: &Json, profiles: &[String]) -> (String, String) {
    let address = number(answer, "unit_id");
    let keys = keys(answer);
    let is_mbus = line.kind == "mbus";
    let name = format!("unit-{address}");
    let own = if is_mbus {
        format!("poll = {{ address = {address} }}\n")
    } else {
        format!("unit_id = {address}\n")
    };
    let profile =
        profiles.first().map(|first| format!("profile = {first:?}{}\n", or(profiles))).unwrap_or_default();
    let of_port = if line.unused.is_some() { "line" } else { line.name };
    let device = format!("[[device]]\nname = {name:?}\nport = {of_port:?}\n{profile}{own}");
    let (port, to_port) = port(line, answer);
    if line.unused.is_some() {
        // The port comes first: a device needs one.
        return (format!("{port}\n{device}"), to_port);
    }
    let toml = if keys.is_empty() { device } else { format!("{port}\n{device}") };
    let own = if is_mbus {
        format!("&with.poll={}", encoded(&format!("{{ address = {address} }}")))
    } else {
        format!("&with.unit_id={address}")
    };
    let profile =
        profiles.first().map(|first| format!("&with.profile={}", encoded(first))).unwrap_or_default();
    let link =
        format!("/config?path=device&new=1&with.name={name}&with.port={}{profile}{own}", encoded(line.name));
    (toml, link)
}

fn identity(event: &Json, t: &Catalogue) -> String {
    let facts = event.get("facts").and_then(Json::as_object).into_iter().flatten();
    let facts: Vec<String> =
        facts.map(|(name, fact)| format!("{name} {}", fact.as_str().unwrap_or_default())).collect();
    if facts.is_empty() { String::new() } else { t.fill("port.identity", &[("facts", &facts.join(", "))]) }
}

fn profiles(event: &Json, t: &Catalogue) -> String {
    let values = event.get("values").and_then(Json::as_object).into_iter().flatten();
    let values: Vec<String> =
        values.take(VALUES_MAX).map(|(name, value)| format!("{name} {value}")).collect();
    let names = names(event, "profiles").join(", ");
    t.fill("port.profiles", &[("names", &names), ("values", &values.join(", "))])
}

fn registers(event: &Json, t: &Catalogue) -> String {
    let table =
        if number(event, "function") == 3 { t.say("port.holding") } else { t.say("port.input_registers") };
    let values: Vec<String> = list(event, "values").iter().map(Json::to_string).collect();
    format!("{table} {}: {}", number(event, "address"), values.join(" "))
}

/// What was heard at one rate.
fn in_words(event: &Json, t: &Catalogue) -> String {
    let count = |key: &str| number(event, key).to_string();
    let mut words = Vec::new();
    if let Some(found) = list(event, "matches").first() {
        let names: Vec<String> = list(event, "matches").iter().map(|found| text(found, "profile")).collect();
        let (good, bad) = (number(found, "good"), number(found, "bad"));
        words.push(t.fill(
            "port.frames",
            &[
                ("good", &good.to_string()),
                ("all", &good.saturating_add(bad).to_string()),
                ("title", &text(found, "title")),
                ("names", &names.join(", ")),
            ],
        ));
    } else if !list(event, "modbus_units").is_empty() {
        let units: Vec<String> = list(event, "modbus_units").iter().map(Json::to_string).collect();
        words.push(t.fill("port.modbus_heard", &[("units", &units.join(", "))]));
    } else if number(event, "bytes") == 0 {
        words.push(t.say("port.silence").to_owned());
    } else if number(event, "sense") > 0 {
        words.push(t.fill("port.text_lines", &[("count", &count("text_lines"))]));
    } else {
        words.push(
            t.fill("port.no_sense", &[("bytes", &count("bytes")), ("percent", &count("printable_percent"))]),
        );
    }
    if number(event, "errors") > 0 {
        words.push(t.fill("port.damaged", &[("count", &count("errors")), ("bytes", &count("bytes"))]));
    }
    words.extend(Some(sample(&text(event, "sample"))).filter(|sample| !sample.is_empty()));
    format!("{}: {}", settings(event), words.join("; "))
}

/// Text as text, anything else in hexadecimal digits.
fn sample(digits: &str) -> String {
    let bytes = hex::decode(digits).unwrap_or_default();
    let shown = bytes.get(..SAMPLE_BYTES_MAX).unwrap_or(&bytes);
    let more = if bytes.len() > shown.len() { " …" } else { "" };
    if shown.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) {
        return format!("{}{more}", String::from_utf8_lossy(shown));
    }
    format!("{}{more}", hex::spaced(shown))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::web::texts::Texts;

    fn english() -> std::sync::Arc<Catalogue> {
        Texts::load(std::path::Path::new("/nonexistent")).liked("en")
    }

    #[test]
    fn a_device_that_answers_becomes_lines_of_the_config_and_a_form_that_has_them() {
        let line = Line { name: "usb0", unused: None, kind: "modbus" };
        let events = [
            json!({"event": "unit", "unit_id": 5, "baud": 19200, "frame": "8E1", "answer": "register 0", "latency_ms": 12.4, "late": false}),
            json!({"event": "identity", "unit_id": 5, "facts": {"vendor": "ACME"}}),
            json!({"event": "profiles", "unit_id": 5, "profiles": ["meter-a", "meter-b"], "values": {"v": 230.1}}),
            json!({"event": "unit", "unit_id": 7, "baud": 19200, "frame": "8E1", "answer": "", "latency_ms": 900.0, "late": true}),
        ];
        let (found, heard) = findings(line, &events, &english());
        assert!(heard.is_empty());
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].title, "Address 5 answers at 19200 8E1");
        assert_eq!(
            found[0].toml,
            "# [[port]] usb0\nbaud = 19200\nparity = \"even\"\n\n\
             [[device]]\nname = \"unit-5\"\nport = \"usb0\"\nprofile = \"meter-a\"    # or meter-b\nunit_id = 5\n"
        );
        assert_eq!(
            found[0].link,
            "/config?path=device&new=1&with.name=unit-5&with.port=usb0&with.profile=meter-a&with.unit_id=5"
        );
        let details = found[0].details.join("\n");
        assert!(
            details.contains("12 ms") && details.contains("vendor ACME") && details.contains("v 230.1"),
            "{details}"
        );
        assert!(!found[1].toml.contains("profile"), "{}", found[1].toml);
    }

    #[test]
    fn the_most_likely_rate_goes_to_the_port_and_a_meter_is_asked_by_its_address() {
        let line = Line { name: "p 1", unused: None, kind: "serial" };
        let events = [
            json!({"event": "heard", "baud": 4800, "frame": "8N1", "bytes": 0}),
            json!({"event": "heard", "baud": 300, "frame": "7E1", "bytes": 9, "errors": 2, "sense": 1, "text_lines": 1, "sample": "414200"}),
            json!({"event": "best", "baud": 300, "frame": "7E1", "bytes": 9, "matches": [{"profile": "x", "title": "X", "good": 3, "bad": 1}]}),
        ];
        let (found, heard) = findings(line, &events, &english());
        assert_eq!(heard.len(), 2);
        assert!(heard[1].contains("2 of 9") && heard[1].ends_with("41 42 00"), "{}", heard[1]);
        assert_eq!(found[0].link, "/config?path=port.p%201&with.baud=300&with.data_bits=7&with.parity=even");
        assert!(found[0].toml.contains("data_bits = 7\nparity = \"even\""), "{}", found[0].toml);
        assert!(found[0].details[0].contains("3 of 4"), "{:?}", found[0].details);

        let line = Line { name: "/dev/ttyUSB0", unused: Some("path = \"/dev/ttyUSB0\""), kind: "mbus" };
        let unit = json!({"event": "unit", "unit_id": 3, "baud": 2400, "frame": "8E1", "answer": "x", "latency_ms": 1.0});
        let (found, _) = findings(line, &[unit], &english());
        assert_eq!(
            found[0].link,
            "/config?path=port&new=1&with.name=line&with.path=/dev/ttyUSB0&with.baud=2400&with.parity=even"
        );
        assert!(
            found[0].toml.starts_with("[[port]]\nname = \"line\"\npath = \"/dev/ttyUSB0\"\nbaud = 2400\n")
                && found[0].toml.ends_with("port = \"line\"\npoll = { address = 3 }\n"),
            "{}",
            found[0].toml
        );
    }
}
