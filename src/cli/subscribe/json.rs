//! A message as one JSON object, with the members that mosquitto_sub's %j and %J give it, in their order.

use jiff::Timestamp;
use serde::de::IgnoredAny;

use super::format::time_text;
use crate::cli::client::message::Message;
use crate::cli::client::properties::{identifier, name_of};
use crate::mqtt::{Properties, Property, QoS};

/// How the payload stands in the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    /// As a string; bytes that are no UTF-8 as U+FFFD.
    Text,
    /// As the JSON that it is.
    Json,
}

/// The object.
///
/// # Errors
/// In words, if the payload is no JSON.
pub(super) fn object(message: &Message, now: Timestamp, how: Payload) -> Result<String, String> {
    let payload = match how {
        _ if message.payload.is_empty() => "null".to_owned(),
        Payload::Text => quoted(&String::from_utf8_lossy(&message.payload)),
        Payload::Json => compact(&message.payload)
            .ok_or_else(|| format!("the payload on topic {:?} is no JSON", message.topic))?,
    };
    // The Z is mosquitto_sub's, and whoever reads it has learned to live with it.
    let time = format!("{}.{:06}Z+0000", time_text(now, "%FT%T"), now.subsec_nanosecond() / 1_000);
    let mut text = format!(
        "{{\"tst\":{},\"topic\":{},\"qos\":{},\"retain\":{},\"payloadlen\":{},",
        quoted(&time),
        quoted(&message.topic),
        message.qos.as_u8(),
        u8::from(message.retain),
        message.payload.len()
    );
    if let (Some(id), true) = (message.packet_id, message.qos != QoS::AtMostOnce) {
        text += &format!("\"mid\":{},", id.get());
    }
    let properties = message.properties.as_properties();
    if !properties.is_empty() {
        text += &format!("\"properties\":{{{}}},", members(properties).join(","));
    }
    text += &format!("\"payload\":{payload}}}");
    Ok(text)
}

/// The properties in wire order, user properties together where the first of them stands.
fn members(properties: Properties<'_>) -> Vec<String> {
    let users = properties.iter().filter_map(|property| match property {
        Property::User(name, value) => Some(format!("{}:{}", quoted(name), quoted(value))),
        _ => None,
    });
    let mut users = Some(users.collect::<Vec<_>>());
    let mut members = Vec::new();
    for property in properties.iter() {
        let value = match property {
            Property::U8(_, n) => n.to_string(),
            Property::U16(_, n) => n.to_string(),
            Property::U32(_, n) | Property::Varint(_, n) => n.to_string(),
            Property::Str(_, text) => quoted(text),
            Property::Bin(_, bytes) => quoted(&String::from_utf8_lossy(bytes)),
            Property::User(..) => {
                if let Some(users) = users.take() {
                    members.push(format!("\"user-properties\":{{{}}}", users.join(",")));
                }
                continue;
            }
        };
        members.push(format!("{}:{value}", quoted(name_of(identifier(property)))));
    }
    members
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON without white space outside of its strings; numbers stay as they are written. `None` if it is no JSON.
fn compact(json: &[u8]) -> Option<String> {
    serde_json::from_slice::<IgnoredAny>(json).ok()?;
    let text = std::str::from_utf8(json).ok()?;
    let (mut quoted, mut escaped) = (false, false);
    let kept = text.chars().filter(|c| {
        let is_kept = quoted || !c.is_ascii_whitespace();
        match c {
            '"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = quoted && *c == '\\' && !escaped;
        is_kept
    });
    Some(kept.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::{PacketId, PropertiesBuf, PropertyId};

    #[test]
    fn json_is_compacted_without_a_change_to_what_it_says() {
        for (json, expected) in [
            ("{\"b\": 1.50, \"a\":[1,\n2]}", Some("{\"b\":1.50,\"a\":[1,2]}")),
            (" \"a \\\" b\" ", Some("\"a \\\" b\"")),
            ("[\"\\\\\" , 1e3]", Some("[\"\\\\\",1e3]")),
            ("null", Some("null")),
            ("{\"a\":}", None),
            ("1 2", None),
            ("", None),
        ] {
            assert_eq!(compact(json.as_bytes()).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn the_object_has_mosquittos_members_in_their_order() {
        let mut properties = PropertiesBuf::new();
        for property in [
            Property::U8(PropertyId::PayloadFormatIndicator, 1),
            Property::User("a", "\"1\""),
            Property::Str(PropertyId::ResponseTopic, "r/t"),
            Property::User("a", "2"),
        ] {
            assert!(properties.push(property));
        }
        let message = Message {
            topic: "t".into(),
            payload: bytes::Bytes::from_static(b"[ 1 ]"),
            qos: QoS::ExactlyOnce,
            retain: false,
            properties,
            packet_id: PacketId::new(9),
        };
        let now = Timestamp::new(1_795_198_988, 263_411_012).unwrap();
        let start = "{\"tst\":\"2026-11-20T18:23:08.263411Z+0000\",\"topic\":\"t\",\"qos\":2,\"retain\":0,\
                     \"payloadlen\":5,\"mid\":9,\"properties\":{\"payload-format-indicator\":1,\
                     \"user-properties\":{\"a\":\"\\\"1\\\"\",\"a\":\"2\"},\"response-topic\":\"r/t\"},\"payload\":";
        for (how, payload) in [(Payload::Text, "\"[ 1 ]\"}"), (Payload::Json, "[1]}")] {
            assert_eq!(object(&message, now, how).unwrap(), format!("{start}{payload}"));
        }
        let message = Message { payload: bytes::Bytes::from_static(b"{"), ..message };
        assert!(object(&message, now, Payload::Json).is_err());
    }
}
