//! Whether another client with our identifier throws us out: then each throws out the other, for ever, unless one gives
//! way.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Mono;

/// So many within [`KICKS_PER`] are no accident.
const KICKS: usize = 3;
const KICKS_PER: Duration = Duration::from_secs(60);
/// Before 5.0 the server closes without a word. A connection that ends so soon after CONNACK was perhaps taken over.
const SOON: Duration = Duration::from_secs(5);
/// Time between attempts from then on.
pub(super) const WAIT: Duration = Duration::from_secs(30);

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Upstream said that the session was taken over (0x8E).
    TakenOver,
    /// Upstream closed without a word after so long.
    Closed(Duration),
    /// Otherwise.
    Other,
}

/// What speaks for another client.
#[derive(Debug, Default)]
pub(super) struct Rival {
    kicks: VecDeque<Mono>,
    /// Another instance was seen under our name, in this connection or the one before.
    suspected: bool,
    known: bool,
}

impl Rival {
    pub(super) fn suspect(&mut self) {
        self.suspected = true;
    }

    /// A connection has ended. A link that flaps closes without a word, too: that alone says nothing.
    pub(super) fn ended(&mut self, end: End, now: Mono) {
        let kicked = match end {
            End::TakenOver => true,
            End::Closed(after) => self.suspected && after < SOON,
            End::Other => false,
        };
        self.suspected = false;
        while self.kicks.front().is_some_and(|at| now.since(*at) >= KICKS_PER) && !self.known {
            self.kicks.pop_front();
        }
        if kicked {
            self.kicks.push_back(now);
            self.kicks.truncate(KICKS);
            self.known |= self.kicks.len() >= KICKS;
        }
    }

    /// Online for long: nobody throws us out.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) const fn is_known(&self) -> bool {
        self.known
    }
}
