//! The bounds of what a client, an address and all together may take, from outside: over sockets, against the built
//! gateway. Addresses other than this machine's own are told by a PROXY header, since this machine's own are exempt.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

mod raw;
mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use raw::{BOTH, Connect, Lan, Publish, V};
use serde_json::Value as Json;
use support::{PATIENCE, Python, eventually, free_port};

const MIB: u64 = 1 << 20;

/// A gateway with a second listener behind a proxy; gives that listener's port.
fn behind_a_proxy(broker: &str) -> (Lan, u16) {
    let port = free_port();
    let listener = format!(
        "[[broker.listener]]\nname = \"behind\"\nbind = \"127.0.0.1:{port}\"\nproxy_protocol = true\n\
         allow_anonymous = true\n"
    );
    (Lan::start(&format!("{broker}\n{listener}")), port)
}

/// A connection of which the proxy says that it comes from there.
fn dial_from(port: u16, address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("PROXY TCP4 {address} 10.0.0.1 5000 1883\r\n").as_bytes()).unwrap();
    stream
}

/// Sends a CONNECT; gives what comes back up to a CONNACK's code: `None` if the connection ends before.
fn say_hello(stream: &mut TcpStream, v: V, id: &str) -> Option<u8> {
    // The gateway may have closed already.
    let _ = stream.write_all(&Connect::new(v, id).bytes());
    let mut connack = [0; 4];
    match stream.read_exact(&mut connack) {
        Ok(()) => Some(connack[3]),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
            None
        }
    }
}

