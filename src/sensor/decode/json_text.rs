//! JSON text to a tree that borrows from it and keeps each number's text, so that no digit is lost before
//! scaling. RFC 8259, strictly; depth is bounded here, size by the line.

use std::borrow::Cow;

use crate::sensor::fault::LineError;

/// Objects and arrays within each other; deeper text is refused. Parsing recurses, so this bounds the stack.
const DEPTH_MAX: usize = 32;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    /// As written.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    /// In the order of the text.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// The member of an object (of equal names the last), or the element of an array (RFC 6901, 4).
    pub(super) fn child(&self, token: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => members.iter().rev().find(|(name, _)| name == token).map(|(_, v)| v),
            Self::Array(elements) if token == "0" || !token.starts_with(['0', '+']) => {
                elements.get(token.parse::<usize>().ok()?)
            }
            _ => None,
        }
    }
}

/// Parses a whole text: one value and nothing behind it.
pub(super) fn parse(text: &str) -> Result<Json<'_>, LineError> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.error("more text behind the value")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, what: &'static str) -> LineError {
        LineError::NotJson { what, at: self.at }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes `byte` if it comes next.
    fn eat(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        if comes {
            self.at = self.at.saturating_add(1);
        }
        comes
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) -> usize {
        let len = self.rest().bytes().take_while(|&byte| accept(byte)).count();
        self.at = self.at.saturating_add(len);
        len
    }

    fn skip_space(&mut self) {
        self.skip_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'));
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, LineError> {
        if depth > DEPTH_MAX {
            return Err(self.error("nested too deep"));
        }
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            Some(_) => Err(self.error("no value")),
            None => Err(self.error("it ends")),
        }
    }

    fn word(&mut self, word: &'static str, value: Json<'a>) -> Result<Json<'a>, LineError> {
        if !self.rest().starts_with(word) {
            return Err(self.error("no value"));
        }
        self.at = self.at.saturating_add(word.len());
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, LineError> {
        self.eat(b'{');
        let mut members = Vec::new();
        self.skip_space();
        if self.eat(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return Err(self.error("no member name"));
            }
            let name = self.string()?;
            self.skip_space();
            if !self.eat(b':') {
                return Err(self.error("no colon"));
            }
            members.push((name, self.value(depth.saturating_add(1))?));
            self.skip_space();
            if self.eat(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.eat(b',') {
                return Err(self.error("neither comma nor closing brace"));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, LineError> {
        self.eat(b'[');
        let mut elements = Vec::new();
        self.skip_space();
        if self.eat(b']') {
            return Ok(Json::Array(elements));
        }
        loop {
            elements.push(self.value(depth.saturating_add(1))?);
            self.skip_space();
            if self.eat(b']') {
                return Ok(Json::Array(elements));
            }
            if !self.eat(b',') {
                return Err(self.error("neither comma nor closing bracket"));
            }
        }
    }

    /// RFC 8259, 6: no leading zeros, no plus, digits on both sides of the point.
    fn number(&mut self) -> Result<Json<'a>, LineError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        Ok(Json::Number(self.text.get(start..self.at).unwrap_or_default()))
    }

    fn digits(&mut self) -> Result<(), LineError> {
        match self.skip_while(|byte| byte.is_ascii_digit()) {
            0 => Err(self.error("no digit")),
            _ => Ok(()),
        }
    }

    /// RFC 8259, 7. Borrows where nothing is escaped.
    fn string(&mut self) -> Result<Cow<'a, str>, LineError> {
        self.eat(b'"');
        let mut text = Cow::Borrowed("");
        loop {
            let start = self.at;
            self.skip_while(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
            let plain = self.text.get(start..self.at).unwrap_or_default();
            if text.is_empty() {
                text = Cow::Borrowed(plain);
            } else {
                text.to_mut().push_str(plain);
            }
            if self.eat(b'"') {
                return Ok(text);
            }
            if !self.eat(b'\\') {
                let what = if self.peek().is_none() { "it ends" } else { "a control character" };
                return Err(self.error(what));
            }
            let character = self.escape()?;
            text.to_mut().push(character);
        }
    }

    fn escape(&mut self) -> Result<char, LineError> {
        let Some(kind) = self.peek() else { return Err(self.error("it ends")) };
        let character = match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.at = self.at.saturating_add(1);
                return self.unicode_escape();
            }
            _ => return Err(self.error("no escape of JSON")),
        };
        self.at = self.at.saturating_add(1);
        Ok(character)
    }

    /// One `XXXX`, or two of a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, LineError> {
        let first = self.hex4()?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        if !(self.eat(b'\\') && self.eat(b'u')) {
            return Err(self.error("half a surrogate pair"));
        }
        let second = self.hex4()?;
        let (high, low) = (first.wrapping_sub(0xD800), second.wrapping_sub(0xDC00));
        if high >= 0x400 || low >= 0x400 {
            return Err(self.error("half a surrogate pair"));
        }
        char::from_u32(0x1_0000 + (high << 10) + low).ok_or_else(|| self.error("half a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, LineError> {
        let digits = self.rest().get(..4).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
        let number = number.ok_or_else(|| self.error("no four hex digits"))?;
        self.at = self.at.saturating_add(4);
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The same tree, if numbers say the same.
    fn agrees(ours: &Json<'_>, theirs: &Value) -> bool {
        match (ours, theirs) {
            (Json::Null, Value::Null) => true,
            (Json::Bool(ours), Value::Bool(theirs)) => ours == theirs,
            (Json::Number(text), Value::Number(theirs)) => {
                let (ours, theirs) = (text.parse::<f64>().unwrap(), theirs.as_f64().unwrap());
                ours == theirs || (ours - theirs).abs() <= ours.abs() * 1e-15
            }
            (Json::String(ours), Value::String(theirs)) => ours == theirs,
            (Json::Array(ours), Value::Array(theirs)) => {
                ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| agrees(a, b))
            }
            (Json::Object(ours), Value::Object(theirs)) => {
                ours.iter().all(|(name, _)| theirs.contains_key(name.as_ref()))
                    && theirs.iter().all(|(name, b)| {
                        agrees(ours.iter().rev().find(|(known, _)| known == name).map(|(_, a)| a).unwrap(), b)
                    })
            }
            _ => false,
        }
    }

    fn check(text: &str) {
        match (parse(text), serde_json::from_str::<Value>(text)) {
            (Ok(ours), Ok(theirs)) => assert!(agrees(&ours, &theirs), "{text}: {ours:?} {theirs:?}"),
            (Err(_), Err(_)) => {}
            // Their reader refuses numbers that no f64 holds; ours keeps the text, and the point reads invalid.
            (Ok(_), Err(error)) if error.to_string().contains("number out of range") => {}
            (ours, theirs) => panic!("{text}: {ours:?} {theirs:?}"),
        }
    }

    #[test]
    fn texts_are_read_or_refused_as_another_reader_does() {
        for text in [
            "",
            " ",
            "{}",
            "[]",
            "{",
            "[",
            "}",
            "]",
            "{]",
            "[}",
            "nul",
            "null",
            "true",
            "truee",
            "false",
            "-",
            "0",
            "-0",
            "00",
            "01",
            "1.",
            ".5",
            "1.5",
            "1e",
            "1e+",
            "1e+5",
            "1E-5",
            "+1",
            "1e400",
            "--1",
            "0x1",
            "\"\"",
            "\"a",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12G4\"",
            "\"\\u00e4\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ude00\"",
            "\"\\ud83d\\ud83d\"",
            "\"\\ud83dx\"",
            "\"\\u+123\"",
            "\"a\u{1}b\"",
            "\"ä€😀\"",
            "\"\\n\\t\\/\\\"\\\\\"",
            "{\"a\":1}",
            "{\"a\":1,}",
            "{\"a\" : [ 1 , {\"b\":null} ] }",
            "{a:1}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1 \"b\":2}",
            "[1,2",
            "[1 2]",
            "[,]",
            "[1,]",
            "{\"a\":1}{\"a\":2}",
            "{\"a\":1,\"a\":2}",
            "{} x",
            "\u{feff}{}",
            "nan",
            "NaN",
            "Infinity",
        ] {
            check(text);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(33)).is_ok());
        assert_eq!(parse(&nested(34)), Err(LineError::NotJson { what: "nested too deep", at: 33 }));
        assert!(parse(&"[".repeat(1 << 20)).is_err());
    }

    #[test]
    fn numbers_keep_their_text_and_plain_strings_are_borrowed() {
        let tree = parse(r#"{"n":-12345678901234567890.10,"s":"x"}"#).unwrap();
        assert_eq!(tree.child("n"), Some(&Json::Number("-12345678901234567890.10")));
        assert!(matches!(tree.child("s"), Some(Json::String(Cow::Borrowed("x")))));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_as_another_reader_does(
            text in "[\\[\\]{}:,\"\\\\ue0-9+.\\-ntrfalsd 😀ä]{0,24}"
        ) {
            check(&text);
        }

        #[test]
        fn a_damaged_object_is_read_or_refused_as_another_reader_does(at in 0usize..66, byte in 0u8..128) {
            let mut text = br#"{"t":-21.5e-3,"s":"a\u00e4\n","bme":{"h":[61,null,true,{"x":0}]}}  "#.to_vec();
            text[at] = byte;
            check(std::str::from_utf8(&text).unwrap());
        }
    }
}
