//! Whether the connection still lives: PINGREQ after silence, and what silence means.

use super::failure::Failure;
use super::{Event, Link};
use crate::bridge::outputs::Outputs;
use crate::mqtt::Packet;
use crate::time::{Mono, Now};

impl Link {
    pub(super) fn keep_alive(&mut self, now: Now, out: &mut Outputs, events: &mut Vec<Event>) {
        if self.dead_at().is_some_and(|at| now.mono >= at) {
            let words = format!("silent for {} s", now.mono.since(self.last_received).as_secs());
            self.fail(now, Failure::ours(words), out, events);
        } else if self.ping_at().is_some_and(|at| now.mono >= at) {
            self.send_ping(now, out);
        }
    }

    /// Asks whether upstream still takes what is sent, unless that is asked already.
    pub(in crate::bridge) fn fence_ping(&mut self, now: Now, out: &mut Outputs) {
        if self.ping.is_none() {
            self.send_ping(now, out);
        }
    }

    fn send_ping(&mut self, now: Now, out: &mut Outputs) {
        self.reply(Packet::PingReq, out);
        self.last_sent = now.mono;
        self.ping.get_or_insert(now.mono);
    }

    /// Due after a keep alive without sending (3.1.2-22), or without hearing: else a link that only sends at
    /// QoS 0 would never be found dead.
    pub(super) fn ping_at(&self) -> Option<Mono> {
        if self.keep_alive.is_zero() {
            return None;
        }
        let since = if self.ping.is_some() { self.last_sent } else { self.last_sent.min(self.last_received) };
        Some(since + self.keep_alive)
    }

    pub(super) fn dead_at(&self) -> Option<Mono> {
        let ping = self.ping?;
        // Without a keep alive only the fence of QoS 0 pings; the configured span judges it.
        let span = if self.keep_alive.is_zero() { self.config.ack_timeout } else { self.keep_alive };
        Some((self.last_received + span * 3 / 2).max(ping + span / 2))
    }
}
