//! The machine with invented time: two that are in one network, and whoever asks them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use simple_dns::rdata::{A, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, ResourceRecord, TYPE};

use super::hearing::ANSWERS_PER_SECOND_MAX;
use super::{Link, Output, Responder, Service, Wanted, label_of};
use crate::time::Mono;

fn wanted() -> Wanted {
    let service = |kind, port, facts: &[&str]| Service {
        kind,
        name: None,
        port,
        only: None,
        facts: facts.iter().map(|fact| (*fact).to_owned()).collect(),
    };
    Wanted {
        label: "gw-7".into(),
        instance: "fieldgate gw.7".into(),
        services: vec![service("_https._tcp", 8443, &["path=/"]), service("_mqtt._tcp", 1883, &[])],
    }
}

fn link(last: u8) -> Link {
    Link { index: 2, addresses: vec![IpAddr::from([192, 168, 4, last]), "fe80::7".parse().unwrap()] }
}

fn at(ms: u64) -> Mono {
    Mono::ZERO + Duration::from_millis(ms)
}

fn from(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 168, 4, 99], port))
}

/// One that has its names, at 10 s.
fn settled() -> Responder {
    let mut one = Responder::new(1);
    one.set_links(at(0), vec![link(7)]);
    one.tell(at(0), Some(wanted()));
    for ms in 0..100 {
        one.poll(at(ms * 100));
    }
    assert_eq!(one.name().as_deref(), Some("gw-7.local"));
    assert_eq!(one.next_deadline(), None);
    one
}

fn question(name: &str, kind: QTYPE, to_one: bool) -> Vec<u8> {
    let mut packet = Packet::new_query(77);
    let name = Name::new(name).unwrap();
    packet.questions.push(Question::new(name, kind, QCLASS::CLASS(CLASS::IN), to_one));
    packet.build_bytes_vec().unwrap()
}

/// What is in a packet's answers and beside them: name, type, seconds.
fn said(output: &Output) -> (Vec<(String, TYPE, u32)>, Vec<TYPE>) {
    let packet = Packet::parse(&output.bytes).unwrap();
    assert!(packet.has_flags(PacketFlag::RESPONSE));
    let line = |record: &ResourceRecord<'_>| (record.name.to_string(), record.rdata.type_code(), record.ttl);
    let more = packet.additional_records.iter().map(|record| record.rdata.type_code()).collect();
    (packet.answers.iter().map(line).collect(), more)
}

/// All that is sent in the two seconds from then on.
fn until_quiet(one: &mut Responder, now: u64) -> Vec<Output> {
    (0..200).flat_map(|step| one.poll(at(now + step * 10))).collect()
}

fn asked(one: &mut Responder, now: u64, question: &[u8], port: u16) -> Vec<Output> {
    one.hear(at(now), 2, from(port), question);
    until_quiet(one, now)
}

#[test]
fn names_are_asked_for_three_times_and_then_told_twice() {
    let mut one = Responder::new(1);
    one.set_links(at(0), vec![link(7)]);
    one.tell(at(0), Some(wanted()));
    assert_eq!(one.name(), None, "not yet its own");
    let sent = until_quiet(&mut one, 0);
    assert_eq!(sent.len(), 5, "{sent:?}");
    for probe in &sent[..3] {
        let packet = Packet::parse(&probe.bytes).unwrap();
        assert!(!packet.has_flags(PacketFlag::RESPONSE) && packet.answers.is_empty());
        assert_eq!((packet.questions.len(), packet.name_servers.len()), (3, 5));
    }
    for announcement in &sent[3..] {
        let (answers, _) = said(announcement);
        let has = |name: &str, kind| answers.iter().any(|(n, k, ttl)| n == name && *k == kind && *ttl > 0);
        assert!(has("gw-7.local", TYPE::A) && !has("gw-7.local", TYPE::AAAA), "{answers:?}");
        assert!(has("_mqtt._tcp.local", TYPE::PTR) && has("_services._dns-sd._udp.local", TYPE::PTR));
        assert!(has("fieldgate gw\\.7._https._tcp.local", TYPE::SRV), "{answers:?}");
        assert!(announcement.to.is_none() && announcement.link == 2);
    }
}

