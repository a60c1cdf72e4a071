//! What passes over a line, for whoever looks on through the control socket. Nobody looks on, as a rule: then it costs a
//! comparison.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

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

/// Who looks on, of all lines. Lives on the service thread.
#[derive(Debug, Default)]
pub struct Traces {
    lookers: RefCell<Vec<Looker>>,
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
        self.tell(port, at, || Happened::Bytes(direction, bytes.to_vec()));
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
    /// The next thing that happens.
    pub async fn next(&mut self) -> Option<Json> {
        let (at, what) = self.pieces.recv().await?;
        let time = at.to_string();
        let lost = self.lost.take();
        Some(match what {
            Happened::Bytes(direction, bytes) => {
                let direction = if direction == Direction::In { "in" } else { "out" };
                let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
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
