//! What keeps a storm out of the log: of lines that outsiders can cause, one a second for each key is said; the others
//! are counted, and the count is said. Time is an argument.

use std::collections::HashMap;
use std::time::Duration;

/// A key is said once in this time.
const INTERVAL: Duration = Duration::from_secs(1);

/// Keys that are remembered, each at most some 400 bytes; all are forgotten after a silent interval. Those beyond are
/// counted together. As many as clients that a gateway usually has, so that all may come back at once and be named.
const KEYS_MAX: usize = 512;

/// Who was said lately.
#[derive(Debug, Default)]
pub(super) struct Damper {
    keys: HashMap<String, Seen>,
    /// Lines for whose keys there was no room.
    others: u64,
}

#[derive(Debug)]
struct Seen {
    at: Duration,
    held: u64,
}

impl Damper {
    /// Whether to say a line now, and how many like it were held back since the last.
    pub(super) fn admit(&mut self, now: Duration, key: &str) -> Option<u64> {
        if let Some(seen) = self.keys.get_mut(key) {
            if now.saturating_sub(seen.at) < INTERVAL {
                seen.held = seen.held.saturating_add(1);
                return None;
            }
            seen.at = now;
            return Some(std::mem::take(&mut seen.held));
        }
        if self.keys.len() >= KEYS_MAX {
            self.others = self.others.saturating_add(1);
            return None;
        }
        self.keys.insert(key.to_owned(), Seen { at: now, held: 0 });
        Some(0)
    }

    /// What was held back and is due to be told, with its count; the key is empty for those that had no room. `all`:
    /// also what isn't due yet.
    pub(super) fn due(&mut self, now: Duration, all: bool) -> Vec<(String, u64)> {
        let mut due = Vec::new();
        self.keys.retain(|key, seen| {
            if !all && now.saturating_sub(seen.at) < INTERVAL {
                return true;
            }
            if seen.held == 0 {
                return false;
            }
            due.push((key.clone(), std::mem::take(&mut seen.held)));
            seen.at = now;
            true
        });
        if self.others > 0 {
            due.push((String::new(), std::mem::take(&mut self.others)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_is_said_once_a_second_and_no_line_goes_uncounted() {
        let mut damper = Damper::default();
        let (mut said, mut held) = (0, 0);
        for step in 0..1_000_u32 {
            let now = Duration::from_millis(10) * step;
            if let Some(more) = damper.admit(now, "a") {
                said += 1;
                held += more;
            }
        }
        held += damper.due(SECOND * 60, false).iter().map(|(_, held)| held).sum::<u64>();
        assert_eq!((said, said + held), (10, 1_000));
    }

    #[test]
    fn the_last_of_a_storm_are_told_without_a_further_line_and_then_forgotten() {
        let mut damper = Damper::default();
        assert_eq!(damper.admit(Duration::ZERO, "a"), Some(0));
        assert_eq!(damper.admit(Duration::ZERO, "a"), None);
        assert!(damper.due(SECOND / 2, false).is_empty());
        assert_eq!(damper.due(SECOND, false), [("a".to_owned(), 1)]);
        assert!(damper.due(SECOND * 2, false).is_empty());
        assert!(damper.keys.is_empty());
    }

    #[test]
    fn more_keys_than_there_is_room_for_are_counted_together() {
        let mut damper = Damper::default();
        let said =
            (0..KEYS_MAX + 5).filter(|n| damper.admit(Duration::ZERO, &n.to_string()).is_some()).count();
        assert_eq!(said, KEYS_MAX);
        assert_eq!(damper.due(SECOND, false), [(String::new(), 5)]);
    }
}