/// Whether the other side has closed by now, or does within a moment.
fn is_closed_soon(stream: &mut TcpStream, moment: Duration) -> bool {
    stream.set_read_timeout(Some(moment)).unwrap();
    match stream.read(&mut [0; 16]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn limits(lan: &Lan) -> Json {
    lan.gateway.ask("status")["broker"]["limits"].clone()
}

#[test]
fn an_address_has_so_many_connections_that_are_not_let_in_yet() {
    let (lan, port) = behind_a_proxy("half_open_per_address_max = 5\nconnect_timeout = \"60s\"");
    let mut open: Vec<TcpStream> = (0..5).map(|_| dial_from(port, "10.0.0.7")).collect();
    // Each is known once its header was read.
    eventually("all of them are at the door", || {
        let mut another = dial_from(port, "10.0.0.7");
        if is_closed_soon(&mut another, Duration::from_millis(200)) {
            return Some(());
        }
        None
    });
    for _ in 0..5 {
        assert_eq!(say_hello(&mut dial_from(port, "10.0.0.7"), V::V5, "late"), None);
    }
    assert!(limits(&lan)["half_open"].as_u64().unwrap() >= 6);
    assert!(lan.gateway.log().contains("too many connections of an address are not let in yet"));
    // Others don't notice.
    assert_eq!(say_hello(&mut dial_from(port, "10.0.0.8"), V::V5, "other"), Some(0));
    lan.join(V::V5, "local").nothing();
    // Once let in, or gone, it takes no place at the door any more.
    assert_eq!(say_hello(&mut open[0], V::V311, "first"), Some(0));
    drop(open.pop());
    eventually("there is a place again", || {
        (say_hello(&mut dial_from(port, "10.0.0.7"), V::V5, "again") == Some(0)).then_some(())
    });
}

#[test]
fn an_address_has_so_many_clients() {
    let (lan, port) = behind_a_proxy("connections_per_address_max = 3");
    let join = |v, address, id: &str| {
        let mut stream = dial_from(port, address);
        let code = say_hello(&mut stream, v, id);
        (stream, code)
    };
    let mut inside: Vec<_> = (0..3).map(|n| join(V::V5, "10.0.0.7", &n.to_string())).collect();
    assert!(inside.iter().all(|(_, code)| *code == Some(0)));
    assert_eq!(join(V::V5, "10.0.0.7", "one more").1, Some(0x97));
    assert_eq!(join(V::V311, "10.0.0.7", "one more").1, Some(3));
    assert_eq!(join(V::V5, "10.0.0.8", "other").1, Some(0));
    assert_eq!(limits(&lan)["address_full"], 2);
    assert!(lan.gateway.log().contains("too many of its address"));
    inside.remove(0);
    eventually("there is a place again", || (join(V::V5, "10.0.0.7", "again").1 == Some(0)).then_some(()));
    let local: Vec<_> = (0..10).map(|n| lan.join(V::V5, &format!("local {n}"))).collect();
    drop(local);
}

#[test]
fn an_address_that_comes_too_fast_waits_and_is_then_closed() {
    let (lan, port) = behind_a_proxy(
        "connect_rate_per_address_max = 4\nconnect_burst_per_address_max = 2\nhalf_open_per_address_max = 1000",
    );
    let start = Instant::now();
    let mut storm: Vec<TcpStream> = (0..60).map(|_| dial_from(port, "10.0.0.7")).collect();
    let others = Instant::now();
    assert_eq!(say_hello(&mut dial_from(port, "10.0.0.8"), V::V5, "other"), Some(0));
    println!("another address was let in after {:?}", others.elapsed());
    let let_in = (0..)
        .zip(&mut storm)
        .map(|(n, stream)| say_hello(stream, V::V5, &format!("{n}")))
        .filter(|code| *code == Some(0))
        .count();
    let span = start.elapsed();
    let seen = limits(&lan);
    println!("{let_in} of 60 in {span:?}; {seen:#}");
    // Two at once, eight that wait up to two seconds, and what this machine was slow in dialling.
    assert!(let_in >= 8, "{let_in}");
    assert!(let_in <= 4 + usize::try_from(span.as_secs() + 1).unwrap() * 4, "{let_in} in {span:?}");
    assert!(span >= Duration::from_millis(1_200), "nobody had to wait");
    assert_eq!(seen["too_fast"].as_u64().unwrap() + u64::try_from(let_in).unwrap(), 60);
    assert!(seen["delayed"].as_u64().unwrap() >= 5);
    let lines = lan.gateway.log().matches("connections come too fast").count();
    assert!(lines >= 1 && lines <= 2 + usize::try_from(span.as_secs()).unwrap(), "{lines} lines in {span:?}");
}

#[test]
fn a_client_that_publishes_too_fast_is_slowed_down_and_loses_nothing() {
    for (rate, payload) in [("publish_rate_max = 50", 1), ("publish_bytes_rate_max = \"50 KiB\"", 1_023)] {
        let lan = Lan::start(rate);
        for v in BOTH {
            let mut subscriber = lan.join(v, "subscriber");
            subscriber.subscribe("t", 0);
            let mut publisher = lan.join(v, "publisher");
            let one = Publish::new("t", "x".repeat(payload)).bytes(v);
            let start = Instant::now();
            publisher.send(&one.repeat(200));
            for _ in 0..200 {
                subscriber.take();
            }
            let span = start.elapsed();
            // A second's worth at once, the rest at the rate.
            assert!(
                (Duration::from_millis(2_400)..Duration::from_secs(15)).contains(&span),
                "{rate}: {span:?}"
            );
            publisher.nothing();
        }
        assert!(limits(&lan)["publishers_held"].as_u64().unwrap() > 2);
        assert!(lan.gateway.log().contains("publishes too fast"));
    }
}

#[test]
fn what_is_too_large_to_be_retained_is_delivered_and_said() {
    let lan = Lan::start("retained_message_max = \"1 KiB\"");
    let mut live = lan.join(V::V5, "live");
    live.subscribe("kept/#", 0);
    let mut publisher = lan.join(V::V5, "publisher");
    publisher.publish(&Publish::new("kept/small", "x").qos(1, 0).retain());
    publisher.send(&Publish::new("kept/large", "x".repeat(1_100)).qos(1, 9).retain().bytes(V::V5));
    publisher.expect_ack(0x40, 9, 0x97);
    live.take_text("x");
    live.take_text(&"x".repeat(1_100));
    let mut late = lan.join(V::V5, "late");
    late.subscribe("kept/#", 0);
    late.take_text("x");
    late.nothing();
    assert!(lan.gateway.log().contains("a message was not retained"));
}

#[test]
fn what_a_full_queue_loses_is_configured_for_all_and_for_a_user() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "right").unwrap();
    let user = |name: &str, policy: &str| {
        format!("[[broker.user]]\nname = \"{name}\"\npassword = {{ file = {secret:?} }}\n{policy}\n")
    };
    let lan = Lan::start(&format!(
        "queue_messages_max = 3\nqueue_full = \"drop-newest\"\n{}{}{}",
        user("as-all", ""),
        user("oldest", "queue_full = \"drop-oldest\""),
        user("all-or-nothing", "queue_full = \"disconnect\""),
    ));
    let connect = |name: &str| Connect::new(V::V5, name).resume().user(name, "right");
    let names = ["as-all", "oldest", "all-or-nothing"];
    for name in names {
        let mut away = lan.connect(&connect(name));
        away.subscribe("t", 1);
        away.cut();
    }
    let mut publisher = lan.join(V::V5, "publisher");
    (1..=5).for_each(|n| publisher.say("t", 1, &n.to_string()));
    for (name, expected) in names.into_iter().zip([&["1", "2", "3"][..], &["3", "4", "5"], &[]]) {
        let mut back = lan.connect(&connect(name));
        assert_eq!(back.connack[2] & 1, u8::from(!expected.is_empty()), "{name}: session present");
        for payload in expected {
            back.take_text(payload);
        }
        back.nothing();
    }
    assert_eq!(limits(&lan)["sessions_overflowed"], 1);
}

