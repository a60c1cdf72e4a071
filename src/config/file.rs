//! `[[file]]`: values that the kernel's drivers keep in files, each file a device.

use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use rust_decimal::Decimal;

use super::exec::taken;
use super::mistake::{Mistakes, quoted};
use super::names::unique;
use super::point::{self, OTHER_UNIT};
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::{Section, Value};
use crate::sensor::{FileConfig, Pattern, PointConfig};

/// Stale devices are told no sooner than this.
const STALE_MIN: Duration = Duration::from_secs(60);

/// `[[file]]`
pub static FILE: Table = Table {
    name: "[[file]]",
    doc: "Files of the kernel's drivers (1-Wire, IIO, hwmon, thermal), each a device of one value.",
    keys: &[
        required(
            "name",
            Kind::Level { bytes_max: 64 },
            "\"cellar\"",
            Reconnect,
            "What it is called; unique among the sources.",
        ),
        optional(
            "profile",
            Kind::Text { bytes_max: 64 },
            Reconnect,
            "A known driver: whatever isn't said here is as its profile says; `fieldgate profile list` shows them.",
        ),
        required(
            "path",
            Kind::Path,
            "\"/sys/bus/w1/devices/28-*/temperature\"",
            Reconnect,
            "The files; * and ? match within a level. Files that come and go are noticed.",
        ),
        computed(
            "device",
            Kind::Level { bytes_max: 64 },
            "the name, and behind it what the wildcards match, joined by -",
            Reconnect,
            "What the device of a file is called: {1} is what the first wildcard matches, and so on.",
        ),
        key(
            "every",
            duration(100, 86_400_000),
            "\"10s\"",
            Reconnect,
            "How often they are read; 100ms to 1d.",
        ),
        key(
            "timeout",
            duration(10, 600_000),
            "\"5s\"",
            Reconnect,
            "A read that takes longer is left alone, and holds nobody up; 10ms to 10min.",
        ),
        key(
            "pattern",
            Kind::Pattern,
            "'(?<value>\\S+)'",
            Reconnect,
            "A regular expression that finds the value in the file, in the group value.",
        ),
        key("point", Kind::Level { bytes_max: 64 }, "\"value\"", Reconnect, "What the value is called."),
        key("scale", Kind::Decimal, "1", Reconnect, "Multiplies the number, exactly as it is written here."),
        key("offset", Kind::Decimal, "0", Reconnect, "Added after scaling, exactly as it is written here."),
        optional(
            "precision",
            Kind::Integer { min: 0, max: 12 },
            Reconnect,
            "Digits behind the point that are left, after scaling.",
        ),
        optional(
            "unit",
            Kind::OneOf(&[Kind::Text { bytes_max: 32 }, Kind::Table(&OTHER_UNIT)]),
            Reconnect,
            "Unit, by its SenML name: Cel, %RH, V; or { other = \"…\" }.",
        ),
        key(
            "invalid",
            Kind::Scalars { count_max: 64 },
            "[]",
            Reconnect,
            "Raw values, before scaling, that say that there is no value.",
        ),
        optional("min", Kind::Number, Reconnect, "Below it, after scaling, the value is out of range."),
        optional("max", Kind::Number, Reconnect, "Above it, after scaling, the value is out of range."),
        computed(
            "stale_after",
            duration(100, 2_592_000_000),
            "three times every, at least 60s",
            Reconnect,
            "Without a good value for this long a device is stale; 100ms to 30d.",
        ),
    ],
};

/// The `[[file]]` tables. `devices` are those of the config, whose names are taken.
pub(super) fn files(
    sections: &[Section],
    devices: &[Section],
    ports: [(&str, &[Section]); 2],
    mistakes: &mut Mistakes<'_>,
) -> Vec<FileConfig> {
    unique(mistakes, "[[file]]", "name", sections);
    for (table, others) in ports {
        taken(sections, table, others, mistakes);
    }
    let files: Vec<FileConfig> = sections.iter().map(|section| file(section, mistakes)).collect();
    for (index, (section, one)) in sections.iter().zip(&files).enumerate() {
        let named = devices.iter().filter_map(|device| Some((device, device.text("name")?)));
        if let Some((other, name)) = named.into_iter().find(|(_, name)| may_be(&one.device, name)) {
            let place = mistakes.place(other.span("name"));
            let message =
                format!("device: it may become {}, which the [[device]] at {place} is", quoted(name));
            mistakes.add_with_help(section.span("device"), message, "begin it with another word");
        }
        let before = sections.iter().zip(&files).take(index);
        if let Some((other, _)) = before.into_iter().find(|(_, other)| may_meet(&one.device, &other.device)) {
            let place = mistakes.place(other.span("device"));
            let message = format!("device: it may become the same as that of the [[file]] at {place}");
            mistakes.add_with_help(section.span("device"), message, "begin it with another word");
        }
    }
    files
}

