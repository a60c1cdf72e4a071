//! What the machine makes of packets: somebody has one of its names, wants one of them too, or asks.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use simple_dns::{Name, Packet, PacketFlag, TYPE};

use super::records::{self, Own, has_name, known, wire};
use super::{Output, PORT, Phase, Responder, digest};
use crate::time::Mono;

/// A packet with more parts than this is not looked at: taking it apart costs memory for a moment.
const PARTS_MAX: u16 = 256;
/// Who comes second of two that probe waits for this (8.2).
const SECOND_WAITS: Duration = Duration::from_secs(1);
/// After so many names that were taken the next is tried a minute later: somebody may be out to take them all.
const RENAMED_FAST_MAX: u32 = 10;
const RENAMED_SLOWLY: Duration = Duration::from_secs(60);
/// Answers to one who asks, of a link, in a second; further ones go unanswered.
pub(super) const ANSWERS_PER_SECOND_MAX: u32 = 20;

impl Responder {
    /// A packet that has come on a link, from a neighbour. Whatever isn't multicast DNS is passed over.
    pub fn hear(&mut self, now: Mono, link: u32, from: SocketAddr, bytes: &[u8]) {
        let Some(place) = self.links.iter().position(|linked| linked.link.index == link) else { return };
        if self.phase == Phase::Idle || parts(bytes) > PARTS_MAX || self.own_packets.contains(&digest(bytes))
        {
            return;
        }
        let Ok(packet) = Packet::parse(bytes) else { return };
        if packet.has_flags(PacketFlag::RESPONSE) {
            self.hear_answer(now, &packet);
        } else if let Phase::Probing { sent, .. } = self.phase {
            if sent > 0 && self.comes_second(place, &packet) {
                self.phase = Phase::Probing { sent: 0, at: now + SECOND_WAITS };
            }
        } else {
            self.hear_question(now, place, from, &packet);
        }
    }

    /// Whether somebody says something else of a name that is meant to be the gateway's own.
    fn hear_answer(&mut self, now: Mono, packet: &Packet<'_>) {
        let Some(wanted) = &self.wanted else { return };
        let taken = packet.answers.iter().chain(&packet.additional_records).filter(|record| record.ttl > 0);
        let all = || self.links.iter().flat_map(|linked| &linked.records);
        let own = |address: IpAddr| self.links.iter().any(|linked| linked.link.addresses.contains(&address));
        let mut others = [false, false];
        for record in taken {
            let is_unique = |own: &&Own| !own.is_shared && own.record.name == record.name;
            if !all().any(|own| is_unique(&own)) {
                continue;
            }
            let is_known = match records::address(&record.rdata) {
                Some(address) => own(address),
                None => {
                    !matches!(record.rdata.type_code(), TYPE::SRV | TYPE::TXT)
                        || all().any(|own| is_unique(&own) && own.record.rdata == record.rdata)
                }
            };
            if !is_known {
                let is_host = has_name(&record.name, &[&records::host(wanted, self.renamed), "local"]);
                others = [others[0] || is_host, others[1] || !is_host];
            }
        }
        if others == [false, false] {
            return;
        }
        if !matches!(self.phase, Phase::Probing { .. }) {
            self.phase = Phase::Probing { sent: 0, at: now };
            return;
        }
        for (count, is_taken) in self.renamed.iter_mut().zip(others) {
            *count += u32::from(is_taken);
        }
        self.rebuild(now);
        if self.renamed.iter().any(|count| *count > RENAMED_FAST_MAX) {
            self.phase = Phase::Probing { sent: 0, at: now + RENAMED_SLOWLY };
        }
    }

    /// Whether somebody else who probes for one of the names comes before us (RFC 6762, 8.2).
    fn comes_second(&self, place: usize, packet: &Packet<'_>) -> bool {
        let Some(linked) = self.links.get(place) else { return false };
        let sorted = |records: Vec<Vec<u8>>| {
            let mut records = records;
            records.sort();
            records
        };
        packet.questions.iter().any(|question| {
            let of_name = |name: &Name<'_>| *name == question.qname;
            let own = linked
                .records
                .iter()
                .filter(|own| !own.is_shared && !own.is_denial() && of_name(&own.record.name));
            let own = sorted(own.map(|own| wire(&own.record)).collect());
            let theirs = packet.name_servers.iter().filter(|record| of_name(&record.name));
            let theirs = sorted(theirs.map(wire).collect());
            !own.is_empty() && own < theirs
        })
    }

    fn hear_question(&mut self, now: Mono, place: usize, from: SocketAddr, packet: &Packet<'_>) {
        let Some(linked) = self.links.get_mut(place) else { return };
        let mut answers: BTreeSet<usize> = BTreeSet::new();
        let (mut to_one, mut shared) = (!packet.questions.is_empty(), false);
        for question in &packet.questions {
            let asked = records::asked(&linked.records, question);
            to_one &= question.unicast_response || asked.is_empty();
            answers.extend(asked);
        }
        let simple = from.port() != PORT;
        // Who already knows is not told again; a simple resolver says nothing of what it knows.
        answers.retain(|answer| linked.records.get(*answer).is_some_and(|own| simple || !known(packet, own)));
        if answers.is_empty() {
            return;
        }
        if simple || to_one {
            if now.since(linked.answered.0) >= Duration::from_secs(1) {
                linked.answered = (now, 0);
            }
            linked.answered.1 += 1;
            if linked.answered.1 <= ANSWERS_PER_SECOND_MAX {
                let bytes = records::answer(&linked.records, &answers, simple.then_some(packet));
                self.outputs.push(Output { link: linked.link.index, to: Some(from), bytes });
            }
            return;
        }
        shared |= answers.iter().any(|answer| linked.records.get(*answer).is_some_and(|own| own.is_shared));
        // Others may have an answer of that kind too: not all at once (RFC 6762, 6).
        let wait = if shared { self.random.u64(20..120) } else { 0 };
        let at = now + Duration::from_millis(wait);
        let (due, pending) = linked.pending.get_or_insert_with(|| (at, BTreeSet::new()));
        *due = at.min(*due);
        pending.extend(answers);
    }
}

/// How many questions and records a packet claims to have.
fn parts(bytes: &[u8]) -> u16 {
    let counts = bytes.get(4..12).unwrap_or_default().chunks_exact(2);
    counts.fold(0_u16, |sum, two| sum.saturating_add(two.try_into().map_or(u16::MAX, u16::from_be_bytes)))
}
