//! Values: from what mosquitto.conf writes to what the config writes. Where Mosquitto has no limit and fieldgate must
//! have one, the largest that can be set is taken.

use crate::config::duration;

/// A value as the config has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Converted {
    /// In TOML. `None`: the default says the same.
    pub(super) value: Option<String>,
    /// What is different now, if anything.
    pub(super) differs: Option<String>,
}

const SESSIONS_MAX: i64 = 100_000;
const CONNECTIONS_MAX: i64 = 65_000;
const QUEUED_MESSAGES_MAX: i64 = 1_000_000;
const QUEUED_BYTES_MIN: i64 = 1_024;
const QUEUED_BYTES_MAX: i64 = 1 << 30;
const PACKET_BYTES_MIN: i64 = 1_024;
/// The largest that `broker.packet_max` can be.
pub(super) const PACKET_BYTES_MAX: i64 = 268_435_460;
/// What stands around the payload of a PUBLISH at most, rounded up: the topic, the properties.
const AROUND_PAYLOAD_BYTES: i64 = 64 << 10;
const MEMORY_BYTES_MIN: i64 = 16 << 20;
const MEMORY_BYTES_MAX: i64 = 1 << 40;
const DAY_SECONDS: i64 = 86_400;
const EXPIRATION_DAYS_MAX: i64 = 3_650;
const SYS_SECONDS_MAX: i64 = DAY_SECONDS;

fn plainly(value: impl Into<String>) -> Converted {
    Converted { value: Some(value.into()), differs: None }
}

/// A text in TOML's double quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An array of texts.
pub(super) fn list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<String> = texts.into_iter().map(quoted).collect();
    format!("[{}]", texts.join(", "))
}

/// A whole number, as Mosquitto reads it.
pub(super) fn number(text: &str) -> Result<i64, String> {
    let read =
        text.strip_prefix("0x").map_or_else(|| text.parse::<i64>(), |hex| i64::from_str_radix(hex, 16));
    read.map_err(|_| format!("{} is no whole number", quoted(text)))
}

/// true or false, as Mosquitto reads them.
pub(super) fn truth(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("{} is neither true nor false", quoted(text))),
    }
}

pub(super) fn flag(text: &str) -> Result<Converted, String> {
    truth(text).map(|truth| plainly(truth.to_string()))
}

pub(super) fn one_text(text: &str) -> Result<Converted, String> {
    Ok(plainly(list([text])))
}

/// A number of seconds as a duration.
pub(super) fn in_seconds(seconds: i64) -> String {
    quoted(&format!("{seconds}s"))
}

/// `zero` and anything above `max` become `max`; below `min`, `min`. What changes is told.
fn bounded(number: i64, min: i64, max: i64, print: impl Fn(i64) -> String) -> Converted {
    if number == 0 {
        let differs = format!("0 means no limit; the largest that can be set is {}", print(max));
        return Converted { value: Some(print(max)), differs: Some(differs) };
    }
    let nearest = number.clamp(min, max);
    let differs =
        (nearest != number).then(|| format!("{number} can't be set, {} is the nearest", print(nearest)));
    Converted { value: Some(print(nearest)), differs }
}

fn count(text: &str, max: i64) -> Result<Converted, String> {
    let number = number(text)?;
    if number < 0 {
        return Err(format!("{number} is less than 0"));
    }
    Ok(bounded(number, 1, max, |n| n.to_string()))
}

fn bytes(text: &str, min: i64, max: i64) -> Result<Converted, String> {
    let number = number(text)?;
    if number < 0 {
        return Err(format!("{number} is less than 0"));
    }
    Ok(bounded(number, min, max, |n| quoted(&format!("{n} B"))))
}

pub(super) fn inflight(text: &str) -> Result<Converted, String> {
    count(text, 65_535)
}

pub(super) fn queued_messages(text: &str) -> Result<Converted, String> {
    count(text, QUEUED_MESSAGES_MAX)
}

pub(super) fn queued_bytes(text: &str) -> Result<Converted, String> {
    bytes(text, QUEUED_BYTES_MIN, QUEUED_BYTES_MAX)
}

pub(super) fn packet(text: &str) -> Result<Converted, String> {
    bytes(text, PACKET_BYTES_MIN, PACKET_BYTES_MAX)
}

/// 0 is what fieldgate finds out for itself.
pub(super) fn memory(text: &str) -> Result<Converted, String> {
    const ALL: &str = "it is the memory of the whole gateway, and load is shed before it is reached";
    if number(text)? == 0 {
        return Ok(Converted { value: None, differs: None });
    }
    let Converted { value, differs } = bytes(text, MEMORY_BYTES_MIN, MEMORY_BYTES_MAX)?;
    let differs = differs.map_or(ALL.to_owned(), |differs| format!("{differs}; {ALL}"));
    Ok(Converted { value, differs: Some(differs) })
}

