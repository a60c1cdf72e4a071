//! Payloads in the user's own words: a text with placeholders.

use std::sync::Arc;

use bytes::Bytes;

use super::{About, SentTime, json, plain};
use crate::reading::{Reading, Sample};

/// A text with placeholders: `{device}`, `{value.temperature}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    content_type: String,
    /// It has a placeholder for any point, so it is written once for each.
    each_point: bool,
}

/// A placeholder that stands for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// What stands between the braces.
    pub written: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// What is known of the reading.
    Reading(Word),
    /// What is known of a point: of this one, or of each.
    Point(PointWord, Option<Arc<str>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Gateway,
    Device,
    Time,
    TimeMs,
    TimeS,
    TimeQuality,
    Seq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PointWord {
    Point,
    Value,
    ValueJson,
    Unit,
    Quality,
}

const WORDS: [(&str, Word); 7] = [
    ("gateway", Word::Gateway),
    ("device", Word::Device),
    ("time", Word::Time),
    ("time_ms", Word::TimeMs),
    ("time_s", Word::TimeS),
    ("time_quality", Word::TimeQuality),
    ("seq", Word::Seq),
];

const POINT_WORDS: [(&str, PointWord); 5] = [
    ("point", PointWord::Point),
    ("value", PointWord::Value),
    ("value_json", PointWord::ValueJson),
    ("unit", PointWord::Unit),
    ("quality", PointWord::Quality),
];

impl Template {
    /// Reads a template. A brace that no lower-case word follows is a brace, so JSON needs no escapes.
    ///
    /// # Errors
    /// The first placeholder that stands for nothing.
    pub fn parse(text: &str, content_type: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            plain.push_str(before);
            let Some((written, tail)) = placeholder(behind) else {
                plain.push('{');
                rest = behind;
                continue;
            };
            let piece = piece(written).ok_or_else(|| TemplateError { written: written.to_owned() })?;
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
            pieces.push(piece);
            rest = tail;
        }
        plain.push_str(rest);
        pieces.push(Piece::Text(plain));
        let each_point = pieces.iter().any(|piece| matches!(piece, Piece::Point(_, None)));
        Ok(Self { pieces, content_type: content_type.to_owned(), each_point })
    }

    /// The words that may stand in braces.
    #[must_use]
    pub fn words() -> Vec<&'static str> {
        WORDS.iter().map(|(word, _)| *word).chain(POINT_WORDS.iter().map(|(word, _)| *word)).collect()
    }

    /// What MQTT 5 is told that it is.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The points that it names.
    pub fn points(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Point(_, of) => of.as_deref(),
            Piece::Text(_) | Piece::Reading(_) => None,
        })
    }

    /// The payload. With a placeholder for any point there is a line for each.
    #[must_use]
    pub fn encode(&self, gateway: &str, about: &About, reading: &Reading, time: SentTime) -> Bytes {
        let write = |sample| self.write(gateway, about, reading, time, sample);
        if self.each_point {
            let lines: Vec<String> = reading.samples.iter().map(|sample| write(Some(sample))).collect();
            return Bytes::from(lines.join("\n"));
        }
        Bytes::from(write(None))
    }

    fn write(
        &self,
        gateway: &str,
        about: &About,
        reading: &Reading,
        time: SentTime,
        each: Option<&Sample>,
    ) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Reading(word) => text.push_str(&match word {
                    Word::Gateway => gateway.to_owned(),
                    Word::Device => reading.device.to_string(),
                    Word::Time => time.time.to_string(),
                    Word::TimeMs => time.time.as_millis().to_string(),
                    Word::TimeS => time.time.as_millis().div_euclid(1_000).to_string(),
                    Word::TimeQuality => time.quality.unwrap_or("good").to_owned(),
                    Word::Seq => reading.seq.to_string(),
                }),
                Piece::Point(word, None) => text.push_str(&of_point(*word, about, each, "")),
                Piece::Point(word, Some(name)) => {
                    let sample = reading.samples.iter().find(|sample| sample.point == *name);
                    text.push_str(&of_point(*word, about, sample, name));
                }
            }
        }
        text
    }
}

/// What a placeholder for a point becomes; a point that the reading hasn't got has no value.
fn of_point(word: PointWord, about: &About, sample: Option<&Sample>, name: &str) -> String {
    let name = sample.map_or(name, |sample| &*sample.point);
    match word {
        PointWord::Point => name.to_owned(),
        PointWord::Value => sample.map(plain::text).unwrap_or_default(),
        PointWord::ValueJson => {
            let mut text = String::new();
            json::value(&mut text, sample.and_then(|sample| sample.value.as_ref()));
            text
        }
        PointWord::Unit => about.unit(name).unwrap_or_default().to_owned(),
        PointWord::Quality => sample.map_or("missing", |sample| sample.quality.as_str()).to_owned(),
    }
}

/// What stands between the braces, if that is a word, with a point's name behind a dot or without.
fn placeholder(behind: &str) -> Option<(&str, &str)> {
    let (written, tail) = behind.split_once('}')?;
    let word = written.split_once('.').map_or(written, |(word, _)| word);
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    is_word.then_some((written, tail))
}

fn piece(written: &str) -> Option<Piece> {
    let (word, point) = match written.split_once('.') {
        Some((_, "")) => return None,
        Some((word, point)) => (word, Some(Arc::from(point))),
        None => (written, None),
    };
    let found = POINT_WORDS.iter().find(|(known, _)| *known == word);
    if let Some((_, word)) = found {
        return Some(Piece::Point(*word, point));
    }
    let found = WORDS.iter().find(|(known, _)| *known == word && point.is_none());
    found.map(|(_, word)| Piece::Reading(*word))
}
