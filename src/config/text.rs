//! Rules for texts: names, topics, hosts, paths. What breaks a rule is refused with words; nothing is repaired.

use std::net::IpAddr;

use super::mistake::quoted;
use super::value::Refusal;
use crate::mqtt::topic::{TopicFilter, check_name};

/// The longest path that the kernel takes (PATH_MAX without its NUL).
const PATH_BYTES_MAX: usize = 4095;

/// The longest host name (RFC 1035, 2.3.4, without the dot at its end).
const HOST_BYTES_MAX: usize = 253;

/// The longest topic or prefix in a config: well below MQTT's 65,535, since levels are added to it.
const TOPIC_BYTES_MAX: usize = 1024;

fn refuse(message: impl Into<String>) -> Result<(), Refusal> {
    Err((message.into(), None))
}

fn sized(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.len() > bytes_max {
        return refuse(format!("{} has {} bytes, at most {bytes_max} may be", quoted(text), text.len()));
    }
    Ok(())
}

fn without_control(text: &str) -> Result<(), Refusal> {
    if text.chars().any(char::is_control) {
        return refuse(format!("{} has a control character", quoted(text)));
    }
    Ok(())
}

/// A text for people or another program.
pub(super) fn plain(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    sized(text.trim(), bytes_max)?;
    without_control(text)
}

/// Any characters, at least one.
pub(super) fn raw(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    sized(text, bytes_max)
}

/// A name of letters, digits, `_`, `.`, `-`.
pub(super) fn id(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    sized(text, bytes_max)?;
    match text.chars().find(|c| !is_id_char(*c)) {
        Some(bad) => Err((
            format!("{} has {bad:?}; a name here is made of A-Z a-z 0-9 _ . -", quoted(text)),
            Some(format!("write {:?}", as_id(text, bytes_max))),
        )),
        None => Ok(()),
    }
}

/// Whether a character may stand in an id.
pub(super) const fn is_id_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// The text with `-` in place of what may not stand in an id.
pub(super) fn as_id(text: &str, bytes_max: usize) -> String {
    text.chars().map(|c| if is_id_char(c) { c } else { '-' }).take(bytes_max).collect()
}

/// A name that may stand as one level of a topic.
pub(super) fn level(text: &str, bytes_max: usize) -> Result<(), Refusal> {
    sized(text, bytes_max)?;
    without_control(text)?;
    if text.trim() != text {
        return refuse(format!("{} has a space at its start or end", quoted(text)));
    }
    if matches!(text, "." | "..") {
        return refuse(format!("{} is no name: it has a meaning in paths", quoted(text)));
    }
    match text.chars().find(|c| matches!(c, '/' | '+' | '#')) {
        Some(bad) => refuse(format!("{} has {bad:?}, which has a meaning in topics", quoted(text))),
        None => Ok(()),
    }
}

/// An absolute path: a service has no useful working directory.
pub(super) fn path(text: &str) -> Result<(), Refusal> {
    sized(text, PATH_BYTES_MAX)?;
    without_control(text)?;
    if text.starts_with('/') {
        return Ok(());
    }
    let help =
        (text.starts_with("tty") || text.starts_with("serial")).then(|| format!("write \"/dev/{text}\""));
    Err((format!("{} is no absolute path", quoted(text)), help))
}

/// A host name or an IP address, nothing around it.
pub(super) fn host(text: &str) -> Result<(), Refusal> {
    sized(text, HOST_BYTES_MAX)?;
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    if let Some((_, rest)) = text.split_once("://") {
        let name = rest.split(['/', ':']).next().unwrap_or_default();
        let help = format!("write {name:?}; port and tls are keys of their own");
        return Err((format!("{} is an address, not a host name", quoted(text)), Some(help)));
    }
    if let Some((name, port)) = text.rsplit_once(':') {
        let is_port = port.parse::<u16>().is_ok();
        let help = is_port.then(|| format!("write {name:?} here; the port is a key of its own"));
        return Err((format!("{} is more than a host name", quoted(text)), help));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.chars().find(|c| !fits(*c)) {
        Some(bad) => refuse(format!("{} has {bad:?}, so it is no host name", quoted(text))),
        None if text.starts_with('.') || text.contains("..") => {
            refuse(format!("{} has an empty part, so it is no host name", quoted(text)))
        }
        None => Ok(()),
    }
}

/// A topic that others are built upon.
pub(super) fn topic(text: &str) -> Result<(), Refusal> {
    topic_prefix(text)?;
    check_name(text).or_else(|error| refuse(format!("{} {error}", quoted(text))))?;
    if text.is_empty() {
        return refuse("is empty");
    }
    if text.starts_with('/') || text.ends_with('/') {
        return refuse(format!("{} starts or ends with '/', which would make an empty level", quoted(text)));
    }
    if text.starts_with('$') {
        return refuse(format!("{} starts with '$', which is the broker's own realm", quoted(text)));
    }
    Ok(())
}

/// The beginning of a topic; may be empty.
pub(super) fn topic_prefix(text: &str) -> Result<(), Refusal> {
    if text.len() > TOPIC_BYTES_MAX {
        return refuse(format!(
            "{} has {} bytes, at most {TOPIC_BYTES_MAX} may be",
            quoted(text),
            text.len()
        ));
    }
    without_control(text)?;
    match text.chars().find(|c| matches!(c, '+' | '#')) {
        Some(bad) => {
            refuse(format!("{} has the wildcard {bad:?}, which only filters may have", quoted(text)))
        }
        None => Ok(()),
    }
}

/// A topic filter.
pub(super) fn filter(text: &str) -> Result<TopicFilter, Refusal> {
    sized(text, TOPIC_BYTES_MAX)?;
    without_control(text)?;
    let filter = TopicFilter::parse(text).map_err(|error| (format!("{} {error}", quoted(text)), None))?;
    if filter.share().is_some() || text.starts_with("$share/") {
        return Err((format!("{} is a shared subscription, which has no meaning here", quoted(text)), None));
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(rule: impl Fn(&str) -> Result<(), Refusal>, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(rule(text), Ok(()), "{text:?}");
        }
        for text in bad {
            assert!(rule(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_follow_their_rule() {
        check(|t| id(t, 8), &["a", "A.b_c-1", "12345678"], &["", "123456789", "a b", "ä", "a/b", "a\n"]);
        check(
            |t| level(t, 8),
            &["a", "Küche", "a b"],
            &["", "a/b", "+", "#", " a", "a\u{0}", "123456789", ".", ".."],
        );
        check(|t| plain(t, 8), &["a", " a "], &["", "   ", "a\tb", "123456789"]);
    }

    #[test]
    fn hosts_are_names_or_addresses_and_nothing_more() {
        check(
            host,
            &["localhost", "mqtt.example.com", "192.0.2.1", "2001:db8::1", "a_b", "example.com."],
            &["", "mqtt://x", "x:1883", "a b", "a..b", ".a", "a/b", "[::1]", "ü.example"],
        );
    }

    #[test]
    fn topics_have_neither_wildcards_nor_empty_ends() {
        check(topic, &["fieldgate/gw", "a"], &["", "/a", "a/", "a/+", "a/#", "$SYS", "a\u{0}b"]);
        check(topic_prefix, &["", "a/", "/a", "a"], &["+/a", "#", "a\u{7}"]);
        check(path, &["/dev/ttyUSB0", "/"], &["", "ttyUSB0", "./x", "/a\u{0}"]);
    }
}