fn file(section: &Section, mistakes: &mut Mistakes<'_>) -> FileConfig {
    let path = section.string("path");
    let wildcards = wildcards(&path);
    let every = section.duration("every");
    let device = match section.text("device") {
        Some(device) => {
            check_device(section, device, wildcards, mistakes);
            device.to_owned()
        }
        None => (1..=wildcards).fold(section.string("name"), |name, place| format!("{name}-{{{place}}}")),
    };
    if section.decimal("scale") == Decimal::ZERO && matches!(section.value("scale"), Some(Value::Decimal(_)))
    {
        mistakes.add(section.span("scale"), "scale: 0 would make every value the same");
    }
    if let (Some(min), Some(max)) = (section.number("min"), section.number("max"))
        && min > max
    {
        mistakes.add(section.span("max"), format!("max: {max} is below min, {min}"));
    }
    let point = PointConfig {
        from: "value".to_owned(),
        scale: section.decimal("scale"),
        offset: section.decimal("offset"),
        precision: section.is_given("precision").then(|| section.integer("precision")),
        unit: point::unit(section, mistakes),
        invalid: section.scalars("invalid").iter().map(|(scalar, _)| point::raw_value(scalar)).collect(),
        min: section.number("min"),
        max: section.number("max"),
        ..PointConfig::named(section.text("point").unwrap_or("value"))
    };
    FileConfig {
        name: Arc::from(section.string("name")),
        path,
        device,
        every,
        timeout: section.duration("timeout"),
        pattern: Pattern(pattern(section, mistakes)),
        point,
        stale_after: section
            .optional_duration("stale_after")
            .unwrap_or_else(|| every.saturating_mul(3).max(STALE_MIN)),
    }
}

fn pattern(section: &Section, mistakes: &mut Mistakes<'_>) -> Regex {
    #[expect(clippy::expect_used, reason = "a constant expression")]
    let nothing = || Regex::new("(?<value>)").expect("it is an expression");
    let Some(Value::Pattern(regex)) = section.value("pattern") else { return nothing() };
    if !regex.capture_names().flatten().any(|name| name == "value") {
        let message = "pattern: it has no group \"value\"";
        mistakes.add_with_help(section.span("pattern"), message, "write (?<value>…) around the value");
    }
    regex.clone()
}

/// The runs of wildcards in a path.
fn wildcards(path: &str) -> usize {
    let is_wild = |character: char| matches!(character, '*' | '?');
    let before = [None].into_iter().chain(path.chars().map(Some));
    path.chars().zip(before).filter(|(here, before)| is_wild(*here) && !before.is_some_and(is_wild)).count()
}

/// Notes placeholders that stand for nothing, and wildcards that would give several files one name.
fn check_device(section: &Section, device: &str, wildcards: usize, mistakes: &mut Mistakes<'_>) {
    let span = section.span("device");
    let mut rest = device;
    while let Some((_, behind)) = rest.split_once('{') {
        let Some((word, tail)) = behind.split_once('}') else { break };
        let number = word.parse::<usize>().ok();
        if !number.is_some_and(|number| (1..=wildcards).contains(&number)) {
            let message = format!("device: {} stands for nothing here", quoted(&format!("{{{word}}}")));
            let help = match wildcards {
                0 => "the path has no wildcard".to_owned(),
                1 => "{1} is what the wildcard of the path matches".to_owned(),
                _ => format!("{{1}} to {{{wildcards}}} are what the wildcards of the path match"),
            };
            mistakes.add_with_help(span, message, help);
            return;
        }
        rest = tail;
    }
    if wildcards > 0 && literal_beginning(device) == device && section.is_given("device") {
        let message = "device: all files that match would have this name";
        mistakes.add_with_help(span, message, format!("write \"{device}-{{1}}\""));
    }
}

/// What stands before the first placeholder.
fn literal_beginning(device: &str) -> &str {
    device.split('{').next().unwrap_or_default()
}

/// Whether a device of this template could have this name. The ends aren't looked at.
fn may_be(template: &str, name: &str) -> bool {
    let beginning = literal_beginning(template);
    if beginning == template { template == name } else { name.starts_with(beginning) }
}

/// Whether two templates could give one name. The ends aren't looked at.
fn may_meet(one: &str, other: &str) -> bool {
    let (a, b) = (literal_beginning(one), literal_beginning(other));
    match (a == one, b == other) {
        (true, _) => may_be(other, one),
        (_, true) => may_be(one, other),
        (false, false) => a.starts_with(b) || b.starts_with(a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_could_meet_are_found() {
        let check = |one: &str, other: &str, expected: bool| {
            assert_eq!(may_meet(one, other), expected, "{one} {other}");
            assert_eq!(may_meet(other, one), expected, "{other} {one}");
        };
        check("cellar-{1}", "cellar-{1}", true);
        check("cellar-{1}", "cellar-roof", true);
        check("cellar-{1}", "cellar", false);
        check("cellar-{1}", "cellar-roof-{1}", true);
        check("roof-{1}", "cellar-{1}", false);
        check("roof", "roof", true);
        check("roof", "root", false);
        assert_eq!(wildcards("/a/28-*/b?*c/*"), 3);
    }
}
