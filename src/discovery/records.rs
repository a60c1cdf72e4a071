//! What the gateway says of itself on a link, as records of DNS, and the packets that carry them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;

use simple_dns::rdata::{A, AAAA, NSEC, NsecTypeBitMap, PTR, RData, SRV, TXT};
use simple_dns::{CLASS, CharacterString, Label, Name, Packet, PacketFlag, Question, ResourceRecord, TYPE};

use super::{Link, SERVICES_MAX, Service, Wanted};

/// Records with addresses are believed for two minutes, others for 75 (RFC 6762, 10).
const ADDRESS_SECONDS: u32 = 120;
const OTHER_SECONDS: u32 = 4_500;
/// What a simple resolver, which hears no goodbye, may believe (6.7).
const SIMPLE_SECONDS: u32 = 10;

/// One thing that is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) record: ResourceRecord<'static>,
    /// Others may say something under that name as well.
    pub(super) is_shared: bool,
}

impl Own {
    /// Whether it says which other records there are not.
    pub(super) fn is_denial(&self) -> bool {
        self.record.rdata.type_code() == TYPE::NSEC
    }
}

/// The host's label, with a number where others were before us.
pub(super) fn host(wanted: &Wanted, renamed: [u32; 2]) -> String {
    match renamed[0] {
        0 => wanted.label.clone(),
        times => format!("{}-{}", wanted.label, times + 1),
    }
}

fn instance(wanted: &Wanted, renamed: [u32; 2], service: &Service) -> String {
    let mut text = wanted.instance.clone();
    if let Some(name) = &service.name {
        text = format!("{text} {name}");
    }
    let number = match renamed[1] {
        0 => String::new(),
        times => format!(" ({})", times + 1),
    };
    // A label has 63 bytes at most.
    let mut end = text.len().min(63 - number.len().min(20));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text + &number
}

/// A name of these labels, whatever stands in them.
fn name_of(labels: &[&str]) -> Name<'static> {
    let labels: Vec<Label<'static>> =
        labels.iter().map(|label| Label::new_unchecked(label.as_bytes().to_vec())).collect();
    Name::new_with_labels(&labels)
}

fn kind_of(kind: &'static str) -> Name<'static> {
    name_of(&kind.split('.').chain(["local"]).collect::<Vec<_>>())
}

/// Whether a name has these labels, however they are written.
pub(super) fn has_name(name: &Name<'_>, labels: &[&str]) -> bool {
    *name == name_of(labels)
}

/// All that is said on a link; nothing where the gateway has no address.
pub(super) fn of(wanted: &Wanted, renamed: [u32; 2], link: &Link) -> Vec<Own> {
    let host = name_of(&[&host(wanted, renamed), "local"]);
    let unique = |name: &Name<'static>, seconds, rdata| Own {
        record: ResourceRecord::new(name.clone(), CLASS::IN, seconds, rdata).with_cache_flush(true),
        is_shared: false,
    };
    let shared = |name: Name<'static>, to: Name<'static>| Own {
        record: ResourceRecord::new(name, CLASS::IN, OTHER_SECONDS, RData::PTR(PTR(to))),
        is_shared: true,
    };
    let mut all = Vec::new();
    let mut kinds = BTreeSet::new();
    for address in told(&link.addresses) {
        let (rdata, kind) = match address {
            IpAddr::V4(four) => (RData::A(A::from(four)), 1),
            IpAddr::V6(six) => (RData::AAAA(AAAA::from(six)), 28),
        };
        kinds.insert(kind);
        all.push(unique(&host, ADDRESS_SECONDS, rdata));
    }
    if all.is_empty() {
        return all;
    }
    all.push(unique(&host, ADDRESS_SECONDS, denial(&host, &kinds)));
    let here = |service: &&Service| service.only.is_none_or(|only| link.addresses.contains(&only));
    let mut told_kinds = BTreeSet::new();
    for service in wanted.services.iter().filter(here).take(SERVICES_MAX) {
        let kind = kind_of(service.kind);
        let label = instance(wanted, renamed, service);
        let parts: Vec<&str> =
            std::iter::once(&*label).chain(service.kind.split('.')).chain(["local"]).collect();
        let name = name_of(&parts);
        if told_kinds.insert(service.kind) {
            all.push(shared(name_of(&["_services", "_dns-sd", "_udp", "local"]), kind.clone()));
        }
        all.push(shared(kind, name.clone()));
        let place = SRV { priority: 0, weight: 0, port: service.port, target: host.clone() };
        all.push(unique(&name, ADDRESS_SECONDS, RData::SRV(place)));
        all.push(unique(&name, OTHER_SECONDS, RData::TXT(facts(service))));
        all.push(unique(&name, OTHER_SECONDS, denial(&name, &BTreeSet::from([16, 33]))));
    }
    all
}

