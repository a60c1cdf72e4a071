//! The broker's counters.

use serde_json::{Value as Json, json};

use crate::broker;

pub(super) fn broker_json(stats: &broker::Stats) -> Json {
    json!({
        "clients": stats.clients_connected,
        "sessions_offline": stats.sessions_offline,
        "subscriptions": stats.subscriptions,
        "retained": stats.retained,
        "received": stats.publish_received,
        "sent": stats.publish_sent,
        "connects_refused": stats.connects_refused,
        "logins_failed": stats.logins_failed,
        "protocol_errors": stats.protocol_errors,
        "limits": {
            "address_full": stats.arrivals_address_full,
            "half_open": stats.arrivals_half_open,
            "too_fast": stats.arrivals_too_fast,
            "delayed": stats.arrivals_delayed,
            "greetings_dropped": stats.greetings_dropped,
            "accepts_paused": stats.accepts_paused,
            "publishers_held": stats.publishers_held,
            "receivers_left_behind": stats.receivers_left_behind,
            "publishers_closed": stats.publishers_closed,
            "sessions_overflowed": stats.sessions_overflowed,
            "subscriptions_refused": stats.subscriptions_refused,
            "refused_for_memory": stats.refused_for_memory,
            "dropped_for_memory": stats.dropped_for_memory,
            "closed_for_memory": stats.closed_for_memory,
        },
        "commits": stats.commits,
        "commit_failures": stats.commit_failures,
        "commit_last_ms": stats.commit_last.as_secs_f64() * 1_000.0,
        "drops": {
            "queue_full": stats.dropped_queue_full,
            "too_large": stats.dropped_too_large,
            "expired": stats.dropped_expired,
            "denied": stats.publish_denied,
            "revoked": stats.dropped_revoked,
            "retained_full": stats.retained_refused,
        },
    })
}
