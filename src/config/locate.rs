//! Which key a mistake is about: a form puts the message at its field.

use toml::de::{DeTable, DeValue};

use super::{Mistake, Source};

/// The path of the key at whose place a mistake stands, such as `device.boiler.points.temp.unit`; `None` where there is
/// no key. Of tables that may stand several times one goes by its name, or by its place from 0 on.
#[must_use]
pub fn path_of(mistake: &Mistake, sources: &[Source]) -> Option<String> {
    let source = sources.iter().find(|source| source.file == mistake.file)?;
    let offset = offset(&source.text, mistake.line, mistake.column)?;
    let (document, _) = DeTable::parse_recoverable(&source.text);
    in_table(document.get_ref(), offset)
}

/// The byte at a line and column, both from 1; the column in characters.
fn offset(text: &str, line: usize, column: usize) -> Option<usize> {
    let before: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let rest = text.get(before..)?;
    let rest_after_mark = rest.strip_prefix('\u{feff}').unwrap_or(rest);
    let mark = rest.len().saturating_sub(rest_after_mark.len());
    let within = rest_after_mark.char_indices().nth(column.checked_sub(1)?);
    let within = within.map_or(rest_after_mark.len(), |(at, _)| at);
    Some(before.saturating_add(mark).saturating_add(within))
}

fn in_table(table: &DeTable<'_>, offset: usize) -> Option<String> {
    table.iter().find_map(|(name, value)| {
        let name_here: &str = name.get_ref();
        let below = match value.get_ref() {
            DeValue::Table(below) => in_table(below, offset),
            DeValue::Array(items) => items.iter().enumerate().find_map(|(place, item)| {
                let DeValue::Table(below) = item.get_ref() else { return None };
                let called = called(below).map_or_else(|| place.to_string(), str::to_owned);
                let deeper = in_table(below, offset).map(|deeper| format!("{called}.{deeper}"));
                deeper.or_else(|| item.span().contains(&offset).then_some(called))
            }),
            _ => None,
        };
        match below {
            Some(below) => Some(format!("{name_here}.{below}")),
            None if name.span().contains(&offset) || value.span().contains(&offset) => {
                Some(name_here.to_owned())
            }
            None => None,
        }
    })
}

fn called<'t>(table: &'t DeTable<'_>) -> Option<&'t str> {
    let text = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str());
    text("name").or_else(|| text("host"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Facts, parse};

    #[test]
    fn a_mistake_is_put_at_the_key_that_it_is_about() {
        for (text, expected) in [
            ("[health]\nevery = 5\n", Some("health.every")),
            ("[helth]\n", Some("helth")),
            ("[[port]]\nname = \"p\"\npath = \"/p\"\nbaud = 0\n", Some("port.p.baud")),
            ("[[port]]\nname = \"p\"\npath = \"/p\"\n\n[[port]]\nname = \"ä\"\n", Some("port.ä")),
            (
                "[[upstream]]\nhost = \"a.b\"\n[[upstream.map]]\nfilter = \"#/x\"\n",
                Some("upstream.a.b.map.0.filter"),
            ),
            ("port = [{ name = \"é\", path = 5 }]\n", Some("port.é.path")),
            ("health = \n", None),
        ] {
            let sources = [Source { file: "f".into(), text: text.into() }];
            let facts = Facts { default_id: "gw".into(), ..Facts::default() };
            let mistakes = parse(&sources, &facts).unwrap_err();
            assert_eq!(path_of(&mistakes[0], &sources).as_deref(), expected, "{text}: {mistakes:?}");
        }
    }
}
