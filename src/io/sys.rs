//! Publishes the broker's counters on the LAN, as often as the config says. What is told decides
//! [`crate::broker::sys`].

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::MissedTickBehavior;

use super::reporter::rss_bytes;
use super::shard::Shard;
use crate::broker::Input;
use crate::broker::sys::Sys;
use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};

/// Publishes every `interval`, for the first time at once, until the task is aborted.
pub(super) async fn turns(shard: Rc<Shard>, interval: Duration) {
    let (started, _) = shard.stats();
    let mut sys = Sys::new(env!("CARGO_PKG_VERSION"), started);
    let mut turn = tokio::time::interval(interval);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turn.tick().await;
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
    }
}
