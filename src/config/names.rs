//! Names across tables: taken twice, or referred to and not there.

use std::collections::BTreeMap;

use super::mistake::{Mistakes, Span, quoted};
use super::section::Section;
use super::suggest::nearest;

/// Notes each section whose text under `key` another section before it has too.
pub(super) fn unique(mistakes: &mut Mistakes<'_>, table: &str, key: &str, sections: &[Section]) {
    let named = sections.iter().filter_map(|section| section.text(key).map(|text| (text, section.span(key))));
    unique_texts(mistakes, table, key, named);
}

/// Notes each text that came before.
pub(super) fn unique_texts<'t>(
    mistakes: &mut Mistakes<'_>,
    table: &str,
    key: &str,
    texts: impl Iterator<Item = (&'t str, Span)>,
) {
    let mut taken: BTreeMap<&str, Span> = BTreeMap::new();
    for (text, span) in texts {
        match taken.get(text) {
            Some(first) => {
                let place = mistakes.place(*first);
                mistakes.add(span, format!("{key}: {} is taken by the {table} at {place}", quoted(text)));
            }
            None => {
                taken.insert(text, span);
            }
        }
    }
}

/// Notes a reference to a name that nobody has.
pub(super) fn refers(
    mistakes: &mut Mistakes<'_>,
    span: Span,
    message: String,
    written: &str,
    known: &[&str],
) {
    const LISTED_MAX: usize = 8;
    let help = match nearest(written, known.iter().copied()) {
        Some(name) => Some(format!("did you mean {}?", quoted(name))),
        None if known.is_empty() || known.len() > LISTED_MAX => None,
        None => {
            let names: Vec<String> = known.iter().map(|name| quoted(name)).collect();
            Some(format!("known here: {}", names.join(", ")))
        }
    };
    mistakes.note(span, message, help);
}
