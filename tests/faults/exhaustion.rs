//! Memory, file descriptors and time taken by those who are not known yet, or know how to ask.

use std::time::{Duration, Instant};

use crate::raw::{BOTH, Client, Connect, Lan, Publish, V, Will, subscribe, text};
use crate::support::within;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Fails if the gateway has grown by this much since.
#[track_caller]
pub fn not_grown(lan: &Lan, before: u64, by: u64) {
    let after = lan.rss();
    assert!(after < before + by, "it grew from {} to {} KiB", before / KIB, after / KIB);
}

/// Waits until the gateway has as few file descriptors as before.
#[track_caller]
pub fn fds_return(lan: &Lan, before: usize) {
    within(Duration::from_secs(10), "the file descriptors are closed", || {
        (lan.fds() <= before).then_some(())
    });
}

/// A client that is served measures the slowest 1 of 100 round trips while `others` are at work.
#[track_caller]
pub fn served_meanwhile(lan: &Lan, p99_max: Duration, others: impl FnOnce() + Send) {
    let mut client = lan.join(V::V311, "well-behaved");
    client.subscribe("trip", 0);
    std::thread::scope(|scope| {
        let others = scope.spawn(others);
        let mut trips = Vec::new();
        while !others.is_finished() || trips.len() < 100 {
            let start = Instant::now();
            client.send(&Publish::new("trip", "x").bytes(V::V311));
            client.take_text("x");
            trips.push(start.elapsed());
            std::thread::sleep(Duration::from_millis(2));
        }
        others.join().unwrap();
        trips.sort();
        let p99 = trips[trips.len() * 99 / 100];
        println!("p99 {p99:?} of {} round trips", trips.len());
        assert!(p99 < p99_max, "{p99:?} of {} round trips", trips.len());
    });
}

/// Sends these first packets again and again, each on its own connection, which must end; memory must not grow.
fn no_leak(lan: &Lan, connects: &[Vec<u8>], rounds: usize) {
    let base = lan.fds();
    let send_all = || {
        for bytes in connects {
            assert!(lan.answer(bytes).len() < 64);
        }
    };
    (0..rounds / 4).for_each(|_| send_all());
    let before = lan.rss();
    (0..rounds).for_each(|_| send_all());
    not_grown(lan, before, MIB);
    fds_return(lan, base);
    lan.join(V::V311, "after").nothing();
}

#[test]
fn fault_01_a_huge_remaining_length_in_connect_takes_no_memory() {
    const CLIENTS: u64 = 200;
    let lan = Lan::start("connect_timeout = \"1s\"");
    let before = lan.rss();
    for length in [&[0xFF, 0xFF, 0xFF, 0x7F][..], &[0xF0, 0x7F]] {
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| lan.open(V::V311)).collect();
        for client in &mut clients {
            client.try_send(&[&[0x10], length].concat());
        }
        lan.join(V::V311, "meanwhile").nothing();
        not_grown(&lan, before, CLIENTS * 16 * KIB);
        let start = Instant::now();
        clients.iter_mut().for_each(Client::eof);
        assert!(start.elapsed() < Duration::from_secs(4));
    }
}

#[test]
fn fault_02_a_huge_first_packet_that_is_no_connect_ends_at_its_header() {
    let lan = Lan::start("");
    let before = lan.rss();
    for first in (0..=0xFF).filter(|first| *first != 0x10) {
        assert!(lan.answer(&[first, 0xFF, 0xFF, 0xFF, 0x7F]).is_empty(), "{first:02X}");
    }
    not_grown(&lan, before, MIB);
}

#[test]
fn fault_03_malformed_connects_leak_nothing() {
    let lan = Lan::start("");
    let mut connects = Vec::new();
    for v in BOTH {
        let whole = Connect::new(v, "client").user("user", "password").will(Will::new("t", "x"));
        connects.push(whole.clone().flip(1).bytes());
        connects.push(whole.clone().flip(0x18).bytes());
        connects.push(Connect { id: vec![0xFF], ..whole.clone() }.bytes());
        let mut long = whole.bytes();
        long[1] += 1;
        long.push(0);
        connects.push(long);
        connects.push(Connect::new(v, "x".repeat(200)).will(Will::new("t", "x")).bytes());
    }
    no_leak(&lan, &connects, 250);
}

#[test]
fn fault_04_wills_with_properties_that_have_no_place_there_leak_nothing() {
    let lan = Lan::start("");
    let illegal: &[&[u8]] = &[
        &[0x0B, 1],
        &[0x11, 0, 0, 0, 1],
        &[0x12, 0, 1, b'x'],
        &[0x13, 0, 1],
        &[0x15, 0, 1, b'x'],
        &[0x16, 0, 1, b'x'],
        &[0x17, 1],
        &[0x19, 1],
        &[0x1A, 0, 1, b'x'],
        &[0x1C, 0, 1, b'x'],
        &[0x1F, 0, 1, b'x'],
        &[0x21, 0, 1],
        &[0x22, 0, 1],
        &[0x23, 0, 1],
        &[0x24, 1],
        &[0x25, 1],
        &[0x27, 0, 0, 0, 9],
        &[0x28, 1],
        &[0x29, 1],
        &[0x2A, 1],
        &[0x7F, 1],
        &[0x01, 2],
        &[0x18, 0, 0],
        &[0x08, 0, 1, b'#'],
    ];
    let connects: Vec<Vec<u8>> = illegal
        .iter()
        .map(|properties| {
            let will = Will { properties: properties.to_vec(), ..Will::new("t", "x") };
            Connect::new(V::V5, "a").will(will).bytes()
        })
        .collect();
    no_leak(&lan, &connects, 100);
}