#[test]
fn response_information_is_told_to_those_who_ask() {
    let lan = Lan::start("response_information = \"replies/%c\"");
    let asking = lan.connect(&Connect::new(V::V5, "one").property(&[0x19, 1]));
    let told = asking.connack_property(0x1A).expect("response information");
    assert_eq!(told[..13], *b"\x00\x0breplies/one");
    assert_eq!(lan.connect(&Connect::new(V::V5, "two").property(&[0x19, 0])).connack_property(0x1A), None);
    assert_eq!(lan.join(V::V5, "three").connack_property(0x1A), None);
}

/// Publishes a message of this size, QoS 0, to a subscriber that reads it; gives how long that took.
fn pass_on(lan: &Lan, v: V, bytes: usize) -> Duration {
    let mut subscriber = lan.join(v, "subscriber");
    subscriber.subscribe("large", 0);
    let mut publisher = lan.join(v, "publisher");
    let header = 3 + "large".len() - 1 + usize::from(v == V::V5);
    let publish = Publish::new("large", vec![b'x'; bytes - header]).bytes(v);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| publisher.send(&publish));
        let got = subscriber.message();
        assert_eq!(got.payload.len(), bytes - header);
        assert!(got.payload.iter().all(|byte| *byte == b'x'));
    });
    start.elapsed()
}

#[test]
fn a_packet_that_is_too_large_is_refused_in_words_and_taken_where_the_config_allows_it() {
    let lan = Lan::start("");
    for v in BOTH {
        // 268,435,455 bytes follow; the header is enough to refuse it.
        let mut client = lan.join(v, "a");
        client.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
        client.closed(0x95);
    }
    let lan = Lan::start("packet_max = \"268435460 B\"");
    let base = lan.rss();
    let mut after_first = 0;
    for _ in 0..3 {
        for v in BOTH {
            let (one, four) = (pass_on(&lan, v, 10 << 20), pass_on(&lan, v, 40 << 20));
            println!("10 MiB in {one:?}, 40 MiB in {four:?}; {} MiB taken", lan.rss() / MIB);
            assert!(four < one * 16 + Duration::from_secs(2), "10 MiB in {one:?}, 40 MiB in {four:?}");
        }
        if after_first == 0 {
            after_first = lan.rss();
        }
    }
    // The system's allocator keeps some of it for the next time; there must be no more each time.
    let allowed = after_first.max(base + 64 * MIB) + 8 * MIB;
    eventually("its memory is free again", || (lan.rss() < allowed).then_some(()));
    // There is no bound but the protocol's, so none is told.
    assert_eq!(lan.join(V::V5, "b").connack_property(0x27), None);
}

