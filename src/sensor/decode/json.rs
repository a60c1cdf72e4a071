//! One JSON object per line.

use std::borrow::Cow;

use super::json_text::{self, Json as Tree};
use super::{Fields, Raw};
use crate::sensor::fault::LineError;

/// Where the points stand: one pointer each.
#[derive(Debug)]
pub(in crate::sensor) struct Json {
    pointers: Vec<Vec<String>>,
}

impl Json {
    pub(super) fn new(froms: &[&str]) -> Self {
        Self { pointers: froms.iter().map(|from| tokens(from)).collect() }
    }

    pub(super) fn pick<'a>(&self, line: &'a str) -> Result<Vec<Raw<'a>>, LineError> {
        let tree = object(line)?;
        let find = |pointer: &Vec<String>| {
            let found = pointer.iter().try_fold(&tree, |tree, token| tree.child(token));
            found.map_or(Raw::Missing, raw)
        };
        Ok(self.pointers.iter().map(find).collect())
    }
}

/// Every scalar of the line. What is nested is named by its path, joined by `_`.
pub(super) fn all<'a>(line: &'a str, fields: &mut Fields<'a>) -> Result<(), LineError> {
    flatten(Cow::Borrowed(""), &object(line)?, fields);
    Ok(())
}

fn object(line: &str) -> Result<Tree<'_>, LineError> {
    match json_text::parse(line)? {
        tree @ Tree::Object(_) => Ok(tree),
        _ => Err(LineError::NotAnObject),
    }
}

/// A JSON pointer's tokens (RFC 6901, 3 and 4), or a plain key as it is.
fn tokens(from: &str) -> Vec<String> {
    match from.strip_prefix('/') {
        None => vec![from.to_owned()],
        Some(path) => path.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect(),
    }
}

fn raw<'a>(tree: &Tree<'a>) -> Raw<'a> {
    match tree {
        Tree::Null => Raw::Null,
        Tree::Bool(value) => Raw::Bool(*value),
        Tree::Number(text) => Raw::Number(text),
        Tree::String(text) => Raw::String(text.clone()),
        Tree::Array(_) | Tree::Object(_) => Raw::Nested,
    }
}

fn flatten<'a>(path: Cow<'a, str>, tree: &Tree<'a>, fields: &mut Fields<'a>) {
    match tree {
        Tree::Object(members) => {
            for (name, member) in members {
                let name = if path.is_empty() { name.clone() } else { Cow::Owned(format!("{path}_{name}")) };
                flatten(name, member, fields);
            }
        }
        Tree::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                flatten(Cow::Owned(format!("{path}_{index}")), element, fields);
            }
        }
        scalar => fields.put(path, raw(scalar)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_found_by_key_and_by_pointer() {
        let line = r#"{"t":21.50,"bme":{"t":3,"a/b":true,"m~n":null},"list":[1,"two"],"s":"x\ty","/t":9}"#;
        let check = |from: &str, expected: Raw<'_>| {
            assert_eq!(Json::new(&[from]).pick(line).unwrap(), [expected], "{from}");
        };
        check("t", Raw::Number("21.50"));
        check("/t", Raw::Number("21.50"));
        check("//t", Raw::Missing);
        check("/~1t", Raw::Number("9"));
        check("/bme/t", Raw::Number("3"));
        check("/bme/a~1b", Raw::Bool(true));
        check("/bme/m~0n", Raw::Null);
        check("bme", Raw::Nested);
        check("/list/1", Raw::String("two".into()));
        check("/list/2", Raw::Missing);
        check("/list/01", Raw::Missing);
        check("/list/+1", Raw::Missing);
        check("s", Raw::String("x\ty".into()));
        check("h", Raw::Missing);
        check("/t/x", Raw::Missing);
        assert_eq!(
            Json::new(&["t"]).pick(r#"{"t":1,"t":2}"#).unwrap(),
            [Raw::Number("2")],
            "the last stands"
        );
    }

    #[test]
    fn a_line_that_is_no_object_is_refused() {
        let check = |line: &str, expected: &str| {
            assert_eq!(Json::new(&["t"]).pick(line).unwrap_err().to_string(), expected, "{line}");
        };
        check("[1]", "JSON, but not an object");
        check("21.5", "JSON, but not an object");
        check("t=21.5", "not JSON: no value after 0 bytes");
        check(r#"{"t":21.5"#, "not JSON: neither comma nor closing brace after 9 bytes");
        check(r#"{"t":nan}"#, "not JSON: no value after 5 bytes");
        check(r#"":21.5}"#, "not JSON: it ends after 7 bytes");
        check(r#"{"t":1}}"#, "not JSON: more text behind the value after 7 bytes");
    }

    #[test]
    fn all_takes_every_scalar_and_names_it_by_its_path() {
        let mut fields = Fields::default();
        all(
            r#"{"t":1,"bme":{"t":2,"x":{"y":null}},"l":[true,{"z":"s"}],"":5,"bme_t":3,"e":{}}"#,
            &mut fields,
        )
        .unwrap();
        let expected: Vec<(Cow<'_, str>, Raw<'_>)> = vec![
            ("t".into(), Raw::Number("1")),
            ("bme_t".into(), Raw::Number("3")),
            ("bme_x_y".into(), Raw::Null),
            ("l_0".into(), Raw::Bool(true)),
            ("l_1_z".into(), Raw::String("s".into())),
        ];
        assert_eq!(fields.0, expected);
    }

    #[test]
    fn all_takes_sixty_four_at_most() {
        let members: Vec<String> = (0..100).map(|number| format!("\"k{number}\":{number}")).collect();
        let line = format!("{{{}}}", members.join(","));
        let mut fields = Fields::default();
        all(&line, &mut fields).unwrap();
        assert_eq!(fields.0.len(), super::super::ALL_POINTS_MAX);
        assert_eq!(fields.0.last().unwrap().0, "k63");
    }
}
