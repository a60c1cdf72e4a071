//! The server that upstream sent us to, if it did (5.0, 4.11). "Use another server" is for one connection, "server moved"
//! until the process ends; then a round of the configured addresses follows each time that it can't be reached.

use super::super::redirect::{self, HOPS_MAX, Place};
use super::Link;
use super::failure::{Failure, with_reason};
use crate::mqtt::{Properties, PropertyId, ReasonCode};

/// Another server than those of the config.
#[derive(Debug)]
pub(super) struct Elsewhere {
    place: Place,
    /// 0x9D.
    moved: bool,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It is tried next.
    Next,
    /// It is in use or tried.
    Now,
    /// The configured addresses are tried.
    Later,
}

impl Link {
    /// What it means that upstream wants us to go to another server.
    pub(super) fn sent_elsewhere(&mut self, reason: ReasonCode, properties: Properties<'_>) -> Failure {
        // It says why it ends the connection: that is nobody's fault, least of all a message's.
        let failure = Failure::ours;
        let words = with_reason("upstream sends us elsewhere", reason, properties);
        let Some(reference) = properties.string(PropertyId::ServerReference) else {
            return Failure { refused: true, ..failure(format!("{words}; it doesn't say where")) };
        };
        let places = redirect::places(reference, self.config.port);
        let allowed = |place: &&Place| self.config.redirects.iter().any(|allowed| allowed.holds(place));
        let Some(place) = places.iter().find(allowed) else {
            let words = match places.first() {
                Some(place) => format!(
                    "{words}; it names {place}, which redirect_hosts doesn't allow; to follow it, write \
                     redirect_hosts = [\"{place}\"]"
                ),
                None => format!("{words}; {:?} is no host", reference.escape_debug().to_string()),
            };
            return Failure { refused: true, ..failure(words) };
        };
        self.hops += 1;
        if self.hops > HOPS_MAX {
            self.hops = 0;
            self.elsewhere = None;
            let words = format!("{words}; it is the {}th time in a row", HOPS_MAX + 1);
            return Failure { refused: true, ..failure(words) };
        }
        let moved = reason == ReasonCode::ServerMoved;
        let words = format!("{words}: {place}");
        self.elsewhere = Some(Elsewhere { place: place.clone(), moved, turn: Turn::Next });
        Failure { redirected: true, ..failure(words) }
    }

    /// The other server, if it is to be tried now.
    pub(super) fn goes_elsewhere(&mut self) -> Option<Place> {
        let elsewhere = self.elsewhere.as_mut().filter(|elsewhere| elsewhere.turn == Turn::Next)?;
        elsewhere.turn = Turn::Now;
        Some(elsewhere.place.clone())
    }

    /// A connection there, or the attempt, has ended. Returns whether it was there.
    pub(super) fn leaves_elsewhere(&mut self, was_online: bool) -> bool {
        let Some(elsewhere) = self.elsewhere.as_mut().filter(|elsewhere| elsewhere.turn == Turn::Now) else {
            return false;
        };
        elsewhere.turn = if was_online { Turn::Next } else { Turn::Later };
        if !elsewhere.moved {
            self.elsewhere = None;
        }
        true
    }

    /// A round of the configured addresses is over.
    pub(super) fn tries_elsewhere_again(&mut self) {
        if let Some(elsewhere) = &mut self.elsewhere {
            elsewhere.turn = Turn::Next;
        }
    }

    /// Where the link is or tries next, unless that is one of the configured addresses.
    pub(super) fn elsewhere(&self) -> Option<&Place> {
        let elsewhere = self.elsewhere.as_ref()?;
        (elsewhere.turn != Turn::Later).then_some(&elsewhere.place)
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.turn == Turn::Now)
    }
}
