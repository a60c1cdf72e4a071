//! Publishes the broker's counters on the LAN, as often as the config says. What is told decides
//! [`crate::broker::sys`].

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::memory::rss_bytes;
use super::shard::Shard;
use crate::broker::Input;
use crate::broker::sys::Sys;
use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};

/// Publishes every `interval` (0: never), for the first time at once, until the other end of `interval` is gone.
pub(super) async fn turns(shard: Rc<Shard>, mut interval: watch::Receiver<Duration>) {
    let (started, _) = shard.stats();
    let mut sys = Sys::new(env!("CARGO_PKG_VERSION"), started);
    loop {
        let every = *interval.borrow_and_update();
        if every.is_zero() {
            if interval.changed().await.is_err() {
                return;
            }
            continue;
        }
        let (now, stats) = shard.stats();
        for (topic, payload) in sys.look(now, &stats, rss_bytes()) {
            shard.input(Input::Local(Message {
                topic: topic.into(),
                payload: Bytes::from(payload),
                // Nobody wants old counters: they must not queue up for whoever is away.
                qos: QoS::AtMostOnce,
                retain: true,
                properties: PropertiesBuf::new(),
                reading: None,
            }));
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            changed = interval.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
