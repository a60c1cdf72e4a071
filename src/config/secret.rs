//! References to secrets. A secret that stands in the config itself is a mistake, and no message repeats it.

use std::path::PathBuf;

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistakes, Span, quoted};
use super::schema::Key;
use super::section::Value;
use super::suggest::nearest;
use super::text;
use super::value;
use super::walk::Walker;
use crate::secret::SecretRef;

/// The forms of a reference, each with the word for what it takes.
pub(super) const FORMS: &[&str] = &["file", "env", "credential"];

/// The longest name of a variable or credential, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// Notes that something else than a reference stands there, without repeating it.
pub(super) fn plain(mistakes: &mut Mistakes<'_>, span: Span, key: &Key) {
    mistakes.add_with_help(
        span,
        format!("{0}: a config holds no secrets, only where they are kept", key.name),
        advice(key),
    );
}

fn advice(key: &Key) -> String {
    let name = key.name;
    format!(
        "write {name} = {{ file = \"/etc/fieldgate/secrets/NAME\" }}, {name} = {{ env = \"VARIABLE\" }} or {name} = {{ credential = \"NAME\" }}"
    )
}

/// Reads `{ file = … }`, `{ env = … }` or `{ credential = … }`.
pub(super) fn reference(walker: &mut Walker<'_, '_>, key: &Key, table: &DeTable<'_>, span: Span) -> Value {
    let mut references = Vec::new();
    let mut unknown = false;
    for (name, spanned) in table {
        let at = walker.span(spanned);
        let form: &str = name.get_ref();
        if !FORMS.contains(&form) {
            let known = walker.span(name);
            let message = format!("unknown key {} in {}", quoted(form), key.name);
            let help = nearest(form, FORMS.iter().copied())
                .map_or_else(|| advice(key), |meant| format!("did you mean {meant:?}?"));
            walker.mistakes.note_before_secret(known, message, Some(help));
            unknown = true;
            continue;
        }
        let DeValue::String(content) = spanned.get_ref() else {
            let found = value::found(spanned.get_ref());
            walker.mistakes.add(at, format!("{form}: expected a text in quotes, found {found}"));
            references.push(None);
            continue;
        };
        match checked(form, content) {
            Ok(reference) => references.push(Some(reference)),
            Err((message, help)) => {
                walker.mistakes.note(at, format!("{form}: {message}"), help);
                references.push(None);
            }
        }
    }
    if references.len() > 1 || (references.is_empty() && !unknown) {
        let message = format!("{}: expected exactly one of \"file\", \"env\" and \"credential\"", key.name);
        walker.mistakes.add(span, message);
        return Value::Mistaken;
    }
    references.pop().flatten().filter(|_| !unknown).map_or(Value::Mistaken, Value::Secret)
}

fn checked(form: &str, content: &str) -> Result<SecretRef, value::Refusal> {
    match form {
        "file" => text::path(content).map(|()| SecretRef::File(PathBuf::from(content))),
        "env" => {
            text::raw(content, NAME_BYTES_MAX)?;
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if !content.chars().all(fits) || content.starts_with(|c: char| c.is_ascii_digit()) {
                return Err((format!("{} is no name of a variable", quoted(content)), None));
            }
            Ok(SecretRef::Env(content.to_owned()))
        }
        _ => {
            text::id(content, NAME_BYTES_MAX).map_err(|(message, _)| (message, None))?;
            if content.starts_with('.') {
                return Err((format!("{} is no name of a credential", quoted(content)), None));
            }
            Ok(SecretRef::Credential(content.to_owned()))
        }
    }
}
