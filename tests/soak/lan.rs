//! The clients of the LAN.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::raw::{self, Connect, V};
use crate::tally::Tally;
use crate::{MESSAGES_A_VISIT, MESSAGES_EACH};

/// Comes, publishes with QoS 1, each once the one before is acknowledged, and goes: by DISCONNECT, or without.
pub(crate) fn publisher(port: u16, number: usize, span: Duration, failed: &AtomicBool) {
    let began = Instant::now();
    let topic = format!("plant/{number}");
    let mut sent = 0;
    for visit in 0.. {
        let v = if visit % 2 == 0 { V::V311 } else { V::V5 };
        let mut client =
            raw::Client::connect(port, &Connect::new(v, format!("device {number}")).keep_alive(60));
        for _ in 0..MESSAGES_A_VISIT.min(MESSAGES_EACH - sent) {
            let due = began + span.mul_f64(sent as f64 / MESSAGES_EACH as f64);
            sleep(due.saturating_duration_since(Instant::now()));
            client.say(&topic, 1, &sent.to_string());
            sent += 1;
        }
        if visit % 3 == 0 {
            client.cut()
        } else {
            client.disconnect()
        }
        if sent == MESSAGES_EACH || failed.load(Ordering::Relaxed) {
            return;
        }
    }
}

/// A client of the LAN with a durable session, which stays, or goes after so many messages and comes back: it gets each
/// message once and in order, up to the end.
pub(crate) fn subscriber(port: u16, id: &str, a_visit: usize, there: &AtomicUsize) -> Tally {
    let tally = Tally::default();
    loop {
        let mut client = raw::Client::open(port, V::V5);
        client.send(&Connect::new(V::V5, id).resume().bytes());
        let connack = client.packet();
        assert_eq!((connack[0], connack[3]), (0x20, 0));
        if connack[2] == 0 {
            client.subscribe("plant/#", 1);
            there.fetch_add(1, Ordering::SeqCst);
        }
        for _ in 0..a_visit {
            let message = client.take();
            let topic = String::from_utf8(message.topic.clone()).unwrap();
            if topic == "plant/end" {
                return tally;
            }
            tally.count(&topic, message.text().parse().unwrap());
        }
        // What came and was not acknowledged comes again.
        client.send(&[0xE0, 0]);
        client.rest();
    }
}