/// So many user properties.
fn user(count: usize) -> Vec<u8> {
    [&[0x26][..], &text("k"), &text("v")].concat().repeat(count)
}

#[test]
fn fault_05_many_user_properties_burn_no_time() {
    let lan = Lan::start("");
    let many = Publish::new("t", "x").property(&user(64 * 1024 / 7)).bytes(V::V5);
    served_meanwhile(&lan, Duration::from_millis(100), || {
        for n in 0..100 {
            let mut client = lan.join(V::V5, &format!("{n}"));
            client.try_send(&many);
            client.closed(0x97);
        }
    });
}

#[test]
fn fault_06_user_properties_are_counted_while_they_are_read() {
    let lan = Lan::start("");
    let mut client = lan.join(V::V5, "a");
    client.publish(&Publish::new("t", "x").qos(1, 0).property(&user(32)));
    // What stands behind the one too many isn't looked at: else it would be malformed.
    client.send(&Publish::new("t", "x").property(&[&user(33)[..], &[0x7F]].concat()).bytes(V::V5));
    client.closed(0x97);
    let mut client = lan.join(V::V5, "a");
    client.send(&Publish::new("t", "x").property(&[0x7F; 8 * 1024 + 1]).bytes(V::V5));
    client.closed(0x97);
}

#[test]
fn fault_07_topics_of_slashes_take_no_memory() {
    let lan = Lan::start("");
    let slashes = "/".repeat(65_535);
    for v in BOTH {
        lan.join(v, "warm").subscribe("t", 0);
    }
    let before = lan.rss();
    for v in BOTH {
        for _ in 0..5 {
            let mut client = lan.join(v, "a");
            assert!(client.subscribe_with(&[], slashes.as_bytes(), 0) >= 0x80);
            client.send(&Publish::new(&slashes, "x").bytes(v));
            if v == V::V5 {
                client.nothing()
            } else {
                client.eof()
            }
            assert!(lan.answer(&Connect::new(v, "a").will(Will::new(&slashes, "x")).bytes()).len() < 64);
        }
    }
    not_grown(&lan, before, MIB);
}

#[test]
fn fault_08_128_levels_are_taken_and_129_are_not() {
    let lan = Lan::start("");
    let (deep, deeper) = ("/".repeat(127), "/".repeat(128));
    for v in BOTH {
        let mut client = lan.join(v, "a");
        client.subscribe(&deep, 1);
        client.send(&Publish::new(&deep, "x").bytes(v));
        client.take_text("x");
        client.send(&Publish::new(&deeper, "x").qos(1, 1).bytes(v));
        if v == V::V5 {
            client.expect_ack(0x40, 1, 0x90)
        } else {
            client.eof()
        }
        let answer = lan.answer(&Connect::new(v, "w").will(Will::new(&deeper, "x")).bytes());
        assert!(answer.is_empty() || answer[3] == 0x90, "{answer:?}");
    }
}

#[test]
fn fault_09_the_depth_of_filters_is_bounded_too() {
    let lan = Lan::start("");
    for v in BOTH {
        let refused = if v == V::V5 { 0x8F } else { 0x80 };
        let mut client = lan.join(v, "a");
        for (filter, code) in [
            (format!("{}#", "+/".repeat(127)), 0),
            (format!("{}#", "+/".repeat(128)), refused),
            (format!("$share/g/{}#", "a/".repeat(125)), 0),
            (format!("$share/g/{}#", "a/".repeat(128)), refused),
        ] {
            assert_eq!(client.subscribe_with(&[], filter.as_bytes(), 0), code, "{filter}");
        }
        // A topic that matches in a hundred ways is matched once.
        client.send(&Publish::new("/".repeat(127), "x").bytes(v));
        client.take_text("x");
        client.nothing();
    }
}

#[test]
fn fault_10_refused_connects_leave_no_socket_open() {
    let (_dir, user) = crate::takeover::users(&["known"]);
    let lan = Lan::start(&user);
    let base = lan.fds();
    for v in BOTH {
        // Each under a name of its own: whoever fails again under the same name waits for the answer.
        let wrong = |number: usize| Connect::new(v, "a").user(&format!("{v:?}-{number}"), "wrong").bytes();
        let refused = if v == V::V5 { 0x86 } else { 4 };
        // Some never read their refusal.
        let mut impolite: Vec<Client> = (0..20).map(|_| lan.open(v)).collect();
        impolite.iter_mut().enumerate().for_each(|(number, client)| client.send(&wrong(number)));
        for number in 100..160 {
            let answer = lan.answer(&wrong(number));
            assert_eq!((answer[0], answer[3]), (0x20, refused));
        }
        fds_return(&lan, base + 20);
        drop(impolite);
    }
    fds_return(&lan, base);
    lan.connect(&Connect::new(V::V5, "a").user("known", "known's")).send(&subscribe(
        V::V5,
        1,
        &[],
        &[(b"t", 0)],
    ));
}