/// paho-mqtt 2 sends itself a message of this size.
fn paho_passes_on(lan: &Lan, bytes: usize) {
    for (protocol, qos) in [("4", "0"), ("4", "1"), ("5", "2")] {
        let (port, bytes) = (lan.port.to_string(), bytes.to_string());
        let mut paho = Python::Paho2.start("large.py", &[&port, protocol, qos, &bytes]);
        let status = paho.wait_end(PATIENCE * 2);
        assert!(status.success(), "{}", paho.text());
        assert!(paho.text().contains(&format!("got {bytes} True")), "{}", paho.text());
    }
}

#[test]
fn paho_sends_itself_a_large_message_with_every_qos() {
    let lan = Lan::start("packet_max = \"64 MiB\"\nout_buffer_stall_max = \"60s\"");
    paho_passes_on(&lan, 24 << 20);
}

#[test]
#[ignore = "takes a gigabyte of memory: tests/heavy/run runs it"]
fn the_largest_packet_of_the_protocol_is_passed_on() {
    let lan = Lan::start("packet_max = \"268435460 B\"\nout_buffer_stall_max = \"60s\"");
    let base = lan.rss();
    for v in BOTH {
        println!("passed on in {:?}", pass_on(&lan, v, 268_435_455));
    }
    // Topic, its length, the packet identifier and the length of the properties.
    paho_passes_on(&lan, 268_435_455 - 10);
    // The system's allocator keeps up to some 64 MiB for the next time.
    eventually("its memory is free again", || (lan.rss() < base + 80 * MIB).then_some(()));
}

/// What the health report says of memory.
fn level(lan: &Lan) -> u64 {
    lan.gateway.ask("status")["memory"]["level"].as_u64().unwrap()
}

#[test]
fn queues_that_take_too_much_memory_are_dropped_and_the_gateway_goes_on() {
    const BUDGET: u64 = 64 * MIB;
    let lan = Lan::start(
        "memory_max = \"64 MiB\"\npersistence = false\nqueue_max = \"1 GiB\"\nqueues_max = \"1 GiB\"\n\
         packet_max = \"1 MiB\"",
    );
    assert_eq!(level(&lan), 0);
    for name in ["away", "also away"] {
        let (mut away, _) = lan.resume(V::V5, name);
        away.subscribe("t", 1);
        away.cut();
    }
    let mut publisher = lan.join(V::V5, "publisher");
    let large = vec![b'x'; 500_000];
    let (mut highest, mut published) = (0, 0);
    let start = Instant::now();
    while limits(&lan)["dropped_for_memory"].as_u64().unwrap() == 0 {
        // Some 10 MB a second, so that a look each second sees it in time.
        publisher.publish(&Publish::new("t", &large).qos(1, 0));
        published += 1;
        highest = highest.max(lan.rss());
        std::thread::sleep(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(60), "{published} published, {highest} bytes");
    }
    println!("{published} messages, at most {} MiB", highest / MIB);
    assert!(highest > BUDGET * 8 / 10, "dropped too early: {highest}");
    assert!(highest < BUDGET + 32 * MIB, "dropped too late: {highest}");
    eventually("memory is free again", || (level(&lan) == 0).then_some(()));
    lan.join(V::V5, "new").nothing();
    let log = lan.gateway.log();
    assert!(log.contains("memory runs short") && log.contains("less memory is taken"), "{log}");
}

