//! What people are told, so that it can be told in their language: a code, English words, and what is filled in there. The
//! English stands where it is said, since logs, the control socket and commands say it too; other languages of the page
//! have it under its code in the table `said` of their catalogue.

use std::borrow::Cow;
use std::fmt::{Display, Formatter};

use serde_json::{Value as Json, json};

/// Words for people. They lie on the heap: a result that may hold them is small.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    /// None: words that come from elsewhere, such as from the system; they stay as they are.
    code: Option<Cow<'static, str>>,
    /// With `{names}` for the values.
    english: Cow<'static, str>,
    values: Vec<(Cow<'static, str>, String)>,
}

/// Words with a code: `said!("no_client", "no client {client} is connected", client = name)`. Code and words are whole
/// literals: a test finds them, and what the catalogues have for them.
#[macro_export]
macro_rules! said {
    ($code:literal, $english:literal $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::said::Said::new($code, $english, vec![$((stringify!($name), $value.to_string())),*])
    };
}

impl Said {
    /// What [`said!`] makes.
    #[must_use]
    pub fn new(code: &'static str, english: &'static str, values: Vec<(&'static str, String)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Self(Box::new(Parts { code: Some(code.into()), english: english.into(), values }))
    }

    /// Its code, if it has one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The same with the words of another language.
    #[must_use]
    pub fn in_words(&self, words: &str) -> String {
        let values: Vec<_> = self.0.values.iter().map(|(name, value)| (&**name, &**value)).collect();
        filled(words, &values)
    }

    /// Code and values, for programs; null where there is no code.
    #[must_use]
    pub fn json(&self) -> Json {
        let Some(code) = &self.0.code else { return Json::Null };
        let values: serde_json::Map<String, Json> =
            self.0.values.iter().map(|(name, value)| (name.to_string(), json!(value))).collect();
        json!({ "code": code, "values": values })
    }

    /// Puts it into an answer: its words as `error`, and beside them what programs need.
    #[must_use]
    pub fn put_into(&self, mut answer: Json) -> Json {
        if let Json::Object(fields) = &mut answer {
            fields.insert("error".into(), json!(self.to_string()));
            if self.0.code.is_some() {
                fields.insert("said".into(), self.json());
            }
        }
        answer
    }

    /// What an answer has of it.
    #[must_use]
    pub fn of(answer: &Json) -> Option<Self> {
        let english = answer.get("error")?.as_str()?.to_owned();
        let Some(said) = answer.get("said") else { return Some(english.into()) };
        let values = said.get("values")?.as_object()?.iter();
        let values =
            values.filter_map(|(name, value)| Some((name.clone().into(), value.as_str()?.to_owned())));
        let code = said.get("code")?.as_str()?.to_owned();
        let values = values.collect();
        Some(Self(Box::new(Parts { code: Some(code.into()), english: english.into(), values })))
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.in_words(&self.0.english))
    }
}

impl From<String> for Said {
    fn from(words: String) -> Self {
        Self(Box::new(Parts { code: None, english: words.into(), values: Vec::new() }))
    }
}

impl From<&'static str> for Said {
    fn from(words: &'static str) -> Self {
        Self(Box::new(Parts { code: None, english: words.into(), values: Vec::new() }))
    }
}

/// A text whose `{names}` are filled in.
#[must_use]
pub fn filled(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let known = after.split_once('}').and_then(|(name, rest)| {
            let (_, value) = values.iter().find(|(known, _)| *known == name)?;
            Some((value, rest))
        });
        match known {
            Some((value, after)) => {
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_once_and_come_back_from_an_answer() {
        let said = said!("no_client", "no client {client} of {all}", client = "{all}", all = 3);
        assert_eq!(said.to_string(), "no client {all} of 3", "a value is no pattern");
        assert_eq!(said.in_words("{all}: kein {client}, {x}"), "3: kein {all}, {x}");
        let answer = said.put_into(json!({"outcome": "refused"}));
        let expected = json!({
            "outcome": "refused",
            "error": "no client {all} of 3",
            "said": {"code": "no_client", "values": {"client": "{all}", "all": "3"}},
        });
        assert_eq!(answer, expected);
        let back = Said::of(&answer).unwrap();
        assert_eq!((back.code(), back.in_words("{all}")), (Some("no_client"), "3".to_owned()));
        let plain = Said::from("the disk is gone");
        assert_eq!(plain.put_into(json!({})), json!({"error": "the disk is gone"}));
        assert_eq!(Said::of(&json!({"error": "the disk is gone"})).unwrap().json(), Json::Null);
    }
}
