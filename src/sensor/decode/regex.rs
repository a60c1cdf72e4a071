//! A regular expression with named groups.

use std::borrow::Cow;

use regex::Regex;

use super::{Fields, Raw};
use crate::sensor::fault::LineError;

/// The expression, and the points' groups.
#[derive(Debug)]
pub(in crate::sensor) struct Groups {
    regex: Regex,
    /// The group's number; `None` where the point names no group.
    picks: Vec<Option<usize>>,
}

impl Groups {
    pub(super) fn new(regex: Regex, froms: &[&str]) -> Self {
        let place = |from: &&str| regex.capture_names().position(|name| name == Some(*from));
        let picks = froms.iter().map(place).collect();
        Self { regex, picks }
    }

    pub(super) fn pick<'a>(&self, line: &'a str) -> Result<Vec<Raw<'a>>, LineError> {
        let captures = self.regex.captures(line).ok_or(LineError::NoMatch)?;
        let field = |pick: &Option<usize>| {
            let group = pick.and_then(|number| captures.get(number));
            group.map_or(Raw::Missing, |text| Raw::word(text.as_str()))
        };
        Ok(self.picks.iter().map(field).collect())
    }

    pub(super) fn all<'a>(&'a self, line: &'a str, fields: &mut Fields<'a>) -> Result<(), LineError> {
        let captures = self.regex.captures(line).ok_or(LineError::NoMatch)?;
        for name in self.regex.capture_names().flatten() {
            if let Some(group) = captures.name(name) {
                fields.put(Cow::Borrowed(name), Raw::word(group.as_str()));
            }
        }
        Ok(())
    }

    /// Whether it can only match from the line's beginning.
    pub(super) fn is_anchored(&self) -> bool {
        let pattern = self.regex.as_str();
        // An alternative at the top level may be without the anchor; `^a|b` is rare enough to call it unanchored.
        (pattern.starts_with('^') || pattern.starts_with("\\A")) && !has_top_level_alternative(pattern)
    }
}

/// Errs towards yes: brackets in classes and escapes are not looked into.
fn has_top_level_alternative(pattern: &str) -> bool {
    let mut depth: usize = 0;
    for character in pattern.chars() {
        match character {
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: &str = r"^(?<status>ST|US|OL),(?:(?<mode>GS|NT),)?\s*(?<weight>[+-]\s*[0-9.]+)?";

    #[test]
    fn groups_are_picked_and_those_that_took_no_part_are_missing() {
        let groups = Groups::new(Regex::new(SCALE).unwrap(), &["weight", "mode", "status", "x"]);
        let check =
            |line: &str, expected: [Raw<'_>; 4]| assert_eq!(groups.pick(line).unwrap(), expected, "{line}");
        let word = Raw::Word;
        check("ST,GS,+  0.123kg", [word("+  0.123"), word("GS"), word("ST"), Raw::Missing]);
        check("OL,", [Raw::Missing, Raw::Missing, word("OL"), Raw::Missing]);
        assert_eq!(groups.pick("XX,GS"), Err(LineError::NoMatch));
        let mut fields = Fields::default();
        groups.all("US,NT,", &mut fields).unwrap();
        assert_eq!(fields.0, [("status".into(), word("US")), ("mode".into(), word("NT"))]);
    }

    #[test]
    fn only_an_anchored_expression_sees_that_the_beginning_is_missing() {
        let check = |pattern: &str, expected: bool| {
            assert_eq!(Groups::new(Regex::new(pattern).unwrap(), &[]).is_anchored(), expected, "{pattern}");
        };
        check(SCALE, true);
        check(r"\Aa", true);
        check("a", false);
        check("^a|b", false);
        check("^(a|b)", true);
    }
}