#[test]
fn retained_messages_stop_at_the_budget_and_clearing_them_makes_room() {
    let lan = Lan::start("memory_max = \"64 MiB\"\npersistence = false\nretained_max = \"1 GiB\"");
    let mut publisher = lan.join(V::V5, "publisher");
    let payload = vec![b'x'; 60_000];
    let mut kept = 0_u16;
    loop {
        publisher.send(&Publish::new(format!("kept/{kept}"), &payload).qos(1, 7).retain().bytes(V::V5));
        let ack = publisher.packet();
        if ack.get(4) == Some(&0x97) {
            break;
        }
        kept += 1;
        // Some 6 MB a second.
        std::thread::sleep(Duration::from_millis(10));
        assert!(kept < 3_000, "{}", lan.rss());
    }
    println!("{kept} were kept; {} MiB", lan.rss() / MIB);
    let status = lan.gateway.ask("status");
    assert_eq!((&status["memory"]["level"], &status["memory"]["bytes_max"]), (&1.into(), &(64 * MIB).into()));
    let judged = status["memory"]["bytes"].as_u64().unwrap();
    assert!(judged > 64 * MIB * 65 / 100 && judged < 64 * MIB * 85 / 100, "{judged} is what was judged");
    let problems = status["problems"].to_string();
    assert!(problems.contains("memory runs short: the broker is taking nothing new"), "{problems}");
    // No sessions that stay; others get in.
    let mut wants_to_stay = lan.open(V::V5);
    wants_to_stay.send(&Connect::new(V::V5, "stays").resume().bytes());
    assert_eq!(wants_to_stay.packet()[3], 0x97);
    lan.join(V::V5, "passes").nothing();
    for n in 0..kept {
        publisher.say_nothing_more(&format!("kept/{n}"));
    }
    eventually("memory is free again", || (level(&lan) == 0).then_some(()));
    assert!(!lan.resume(V::V5, "stays").1);
}

impl raw::Client {
    /// Clears what is retained on a topic.
    fn say_nothing_more(&mut self, topic: &str) {
        self.publish(&Publish::new(topic, "").qos(1, 0).retain());
    }
}

#[test]
fn without_file_descriptors_clients_wait_and_the_rest_of_the_gateway_works() {
    let lan = Lan::start("connect_timeout = \"60s\"");
    let pid = rustix::process::Pid::from_raw(i32::try_from(lan.gateway.pid()).unwrap());
    let limit = rustix::process::Rlimit { current: Some(128), maximum: Some(128) };
    rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap();
    let mut clients: Vec<TcpStream> =
        (0..500).map(|_| TcpStream::connect(("127.0.0.1", lan.port)).unwrap()).collect();
    eventually("accepting is paused", || {
        let status = lan.gateway.ask("status");
        let said = status["problems"].to_string().contains("file descriptors run short");
        (said && status["broker"]["limits"]["accepts_paused"].as_u64() >= Some(1)).then_some(())
    });
    let taken = lan.fds();
    // 64 by clients and the gateway's own, and what the control socket has open just then.
    assert!((60..=80).contains(&taken), "{taken} descriptors are taken of 128");
    // The store can open files, the control socket answers, and nothing spins.
    let before = lan.ticks();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(2) {
        lan.gateway.ask("status");
        std::thread::sleep(Duration::from_millis(100));
    }
    let share = (lan.ticks() - before) as f64 / (start.elapsed().as_secs_f64() * 100.0);
    println!("{:.1} % of a processor while it waits", share * 100.0);
    assert!(share < 0.2, "{share}");
    // Most leave, among them all that were accepted, and those that wait have their turn.
    drop(clients.drain(..485));
    let freed = Instant::now();
    let mut last = clients.pop().unwrap();
    last.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(say_hello(&mut last, V::V311, "last"), Some(0));
    println!("the last of the waiting was let in {:?} after there was room", freed.elapsed());
    assert!(freed.elapsed() < Duration::from_secs(5), "{:?}", freed.elapsed());
    drop(clients);
    eventually("all is well again", || {
        (!lan.gateway.ask("status")["problems"].to_string().contains("descriptors")).then_some(())
    });
}
