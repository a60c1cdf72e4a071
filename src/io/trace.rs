//! What passes over a line, for whoever looks on through the control socket. Nobody looks on, as a rule: then it costs a
//! comparison.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use crate::hex;
use crate::limits::{TRACE_PIECES_MAX, TRACES_MAX};
use crate::time::Timestamp;

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the device.
    In,
    /// To the device.
    Out,
}

/// One thing that happened on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Bytes, as they were read or written in one go.
    Bytes(Direction, Vec<u8>),
    /// The line was opened.
    Opened,
    /// The line was lost, or could not be opened.
    Down(String),
}

/// Of what a device sent the last bytes are kept, so many: some lines, or the end of a frame.
const LAST_BYTES_MAX: usize = 256;

/// Lines of which the last bytes are kept; the config has fewer ports. Beyond, all begin anew.
const LAST_LINES_MAX: usize = 512;

/// Who looks on, of all lines. Lives on the service thread.
#[derive(Debug, Default)]
pub struct Traces {
    lookers: RefCell<Vec<Looker>>,
    last: RefCell<HashMap<Arc<str>, Last>>,
}

/// The last bytes that came over a line, and when.
#[derive(Debug)]
struct Last {
    at: Timestamp,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Looker {
    port: Arc<str>,
    to: mpsc::Sender<(Timestamp, Happened)>,
    lost: Rc<Cell<u64>>,
}

/// What one looks on with.
#[derive(Debug)]
pub struct Trace {
    pieces: mpsc::Receiver<(Timestamp, Happened)>,
    lost: Rc<Cell<u64>>,
}

impl Traces {
    /// Looks on at a port; `None` where too many do already.
    #[must_use]
    pub fn look_on(&self, port: &str) -> Option<Trace> {
        let mut lookers = self.lookers.borrow_mut();
        lookers.retain(|looker| !looker.to.is_closed());
        if lookers.len() >= TRACES_MAX {
            return None;
        }
        let (to, pieces) = mpsc::channel(TRACE_PIECES_MAX);
        let lost = Rc::new(Cell::new(0));
        lookers.push(Looker { port: Arc::from(port), to, lost: lost.clone() });
        Some(Trace { pieces, lost })
    }

    /// Bytes went over a line.
    pub fn bytes(&self, port: &str, at: Timestamp, direction: Direction, bytes: &[u8]) {
        if direction == Direction::In {
            self.keep(port, at, bytes);
        }
        self.tell(port, at, || Happened::Bytes(direction, bytes.to_vec()));
    }

    fn keep(&self, port: &str, at: Timestamp, bytes: &[u8]) {
        let mut all = self.last.borrow_mut();
        if !all.contains_key(port) {
            if all.len() >= LAST_LINES_MAX {
                all.clear();
            }
            all.insert(Arc::from(port), Last { at, bytes: Vec::new() });
        }
        let Some(last) = all.get_mut(port) else { return };
        let new = bytes.get(bytes.len().saturating_sub(LAST_BYTES_MAX)..).unwrap_or_default();
        let too_much = (last.bytes.len() + new.len()).saturating_sub(LAST_BYTES_MAX);
        last.bytes.drain(..too_much.min(last.bytes.len()));
        last.bytes.extend_from_slice(new);
        last.at = at;
    }

    /// The last bytes that came over a line, and when the last of them did.
    #[must_use]
    pub fn last(&self, port: &str) -> Option<(Timestamp, Vec<u8>)> {
        self.last.borrow().get(port).map(|last| (last.at, last.bytes.clone()))
    }

    /// A line was opened.
    pub fn opened(&self, port: &str, at: Timestamp) {
        self.tell(port, at, || Happened::Opened);
    }

    /// A line is down.
    pub fn down(&self, port: &str, at: Timestamp, error: &str) {
        self.tell(port, at, || Happened::Down(error.to_owned()));
    }

