//! Reading to message: the only place that knows both.

use std::sync::Arc;

use crate::message::Message;
use crate::mqtt::{PropertiesBuf, QoS};
use crate::payload::{self, json};
use crate::reading::Reading;
use crate::time::{BootId, Now};

/// The gateway's topic for a device's readings: `<base>/data/<device>`.
#[must_use]
pub fn data_topic(base: &str, device: &str) -> String {
    format!("{base}/data/{device}")
}

/// The message that carries a reading: QoS 1, not retained, with the payload as LAN subscribers get it now.
#[must_use]
pub fn message(base: &str, reading: Reading, boot: BootId, now: Now) -> Message {
    Message {
        topic: Arc::from(data_topic(base, &reading.device)),
        payload: json::encode(&reading, payload::sent_time(&reading, boot, now)),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PropertiesBuf::new(),
        reading: Some(Arc::new(reading)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::{Quality, Run, Sample, Seq, Value};
    use crate::time::{ClockTrust, Mono, Timestamp};

    const BOOT: BootId = BootId([1; 16]);

    fn reading(trust: ClockTrust) -> Reading {
        let sample = Sample { point: "t".into(), value: Some(Value::Number(21.5)), quality: Quality::Good };
        Reading {
            device: "weather".into(),
            seq: Seq { run: Run(17), number: 1842 },
            boot: BOOT,
            mono: Mono::from_nanos(5_000_000_000),
            wall: Timestamp::from_millis(5_000),
            trust,
            samples: vec![sample],
        }
    }

    #[test]
    fn a_reading_becomes_a_message_that_carries_it() {
        let message = message("fieldgate/gw-1", reading(ClockTrust::Synced), BOOT, Now::default());
        assert_eq!(&*message.topic, "fieldgate/gw-1/data/weather");
        assert_eq!((message.qos, message.retain), (QoS::AtLeastOnce, false));
        assert_eq!(message.properties, PropertiesBuf::new());
        assert_eq!(message.reading.as_deref(), Some(&reading(ClockTrust::Synced)));
        let expected = r#"{"time":"1970-01-01T00:00:05.000Z","seq":"17-1842","values":{"t":21.5}}"#;
        assert_eq!(message.payload, expected);
    }

    #[test]
    fn its_time_is_as_known_now() {
        let at = |trust| Now {
            mono: Mono::from_nanos(15_000_000_000),
            wall: Timestamp::from_millis(1_795_186_265_123),
            trust,
        };
        let check = |boot: BootId, trust: ClockTrust, expected: &str| {
            let message = message("b", reading(ClockTrust::Unsynced), boot, at(trust));
            let text = String::from_utf8(message.payload.to_vec()).unwrap();
            assert!(text.starts_with(&format!("{{\"time\":\"{expected}\",")), "{text}");
            let quality = if expected.starts_with("1970") { "unsynced" } else { "corrected" };
            assert!(text.ends_with(&format!(",\"time_quality\":\"{quality}\"}}")), "{text}");
        };
        check(BOOT, ClockTrust::Synced, "2026-11-20T14:50:55.123Z");
        check(BOOT, ClockTrust::Unsynced, "1970-01-01T00:00:05.000Z");
        check(BootId([2; 16]), ClockTrust::Synced, "1970-01-01T00:00:05.000Z");
    }
}
