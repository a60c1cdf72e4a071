//! JSON over several lines, laid out as mosquitto_sub's --pretty does it.

/// Lays out JSON that has no white space outside of its strings: each member of an object on a line of its own, arrays
/// on one line.
pub(super) fn laid_out(compact: &str) -> String {
    let mut out = String::with_capacity(compact.len().saturating_mul(2));
    // Which brackets are open.
    let mut open: Vec<char> = Vec::new();
    let (mut quoted, mut escaped) = (false, false);
    let mut chars = compact.chars().peekable();
    while let Some(c) = chars.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match (c, open.last()) {
            ('{', _) => {
                open.push(c);
                out.push_str("{\n");
                if chars.peek() != Some(&'}') {
                    indent(&mut out, open.len());
                }
            }
            ('}', _) => {
                open.pop();
                if !out.ends_with("{\n") {
                    out.push('\n');
                }
                indent(&mut out, open.len());
                out.push(c);
            }
            (',', Some('{')) => {
                out.push_str(",\n");
                indent(&mut out, open.len());
            }
            (',', _) => out.push_str(", "),
            (':', _) => out.push_str(":\t"),
            ('[', _) => {
                open.push(c);
                out.push(c);
            }
            (']', _) => {
                open.pop();
                out.push(c);
            }
            _ => {
                quoted = c == '"';
                out.push(c);
            }
        }
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n('\t', depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stand_on_lines_and_strings_stay_as_they_are() {
        for (compact, expected) in [
            (
                r#"{"a":1,"b":[1,{"c":"x,y:{\"}"}]}"#,
                "{\n\t\"a\":\t1,\n\t\"b\":\t[1, {\n\t\t\t\"c\":\t\"x,y:{\\\"}\"\n\t\t}]\n}",
            ),
            (r#""\\""#, r#""\\""#),
            ("{}", "{\n}"),
            (r#"{"a":{}}"#, "{\n\t\"a\":\t{\n\t}\n}"),
            ("[]", "[]"),
        ] {
            assert_eq!(laid_out(compact), expected, "{compact}");
        }
    }
}
