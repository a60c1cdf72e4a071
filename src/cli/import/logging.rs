//! What is logged, and where; and the file with the process's number.

use super::conf::{Conf, Entry};
use super::options::Weight;
use super::output::Section;
use super::report::Kind;
use super::translate::Translation;
use super::values::{self, list, quoted};

/// The levels, from the quietest.
const LEVELS: [&str; 5] = ["off", "error", "warn", "info", "debug"];

/// Types of Mosquitto with the level that has them.
const TYPES: [(&str, usize); 7] = [
    ("none", 0),
    ("error", 1),
    ("warning", 2),
    ("notice", 3),
    ("information", 3),
    ("internal", 4),
    ("debug", 4),
];

/// Types that are events of their own, by the same names.
const EVENTS: [&str; 3] = ["subscribe", "unsubscribe", "websockets"];

/// `[gateway]` and `[log]`, with what belongs to it, as far as anything is said of them.
pub(super) fn sections(translation: &mut Translation<'_>, conf: &Conf) -> Vec<Section> {
    let mut sections = Vec::new();
    if let Some(entry) = conf.globals.get("pid_file") {
        let mut gateway = Section::new("[gateway]");
        translation.set_path(&mut gateway, "pid_file", Some(entry));
        sections.push(gateway);
    }
    let mut log = Section::new("[log]");
    let mut file = Section::new("[log.file]");
    let mut syslog = Section::new("[log.syslog]");
    destinations(translation, conf, &mut log, &mut file);
    types(translation, conf, &mut log);
    time(translation, conf, &mut log);
    if let Some(entry) = conf.globals.get("log_facility") {
        match values::number(&entry.value) {
            Ok(number @ 0..=7) => {
                syslog.set("facility", quoted(&format!("local{number}")), Some(&entry.place))
            }
            _ => translation.tell(entry, Kind::Mistake, "the facilities are 0 to 7"),
        }
    }
    sections.extend([log, file, syslog].into_iter().filter(|section| !section.is_empty()));
    sections
}

fn destinations(translation: &mut Translation<'_>, conf: &Conf, log: &mut Section, file: &mut Section) {
    let mut to: Vec<&str> = Vec::new();
    let mut first: Option<&Entry> = None;
    for entry in conf.globals.all("log_dest") {
        let (word, rest) = entry.value.split_once([' ', '\t']).unwrap_or((&entry.value, ""));
        match word {
            "file" if rest.trim().is_empty() => {
                translation.tell(entry, Kind::Mistake, "the name of the file is missing");
                continue;
            }
            "file" => {
                let path = translation.absolute(rest.trim());
                file.set("path", quoted(&path), Some(&entry.place));
                file.set_because("max_size", "\"0 B\"", "Mosquitto lets it grow");
            }
            "stderr" | "stdout" | "syslog" | "topic" => {}
            "none" => {
                to.clear();
                first = Some(entry);
                continue;
            }
            "dlt" | "android" => {
                translation.refuse(entry, Weight::Minor, "it is no destination; journald and syslog are");
                continue;
            }
            _ => {
                translation.tell(entry, Kind::Mistake, format!("{} is no destination", quoted(word)));
                continue;
            }
        }
        first = first.or(Some(entry));
        if !to.contains(&word) {
            to.push(word);
        }
    }
    if let Some(first) = first {
        log.set("to", list(to), Some(&first.place));
    }
}

fn types(translation: &mut Translation<'_>, conf: &Conf, log: &mut Section) {
    let mut loudest: Option<(usize, &Entry)> = None;
    let mut events: Vec<&str> = Vec::new();
    let mut from: Option<&Entry> = None;
    for entry in conf.globals.all("log_type") {
        let level = match entry.value.as_str() {
            "all" => {
                events = EVENTS.to_vec();
                from = Some(entry);
                LEVELS.len() - 1
            }
            word if EVENTS.contains(&word) => {
                events.push(word);
                from = from.or(Some(entry));
                continue;
            }
            word => match TYPES.iter().find(|(name, _)| *name == word) {
                Some((_, level)) => *level,
                None => {
                    translation.tell(entry, Kind::Mistake, format!("{} is no type of lines", quoted(word)));
                    continue;
                }
            },
        };
        if loudest.is_none_or(|(known, _)| level > known) {
            loudest = Some((level, entry));
        }
    }
    if let Some((level, entry)) = loudest {
        log.set("level", quoted(LEVELS.get(level).unwrap_or(&"info")), Some(&entry.place));
    }
    let wanted = conf.globals.get("connection_messages");
    let connections = wanted.map(|entry| values::truth(&entry.value) == Ok(true));
    // Mosquitto's are of type notice.
    if connections.unwrap_or(loudest.is_none_or(|(level, _)| level >= 3)) {
        events.insert(0, "connection");
    }
    if let Some(from) = wanted.or(from) {
        log.set("events", list(events), Some(&from.place));
    }
}

fn time(translation: &mut Translation<'_>, conf: &Conf, log: &mut Section) {
    let given = conf.globals.get("log_timestamp");
    if let Some(entry) = given.filter(|entry| values::truth(&entry.value) == Ok(false)) {
        return log.set("timestamp", "\"none\"", Some(&entry.place));
    }
    if let Some(entry) = conf.globals.get("log_timestamp_format") {
        if entry.value.contains('%') && is_pattern(&entry.value) {
            return log.set("timestamp", quoted(&entry.value), Some(&entry.place));
        }
        translation.refuse(
            entry,
            Weight::Minor,
            "it is no pattern that can be said; times are RFC 3339, in UTC",
        );
    } else if let Some(entry) = given {
        log.set("timestamp", "\"epoch\"", Some(&entry.place));
    }
}

/// Whether the log can write times so.
fn is_pattern(text: &str) -> bool {
    let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
    jiff::fmt::strtime::format(text, &sample).is_ok()
}
