//! `key=value` pairs, as an Arduino sketch prints them.

use std::borrow::Cow;

use super::{Fields, Raw};
use crate::sensor::fault::LineError;

/// The marks, and the points' keys.
#[derive(Debug)]
pub(in crate::sensor) struct KeyValue {
    pair: char,
    separator: Option<char>,
    keys: Vec<String>,
}

impl KeyValue {
    pub(super) fn new(pair: char, separator: Option<char>, froms: &[&str]) -> Self {
        Self { pair, separator, keys: froms.iter().map(|&from| from.to_owned()).collect() }
    }

    pub(super) fn pick<'a>(&self, line: &'a str) -> Result<Vec<Raw<'a>>, LineError> {
        let mut found = vec![Raw::Missing; self.keys.len()];
        self.walk(line, |key, value| {
            for (place, _) in found.iter_mut().zip(&self.keys).filter(|(_, known)| *known == key) {
                *place = Raw::word(value);
            }
        })?;
        Ok(found)
    }

    pub(super) fn all<'a>(&self, line: &'a str, fields: &mut Fields<'a>) -> Result<(), LineError> {
        self.walk(line, |key, value| fields.put(Cow::Borrowed(key), Raw::word(value)))
    }

    /// Calls `take` with each key and its value; refuses a line without any.
    fn walk<'a>(&self, line: &'a str, mut take: impl FnMut(&'a str, &'a str)) -> Result<(), LineError> {
        let mut pairs: usize = 0;
        let mut count = |key: &'a str, value: &'a str| {
            if !key.is_empty() {
                pairs = pairs.saturating_add(1);
                take(key, value);
            }
        };
        match self.separator {
            Some(separator) => {
                for (key, value) in line.split(separator).filter_map(|part| part.split_once(self.pair)) {
                    count(key.trim(), value.trim());
                }
            }
            None => self.walk_loose(line, &mut count),
        }
        if pairs == 0 { Err(LineError::NoPair { pair: self.pair }) } else { Ok(()) }
    }

    /// Any separators, and spaces around the pair mark: `t = 21.5, h: 61` reads as people mean it.
    fn walk_loose<'a>(&self, line: &'a str, take: &mut impl FnMut(&'a str, &'a str)) {
        let mut rest = line;
        while let Some((before, after)) = rest.split_once(self.pair) {
            let before = before.trim_end_matches([' ', '\t']);
            let key = before.rsplit(is_separator).next().unwrap_or(before);
            let value_on = after.trim_start_matches([' ', '\t']);
            let end = value_on.find(is_separator).unwrap_or(value_on.len());
            let (value, next) = value_on.split_at_checked(end).unwrap_or((value_on, ""));
            // `a= b=2`: what follows the space is the next key, unless it can't be one (`at: 12:30`).
            let is_next_key = value_on.len() < after.len()
                && value.contains(self.pair)
                && value.starts_with(char::is_alphabetic);
            if is_next_key {
                take(key, "");
                rest = value_on;
            } else {
                take(key, value);
                rest = next;
            }
        }
    }
}

fn is_separator(character: char) -> bool {
    matches!(character, ' ' | '\t' | ',' | ';')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pair: char, separator: Option<char>, line: &str) -> Option<Vec<(String, String)>> {
        let mut fields = Fields::default();
        KeyValue::new(pair, separator, &[]).all(line, &mut fields).ok()?;
        let text = |raw: Raw<'_>| match raw {
            Raw::Word(word) => word.to_owned(),
            other => panic!("{other:?}"),
        };
        Some(fields.0.into_iter().map(|(key, raw)| (key.into_owned(), text(raw))).collect())
    }

    #[test]
    fn pairs_are_found_however_the_sketch_spaces_them() {
        let check = |pair: char, separator: Option<char>, line: &str, expected: &[(&str, &str)]| {
            let expected: Vec<(String, String)> =
                expected.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            assert_eq!(pairs(pair, separator, line), Some(expected), "{line}");
        };
        let both = &[("t", "21.5"), ("h", "61")];
        check('=', None, "t=21.5 h=61", both);
        check('=', None, "t=21.5,h=61", both);
        check('=', None, " t=21.5;\th=61 ", both);
        check('=', None, "t = 21.5, h = 61", both);
        check('=', None, "t= 21.5 h= 61", both);
        check('=', None, "boot ok t=21.5 h=61 done", both);
        check(':', None, "t: 21.5, h: 61", both);
        check(':', None, "t:21.5 at:12:30:05", &[("t", "21.5"), ("at", "12:30:05")]);
        check(':', None, "t: 21.5 at: 12:30:05", &[("t", "21.5"), ("at", "12:30:05")]);
        check('=', None, "t= h=61", &[("h", "61")]);
        check('=', None, "t=,h=61", &[("h", "61")]);
        check('=', None, "t=1 t=2", &[("t", "2")]);
        check('=', None, "=5 h=61", &[("h", "61")]);
        check('=', Some(';'), "t = 21.5 ; h=61;x", both);
        check('=', Some(';'), "state=not ready;h=61", &[("state", "not ready"), ("h", "61")]);
        check('=', Some(' '), "t=21.5  h=61", both);
    }

    #[test]
    fn a_line_without_a_pair_is_refused() {
        for (pair, separator, line) in
            [('=', None, "hello"), ('=', None, ""), ('=', None, "=5"), (':', Some(','), "t=1,h=2")]
        {
            assert_eq!(pairs(pair, separator, line), None, "{line}");
        }
    }

    #[test]
    fn listed_keys_are_picked_in_the_order_of_the_list() {
        let decoder = KeyValue::new('=', None, &["h", "x", "t", "h"]);
        let expected = [Raw::Word("61"), Raw::Missing, Raw::Word("21.5"), Raw::Word("61")];
        assert_eq!(decoder.pick("t=21.5 h=61 T=3").unwrap(), expected);
    }
}
