//! Lines of an OBIS code and values in brackets, as meters print them: `1-0:1.8.0*255(00123.456*kWh)`.

use std::borrow::Cow;

use super::{Fields, Raw};
use crate::sensor::fault::LineError;

/// The points' codes, each with the number of the bracket, from 1, if it names one.
#[derive(Debug)]
pub(in crate::sensor) struct Obis {
    codes: Vec<(String, Option<usize>)>,
}

/// Whether a text is an OBIS code as a meter prints it, whole (`1-0:1.8.0`) or short (`1.8.0`), perhaps with the
/// number of a bracket behind it (`0-1:24.2.1#2`).
#[must_use]
pub fn is_obis_code(text: &str) -> bool {
    let (code, group) = split(text);
    let group_fits = !text.contains('#') || group.is_some_and(|number| number > 0);
    let group_letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b':' | b'.' | b'*');
    group_fits && code.contains('.') && code.bytes().all(group_letters)
}

fn split(from: &str) -> (&str, Option<usize>) {
    match from.split_once('#') {
        Some((code, group)) => (code, group.parse().ok()),
        None => (from, None),
    }
}

/// The code without the storage number that some meters add: `1-0:1.8.0*255`.
fn plain(code: &str) -> &str {
    code.strip_suffix("*255").unwrap_or(code)
}

impl Obis {
    pub(super) fn new(froms: &[&str]) -> Self {
        let code = |from: &&str| {
            let (code, group) = split(from);
            (plain(code).to_owned(), group)
        };
        Self { codes: froms.iter().map(code).collect() }
    }

    pub(super) fn pick<'a>(&self, frame: &'a str) -> Result<Vec<Raw<'a>>, LineError> {
        let mut found = vec![Raw::Missing; self.codes.len()];
        let mut lines: usize = 0;
        walk(frame, |code, groups| {
            lines = lines.saturating_add(1);
            for (place, (_, group)) in
                found.iter_mut().zip(&self.codes).filter(|(_, (known, _))| known == code)
            {
                let group = group.map_or(groups.len(), |number| number).checked_sub(1);
                let text = group.and_then(|index| groups.get(index)).copied().unwrap_or_default();
                *place = value(text);
            }
        });
        if lines == 0 { Err(LineError::NoObis) } else { Ok(found) }
    }

    /// Each code with its last bracket.
    pub(super) fn all<'a>(&self, frame: &'a str, fields: &mut Fields<'a>) -> Result<(), LineError> {
        let mut lines: usize = 0;
        walk(frame, |code, groups| {
            lines = lines.saturating_add(1);
            fields.put(Cow::Borrowed(code), value(groups.last().copied().unwrap_or_default()));
        });
        if lines == 0 { Err(LineError::NoObis) } else { Ok(()) }
    }
}

/// The value without its unit.
fn value(group: &str) -> Raw<'_> {
    Raw::word(group.split_once('*').map_or(group, |(value, _)| value))
}

/// Calls `take` with each code and its brackets. A line of brackets alone belongs to the code before it.
fn walk<'a>(frame: &'a str, mut take: impl FnMut(&'a str, &[&'a str])) {
    let mut open: Option<(&str, Vec<&str>)> = None;
    let lines = frame.split(['\r', '\n']).map(|line| line.trim_matches(|c: char| c.is_control() || c == ' '));
    for line in lines.filter(|line| !line.is_empty()) {
        let Some((code, rest)) = line.split_once('(') else { continue };
        let groups = rest.split('(').filter_map(|group| group.split_once(')').map(|(text, _)| text));
        if code.is_empty() {
            if let Some((_, known)) = &mut open {
                known.extend(groups);
            }
            continue;
        }
        if let Some((code, groups)) = open.take() {
            take(code, &groups);
        }
        if is_obis_code(code) {
            open = Some((plain(code), groups.collect()));
        }
    }
    if let Some((code, groups)) = open {
        take(code, &groups);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TELEGRAM: &str = "/KFM5KAIFA-METER\r\n\r\n1-3:0.2.8(42)\r\n1-0:1.8.0*255(00123.456*kWh)\r\n\
        0-1:24.2.1(101209112500W)(12785.123*m3)\r\n0-1:24.3.0(090212160000)(00)(60)(1)\r\n(00001.001)\r\n0.0.0()\r\n!A1B2\r\n";

    #[test]
    fn values_stand_without_their_units_in_the_last_bracket_or_the_one_that_is_named() {
        let obis = Obis::new(&["1-0:1.8.0", "0-1:24.2.1", "0-1:24.2.1#1", "0-1:24.3.0", "0.0.0", "9.9.9"]);
        let expected = [
            Raw::Word("00123.456"),
            Raw::Word("12785.123"),
            Raw::Word("101209112500W"),
            Raw::Word("00001.001"),
            Raw::Missing,
            Raw::Missing,
        ];
        assert_eq!(obis.pick(TELEGRAM).unwrap(), expected);
        assert_eq!(obis.pick("hello\r\n"), Err(LineError::NoObis));
        let mut fields = Fields::default();
        obis.all(TELEGRAM, &mut fields).unwrap();
        let names: Vec<&str> = fields.0.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["1-3:0.2.8", "1-0:1.8.0", "0-1:24.2.1", "0-1:24.3.0"]);
    }

    #[test]
    fn codes_are_told_from_words() {
        for (text, expected) in [
            ("1-0:1.8.0", true),
            ("1.8.0", true),
            ("C.1.0", true),
            ("0-1:24.2.1#2", true),
            ("0-1:24.2.1#0", false),
            ("1.8.0#x", false),
            ("energy", false),
            ("1.8.0 ", false),
        ] {
            assert_eq!(is_obis_code(text), expected, "{text}");
        }
    }
}
