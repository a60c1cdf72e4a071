//! Slow readers, full queues, many retained messages.

use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::exhaustion::{not_grown, served_meanwhile};
use crate::raw::{BOTH, Connect, Lan, Publish, V};
use crate::support::upstream;

const MIB: u64 = 1024 * 1024;

/// Sends the same bytes without ever reading, until the gateway has closed; gives how long that took.
fn blast(port: u16, connect: &Connect, bytes: &[u8]) -> Duration {
    let start = Instant::now();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // So that it takes less to fill what the system keeps.
    rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 4_096).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
    stream.write_all(&connect.bytes()).unwrap();
    let many = bytes.repeat(64 * 1024 / bytes.len());
    let mut at = 0;
    loop {
        match stream.write(&many[at..]) {
            Ok(written) => at = (at + written) % many.len(),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return start.elapsed(),
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it is still served");
    }
}

#[test]
fn fault_52_a_client_that_never_reads_is_closed_and_takes_no_memory() {
    let lan = Lan::start("out_buffer_stall_max = \"500ms\"");
    let before = lan.rss();
    served_meanwhile(&lan, Duration::from_secs(1), || {
        std::thread::scope(|scope| {
            for v in BOTH {
                let answered = ["t", "$SYS/denied"].map(|topic| Publish::new(topic, "x").qos(1, 1).bytes(v));
                for (n, bytes) in (0..).zip(answered.into_iter().chain([vec![0xC0, 0]])) {
                    let connect = Connect::new(v, format!("{v:?} {n}"));
                    let port = lan.port;
                    scope.spawn(move || println!("{n} closed after {:?}", blast(port, &connect, &bytes)));
                }
            }
        });
    });
    not_grown(&lan, before, 4 * MIB);
    // A subscriber that never reads holds its publishers up for no longer than that.
    let mut sleeper = lan.join(V::V311, "sleeper");
    sleeper.subscribe("t", 0);
    let mut publisher = lan.join(V::V311, "publisher");
    let large = "x".repeat(10_000);
    let start = Instant::now();
    (0..2_000).for_each(|_| publisher.say("t", 0, &large));
    println!("published in {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10));
    not_grown(&lan, before, 4 * MIB);
}

#[test]
fn fault_53_many_retained_messages_for_many_subscribers_stall_nobody() {
    const RETAINED: usize = 9_000;
    let lan = Lan::start("");
    let mut publisher = lan.join(V::V311, "publisher");
    let all: Vec<u8> =
        (0..RETAINED).flat_map(|n| Publish::new(format!("kept/{n}"), "x").retain().bytes(V::V311)).collect();
    publisher.send(&all);
    publisher.nothing();
    served_meanwhile(&lan, Duration::from_millis(250), || {
        std::thread::scope(|scope| {
            for n in 0..10 {
                let lan = &lan;
                scope.spawn(move || {
                    let mut client = lan.join(V::V311, &format!("{n}"));
                    client.subscribe("kept/#", n % 2);
                    for _ in 0..RETAINED {
                        assert!(client.take_text("x").retain);
                    }
                    client.nothing();
                });
            }
        });
    });
}

#[test]
fn fault_54_retained_messages_have_a_bound() {
    for (limits, kept) in [("retained_messages_max = 10", 10), ("retained_max = \"600 B\"", 6)] {
        let lan = Lan::start(limits);
        let mut publisher = lan.join(V::V5, "publisher");
        let mut live = lan.join(V::V5, "live");
        live.subscribe("kept/#", 0);
        // The gateway's own may be among them.
        for n in 0..30 {
            publisher.publish(&Publish::new(format!("kept/{n}"), "x".repeat(90)).retain());
            live.take();
        }
        let mut late = lan.join(V::V5, "late");
        late.subscribe("kept/#", 0);
        let mut got = 0;
        late.send(&[0xC0, 0]);
        while late.packet()[0] >> 4 == 3 {
            got += 1;
        }
        assert!(got >= 1 && got <= kept, "{got}");
        assert!(lan.gateway.ask("status")["broker"]["drops"]["retained_full"].as_u64().unwrap() >= 20);
    }
}

#[test]
fn fault_55_a_queue_that_stays_full_leaks_nothing() {
    let lan = Lan::start("queue_messages_max = 50");
    for v in BOTH {
        let id = format!("{v:?}");
        let (mut away, _) = lan.resume(v, &id);
        away.subscribe("t", 2);
        // Some are under way for good.
        let mut publisher = lan.join(v, "publisher");
        (0..30).for_each(|_| publisher.say("t", 2, "x"));
        away.cut();
        let mut say_all = |count: usize, text: &str| {
            (0..count).for_each(|n| publisher.say("t", 1 + u8::from(n % 2 == 0), text));
        };
        say_all(500, "x");
        let before = lan.rss();
        say_all(2_000, "xxxx");
        not_grown(&lan, before, MIB);
        let (mut away, present) = lan.resume(v, &id);
        assert!(present);
        let first: Vec<_> = (0..20).map(|_| away.message()).collect();
        assert!(first.iter().all(|message| message.dup));
        away.cut();
        lan.join(v, &id).cut();
    }
}

#[test]
fn fault_58_an_upstream_that_swallows_everything_stalls_nobody_on_the_lan() {
    // It accepts connections, and that is all.
    let hole = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let upstream = upstream(hole.local_addr().unwrap().port());
    let map = "[[upstream.map]]\nfilter = \"#\"\n";
    let lan = Lan::start(&format!("{upstream}{map}"));
    let _held = hole.accept().unwrap();
    let mut client = lan.join(V::V5, "a");
    client.subscribe("t", 0);
    let mut trips = Vec::new();
    for _ in 0..1_000 {
        let sent = Instant::now();
        client.send(&Publish::new("t", "x").bytes(V::V5));
        client.take_text("x");
        trips.push(sent.elapsed());
    }
    trips.sort();
    println!("p99 {:?}, worst {:?}", trips[990], trips[999]);
    // A loaded machine takes some of it.
    assert!(trips[990] < Duration::from_millis(250), "{:?}", trips[990]);
    let state = lan.gateway.ask("status")["upstreams"][0]["state"].clone();
    assert_ne!(state, "online");
}