    fn tell(&self, port: &str, at: Timestamp, what: impl Fn() -> Happened) {
        for looker in self.lookers.borrow().iter().filter(|looker| *looker.port == *port) {
            if let Err(mpsc::error::TrySendError::Full(_)) = looker.to.try_send((at, what())) {
                looker.lost.set(looker.lost.get().saturating_add(1));
            }
        }
    }
}

impl Trace {
    /// The next bytes that come from the device; none where the line is down. Cancel safe.
    pub async fn received(&mut self) -> Option<Vec<u8>> {
        loop {
            match self.pieces.recv().await?.1 {
                Happened::Bytes(Direction::In, bytes) => return Some(bytes),
                Happened::Down(_) => return None,
                Happened::Bytes(Direction::Out, _) | Happened::Opened => {}
            }
        }
    }

    /// The next thing that happens.
    pub async fn next(&mut self) -> Option<Json> {
        let (at, what) = self.pieces.recv().await?;
        let time = at.to_string();
        let lost = self.lost.take();
        Some(match what {
            Happened::Bytes(direction, bytes) => {
                let direction = if direction == Direction::In { "in" } else { "out" };
                let hex = hex::encode(&bytes);
                json!({"time": time, "direction": direction, "bytes": hex, "lost": lost})
            }
            Happened::Opened => json!({"time": time, "event": "open", "lost": lost}),
            Happened::Down(error) => json!({"time": time, "event": "down", "error": error, "lost": lost}),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_of_each_line_are_kept_and_no_more() {
        let traces = Traces::default();
        let at = Timestamp::from_millis;
        traces.bytes("a", at(1), Direction::In, b"first");
        traces.bytes("a", at(2), Direction::Out, b"asked");
        traces.bytes("a", at(3), Direction::In, b" second");
        assert_eq!(traces.last("a").unwrap(), (at(3), b"first second".to_vec()));
        traces.bytes("a", at(4), Direction::In, &[7; LAST_BYTES_MAX + 1]);
        traces.bytes("a", at(5), Direction::In, &[8; 2]);
        let (_, bytes) = traces.last("a").unwrap();
        assert_eq!((bytes.len(), &bytes[LAST_BYTES_MAX - 3..]), (LAST_BYTES_MAX, &[7, 8, 8][..]));
        assert!(traces.last("b").is_none());
        for number in 0..=LAST_LINES_MAX {
            traces.bytes(&number.to_string(), at(6), Direction::In, b"x");
        }
        assert!(traces.last("a").is_none() && traces.last.borrow().len() <= LAST_LINES_MAX);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn whoever_is_slow_is_told_how_much_was_left_out_and_not_too_many_look_on() {
        let traces = Traces::default();
        let mut trace = traces.look_on("a").unwrap();
        let others: Vec<Trace> = (1..TRACES_MAX).map(|_| traces.look_on("b").unwrap()).collect();
        assert!(traces.look_on("c").is_none());
        drop(others);
        assert!(traces.look_on("c").is_some(), "those that have gone make room");
        let at = Timestamp::from_millis(0);
        traces.opened("a", at);
        for _ in 0..TRACE_PIECES_MAX + 4 {
            traces.bytes("a", at, Direction::In, b"\x01\xfe");
            traces.bytes("b", at, Direction::In, b"other");
        }
        let first = trace.next().await.unwrap();
        assert_eq!((&first["event"], &first["lost"]), (&json!("open"), &json!(5)));
        for _ in 0..TRACE_PIECES_MAX - 1 {
            let next = trace.next().await.unwrap();
            assert_eq!((&next["bytes"], &next["lost"]), (&json!("01fe"), &json!(0)));
        }
        traces.bytes("a", at, Direction::Out, b"");
        traces.down("a", at, "gone");
        assert_eq!(trace.next().await.unwrap()["direction"], "out");
        assert_eq!(trace.next().await.unwrap()["error"], "gone");
    }
}