/// The packet that a payload of this size comes in. 0: no limit.
pub(super) fn packet_of_payload(text: &str) -> Result<Converted, String> {
    match number(text)? {
        0 => packet("0"),
        payload => packet(&payload.saturating_add(AROUND_PAYLOAD_BYTES).to_string()),
    }
}

pub(super) fn topic_alias(text: &str) -> Result<Converted, String> {
    match number(text)? {
        number @ 0..=65_535 => Ok(plainly(number.to_string())),
        number => Err(format!("{number} is not between 0 and 65535")),
    }
}

/// -1 is no limit.
fn or_unlimited(text: &str, max: i64) -> Result<Converted, String> {
    match number(text)? {
        -1 => Ok(bounded(0, 1, max, |n| n.to_string())),
        _ => count(text, max),
    }
}

pub(super) fn sessions(text: &str) -> Result<Converted, String> {
    or_unlimited(text, SESSIONS_MAX)
}

pub(super) fn connections(text: &str) -> Result<Converted, String> {
    or_unlimited(text, CONNECTIONS_MAX)
}

/// 0 and the largest that MQTT knows are no bound.
pub(super) fn keep_alive(text: &str) -> Result<Converted, String> {
    match number(text)? {
        0 | 65_535 => Ok(Converted { value: None, differs: None }),
        seconds @ 1..65_535 => Ok(Converted {
            value: Some(in_seconds(seconds)),
            differs: Some(
                "MQTT 3 clients that ask for a longer one are refused, as Mosquitto 2.1 does".into(),
            ),
        }),
        seconds => Err(format!("{seconds} is not between 0 and 65535")),
    }
}

pub(super) fn seconds(text: &str) -> Result<Converted, String> {
    match number(text)? {
        seconds @ 0..=SYS_SECONDS_MAX => Ok(plainly(in_seconds(seconds))),
        seconds if seconds > 0 => Ok(bounded(seconds, 0, SYS_SECONDS_MAX, in_seconds)),
        seconds => Err(format!("{seconds} is less than 0")),
    }
}

/// `14d`, `2m`: a month is 30 days and a year 365, as Mosquitto counts.
pub(super) fn expiration(text: &str) -> Result<Converted, String> {
    let wrong = || format!("{} is no whole number with s, h, d, w, m or y behind it", quoted(text));
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'h' => 3_600,
        'd' => DAY_SECONDS,
        'w' => 7 * DAY_SECONDS,
        'm' => 30 * DAY_SECONDS,
        'y' => 365 * DAY_SECONDS,
        _ => return Err(wrong()),
    };
    let count: i64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    if count <= 0 {
        return Err(wrong());
    }
    let max = EXPIRATION_DAYS_MAX * DAY_SECONDS;
    let print = |seconds: i64| {
        let span = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        quoted(&duration::print(span))
    };
    Ok(bounded(count.saturating_mul(seconds), 1, max, print))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(convert: fn(&str) -> Result<Converted, String>, rows: &[(&str, Option<&str>)]) {
        for (written, expected) in rows {
            let value = convert(written).ok().and_then(|converted| converted.value);
            assert_eq!(value.as_deref(), *expected, "{written}");
        }
    }

    #[test]
    fn numbers_become_what_the_config_can_say() {
        check(inflight, &[("20", Some("20")), ("0", Some("65535")), ("-1", None), ("many", None)]);
        check(
            packet,
            &[("100000", Some("\"100000 B\"")), ("20", Some("\"1024 B\"")), ("0", Some("\"268435460 B\""))],
        );
        check(packet_of_payload, &[("1000", Some("\"66536 B\"")), ("0", Some("\"268435460 B\""))]);
        check(connections, &[("-1", Some("65000")), ("7", Some("7"))]);
        check(keep_alive, &[("65535", None), ("60", Some("\"60s\"")), ("70000", None)]);
        check(seconds, &[("0", Some("\"0s\"")), ("10", Some("\"10s\"")), ("-5", None)]);
        check(
            expiration,
            &[
                ("14d", Some("\"14d\"")),
                ("2m", Some("\"60d\"")),
                ("1y", Some("\"365d\"")),
                ("36h", Some("\"36h\"")),
                ("100y", Some("\"3650d\"")),
                ("14", None),
                ("d", None),
                ("", None),
                ("1ü", None),
            ],
        );
        check(flag, &[("true", Some("true")), ("0", Some("false")), ("yes", None)]);
    }

    #[test]
    fn quoted_texts_are_read_back_as_they_were() {
        for text in ["", "a b", "a\"b\\c", "#", "ä\u{7}\u{1b}[31m", "'"] {
            let document = format!("key = {}\n", quoted(text));
            let read: toml::Table = toml::from_str(&document).unwrap();
            assert_eq!(read["key"].as_str(), Some(text), "{document}");
        }
    }
}
