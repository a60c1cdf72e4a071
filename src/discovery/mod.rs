//! How the gateway is found on its networks: the machine of multicast DNS (RFC 6762) and of the services that it tells
//! (RFC 6763). It answers, and asks nobody: nothing of what it hears is kept, so nothing grows however much is said.
//! Pure: packets and time come in, packets come out; `io/discovery` has the sockets.
//!
//! ```text
//!            ┌──────────── somebody else has the name: another one ───────────┐
//!            ▼                                                                │
//!  idle ─▶ probing, three times 250 ms apart ─▶ announcing, twice ─▶ settled ─┴─ somebody says the same: probing
//!            └─ somebody probes for it as well, and comes first: in a second again
//! ```
//!
//! Told are a host name, `<id>.local`, with the addresses of the link that is asked on, and for each service its port. Neither
//! version nor site are told: who isn't logged in has no use for them, but to know what to try.

mod hearing;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use simple_dns::{Packet, QCLASS, QTYPE, Question};

use crate::time::Mono;
use records::Own;

/// The port of multicast DNS. Who asks from another is a simple resolver that takes one answer.
pub const PORT: u16 = 5353;
/// The longest packet that is looked at (RFC 6762, 17).
pub const PACKET_BYTES_MAX: usize = 9_000;
/// Services that are told; more listeners than that nobody looks for by name.
pub const SERVICES_MAX: usize = 16;
/// Probes, and the time between them (RFC 6762, 8.1).
const PROBES: u8 = 3;
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// Announcements, and the time between them (8.3).
const ANNOUNCEMENTS: u8 = 2;
const ANNOUNCE_EVERY: Duration = Duration::from_secs(1);
/// The same is not said to all more often than this (6).
const SAID_EVERY: Duration = Duration::from_secs(1);
/// Own packets that are known again when they come back.
const OWN_PACKETS: usize = 32;

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The host name without `.local`.
    pub label: String,
    /// What people see in a list of services.
    pub instance: String,
    /// At most [`SERVICES_MAX`].
    pub services: Vec<Service>,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Such as `_mqtt._tcp`.
    pub kind: &'static str,
    /// Stands behind the instance's name where there are several of a kind.
    pub name: Option<String>,
    /// Where it is.
    pub port: u16,
    /// The only address it is at; none where it is at all.
    pub only: Option<IpAddr>,
    /// `key=value`, or `key`.
    pub facts: Vec<String>,
}

/// A network that the gateway has an address in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number of it.
    pub index: u32,
    /// The addresses of the gateway there.
    pub addresses: Vec<IpAddr>,
}

/// A packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// On this link.
    pub link: u32,
    /// To one; to all who listen where there is none.
    pub to: Option<SocketAddr>,
    /// What.
    pub bytes: Vec<u8>,
}

/// A host name made of the gateway's id: what else than letters, digits and hyphens stands in it becomes a hyphen.
#[must_use]
pub fn label_of(id: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let label: String = id.chars().map(plain).take(56).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "fieldgate".to_owned() } else { label.to_owned() }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is to be told.
    Idle,
    Probing {
        sent: u8,
        at: Mono,
    },
    Announcing {
        sent: u8,
        at: Mono,
    },
    Settled,
}

/// A link, and what is said there.
#[derive(Debug)]
struct Linked {
    link: Link,
    records: Vec<Own>,
    /// What is said to all at that time.
    pending: Option<(Mono, BTreeSet<usize>)>,
    /// When each record was said to all.
    said: Vec<Option<Mono>>,
    /// Answers to single ones since then.
    answered: (Mono, u32),
}

/// The machine.
#[derive(Debug)]
pub struct Responder {
    wanted: Option<Wanted>,
    /// How often the host name, and the name of the services, was taken.
    renamed: [u32; 2],
    phase: Phase,
    links: Vec<Linked>,
    own_packets: VecDeque<u64>,
    outputs: Vec<Output>,
    random: fastrand::Rng,
}

