//! What the store holds, as JSON: the same words on the control socket and on the command line.

use base64ct::{Base64, Encoding};
use serde_json::{Value as Json, json};

use crate::payload::{SentTime, json as payload};
use crate::record::{self, StoredRecord};
use crate::store::inspect::{Checked, Report};
use crate::time::ClockTrust;

/// What an outbox holds.
#[must_use]
pub fn report(report: &Report) -> Json {
    json!({
        "upstream": report.name,
        "records": report.records,
        "bytes": report.bytes,
        "oldest": report.oldest.map(|at| at.to_string()),
        "acked": report.acked.0,
        "last": report.last.0,
        "generations": report.generations,
        "disk_bytes": report.disk_bytes,
        "quarantined": report.quarantined,
        "quarantined_bytes": report.quarantined_bytes,
        "damaged_segments": report.damage.segments,
        "damaged_records": report.damage.records,
    })
}

/// What a look at every byte came to.
#[must_use]
pub fn checked(checked: &Checked) -> Json {
    json!({
        "whole": checked.is_whole(),
        "segments": checked.segments,
        "records": checked.records,
        "damaged_segments": checked.damage.segments,
        "damaged_records": checked.damage.records,
        "error": checked.error,
    })
}

/// One record, a line of an export. A reading has the payload that upstream would get, a message of the LAN its
/// payload as text, or as Base64 where it is none.
#[must_use]
pub fn record(upstream: &str, stored: &StoredRecord) -> Json {
    let no = stored.no.0;
    let message = match record::decode(&stored.bytes) {
        Ok(message) => message,
        Err(error) => {
            let bytes = Base64::encode_string(&stored.bytes);
            return json!({
                "upstream": upstream, "no": no, "kind": "unreadable",
                "error": error.to_string(), "record_base64": bytes,
            });
        }
    };
    let mut line = json!({
        "upstream": upstream,
        "no": no,
        "kind": if message.reading.is_some() { "reading" } else { "message" },
        "topic": &*message.topic,
        "qos": message.qos.as_u8(),
        "retain": message.retain,
    });
    let Json::Object(fields) = &mut line else { return line };
    if let Some(reading) = &message.reading {
        let quality = (reading.trust == ClockTrust::Unsynced).then_some("unsynced");
        let bytes = payload::encode(reading, SentTime { time: reading.wall, quality, age: None });
        fields.insert("device".into(), json!(&*reading.device));
        fields.insert("payload".into(), serde_json::from_slice(&bytes).unwrap_or(Json::Null));
    } else if let Ok(text) = std::str::from_utf8(&message.payload) {
        fields.insert("payload".into(), json!(text));
    } else {
        fields.insert("payload_base64".into(), json!(Base64::encode_string(&message.payload)));
    }
    line
}
