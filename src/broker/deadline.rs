//! What happens when a deadline of a connection is reached. When it is, `timer` knows; sessions' deadlines are
//! `connect`'s.

use std::time::Duration;

use super::broken::Work;
use super::connection::{Connection, Phase};
use super::flow::HELD_FOR_MAX;
use super::timer::Owner;
use super::welcome::WELCOME_WITHIN;
use super::{Broker, ConnId, Cx, Sink};
use crate::mqtt::ReasonCode;
use crate::time::Mono;

/// How long a name and password may be under check. Longer: closed.
const AUTHENTICATE_MAX: Duration = Duration::from_secs(30);
/// How long a 3.x client whose message was refused is kept: it may be told by nothing but the close.
const REFUSED_CLOSE_AFTER: Duration = Duration::from_secs(30);

impl Broker {
    pub(super) fn tick<S: Sink>(&mut self, cx: &mut Cx<'_, S>) {
        while let Some(owner) = self.timers.pop_due(cx.now) {
            // Taken off before it is looked at: should it panic, the others have their turn the next time.
            self.at_work = Some(Work::of_deadline(owner));
            match owner {
                Owner::Conn(conn) => {
                    if let Some(c) = self.conns.get_mut(conn) {
                        c.armed = None;
                    }
                    self.conn_due(conn, cx);
                }
                Owner::Session(idx) => {
                    if let Some(session) = self.sessions.get_mut(idx) {
                        session.armed = None;
                    }
                    self.session_due(idx, cx);
                    // Retained messages may have had to wait for others.
                    self.pump(idx, cx);
                }
            }
        }
        self.at_work = Some(Work::Everybody);
        self.commit();
    }

    fn conn_due<S: Sink>(&mut self, conn: ConnId, cx: &mut Cx<'_, S>) {
        let Some((at, due)) = self.conns.get(conn).and_then(|c| self.conn_deadline(c)) else { return };
        if at > cx.now {
            return self.arm_conn(conn);
        }
        match due {
            Due::Stalled | Due::HoldsOthers
                if cx.sink.buffered(conn) <= self.config.out_buffer_bytes_max / 2 =>
            {
                self.drained(conn, cx);
                self.arm_conn(conn);
            }
            Due::HoldsOthers => {
                self.falls_behind(conn);
                self.arm_conn(conn);
            }
            Due::Stalled => self.close(conn, Some(ReasonCode::QuotaExceeded), cx),
            Due::Silent => self.close(conn, Some(ReasonCode::KeepAliveTimeout), cx),
            Due::Rested => {
                if let Some(c) = self.conns.get_mut(conn) {
                    c.pause.rate = None;
                    self.resumable.push(conn);
                }
                self.arm_conn(conn);
            }
            Due::Welcome => self.welcome(conn, cx),
            Due::NotConnected | Due::Refused => self.close(conn, None, cx),
        }
    }

    /// What a connection will be closed for next, or may do again, and when.
    fn conn_deadline(&self, c: &Connection) -> Option<(Mono, Due)> {
        let config = &self.config;
        let due = match c.phase {
            Phase::Fresh => {
                [Some((c.opened + config.connect_timeout, Due::NotConnected)), None, None, None, None, None]
            }
            Phase::Authenticating(_) => {
                let at = c.opened + config.connect_timeout + AUTHENTICATE_MAX;
                [Some((at, Due::NotConnected)), None, None, None, None, None]
            }
            Phase::Ready => {
                // While we don't read, its silence says nothing.
                let holds_others = c.full_since.filter(|_| !c.lags && !c.waiters.is_empty());
                let silence_max = c.silence_max.filter(|_| !c.pause.told);
                [
                    silence_max.map(|max| (c.last_seen + max, Due::Silent)),
                    c.full_since.map(|since| (since + config.out_buffer_stall_max, Due::Stalled)),
                    holds_others.map(|since| (since + HELD_FOR_MAX, Due::HoldsOthers)),
                    c.refused_at.map(|at| (at + REFUSED_CLOSE_AFTER, Due::Refused)),
                    c.pause.rate.map(|at| (at, Due::Rested)),
                    (!c.is_welcomed()).then_some((c.last_seen + WELCOME_WITHIN, Due::Welcome)),
                ]
            }
            Phase::Closing => [None; 6],
        };
        due.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    pub(super) fn arm_conn(&mut self, conn: ConnId) {
        let Some((at, _)) = self.conns.get(conn).and_then(|c| self.conn_deadline(c)) else { return };
        if let Some(c) = self.conns.get_mut(conn) {
            self.timers.arm_no_later_than(&mut c.armed, Owner::Conn(conn), at);
        }
    }
}

/// Why a connection is to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    NotConnected,
    Welcome,
    Silent,
    Stalled,
    /// Others have waited for it long enough.
    HoldsOthers,
    Refused,
    /// It may publish again.
    Rested,
}
