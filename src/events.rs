//! What has happened lately, for people: logins, changes, commands, outages. A ring in memory; the log has the same for
//! ever.

use std::collections::VecDeque;

use serde_json::{Value as Json, json};

use crate::time::Now;

/// Events that are kept. Each has up to some 600 bytes, so 600 KiB at worst. At the bound the oldest go; `first` of the
/// answer tells from where on they are there.
const EVENTS_MAX: usize = 1_000;

/// The longest text of one, in bytes; the rest is cut off.
const TEXT_BYTES_MAX: usize = 240;

/// One that has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What, for programs: `login`, `logout`, `login_failed`, `claimed`, …
    pub kind: &'static str,
    /// Who did it.
    pub who: Option<String>,
    /// From where.
    pub address: Option<String>,
    /// What about it, for people.
    pub detail: String,
}

impl Event {
    /// Shortens texts that are too long: some come from whoever likes to write them.
    pub fn cut(&mut self) {
        for text in [Some(&mut self.detail), self.who.as_mut(), self.address.as_mut()].into_iter().flatten() {
            cut(text);
        }
    }
}

/// The ring.
#[derive(Debug, Default)]
pub struct Events {
    ring: VecDeque<(u64, Now, Event)>,
    last: u64,
}

impl Events {
    /// Adds one.
    pub fn add(&mut self, now: Now, mut event: Event) {
        event.cut();
        if self.ring.len() >= EVENTS_MAX {
            self.ring.pop_front();
        }
        self.last += 1;
        self.ring.push_back((self.last, now, event));
    }

    /// Those after a number, oldest first; 0: all that are kept.
    #[must_use]
    pub fn json(&self, after: u64) -> Json {
        let events: Vec<Json> = self.ring.iter().filter(|(number, ..)| *number > after).map(one).collect();
        json!({
            "first": self.ring.front().map_or(self.last + 1, |(number, ..)| *number),
            "last": self.last,
            "events": events,
        })
    }
}

fn one((number, now, event): &(u64, Now, Event)) -> Json {
    json!({
        "number": number,
        "time": now.wall.to_string(),
        "clock": now.trust.as_str(),
        "kind": event.kind,
        "who": event.who,
        "address": event.address,
        "detail": event.detail,
    })
}

fn cut(text: &mut String) {
    let mut end = TEXT_BYTES_MAX;
    while !text.is_char_boundary(end.min(text.len())) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(detail: String) -> Event {
        Event { kind: "login", who: Some("anna".into()), address: None, detail }
    }

    #[test]
    fn the_oldest_go_and_that_can_be_seen() {
        let mut events = Events::default();
        assert_eq!(events.json(0), json!({"first": 1, "last": 0, "events": []}));
        for number in 0..EVENTS_MAX + 5 {
            events.add(Now::default(), event(number.to_string()));
        }
        let all = events.json(0);
        assert_eq!((&all["first"], &all["last"]), (&json!(6), &json!(EVENTS_MAX + 5)));
        assert_eq!(all["events"].as_array().unwrap().len(), EVENTS_MAX);
        assert_eq!(all["events"][0]["detail"], "5");
        let newest = events.json(1_004);
        assert_eq!(newest["events"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut events = Events::default();
        events.add(Now::default(), event("ü".repeat(500) + "x"));
        events.add(Now::default(), event("x".to_owned() + &"ü".repeat(500)));
        let all = events.json(0);
        assert_eq!(all["events"][0]["detail"].as_str().unwrap().len(), 240);
        assert_eq!(all["events"][1]["detail"].as_str().unwrap().len(), 239);
    }
}
