//! What health tells of who vouches for the clock.

use serde_json::{Value as Json, json};

use crate::time::ClockSource;

pub(super) fn clock_json(source: &ClockSource) -> Json {
    let text = source.to_string();
    match source {
        ClockSource::Nobody => json!({"kind": "nobody", "text": text}),
        ClockSource::Config => json!({"kind": "config", "text": text}),
        ClockSource::Kernel => json!({"kind": "kernel", "text": text}),
        ClockSource::Gnss { device, age, ahead_ms, holds } => json!({
            "kind": "gnss",
            "text": text,
            "device": &**device,
            "age_s": age.as_secs(),
            "ahead_ms": ahead_ms,
            "holds_s": holds.as_secs(),
        }),
    }
}