impl Responder {
    /// One that tells nothing yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            wanted: None,
            renamed: [0, 0],
            phase: Phase::Idle,
            links: Vec::new(),
            own_packets: VecDeque::new(),
            outputs: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The host name as it is known on the links; none before that.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        let wanted = self.wanted.as_ref()?;
        let is_known = matches!(self.phase, Phase::Announcing { .. } | Phase::Settled);
        is_known.then(|| format!("{}.local", records::host(wanted, self.renamed)))
    }

    /// Tells this from now on; none: nothing any more. What is no longer true is taken back.
    pub fn tell(&mut self, now: Mono, wanted: Option<Wanted>) {
        if self.wanted == wanted {
            return;
        }
        let names = |wanted: &Option<Wanted>| wanted.as_ref().map(|w| (w.label.clone(), w.instance.clone()));
        if names(&self.wanted) != names(&wanted) {
            self.renamed = [0, 0];
        }
        self.wanted = wanted;
        self.rebuild(now);
    }

    /// The links as they are now.
    pub fn set_links(&mut self, now: Mono, links: Vec<Link>) {
        if self.links.iter().map(|linked| &linked.link).eq(&links) {
            return;
        }
        let mut old: Vec<Linked> = std::mem::take(&mut self.links);
        for link in links {
            let known = old.iter().position(|linked| linked.link.index == link.index);
            let records = known.map_or_else(Vec::new, |place| old.swap_remove(place).records);
            self.links.push(Linked { link, records, pending: None, said: Vec::new(), answered: (now, 0) });
        }
        self.rebuild(now);
    }

    /// Other names, services or addresses: what is gone is taken back, and the rest asked for anew.
    fn rebuild(&mut self, now: Mono) {
        let was_told = matches!(self.phase, Phase::Announcing { .. } | Phase::Settled);
        for place in 0..self.links.len() {
            let Some(linked) = self.links.get_mut(place) else { continue };
            let new = self
                .wanted
                .as_ref()
                .map_or_else(Vec::new, |wanted| records::of(wanted, self.renamed, &linked.link));
            let old = std::mem::replace(&mut linked.records, new);
            linked.pending = None;
            linked.said = vec![None; linked.records.len()];
            let gone: Vec<Own> = old
                .into_iter()
                .filter(|old| !linked.records.iter().any(|new| new.record == old.record))
                .collect();
            if was_told && !gone.is_empty() {
                self.say(place, records::goodbye(&gone));
            }
        }
        self.phase = match self.wanted {
            Some(_) if !self.links.is_empty() => Phase::Probing { sent: 0, at: self.soon(now) },
            _ => Phase::Idle,
        };
    }

    /// Within a quarter of a second, so that those who were switched on together don't speak together.
    fn soon(&mut self, now: Mono) -> Mono {
        now + Duration::from_millis(self.random.u64(0..250))
    }

    /// When [`Self::poll`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let own = match self.phase {
            Phase::Probing { at, .. } | Phase::Announcing { at, .. } => Some(at),
            Phase::Idle | Phase::Settled => None,
        };
        let pending = self.links.iter().filter_map(|linked| linked.pending.as_ref().map(|(at, _)| *at));
        pending.chain(own).min()
    }

    /// What is to be sent by now.
    pub fn poll(&mut self, now: Mono) -> Vec<Output> {
        match self.phase {
            Phase::Probing { sent, at } if at <= now => self.probe(now, sent),
            Phase::Announcing { sent, at } if at <= now => self.announce(now, sent),
            _ => {}
        }
        for place in 0..self.links.len() {
            self.say_pending(now, place);
        }
        std::mem::take(&mut self.outputs)
    }

    fn probe(&mut self, now: Mono, sent: u8) {
        if sent == PROBES {
            self.announce(now, 0);
            return;
        }
        self.phase = Phase::Probing { sent: sent + 1, at: now + PROBE_EVERY };
        for place in 0..self.links.len() {
            let Some(linked) = self.links.get(place) else { continue };
            let mut packet = Packet::new_query(0);
            for own in linked.records.iter().filter(|own| !own.is_shared && !own.is_denial()) {
                let name = &own.record.name;
                if !packet.questions.iter().any(|question| question.qname == *name) {
                    // The first asks for an answer to this gateway alone.
                    let question = Question::new(
                        name.clone(),
                        QTYPE::ANY,
                        QCLASS::CLASS(simple_dns::CLASS::IN),
                        sent == 0,
                    );
                    packet.questions.push(question);
                }
                packet.name_servers.push(own.record.clone().with_cache_flush(false));
            }
            if let Ok(bytes) = packet.build_bytes_vec_compressed() {
                self.say(place, bytes);
            }
        }
    }

    fn announce(&mut self, now: Mono, sent: u8) {
        self.phase = if sent + 1 == ANNOUNCEMENTS {
            Phase::Settled
        } else {
            Phase::Announcing { sent: sent + 1, at: now + ANNOUNCE_EVERY }
        };
        for place in 0..self.links.len() {
            let Some(linked) = self.links.get_mut(place) else { continue };
            linked.pending = None;
            linked.said = vec![Some(now); linked.records.len()];
            let all = (0..linked.records.len()).collect();
            let bytes = records::answer(&linked.records, &all, None);
            self.say(place, bytes);
        }
    }

    fn say_pending(&mut self, now: Mono, place: usize) {
        let Some(linked) = self.links.get_mut(place) else { return };
        let Some((_, mut due)) = linked.pending.take_if(|(at, _)| *at <= now) else { return };
        due.retain(|record| {
            linked.said.get(*record).copied().flatten().is_none_or(|at| now.since(at) >= SAID_EVERY)
        });
        if due.is_empty() {
            return;
        }
        for record in &due {
            if let Some(said) = linked.said.get_mut(*record) {
                *said = Some(now);
            }
        }
        let bytes = records::answer(&linked.records, &due, None);
        self.say(place, bytes);
    }

    /// To all on a link.
    fn say(&mut self, place: usize, bytes: Vec<u8>) {
        let Some(linked) = self.links.get(place).filter(|_| !bytes.is_empty()) else { return };
        if self.own_packets.len() == OWN_PACKETS {
            self.own_packets.pop_front();
        }
        self.own_packets.push_back(digest(&bytes));
        self.outputs.push(Output { link: linked.link.index, to: None, bytes });
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
