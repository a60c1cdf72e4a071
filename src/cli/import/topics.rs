//! The `topic` lines of a bridge: what goes over it, in which direction, and how it is named on each side.

use super::conf::{Block, Entry};
use super::options::Weight;
use super::output::Section;
use super::report::Kind;
use super::translate::Translation;
use super::values::{self, quoted};

/// Maps of an upstream.
const MAPS_MAX: usize = 64;

/// What the `topic` lines mean.
pub(super) fn maps(translation: &mut Translation<'_>, bridge: &Block) -> Result<Vec<Section>, String> {
    let retain =
        bridge.get("bridge_outgoing_retain").filter(|entry| values::truth(&entry.value) == Ok(false));
    let mut sections = Vec::new();
    let (mut outwards, mut inwards): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for entry in bridge.all("topic") {
        let pattern = match Pattern::parse(&entry.value) {
            Ok(pattern) => pattern,
            Err(wrong) => {
                translation.tell(entry, Kind::Mistake, wrong);
                continue;
            }
        };
        let filter = format!("{}{}", pattern.local_prefix, pattern.pattern);
        let remote = format!("{}{}", pattern.remote_prefix, pattern.pattern);
        let [goes_out, comes_in] = [pattern.direction != "in", pattern.direction != "out"];
        if [&filter, &remote].iter().any(|topic| topic.contains('{')) {
            translation.refuse(entry, Weight::Delivery, "a brace in a map begins a placeholder");
            continue;
        }
        if goes_out && outwards.contains(&filter) || comes_in && inwards.contains(&remote) {
            let text = "the same topics go by a line above; a message goes once";
            translation.refuse(entry, Weight::Delivery, text);
            continue;
        }
        if sections.len() >= MAPS_MAX {
            translation.refuse(entry, Weight::Delivery, format!("an upstream has at most {MAPS_MAX} maps"));
            continue;
        }
        sections.push(map(translation, entry, &pattern, &filter, retain));
        outwards.extend(goes_out.then_some(filter));
        inwards.extend(comes_in.then_some(remote));
    }
    match sections.is_empty() {
        // Without a map the gateway's readings would go there.
        true => Err("it has no topic".into()),
        false => Ok(sections),
    }
}

fn map(
    translation: &mut Translation<'_>,
    entry: &Entry,
    pattern: &Pattern<'_>,
    filter: &str,
    retain: Option<&Entry>,
) -> Section {
    let mut section = Section::new("[[upstream.map]]");
    section.set("filter", quoted(filter), Some(&entry.place));
    if pattern.local_prefix != pattern.remote_prefix {
        section.set("local_prefix", quoted(pattern.local_prefix), None);
        section.set("remote_prefix", quoted(pattern.remote_prefix), None);
    }
    if pattern.direction != "out" {
        section.set("direction", quoted(pattern.direction), None);
    }
    section.set("qos", pattern.qos.to_string(), None);
    if pattern.qos == 2 && pattern.direction != "in" {
        let text = "goes upstream with QoS 1: after a break of the link a message may come twice";
        translation.tell(entry, Kind::Differs, text);
    }
    if let Some(retain) = retain.filter(|_| pattern.direction != "in") {
        section.set("retain", "\"never\"", Some(&retain.place));
    }
    section
}

/// `topic pattern [[[out | in | both] qos] local-prefix remote-prefix]`
#[derive(Debug, PartialEq, Eq)]
struct Pattern<'l> {
    pattern: &'l str,
    direction: &'l str,
    qos: u8,
    local_prefix: &'l str,
    remote_prefix: &'l str,
}

impl<'l> Pattern<'l> {
    fn parse(line: &'l str) -> Result<Self, String> {
        let (pattern, rest) = match line.strip_prefix('"').and_then(|line| line.split_once('"')) {
            Some((quoted, rest)) => (quoted, rest),
            None => line.split_once([' ', '\t']).unwrap_or((line, "")),
        };
        let mut words = rest.split_whitespace();
        let direction = words.next().unwrap_or("out");
        if !matches!(direction, "out" | "in" | "both") {
            return Err(format!("{} is none of out, in, both", quoted(direction)));
        }
        let qos = match words.next() {
            None => 0,
            Some(word) => word
                .parse()
                .ok()
                .filter(|qos| *qos <= 2)
                .ok_or_else(|| format!("{} is no QoS", quoted(word)))?,
        };
        let mut prefix = || words.next().map_or("", |word| if word == "\"\"" { "" } else { word });
        let (local_prefix, remote_prefix) = (prefix(), prefix());
        if pattern.is_empty() && (local_prefix.is_empty() || remote_prefix.is_empty()) {
            return Err("an empty pattern needs both prefixes".into());
        }
        if words.next().is_some() {
            return Err("there is more than pattern, direction, QoS and two prefixes".into());
        }
        Ok(Self { pattern, direction, qos, local_prefix, remote_prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_lines_are_read_as_mosquitto_reads_them() {
        let all = |pattern, direction, qos, local_prefix, remote_prefix| {
            Ok(Pattern { pattern, direction, qos, local_prefix, remote_prefix })
        };
        for (line, expected) in [
            ("#", all("#", "out", 0, "", "")),
            ("sensors/#  both 2", all("sensors/#", "both", 2, "", "")),
            ("# out 1 local/ remote/", all("#", "out", 1, "local/", "remote/")),
            ("# in 0 \"\" remote/", all("#", "in", 0, "", "remote/")),
            ("\"\" out 0 a b", all("", "out", 0, "a", "b")),
            ("\"a b/#\" out 1", all("a b/#", "out", 1, "", "")),
            ("\"\" out 0 a", Err("an empty pattern needs both prefixes".to_owned())),
            ("a sideways", Err("\"sideways\" is none of out, in, both".to_owned())),
            ("a out 3", Err("\"3\" is no QoS".to_owned())),
            ("a out 1 b c d", Err("there is more than pattern, direction, QoS and two prefixes".to_owned())),
        ] {
            assert_eq!(Pattern::parse(line), expected, "{line}");
        }
    }
}
