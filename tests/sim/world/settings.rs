//! How the simulated gateway is configured: small bounds, so that they are met.

use std::sync::Arc;
use std::time::Duration;

use fieldgate::bridge::{self, Batch, Direction, DrainOrder, Mapping, Priority, RetainRule, StreamConfig};
use fieldgate::broker::{self, ForwardRule, ListenerPolicy};
use fieldgate::message::OutboxId;
use fieldgate::mqtt::QoS;
use fieldgate::mqtt::topic::TopicFilter;
use fieldgate::reading::Run;
use fieldgate::time::BootId;

use super::super::plan::Plan;
use super::QUEUE_MAX;

fn mapping(filter: &str, direction: Direction) -> Mapping {
    let filter = TopicFilter::parse(filter).unwrap();
    Mapping {
        remote_filter: direction.comes_in().then(|| filter.clone()),
        filter,
        direction,
        local_prefix: String::new(),
        remote_prefix: String::new(),
        device_behind: None,
        qos_max: QoS::ExactlyOnce,
        retain: RetainRule::Keep,
        expiry: None,
        high: false,
        stream: 0,
        batch: None,
        form: None,
    }
}

/// Readings that share a message.
pub const BATCH: Batch = Batch { messages_max: 4, bytes_max: 400, wait_max: Duration::from_secs(1) };

fn stream(drain: DrainOrder, priority: Priority) -> StreamConfig {
    StreamConfig { name: Arc::from("lan"), drain, live_share: 50, priority }
}

pub fn broker_config() -> broker::Config {
    let forward =
        |filter: &str| ForwardRule { filter: TopicFilter::parse(filter).unwrap(), outbox: OutboxId(0) };
    let listener = ListenerPolicy { name: "lan".into(), allow_anonymous: true, ..ListenerPolicy::default() };
    broker::Config {
        base: "gw".into(),
        listeners: vec![listener],
        forward: vec![forward("gw/data/#"), forward("lan/#")],
        queue_messages_max: QUEUE_MAX,
        queue_bytes_max: 16 * 1024 * 1024,
        inflight_max: 5,
        out_buffer_bytes_max: 1024,
        // Time may stand still for a client that does not read.
        out_buffer_stall_max: Duration::from_secs(3600),
        sys_interval: Duration::ZERO,
        ..broker::Config::default()
    }
}

pub fn bridge_config(plan: &Plan, life: u64) -> bridge::Config {
    bridge::Config {
        name: Arc::from("cloud"),
        base: Arc::from("gw"),
        run: Run(life + 1),
        boot: BootId([life as u8; 16]),
        instance: Arc::from("abcd"),
        places: vec![Arc::from("up:1883")],
        port: 1883,
        redirects: Vec::new(),
        start: bridge::Start::Automatic,
        failover: bridge::Failover::InOrder,
        return_after: Duration::from_secs(300),
        client_id: "gw".into(),
        version: plan.version,
        user_name: None,
        password: None,
        keep_alive: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        ack_timeout: Duration::from_secs(3),
        session_expiry: Duration::from_secs(3600),
        clean_session: false,
        watch_status: false,
        notification_topic: None,
        inflight_max: 8,
        topic_alias_max: 64,
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(2),
        backoff_refused_max: Duration::from_secs(5),
        stable_after: Duration::from_secs(60),
        forms: Arc::default(),
        maps: vec![
            Mapping { batch: plan.batch.then_some(BATCH), ..mapping("gw/data/#", Direction::Out) },
            Mapping { stream: u16::from(plan.stream.is_some()), ..mapping("lan/#", Direction::Out) },
            mapping("order/#", Direction::In),
        ],
        receipts: false,
        health_every: None,
        bytes_per_day_max: None,
        streams: plan.stream.into_iter().map(|priority| stream(plan.drain, priority)).collect(),
        drain: plan.drain,
        live_share: 50,
        drain_messages_max: None,
        drain_bytes_max: None,
        commit_interval: Duration::from_millis(300),
        memory_bytes_max: 16 * 1024,
    }
}
