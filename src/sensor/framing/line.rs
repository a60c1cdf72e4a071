//! Text lines: where one ends, and how long one may be.

use super::Frame;
use crate::sensor::config::LineEnd;

/// Cuts one port's bytes into lines. Keeps at most one unfinished line: `bytes_max` plus the length of the end.
#[derive(Debug)]
pub(super) struct Lines {
    end: LineEnd,
    bytes_max: usize,
    /// The unfinished line; while skipping, only as much of its tail as the start of an end can be.
    kept: Vec<u8>,
    /// An over-long line was told and is now skipped to its end.
    skipping: bool,
}

impl Lines {
    pub(super) fn new(end: LineEnd, bytes_max: usize) -> Self {
        Self { end, bytes_max, kept: Vec::new(), skipping: false }
    }

    /// The longest line that passes.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Takes lines of another device too: the longer bound holds here, each device minds its own.
    pub(super) fn widen(&mut self, end: &LineEnd, bytes_max: usize) -> bool {
        let same = self.end == *end;
        if same {
            self.bytes_max = self.bytes_max.max(bytes_max);
        }
        same
    }

    /// Forgets what is unfinished: the port was opened anew.
    pub(super) fn reset(&mut self) {
        self.kept.clear();
        self.skipping = false;
    }

    /// Memory held for the unfinished line.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.kept.capacity()
    }

    /// Takes bytes and hands out each line that they complete. How the stream is cut into inputs makes no
    /// difference to the lines.
    pub(super) fn push(&mut self, input: &[u8], mut take: impl FnMut(Frame<'_>)) {
        let mut rest = input;
        while let Some((chunk, after)) = self.split_at_candidate(rest) {
            rest = after;
            if self.kept.is_empty() && !self.skipping && self.take_whole(chunk, &mut take) {
                continue;
            }
            self.keep(chunk, &mut take);
            self.finish_if_ended(&mut take);
        }
        self.keep(rest, &mut take);
    }

    /// Splits behind the next byte that can be the last of an end.
    fn split_at_candidate<'a>(&self, bytes: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let position = match &self.end {
            LineEnd::Any => bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')),
            LineEnd::Exact(end) => {
                let last = end.last()?;
                bytes.iter().position(|byte| byte == last)
            }
        }?;
        bytes.split_at_checked(position.checked_add(1)?)
    }

    /// The line in `bytes` if an end stands at their end.
    fn line_of<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match &self.end {
            LineEnd::Any => bytes.strip_suffix(b"\n").or_else(|| bytes.strip_suffix(b"\r")),
            LineEnd::Exact(end) => bytes.strip_suffix(end.as_slice()),
        }
    }

    /// The common case, without a copy: nothing is kept and the chunk is a whole line. False if it is not.
    fn take_whole(&self, chunk: &[u8], take: &mut impl FnMut(Frame<'_>)) -> bool {
        let Some(line) = self.line_of(chunk) else { return false };
        self.hand_out(line, take);
        true
    }

    fn hand_out(&self, line: &[u8], take: &mut impl FnMut(Frame<'_>)) {
        match line.get(..self.bytes_max) {
            Some(start) if line.len() > self.bytes_max => take(Frame::TooLong { start }),
            _ if line.is_empty() => {}
            _ => take(Frame::Line(line)),
        }
    }

    /// Appends to the unfinished line as far as the bound allows.
    fn keep(&mut self, chunk: &[u8], take: &mut impl FnMut(Frame<'_>)) {
        // With this many bytes and no end in them, the line is too long even if its end begins in the next byte.
        let limit = self.bytes_max.saturating_add(self.end_len());
        if !self.skipping {
            let room = limit.saturating_sub(self.kept.len());
            self.kept.reserve_exact(if chunk.is_empty() { 0 } else { room });
            let fits = chunk.get(..room).unwrap_or(chunk);
            self.kept.extend_from_slice(fits);
            if self.kept.len() < limit || (fits.len() == chunk.len() && self.line_of(&self.kept).is_some()) {
                return;
            }
            take(Frame::TooLong { start: self.kept.get(..self.bytes_max).unwrap_or_default() });
            self.skipping = true;
            self.keep_tail(chunk.get(fits.len()..).unwrap_or_default());
            return;
        }
        self.keep_tail(chunk);
    }

    /// While skipping: keeps the last bytes that an end could have begun with, and those of the chunk that
    /// decide whether it ended.
    fn keep_tail(&mut self, chunk: &[u8]) {
        let len = self.end_len();
        let tail = chunk.get(chunk.len().saturating_sub(len)..).unwrap_or_default();
        let surplus = self.kept.len().saturating_add(tail.len()).saturating_sub(len);
        self.kept.drain(..surplus.min(self.kept.len()));
        self.kept.extend_from_slice(tail);
    }

    /// Called with a candidate as the last byte.
    fn finish_if_ended(&mut self, take: &mut impl FnMut(Frame<'_>)) {
        let Some(line) = self.line_of(&self.kept) else { return };
        if !self.skipping {
            self.hand_out(line, take);
        }
        self.reset();
    }

    fn end_len(&self) -> usize {
        match &self.end {
            LineEnd::Any => 1,
            LineEnd::Exact(end) => end.len().max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A line is itself; an over-long one stands as `!` and its start.
    fn frames(end: &LineEnd, bytes_max: usize, inputs: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut framer = Lines::new(end.clone(), bytes_max);
        let mut found = Vec::new();
        for input in inputs {
            framer.push(input, |frame| match frame {
                Frame::Line(line) => found.push(line.to_vec()),
                Frame::TooLong { start } => found.push([b"!", start].concat()),
                other => panic!("{other:?}"),
            });
            assert!(framer.capacity() <= bytes_max + framer.end_len(), "{}", framer.capacity());
        }
        found
    }

    fn exact(end: &[u8]) -> LineEnd {
        LineEnd::Exact(end.to_vec())
    }

    #[test]
    fn lines_end_where_the_rule_says() {
        let check = |end: LineEnd, bytes_max: usize, input: &[u8], expected: &[&[u8]]| {
            let whole = frames(&end, bytes_max, &[input]);
            assert_eq!(whole, expected, "{end:?} {}", input.escape_ascii());
            let single: Vec<&[u8]> = input.chunks(1).collect();
            assert_eq!(frames(&end, bytes_max, &single), expected, "byte by byte, {end:?}");
        };
        let any = || LineEnd::Any;
        check(any(), 8, b"a\nb\r\nc\rd", &[b"a", b"b", b"c"]);
        check(any(), 8, b"\n\r\n\r\r\na\n\n", &[b"a"]);
        check(any(), 3, b"abc\nabcd\nx\n", &[b"abc", b"!abc", b"x"]);
        check(any(), 3, b"abcdefghijklm\r\nx\n", &[b"!abc", b"x"]);
        check(any(), 3, b"abcd", &[b"!abc"]);
        check(any(), 3, b"abc", &[]);
        check(exact(b"\r\n"), 8, b"a\nb\rc\r\nd\r\r\n", &[b"a\nb\rc", b"d\r"]);
        check(exact(b"\r\n"), 3, b"abc\r\nabcd\r\nx\r\n", &[b"abc", b"!abc", b"x"]);
        check(exact(b"\r\n"), 3, b"abcdefgh\r\r\nx\r\n", &[b"!abc", b"x"]);
        check(exact(b"\r\n"), 3, b"abc\rd\r\nx\r\n", &[b"!abc", b"x"]);
        check(exact(b";"), 8, b"a;b\n;;c", &[b"a", b"b\n"]);
        check(exact(b"aa"), 8, b"xaaaa", &[b"x"]);
        check(
            exact(b"END"),
            4,
            b"1END12ENENDxENxENDEND12345END6END",
            &[b"1", b"12EN", b"xENx", b"!1234", b"6"],
        );
    }

    #[test]
    fn a_megabyte_without_end_is_told_once_and_the_next_line_is_read() {
        let noise = vec![b'x'; 1 << 20];
        for end in [LineEnd::Any, exact(b"\n"), exact(b"\r\n")] {
            let found = frames(&end, 64, &[b"one\r\n", &noise, &noise, b"\r\ntwo\r\n"]);
            let lines: Vec<&[u8]> =
                found.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
            assert_eq!(lines, [&b"one"[..], &[b"!", &noise[..64]].concat(), b"two"]);
        }
    }

    #[test]
    fn a_reopened_port_begins_with_an_empty_line() {
        let mut framer = Lines::new(LineEnd::Any, 4);
        let mut found = Vec::new();
        let mut take = |frame: Frame<'_>| {
            if let Frame::Line(line) = frame {
                found.push(line.to_vec());
            }
        };
        framer.push(b"ab", &mut take);
        framer.reset();
        framer.push(b"cd\nefghijk", &mut take);
        framer.reset();
        framer.push(b"lm\n", &mut take);
        assert_eq!(found, [b"cd", b"lm"]);
    }

    proptest! {
        #[test]
        fn how_the_stream_is_cut_makes_no_difference(
            bytes in prop::collection::vec(prop::sample::select(b"ab\r\n;E".to_vec()), 0..200),
            cuts in prop::collection::vec(1usize..40, 1..40),
            end in prop::sample::select(vec![LineEnd::Any, exact(b"\n"), exact(b"\r\n"), exact(b"a;a"), exact(b"\r\r")]),
            bytes_max in 1usize..20,
        ) {
            let mut inputs = Vec::new();
            let mut rest = bytes.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (input, after) = rest.split_at((*cut).min(rest.len()));
                inputs.push(input);
                rest = after;
            }
            prop_assert_eq!(frames(&end, bytes_max, &inputs), frames(&end, bytes_max, &[&bytes]));
        }
    }
}