#[test]
fn who_asks_gets_what_he_asks_for_and_what_he_will_want_next() {
    let mut one = settled();
    let browse = question("_mqtt._tcp.local", TYPE::PTR.into(), false);
    let sent = asked(&mut one, 20_000, &browse, 5353);
    assert_eq!(sent.len(), 1);
    let (answers, more) = said(&sent[0]);
    assert_eq!(answers, [("_mqtt._tcp.local".to_owned(), TYPE::PTR, 4_500)]);
    assert_eq!(more, [TYPE::A, TYPE::SRV, TYPE::TXT]);
    // Letters may be large; there is no address of IPv6, which is said too.
    let sent = asked(&mut one, 30_000, &question("GW-7.local", TYPE::A.into(), false), 5353);
    assert_eq!(said(&sent[0]).0, [("gw-7.local".to_owned(), TYPE::A, 120)]);
    let sent = asked(&mut one, 40_000, &question("gw-7.local", TYPE::AAAA.into(), false), 5353);
    assert_eq!(said(&sent[0]).0, [("gw-7.local".to_owned(), TYPE::NSEC, 120)]);
    assert_eq!(asked(&mut one, 50_000, &question("gw-8.local", TYPE::A.into(), false), 5353), []);
    assert_eq!(asked(&mut one, 50_000, &question("local", QTYPE::ANY, false), 5353), []);
    // To him alone, if he likes; a simple resolver gets its question back, and believes it for ten seconds.
    let sent = asked(&mut one, 60_000, &question("gw-7.local", TYPE::A.into(), true), 5353);
    assert_eq!(sent[0].to, Some(from(5353)));
    let sent = asked(&mut one, 70_000, &question("gw-7.local", TYPE::A.into(), false), 40_000);
    let packet = Packet::parse(&sent[0].bytes).unwrap();
    assert_eq!((packet.id(), packet.questions.len(), sent[0].to), (77, 1, Some(from(40_000))));
    assert_eq!((packet.answers[0].ttl, packet.answers[0].cache_flush), (10, false));
}

