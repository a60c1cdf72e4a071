//! Keep alive.

use std::time::{Duration, Instant};

use crate::raw::{BOTH, Connect, Lan, V, ack};

fn wait(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn statement_21_only_whole_packets_of_the_client_restart_the_clock() {
    let lan = Lan::start("");
    let silent = |name: &str, v: V, script: &dyn Fn(&mut crate::raw::Client)| {
        let mut client = lan.connect(&Connect::new(v, name).keep_alive(1));
        script(&mut client);
        let start = Instant::now();
        client.closed(0x8D);
        start.elapsed()
    };
    let near = |after: Duration, millis: u64| {
        let (low, high) = (Duration::from_millis(millis - 100), Duration::from_millis(millis + 1_000));
        assert!(after >= low && after < high, "{after:?}, not {millis} ms");
    };
    std::thread::scope(|scope| {
        for v in BOTH {
            let silent = &silent;
            // Open at 1.25 keep alives, closed at 1.5.
            scope.spawn(move || {
                near(
                    silent(&format!("quiet {v:?}"), v, &|client| {
                        wait(1_250);
                        client.nothing();
                    }),
                    1_500,
                );
            });
            // An acknowledgement of nothing is a packet too.
            scope.spawn(move || {
                near(
                    silent(&format!("acks {v:?}"), v, &|client| {
                        wait(1_000);
                        client.send(&ack(0x40, 9));
                    }),
                    1_500,
                );
            });
            // A part of a packet is none.
            scope.spawn(move || {
                near(
                    silent(&format!("partial {v:?}"), v, &|client| {
                        wait(1_000);
                        client.send(&[0x30, 10, 0, 1]);
                    }),
                    500,
                );
            });
        }
    });
    // What goes to the client says nothing about it.
    let mut talker = lan.join(V::V311, "talker");
    let mut listener = lan.connect(&Connect::new(V::V311, "listener").keep_alive(1));
    listener.subscribe("t", 0);
    let start = Instant::now();
    let mut got = 0;
    loop {
        talker.say("t", 0, "x");
        match listener.packet_by(Instant::now() + Duration::from_secs(5)) {
            Some(packet) => assert_eq!(packet[0], 0x30),
            None => break,
        }
        got += 1;
        wait(200);
    }
    assert!(got >= 4 && start.elapsed() < Duration::from_millis(2_500), "{got} {:?}", start.elapsed());
}

#[test]
fn statement_22_keep_alive_0_is_never_timed_out() {
    let lan = Lan::start("");
    let mut clients: Vec<_> = [V::V31, V::V311, V::V5].map(|v| lan.join(v, &format!("{v:?}"))).into();
    wait(2_000);
    clients.iter_mut().for_each(crate::raw::Client::nothing);
}

#[test]
fn statement_23_the_servers_keep_alive_holds_if_it_names_one_and_else_the_clients() {
    let lan = Lan::start("");
    assert_eq!(lan.connect(&Connect::new(V::V5, "a").keep_alive(7)).connack_property(0x13), None);
    let lan = Lan::start("keep_alive_max = \"1s\"");
    let start = Instant::now();
    let mut client = lan.connect(&Connect::new(V::V5, "a").keep_alive(60));
    assert_eq!(client.connack_property(0x13).unwrap()[..2], [0, 1]);
    client.closed(0x8D);
    let after = start.elapsed();
    assert!(after > Duration::from_millis(1_400) && after < Duration::from_millis(3_000), "{after:?}");
    assert_eq!(lan.answer(&Connect::new(V::V311, "a").keep_alive(60).bytes()), [0x20, 2, 0, 2]);
}
