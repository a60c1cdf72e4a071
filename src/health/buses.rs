//! What health tells of polled ports.

use serde_json::{Value as Json, json};

use crate::sensor::bus::{BusStatus, SlaveStatus};

pub(super) fn bus_json(bus: &BusStatus) -> Json {
    json!({
        "port": &*bus.port,
        "load_percent": bus.load_percent,
        "requests": bus.requests,
        "foreign_bytes": bus.foreign_bytes,
        "writes_waiting": bus.writes_waiting,
        "devices": bus.slaves.iter().map(slave_json).collect::<Vec<_>>(),
    })
}

fn slave_json(slave: &SlaveStatus) -> Json {
    json!({
        "name": &*slave.device,
        "unit_id": slave.unit_id,
        "offline": slave.offline,
        "failed_cycles": slave.failed_cycles,
        "skipped_cycles": slave.skipped_cycles,
        "refused": slave.refused.iter().map(|point| &**point).collect::<Vec<_>>(),
        "echoes": slave.echoes,
        "requests": slave.requests,
        "retries": slave.retries,
        "answers": slave.answers,
        "exceptions": slave.exceptions,
        "timeouts": slave.timeouts,
        "crc_errors": slave.crc_errors,
        "late_answers": slave.late_answers,
        "air_time_s": slave.air_time.as_secs_f64(),
        "latency_p50_ms": slave.latency_p50.map(|span| span.as_secs_f64() * 1_000.0),
        "latency_max_ms": slave.latency_max.map(|span| span.as_secs_f64() * 1_000.0),
        "every_s": slave.every.as_secs_f64(),
        "next_s": slave.next_in.as_secs_f64(),
        "last_error": slave.last_error,
    })
}