#[test]
fn what_is_known_or_was_just_said_is_not_said_again_and_a_flood_gets_few_answers() {
    let mut one = settled();
    let browse = question("_mqtt._tcp.local", TYPE::PTR.into(), false);
    let sent = asked(&mut one, 20_000, &browse, 5353);
    let answer = Packet::parse(&sent[0].bytes).unwrap();
    let mut knows = Packet::new_query(0);
    knows.questions.push(Question::new(
        Name::new("_mqtt._tcp.local").unwrap(),
        TYPE::PTR.into(),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    knows.answers.push(answer.answers[0].clone());
    let knows = knows.build_bytes_vec().unwrap();
    assert_eq!(asked(&mut one, 30_000, &knows, 5353), []);
    let mut sent = 0;
    for ms in 0..1_000 {
        one.hear(at(40_000 + ms), 2, from(5353), &browse);
        sent += one.poll(at(40_000 + ms)).len();
    }
    assert!(sent <= 2, "{sent}");
    until_quiet(&mut one, 41_000);
    let to_one = question("gw-7.local", TYPE::A.into(), true);
    let answers: usize = (0..500)
        .map(|ms| {
            one.hear(at(50_000 + ms), 2, from(5353), &to_one);
            one.poll(at(50_000 + ms)).len()
        })
        .sum();
    assert_eq!(u32::try_from(answers), Ok(ANSWERS_PER_SECOND_MAX));
    // Its own packets that come back are no conflict; neither is another link's number, or rubbish.
    for bytes in [&b"\0"[..], &[0xff; 9_000], &[0; 12], b"\0\0\0\0\xff\xff\0\0\0\0\0\0"] {
        one.hear(at(60_000), 2, from(5353), bytes);
        one.hear(at(60_000), 9, from(5353), bytes);
    }
    assert_eq!(until_quiet(&mut one, 60_000), []);
}

#[test]
fn a_name_that_somebody_has_is_left_to_him() {
    let mut one = settled();
    let mut theirs = Packet::new_reply(0);
    let address = A::from(Ipv4Addr::new(192, 168, 4, 99));
    let record = |ttl| {
        ResourceRecord::new(Name::new("gw-7.local").unwrap(), CLASS::IN, ttl, RData::A(address.clone()))
    };
    theirs.answers.push(record(0));
    one.hear(at(20_000), 2, from(5353), &theirs.build_bytes_vec().unwrap());
    assert_eq!(one.next_deadline(), None, "he leaves");
    theirs.answers[0] = record(120);
    let theirs = theirs.build_bytes_vec().unwrap();
    one.hear(at(20_000), 2, from(5353), &theirs);
    assert!(one.name().is_none());
    // Asked whether he insists, he does.
    assert_eq!(one.poll(at(20_000)).len(), 1);
    one.hear(at(20_100), 2, from(5353), &theirs);
    until_quiet(&mut one, 20_100);
    assert_eq!(one.name().as_deref(), Some("gw-7-2.local"));
    // The services have kept their names.
    let sent = asked(&mut one, 30_000, &question("_mqtt._tcp.local", TYPE::PTR.into(), false), 5353);
    let packet = Packet::parse(&sent[0].bytes).unwrap();
    let RData::PTR(to) = &packet.answers[0].rdata else { panic!("{packet:?}") };
    assert_eq!(to.0.to_string(), "fieldgate gw\\.7._mqtt._tcp.local");
    // Whoever takes every name is not raced with.
    for number in 3..40 {
        let name = format!("gw-7-{}.local", number - 1);
        let mut taken = Packet::new_reply(0);
        let rdata = RData::A(address.clone());
        taken.answers.push(ResourceRecord::new(Name::new(&name).unwrap(), CLASS::IN, 120, rdata));
        let taken = taken.build_bytes_vec().unwrap();
        one.hear(at(40_000), 2, from(5353), &taken);
        one.hear(at(40_000), 2, from(5353), &taken);
    }
    assert!(one.next_deadline().unwrap() >= at(100_000), "{:?}", one.next_deadline());
}

#[test]
fn of_two_that_begin_together_with_one_name_both_end_with_their_own() {
    let (mut one, mut two) = (Responder::new(1), Responder::new(2));
    one.set_links(at(0), vec![link(7)]);
    two.set_links(at(0), vec![link(8)]);
    for each in [&mut one, &mut two] {
        each.tell(at(0), Some(wanted()));
    }
    for ms in 0..20_000 {
        let now = at(ms);
        let of_one = one.poll(now);
        for output in &of_one {
            two.hear(now, 2, SocketAddr::from(([192, 168, 4, 7], 5353)), &output.bytes);
            one.hear(now, 2, SocketAddr::from(([192, 168, 4, 7], 5353)), &output.bytes);
        }
        for output in two.poll(now) {
            one.hear(now, 2, SocketAddr::from(([192, 168, 4, 8], 5353)), &output.bytes);
        }
    }
    let mut names = [one.name().unwrap(), two.name().unwrap()];
    names.sort();
    assert_eq!(names, ["gw-7-2.local", "gw-7.local"]);
}

#[test]
fn what_is_no_longer_true_is_taken_back() {
    let mut one = settled();
    let mut fewer = wanted();
    fewer.services.pop();
    one.tell(at(20_000), Some(fewer.clone()));
    let sent = one.poll(at(20_000));
    let (gone, _) = said(&sent[0]);
    assert!(gone.iter().all(|(name, _, ttl)| name.contains("_mqtt") || *ttl == 0), "{gone:?}");
    assert!(gone.iter().any(|(name, kind, _)| name == "_mqtt._tcp.local" && *kind == TYPE::PTR), "{gone:?}");
    until_quiet(&mut one, 20_000);
    one.tell(at(30_000), Some(fewer));
    assert_eq!(until_quiet(&mut one, 30_000), [], "nothing has changed");
    one.tell(at(40_000), None);
    let sent = one.poll(at(40_000));
    assert_eq!(sent.len(), 1);
    let (gone, _) = said(&sent[0]);
    assert!(gone.len() >= 5 && gone.iter().all(|(_, _, ttl)| *ttl == 0), "{gone:?}");
    assert_eq!(asked(&mut one, 41_000, &question("gw-7.local", TYPE::A.into(), false), 5353), []);
    assert_eq!((one.name(), one.next_deadline()), (None, None));
}

#[test]
fn a_service_at_one_address_is_told_on_its_link_alone_and_a_link_that_comes_is_served() {
    let mut one = settled();
    let mut at_one = wanted();
    at_one.services[1].only = Some(IpAddr::from([10, 0, 0, 1]));
    one.tell(at(20_000), Some(at_one));
    until_quiet(&mut one, 20_000);
    let browse = question("_mqtt._tcp.local", TYPE::PTR.into(), false);
    assert_eq!(asked(&mut one, 30_000, &browse, 5353), []);
    let other = Link { index: 3, addresses: vec![IpAddr::from([10, 0, 0, 1])] };
    one.set_links(at(40_000), vec![link(7), other]);
    until_quiet(&mut one, 40_000);
    one.hear(at(50_000), 3, SocketAddr::from(([10, 0, 0, 2], 5353)), &browse);
    let sent = until_quiet(&mut one, 50_000);
    assert_eq!((sent.len(), sent[0].link), (1, 3));
}

#[test]
fn an_id_becomes_a_host_name() {
    for (id, expected) in [
        ("gw-7", "gw-7"),
        ("GW_7.a", "gw-7-a"),
        ("...", "fieldgate"),
        ("-a-", "a"),
        (&"x".repeat(64), &"x".repeat(56)),
    ] {
        assert_eq!(label_of(id), expected);
    }
}
