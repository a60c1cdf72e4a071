//! The gateway's own status as it stands upstream: a late will of an earlier connection is overwritten, another gateway
//! under the same id is told and left alone.
//!
//! What comes before the birth's PUBACK is what stood there before; what comes after it is news.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;

use super::words::Notice;
use super::{Bridge, mapping};
use crate::mqtt::{
    Packet, PacketId, Properties, QoS, RetainHandling, Subscribe, SubscribeFilter, SubscribeOptions, Version,
};
use crate::time::{Mono, Now};

/// The identifier of the SUBSCRIBE, behind those of the maps.
const SUBSCRIBE_ID: u16 = u16::MAX;
/// Repairs within [`REPAIRS_PER`]: two programs must not fight for a topic for ever.
const REPAIRS_MAX: usize = 3;
const REPAIRS_PER: Duration = Duration::from_secs(60);
/// So many connections that end between SUBSCRIBE and SUBACK: some clouds close at a subscription that isn't allowed, and
/// seeing the status is not worth the link.
const GIVE_UP_AT: u32 = 3;

/// What is known of the status upstream.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// SUBACK hasn't come.
    asked: bool,
    unanswered: u32,
    /// The birth is acknowledged: what comes now is news.
    is_news: bool,
    repairs: VecDeque<Mono>,
    pub(super) repaired: u64,
    /// The instance that spoke under our name since we are online.
    pub(super) foreign: Option<String>,
}

/// The parts of a status that tell whose it is.
#[derive(Deserialize)]
struct Seen<'a> {
    #[serde(borrow)]
    state: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    epoch: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    instance: std::borrow::Cow<'a, str>,
}

impl Watch {
    pub(super) fn link_down(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.unanswered = self.unanswered.saturating_add(1);
        }
        self.is_news = false;
    }

    pub(super) fn birth_acked(&mut self) {
        self.is_news = true;
    }

    fn may_repair(&mut self, now: Mono) -> bool {
        while self.repairs.front().is_some_and(|at| now.since(*at) >= REPAIRS_PER) {
            self.repairs.pop_front();
        }
        let may = self.repairs.len() < REPAIRS_MAX;
        if may {
            self.repairs.push_back(now);
            self.repaired += 1;
        }
        may
    }
}

impl Bridge {
    /// Asks for the own status, before the birth is sent.
    pub(super) fn watch_status(&mut self, now: Now) {
        self.watch.foreign = None;
        let Some(packet_id) = PacketId::new(SUBSCRIBE_ID) else { return };
        if !self.config.watch_status || self.watch.unanswered >= GIVE_UP_AT {
            return;
        }
        self.watch.asked = true;
        let options = SubscribeOptions {
            qos: QoS::AtMostOnce,
            no_local: self.config.version == Version::V5,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        };
        let topic = mapping::own_topic(&self.config.maps, &self.status_topic);
        let filters = vec![SubscribeFilter { filter: &topic, options }];
        let subscribe = Subscribe { packet_id, properties: Properties::EMPTY, filters };
        self.link.send(now, Packet::Subscribe(subscribe), &mut self.out);
    }

    /// Whether a SUBACK was about the own status. Whatever it says: without the right to see it all else goes on.
    pub(super) fn watch_answered(&mut self, id: PacketId) -> bool {
        let ours = id.get() == SUBSCRIBE_ID;
        if ours {
            self.watch.asked = false;
            self.watch.unanswered = 0;
            // Without acknowledgements nothing else tells when the birth is there.
            self.watch.is_news |= self.link.limits().qos_max == QoS::AtMostOnce;
        }
        ours
    }

    /// Whether a message from upstream is the own status; then it has been looked at.
    pub(super) fn is_own_status(&mut self, now: Now, topic: &str, payload: &Bytes) -> bool {
        if !self.config.watch_status || topic != mapping::own_topic(&self.config.maps, &self.status_topic) {
            return false;
        }
        if let Ok(seen) = serde_json::from_slice::<Seen<'_>>(payload) {
            self.saw_status(now, &seen);
        }
        true
    }

    fn saw_status(&mut self, now: Now, seen: &Seen<'_>) {
        if *seen.instance != *self.config.instance {
            // What a board that was exchanged left behind is no news.
            if *seen.state == *"online" {
                self.link.suspect_rival();
                if self.watch.is_news && self.watch.foreign.is_none() {
                    self.watch.foreign = Some(seen.instance.clone().into_owned());
                    self.out.notice(Notice::Rival { instance: seen.instance.clone().into_owned() });
                }
            }
            return;
        }
        let connections = self.link.connections();
        let is_stale = numbers(&seen.epoch).is_some_and(|seen| seen < (self.config.run.0, connections));
        let lies = is_stale && *seen.state == *"offline" && self.watch.is_news && self.stopping.is_none();
        if lies && self.watch.may_repair(now.mono) {
            let status = self.birth(now);
            self.slots.set_first(&self.status_topic, status);
        }
    }

    /// Another gateway under our name, in words.
    pub(super) fn rival(&self, now: Now) -> Option<String> {
        if let Some(words) = self.link.rival(now) {
            return Some(words);
        }
        let instance = self.watch.foreign.as_ref().filter(|_| self.link.is_online())?;
        Some(format!("another gateway (instance {}) publishes as this one", instance.escape_debug()))
    }
}

/// `(17, 2)` of the epoch `17-2`.
fn numbers(epoch: &str) -> Option<(u64, u64)> {
    let (run, connection) = epoch.split_once('-')?;
    Some((run.parse().ok()?, connection.parse().ok()?))
}
