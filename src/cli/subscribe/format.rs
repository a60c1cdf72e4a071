//! What is printed of a message: -v, or the conversions of -F as mosquitto_sub has them. Bytes out; nothing here
//! reads a clock or writes.

use std::io::Write;

use jiff::Timestamp;
use jiff::fmt::strtime;

use super::json;
use super::pretty::laid_out;
use crate::cli::client::message::Message;
use crate::mqtt::{Property, PropertyId};

/// Padding of more than this is a slip of the hand.
const WIDTH_MAX: usize = 10_000;

/// How messages are printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Format {
    style: Style,
    line_end: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Style {
    /// The payload; nothing for an empty one.
    Payload,
    /// Topic and payload.
    Verbose,
    Parts(Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    /// `%…`
    Field(Field),
    /// `@x`: strftime's %x.
    Time(char),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    what: char,
    left: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
    /// JSON over several lines.
    pretty: bool,
}

/// Conversions behind `%`.
const FIELDS: &str = "%ACDEFIjJlmPpqRrStUxX";

impl Format {
    /// The payload alone, or with its topic.
    pub(super) const fn plain(verbose: bool, line_end: bool) -> Self {
        Self { style: if verbose { Style::Verbose } else { Style::Payload }, line_end }
    }

    /// Reads a format.
    ///
    /// # Errors
    /// In words, naming the conversion that doesn't exist.
    pub(super) fn parse(text: &str, line_end: bool) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let part = match c {
                '%' => Part::Field(field(&mut chars)?),
                '@' => match chars.next() {
                    Some('@') => {
                        literal.push(b'@');
                        continue;
                    }
                    Some(c) if c.is_ascii_alphabetic() => Part::Time(c),
                    _ => return Err("-F: @ must be followed by a letter of strftime, or by @".into()),
                },
                '\\' => {
                    literal.push(escape(chars.next())?);
                    continue;
                }
                c => {
                    literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { style: Style::Parts(parts), line_end })
    }

    /// JSON is printed over several lines.
    pub(super) fn pretty(mut self) -> Self {
        if let Style::Parts(parts) = &mut self.style {
            for part in parts {
                if let Part::Field(field) = part {
                    field.pretty = true;
                }
            }
        }
        self
    }

    /// Appends what is printed of a message that came at `now`. Tells what could not be printed.
    pub(super) fn print(&self, message: &Message, now: Timestamp, out: &mut Vec<u8>) -> Result<(), String> {
        let empty = message.payload.is_empty();
        let mut result = Ok(());
        match &self.style {
            Style::Payload if empty => return Ok(()),
            Style::Payload => out.extend_from_slice(&message.payload),
            // As mosquitto_sub: without line ends there would be nothing between two such.
            Style::Verbose if empty && !self.line_end => return Ok(()),
            Style::Verbose => {
                out.extend_from_slice(message.topic.as_bytes());
                out.push(b' ');
                out.extend_from_slice(if empty { b"(null)" } else { &message.payload });
            }
            Style::Parts(parts) => {
                for part in parts {
                    if let Err(error) = print_part(part, message, now, out) {
                        result = Err(error);
                    }
                }
            }
        }
        if self.line_end {
            out.push(b'\n');
        }
        result
    }
}

/// What follows a `%`: alignment, zero, width, precision, conversion.
fn field(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Field, String> {
    let left = chars.next_if_eq(&'-').is_some();
    let zero = chars.next_if_eq(&'0').is_some();
    let width = number(chars)?;
    let precision = match chars.next_if_eq(&'.') {
        Some(_) => Some(number(chars)?),
        None => None,
    };
    match chars.next() {
        Some(what) if FIELDS.contains(what) => {
            Ok(Field { what, left, zero, width, precision, pretty: false })
        }
        Some(what) => Err(format!("-F: there is no %{what}; a percent sign is %%")),
        None => Err("-F: ends with %; a percent sign is %%".into()),
    }
}

fn number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<usize, String> {
    let mut number = 0_usize;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        number = number.saturating_mul(10).saturating_add(usize::try_from(digit).unwrap_or(0));
    }
    if number > WIDTH_MAX { Err(format!("-F: a width of more than {WIDTH_MAX}")) } else { Ok(number) }
}

fn escape(c: Option<char>) -> Result<u8, String> {
    Ok(match c {
        Some('\\') => b'\\',
        Some('0') => 0,
        Some('a') => 7,
        Some('e') => 27,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 11,
        Some(c) => return Err(format!("-F: there is no \\{c}; a backslash is \\\\")),
        None => return Err("-F: ends with \\; a backslash is \\\\".into()),
    })
}

fn print_part(part: &Part, message: &Message, now: Timestamp, out: &mut Vec<u8>) -> Result<(), String> {
    match part {
        Part::Literal(bytes) => out.extend_from_slice(bytes),
        Part::Field(field) => return field.print(message, now, out),
        Part::Time('N') => push(out, format_args!("{:09}", now.subsec_nanosecond())),
        Part::Time(c) => {
            // A letter that strftime doesn't have prints nothing.
            if let Ok(text) = strtime::format(format!("%{c}"), &now.to_zoned(jiff::tz::TimeZone::UTC)) {
                out.extend_from_slice(text.as_bytes());
            }
        }
    }
    Ok(())
}

impl Field {
    fn print(self, message: &Message, now: Timestamp, out: &mut Vec<u8>) -> Result<(), String> {
        let properties = message.properties.as_properties();
        let number = |id| properties.number(id).map(i64::from);
        match self.what {
            '%' => out.push(b'%'),
            'A' => self.number(number(PropertyId::TopicAlias), out),
            'E' => self.number(number(PropertyId::MessageExpiryInterval), out),
            'F' => self.number(number(PropertyId::PayloadFormatIndicator), out),
            'S' => self.number(number(PropertyId::SubscriptionIdentifier), out),
            'l' => self.number(i64::try_from(message.payload.len()).ok(), out),
            'm' => self.number(Some(message.packet_id.map_or(0, |id| id.get().into())), out),
            'C' => self.text(properties.string(PropertyId::ContentType).unwrap_or_default(), out),
            // Unlike the others, it takes no room if it isn't there.
            'R' => {
                if let Some(topic) = properties.string(PropertyId::ResponseTopic) {
                    self.text(topic, out);
                }
            }
            't' => self.text(&message.topic, out),
            'I' => self.text(&time_text(now, "%FT%T%z"), out),
            'U' => push(out, format_args!("{}.{:09}", now.as_second(), now.subsec_nanosecond())),
            'D' => out.extend_from_slice(properties.binary(PropertyId::CorrelationData).unwrap_or_default()),
            'P' => {
                let users = properties.iter().filter_map(|property| match property {
                    Property::User(name, value) => Some(format!("{name}:{value}")),
                    _ => None,
                });
                out.extend_from_slice(users.collect::<Vec<_>>().join(" ").as_bytes());
            }
            'q' => push(out, format_args!("{}", message.qos.as_u8())),
            'r' => push(out, format_args!("{}", u8::from(message.retain))),
            'p' => self.payload(&message.payload, Bytes::Raw, out),
            'x' => self.payload(&message.payload, Bytes::Lower, out),
            'X' => self.payload(&message.payload, Bytes::Upper, out),
            'j' => self.json(json::object(message, now, json::Payload::Text)?, out),
            'J' => self.json(json::object(message, now, json::Payload::Json)?, out),
            _ => {}
        }
        Ok(())
    }

    fn json(self, object: String, out: &mut Vec<u8>) {
        let text = if self.pretty { laid_out(&object) } else { object };
        out.extend_from_slice(text.as_bytes());
    }

    /// A number with at least `width` characters; only padding if there is none.
    fn number(self, number: Option<i64>, out: &mut Vec<u8>) {
        let width = self.width;
        match (number, self.left, self.zero) {
            (None, _, true) => pad(out, b'0', width),
            (None, _, false) => pad(out, b' ', width),
            (Some(number), true, _) => push(out, format_args!("{number:<width$}")),
            (Some(number), false, true) => push(out, format_args!("{number:0width$}")),
            (Some(number), false, false) => push(out, format_args!("{number:width$}")),
        }
    }

    /// A text with at least `width` and at most `precision` bytes.
    fn text(self, text: &str, out: &mut Vec<u8>) {
        let text = text.as_bytes();
        let text = text.get(..self.precision.unwrap_or(text.len())).unwrap_or(text);
        let missing = self.width.saturating_sub(text.len());
        if !self.left {
            pad(out, b' ', missing);
        }
        out.extend_from_slice(text);
        if self.left {
            pad(out, b' ', missing);
        }
    }

    /// A payload with exactly `width` characters, if there is a width. Then mosquitto_sub shows at most half of the
    /// payload in hexadecimal, and so do we.
    fn payload(self, payload: &[u8], how: Bytes, out: &mut Vec<u8>) {
        let (mut shown, mut missing) = (payload.len(), 0);
        if self.width > 0 {
            shown = shown.min(self.width);
            missing = self.width.saturating_sub(shown);
            if how != Bytes::Raw {
                shown /= 2;
                missing = self.width.saturating_sub(shown.saturating_mul(2));
            }
        }
        if !self.left {
            pad(out, if self.zero { b'0' } else { b' ' }, missing);
        }
        for byte in payload.iter().take(shown) {
            match how {
                Bytes::Raw => out.push(*byte),
                Bytes::Lower => push(out, format_args!("{byte:02x}")),
                Bytes::Upper => push(out, format_args!("{byte:02X}")),
            }
        }
        if self.left {
            pad(out, b' ', missing);
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Raw,
    Lower,
    Upper,
}

/// A time in UTC by a format of strftime.
pub(super) fn time_text(now: Timestamp, format: &str) -> String {
    strtime::format(format, &now.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default()
}

fn pad(out: &mut Vec<u8>, with: u8, count: usize) {
    out.resize(out.len().saturating_add(count), with);
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec can't fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{PacketId, PropertiesBuf, QoS};

    fn message(payload: &'static [u8]) -> Message {
        let mut properties = PropertiesBuf::new();
        for property in [
            Property::User("k", "v"),
            Property::User("k2", "v2"),
            Property::Str(PropertyId::ContentType, "text/plain"),
            Property::U32(PropertyId::MessageExpiryInterval, 30),
            Property::Bin(PropertyId::CorrelationData, b"abc"),
        ] {
            assert!(properties.push(property));
        }
        Message {
            topic: "a/b".into(),
            payload: bytes::Bytes::from_static(payload),
            qos: QoS::AtLeastOnce,
            retain: true,
            properties,
            packet_id: PacketId::new(7),
        }
    }

    fn printed(format: &Format, payload: &'static [u8]) -> String {
        let now = Timestamp::new(1_795_198_988, 5_263_411).unwrap();
        let mut out = Vec::new();
        format.print(&message(payload), now, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_conversion_prints_what_it_is_for() {
        for (format, expected) in [
            ("%t|%p|%q|%r|%l|%m", "a/b|{\"b\": 1}|1|1|8|7"),
            ("%x %X", "7b2262223a20317d 7B2262223A20317D"),
            ("%8t|%-8t|%.1t|%6.2t", "     a/b|a/b     |a|    a/"),
            ("%4p|%010p|%-10p|%4x|%20x", "{\"b\"|00{\"b\": 1}|{\"b\": 1}  |7b22|            7b226222"),
            ("%5l|%05l|%-5l|%5S|%05S|", "    8|00008|8    |     |00000|"),
            ("%C %E %P %D[%R][%F]", "text/plain 30 k:v k2:v2 abc[][]"),
            ("%I %U", "2026-11-20T18:23:08+0000 1795198988.005263411"),
            ("@Y-@m @@ @N", "2026-11 @ 005263411"),
            (r"a\tb\\\n%%é", "a\tb\\\n%é"),
        ] {
            let format = Format::parse(format, false).unwrap();
            assert_eq!(printed(&format, b"{\"b\": 1}"), expected, "{format:?}");
        }
    }

    #[test]
    fn without_a_format_an_empty_payload_is_nothing_or_null() {
        for (verbose, line_end, payload, expected) in [
            (false, true, &b"x"[..], "x\n"),
            (false, false, b"x", "x"),
            (false, true, b"", ""),
            (true, true, b"x", "a/b x\n"),
            (true, false, b"x", "a/b x"),
            (true, true, b"", "a/b (null)\n"),
            (true, false, b"", ""),
        ] {
            assert_eq!(printed(&Format::plain(verbose, line_end), payload), expected);
        }
    }

    #[test]
    fn a_wrong_format_is_told_before_anything_is_printed() {
        for (format, part) in [
            ("%", "ends with %"),
            ("%k", "no %k"),
            ("%5", "ends with %"),
            ("%99999999999999999999999t", "width"),
            ("\\", "ends with \\"),
            ("\\q", "no \\q"),
            ("@", "strftime"),
            ("@1", "strftime"),
        ] {
            let error = Format::parse(format, true).unwrap_err();
            assert!(error.contains(part), "{format}: {error}");
        }
    }
}
