//! Separated columns, by name or by number.

use std::borrow::Cow;

use super::{Fields, Raw};

/// The separator, the columns' names, and the points' columns.
#[derive(Debug)]
pub(in crate::sensor) struct Csv {
    separator: char,
    columns: Vec<String>,
    /// From 0; `None` where the point names no column.
    picks: Vec<Option<usize>>,
}

impl Csv {
    pub(super) fn new(separator: char, columns: Vec<String>, froms: &[&str]) -> Self {
        let place = |from: &&str| {
            let by_name = columns.iter().position(|column| column == from);
            by_name.or_else(|| from.parse::<usize>().ok()?.checked_sub(1))
        };
        let picks = froms.iter().map(place).collect();
        Self { separator, columns, picks }
    }

    pub(super) fn pick<'a>(&self, line: &'a str) -> Vec<Raw<'a>> {
        let columns = self.split(line);
        let field = |pick: &Option<usize>| {
            let column = pick.and_then(|index| columns.get(index));
            column.map_or(Raw::Missing, |text| Raw::word(text))
        };
        self.picks.iter().map(field).collect()
    }

    /// A column without a name has its number from 1 as its name.
    pub(super) fn all<'a>(&'a self, line: &'a str, fields: &mut Fields<'a>) {
        for (index, text) in self.split(line).into_iter().enumerate() {
            let name = match self.columns.get(index) {
                Some(name) => Cow::Borrowed(name.as_str()),
                None => Cow::Owned(index.saturating_add(1).to_string()),
            };
            fields.put(name, Raw::word(text));
        }
    }

    /// The columns' text, without the quotes around it. A quoted column may contain the separator.
    fn split<'a>(&self, line: &'a str) -> Vec<&'a str> {
        if self.separator == ' ' {
            // Columns that are padded to a width: any run of spaces is one separator.
            return line.split_ascii_whitespace().collect();
        }
        let mut columns = Vec::with_capacity(self.columns.len());
        let mut rest = line;
        loop {
            let quoted = rest.trim_start_matches(' ').strip_prefix('"').and_then(|text| text.split_once('"'));
            if let Some((column, after)) = quoted {
                let after = after.trim_start_matches(' ');
                if let Some(next) = after.strip_prefix(self.separator) {
                    columns.push(column);
                    rest = next;
                    continue;
                }
                if after.is_empty() {
                    columns.push(column);
                    return columns;
                }
            }
            match rest.split_once(self.separator) {
                Some((column, next)) => {
                    columns.push(column);
                    rest = next;
                }
                None => {
                    columns.push(rest);
                    return columns;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_split_and_trimmed() {
        let check = |separator: char, line: &str, expected: &[&str]| {
            let columns: Vec<&str> =
                Csv::new(separator, Vec::new(), &[]).split(line).into_iter().map(str::trim).collect();
            assert_eq!(columns, expected, "{line}");
        };
        check(',', "21.5,61, ,x", &["21.5", "61", "", "x"]);
        check(',', "", &[""]);
        check(',', "21.5 , 61,", &["21.5", "61", ""]);
        check(';', "21,5;61", &["21,5", "61"]);
        check('\t', "21.5\t61", &["21.5", "61"]);
        check(' ', "  21.5   61 ", &["21.5", "61"]);
        check(',', "\"a,b\",\"\",c", &["a,b", "", "c"]);
        check(',', "\"a\"x,b", &["\"a\"x", "b"]);
        check(',', "\"a,b", &["\"a", "b"]);
    }

    #[test]
    fn columns_are_picked_by_name_and_by_number() {
        let csv =
            Csv::new(',', vec!["t".into(), "h".into(), "7".into()], &["h", "1", "4", "9", "x", "0", "7"]);
        let expected = [
            Raw::Word("61"),
            Raw::Word("21.5"),
            Raw::Word("four"),
            Raw::Missing,
            Raw::Missing,
            Raw::Missing,
            Raw::Word("3"),
        ];
        assert_eq!(csv.pick("21.5,61,3,four"), expected);
        assert_eq!(csv.pick("21.5,,").first(), Some(&Raw::Missing));
    }

    #[test]
    fn all_names_columns_that_have_no_name_by_their_number() {
        let csv = Csv::new(',', vec!["t".into()], &[]);
        let mut fields = Fields::default();
        csv.all("21.5,,61", &mut fields);
        assert_eq!(fields.0, [("t".into(), Raw::Word("21.5")), ("3".into(), Raw::Word("61"))]);
    }
}