/// The addresses that are worth telling: those that need no name of an interface to be reached, if there are any.
fn told(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let is_plain = |address: &&IpAddr| !matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
    let plain: Vec<IpAddr> = addresses.iter().filter(is_plain).copied().collect();
    if plain.is_empty() { addresses.to_vec() } else { plain }
}

fn facts(service: &Service) -> TXT<'static> {
    let mut text = TXT::new();
    for fact in std::iter::once("txtvers=1").chain(service.facts.iter().map(String::as_str)) {
        // One that is too long is left out.
        if let Ok(fact) = CharacterString::new(fact.as_bytes()) {
            text.add_char_string(fact.into_owned());
        }
    }
    text
}

/// Says which types of records there are, and so that there are no others (RFC 6762, 6.1).
fn denial(name: &Name<'static>, kinds: &BTreeSet<u8>) -> RData<'static> {
    let bytes = kinds.last().map_or(0, |last| usize::from(last / 8) + 1);
    let mut bitmap = vec![0_u8; bytes];
    for kind in kinds {
        if let Some(byte) = bitmap.get_mut(usize::from(kind / 8)) {
            *byte |= 0x80 >> (kind % 8);
        }
    }
    let map = NsecTypeBitMap { window_block: 0, bitmap: Cow::Owned(bitmap) };
    RData::NSEC(NSEC { next_name: name.clone(), type_bit_maps: vec![map] })
}

/// The address that a record tells, if it tells one.
pub(super) fn address(rdata: &RData<'_>) -> Option<IpAddr> {
    match rdata {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.address.into())),
        _ => None,
    }
}

/// Which records answer a question: where the name is ours and has nothing of that type, what says so.
pub(super) fn asked(records: &[Own], question: &Question<'_>) -> Vec<usize> {
    let of_name = records.iter().enumerate().filter(|(_, own)| own.record.name == question.qname);
    let (denials, all): (Vec<_>, Vec<_>) = of_name.partition(|(_, own)| own.is_denial());
    let fits = |own: &Own| own.record.match_qclass(question.qclass) && own.record.match_qtype(question.qtype);
    let found: Vec<usize> = all.iter().filter(|(_, own)| fits(own)).map(|(place, _)| *place).collect();
    if found.is_empty() { denials.iter().map(|(place, _)| *place).collect() } else { found }
}

/// Whether who asks knows that already, and for long enough.
pub(super) fn known(packet: &Packet<'_>, own: &Own) -> bool {
    let same =
        |record: &&ResourceRecord<'_>| record.name == own.record.name && record.rdata == own.record.rdata;
    packet.answers.iter().filter(same).any(|record| record.ttl >= own.record.ttl / 2)
}

/// The packet that says these, and what whoever asks for them will want next. To a simple resolver (`question`) as it
/// expects it of any DNS server.
pub(super) fn answer(records: &[Own], answers: &BTreeSet<usize>, question: Option<&Packet<'_>>) -> Vec<u8> {
    let mut packet = Packet::new_reply(question.map_or(0, Packet::id));
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    if let Some(question) = question {
        packet.questions = question.questions.iter().take(8).cloned().map(Question::into_owned).collect();
    }
    let written = |own: &Own| {
        let mut record = own.record.clone();
        if question.is_some() {
            record.ttl = record.ttl.min(SIMPLE_SECONDS);
            record.cache_flush = false;
        }
        record
    };
    let (mut instances, mut hosts) = (Vec::new(), false);
    for place in answers {
        let Some(own) = records.get(*place) else { continue };
        match &own.record.rdata {
            RData::PTR(to) => instances.push(to.0.clone()),
            RData::SRV(_) => hosts = true,
            _ => {}
        }
        packet.answers.push(written(own));
    }
    let wants = |own: &Own| match own.record.rdata.type_code() {
        TYPE::SRV | TYPE::TXT => instances.contains(&own.record.name),
        TYPE::A | TYPE::AAAA => hosts || !instances.is_empty(),
        _ => false,
    };
    let more = records.iter().enumerate().filter(|(place, own)| !answers.contains(place) && wants(own));
    packet.additional_records.extend(more.map(|(_, own)| written(own)));
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// The packet that takes these back.
pub(super) fn goodbye(gone: &[Own]) -> Vec<u8> {
    let mut packet = Packet::new_reply(0);
    packet.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
    packet.answers.extend(gone.iter().map(|own| ResourceRecord { ttl: 0, ..own.record.clone() }));
    packet.build_bytes_vec_compressed().unwrap_or_default()
}

/// Type and content of a record as they are compared between two who probe.
pub(super) fn wire(record: &ResourceRecord<'_>) -> Vec<u8> {
    let mut packet = Packet::new_reply(0);
    let root = Name::new_with_labels(&[]);
    packet.answers.push(ResourceRecord::new(root, CLASS::IN, 0, record.rdata.clone()));
    let bytes = packet.build_bytes_vec().unwrap_or_default();
    // Behind the head and the root's name: type, class, time to live, length, content.
    let part = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
    [part(13..15), part(23..bytes.len())].concat()
}
