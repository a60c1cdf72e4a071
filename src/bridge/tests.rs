//! Tests of the whole machine: scripts for each rule, and a simulation under seeds. Time is invented, disk and
//! upstream are models.
#![allow(clippy::as_conversions, clippy::cast_possible_truncation, reason = "tests")]

mod accounts;
mod batching;
mod bounds;
mod draining;
mod failover;
mod inward;
mod pausing;
mod reconfiguring;
mod redirects;
mod rig;
mod rules;
mod sim;
mod starting;
mod store_rules;
mod upstream;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PacketId, PropertiesBuf, QoS, ReasonCode, Version};
use crate::reading::Run;
use crate::time::{BootId, ClockTrust, Timestamp};

/// The moment `millis` after the start.
fn at(millis: u64) -> Now {
    Now {
        mono: Mono::from_nanos(millis * 1_000_000),
        wall: Timestamp::from_millis(1_795_186_265_000 + millis as i64),
        trust: ClockTrust::Synced,
    }
}

fn mapping(filter: &str, local: &str, remote: &str) -> Mapping {
    Mapping {
        filter: TopicFilter::parse(filter).unwrap(),
        direction: Direction::Out,
        remote_filter: None,
        device_behind: None,
        local_prefix: local.into(),
        remote_prefix: remote.into(),
        qos_max: QoS::AtLeastOnce,
        retain: RetainRule::Keep,
        expiry: None,
        high: false,
        stream: 0,
        batch: None,
        form: None,
    }
}

fn config(version: Version) -> Config {
    Config {
        name: Arc::from("cloud"),
        base: Arc::from("fieldgate/gw"),
        run: Run(7),
        boot: BootId::default(),
        instance: Arc::from("abcd"),
        places: vec![Arc::from("up:1883")],
        port: 1883,
        redirects: Vec::new(),
        start: Start::Automatic,
        failover: crate::bridge::Failover::InOrder,
        return_after: Duration::from_secs(300),
        client_id: "gw".into(),
        version,
        user_name: None,
        password: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ack_timeout: Duration::from_secs(30),
        session_expiry: Duration::from_secs(3600),
        clean_session: false,
        watch_status: false,
        notification_topic: None,
        inflight_max: 5,
        topic_alias_max: 64,
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        backoff_refused_max: Duration::from_secs(900),
        stable_after: Duration::from_secs(60),
        receipts: false,
        health_every: None,
        bytes_per_day_max: None,
        streams: Vec::new(),
        drain: DrainOrder::OldestFirst,
        live_share: 50,
        drain_messages_max: None,
        drain_bytes_max: None,
        maps: vec![mapping("data/#", "", "")],
        commit_interval: Duration::from_secs(1),
        memory_bytes_max: 64 * 1024,
        forms: Arc::default(),
    }
}

fn message(topic: &str, payload: &str) -> Message {
    Message {
        topic: Arc::from(topic),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PropertiesBuf::new(),
        reading: None,
    }
}
