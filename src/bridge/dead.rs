//! The last messages that upstream refused for good, so that people can see what was lost and why, and try again. They
//! are noted beside the outbox, each is counted ([`super::Drops`]), and the oldest give way.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::words::Output;
use super::{Bridge, notes};
use crate::message::Message;
use crate::payload;
use crate::record::{self, Cursor, put_bytes, put_signed};
use crate::time::{Mono, Now, Timestamp};

/// Messages that are kept, at most; the oldest give way.
const LETTERS_MAX: usize = 256;
/// Their bytes, at most: payloads and records. One that is larger by itself is shown without its content, and can't be
/// tried again.
const BYTES_MAX: usize = 256 * 1024;
/// They are written down this long after the first of several was refused, so that a flood costs one write.
const NOTE_WAIT: Duration = Duration::from_secs(2);
/// The layout of the note.
const VERSION: u8 = 1;

/// A message that upstream will never take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was refused.
    pub at: Timestamp,
    /// The upstream topic.
    pub topic: String,
    /// In words.
    pub reason: String,
    /// The payload's length.
    pub bytes: usize,
    /// The payload; empty if it was too large to be kept.
    pub payload: Bytes,
    /// The whole message, as the outbox keeps it; empty if it was too large.
    pub record: Bytes,
}

impl DeadLetter {
    fn weight(&self) -> usize {
        self.payload.len() + self.record.len()
    }
}

/// What is done with all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// They are sent once more, behind all that waits.
    Retry,
    /// They are forgotten.
    Purge,
}

/// The last of them.
#[derive(Debug, Default)]
pub(super) struct DeadLetters {
    letters: VecDeque<DeadLetter>,
    bytes: usize,
    note_at: Option<Mono>,
}

impl DeadLetters {
    pub(super) fn push(&mut self, mut letter: DeadLetter) {
        if letter.weight() > BYTES_MAX {
            (letter.payload, letter.record) = (Bytes::new(), Bytes::new());
        }
        self.bytes += letter.weight();
        self.letters.push_back(letter);
        while self.letters.len() > LETTERS_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.letters.pop_front() else { return };
            self.bytes -= oldest.weight();
        }
    }

    /// Oldest first.
    pub(super) fn all(&self) -> Vec<DeadLetter> {
        self.letters.iter().cloned().collect()
    }

    pub(super) const fn note_at(&self) -> Option<Mono> {
        self.note_at
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        for letter in &self.letters {
            put_signed(&mut out, letter.at.as_millis());
            for bytes in [letter.topic.as_bytes(), letter.reason.as_bytes(), &letter.record] {
                put_bytes(&mut out, bytes);
            }
        }
        out
    }
}

impl Bridge {
    /// Keeps a record that is given up for people to see.
    pub(super) fn bury(&mut self, now: Now, topic: String, reason: &str, message: &Message) {
        let record = record::encode(message);
        let payload = self.readable(now, message);
        let (at, reason, bytes) = (now.wall, reason.to_owned(), payload.len());
        self.dead.push(DeadLetter { at, topic, reason, bytes, payload, record });
        self.dead.note_at.get_or_insert(now.mono + NOTE_WAIT);
    }

    fn readable(&self, now: Now, message: &Message) -> Bytes {
        match &message.reading {
            Some(reading) => {
                payload::json::encode(reading, payload::sent_time(reading, self.config.boot, now))
            }
            None => message.payload.clone(),
        }
    }

    /// What people want done with all of them.
    pub(super) fn handle_letters(&mut self, now: Now, handling: Handling) {
        let letters = std::mem::take(&mut self.dead.letters);
        self.dead.bytes = 0;
        self.dead.note_at = Some(now.mono);
        for letter in letters.into_iter().filter(|_| handling == Handling::Retry) {
            match record::decode(&letter.record) {
                Ok(message) => self.append(now, message, None),
                // Only its topic and reason are known: it stays for people to see.
                Err(_) => self.dead.push(letter),
            }
        }
    }

    pub(super) fn keep_letters(&mut self, now: Now, at_once: bool) {
        if self.dead.note_at.take_if(|at| at_once || now.mono >= *at).is_some() {
            self.out.push(Output::Keep { name: notes::REFUSED, content: self.dead.encode() });
        }
    }

    /// What can't be read of the note is left out.
    pub(super) fn restore_letters(&mut self, now: Now, note: &[u8]) {
        let Some((&VERSION, rest)) = note.split_first() else { return };
        let mut cursor = Cursor(rest);
        while let (Ok(at), Ok(topic), Ok(reason), Ok(record)) =
            (cursor.signed(), cursor.text(), cursor.text(), cursor.bytes())
        {
            let record = Bytes::copy_from_slice(record);
            let payload =
                record::decode(&record).map(|message| self.readable(now, &message)).unwrap_or_default();
            let (at, topic, reason) = (Timestamp::from_millis(at), topic.to_owned(), reason.to_owned());
            self.dead.push(DeadLetter { at, topic, reason, bytes: payload.len(), payload, record });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_bounded_in_number_and_bytes_and_the_oldest_give_way() {
        let mut dead = DeadLetters::default();
        let letter = |topic: usize, bytes: usize| DeadLetter {
            at: Timestamp::from_millis(0),
            topic: topic.to_string(),
            reason: "x".to_owned(),
            bytes,
            payload: vec![0; bytes].into(),
            record: Bytes::new(),
        };
        for topic in 0..300 {
            dead.push(letter(topic, 10));
        }
        let topics: Vec<String> = dead.all().into_iter().map(|letter| letter.topic).collect();
        assert_eq!(topics, (44..300).map(|topic| topic.to_string()).collect::<Vec<_>>());
        dead.push(letter(300, BYTES_MAX));
        assert_eq!(dead.all().len(), 1);
        dead.push(letter(301, BYTES_MAX + 1));
        let last = dead.all().pop().unwrap();
        assert_eq!((dead.all().len(), last.bytes, last.payload.len()), (2, BYTES_MAX + 1, 0));
    }
}
