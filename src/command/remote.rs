//! Requests about the gateway's config that come over MQTT: `<base>/config/<operation>`. Who may ask, what, and where the
//! answer goes; what it is, the gateway's operations say.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::{Asker, stale, target, until};
use crate::message::{Message, own_level};
use crate::mqtt::{PropertiesBuf, Property, PropertyId, QoS};
use crate::time::Mono;

/// Where answers go for which nobody names another topic: `<base>/config/result`. Only the gateway publishes there.
const RESULT: &str = "result";

/// What can be asked, and what of the payload it takes.
const OPERATIONS: &[(&str, &str, &[&str])] = &[
    ("get", "config-get", &[]),
    ("schema", "config-schema", &[]),
    ("history", "config-history", &["version"]),
    ("pending", "config-pending", &[]),
    ("look", "config-look", CHANGE),
    ("probe", "config-probe", CHANGE),
    ("apply", "config-apply", CHANGE),
    ("confirm", "config-confirm", &[]),
    ("revert", "config-revert", &["version", "note", "probe", "force"]),
];

/// The same for all three, so that what was looked at can be applied as it is.
const CHANGE: &[&str] = &["base", "edits", "text", "files", "note", "probe", "force"];

/// The operation of `<base>/config/<operation>`, whether there is one of that name or not; `None` for any other topic.
#[must_use]
pub fn operation<'t>(topic: &'t str, base: &str) -> Option<&'t str> {
    let what = topic.strip_prefix(base)?.strip_prefix("/config/")?;
    (!what.is_empty() && !what.contains('/') && what != RESULT).then_some(what)
}

/// Whether a topic is the one of answers.
#[must_use]
pub fn is_result(topic: &str, base: &str) -> bool {
    topic.strip_prefix(base).and_then(|rest| rest.strip_prefix("/config/")) == Some(RESULT)
}

/// Where an answer goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    topic: Arc<str>,
    correlation: Option<Vec<u8>>,
    qos: QoS,
    /// As in the topic of the request.
    operation: String,
}

/// A request that may be carried out.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// As the control socket calls it: `config-apply`.
    pub op: &'static str,
    /// Its arguments, with who asks.
    pub arguments: Json,
    /// Where the answer goes; `None`: nowhere.
    pub reply: Option<Reply>,
}

/// What a message on a topic of [`operation`] comes to: a request, or why it is none.
///
/// # Errors
/// Why it is refused, and where that is told.
pub fn judge(
    now: Mono,
    at: Mono,
    message: &Message,
    base: &str,
    by: &Asker,
    upstreams: &[Arc<str>],
) -> Result<Wanted, (String, Option<Reply>)> {
    let asked = operation(&message.topic, base).unwrap_or_default();
    let reply = reply_to(message, base, by, asked);
    let refused = |why: String| Err((why, reply.clone()));
    match by {
        Asker::Client { user_name: None, .. } => {
            return refused("only a client with a user name may ask about the config".to_owned());
        }
        Asker::Upstream(name) if !upstreams.contains(name) => {
            return refused(format!("config.mqtt_upstreams doesn't name {name}"));
        }
        _ => {}
    }
    if let Some(why) = stale(message, by, now, at, until(message, at)) {
        return refused(why);
    }
    let Some((_, op, takes)) = OPERATIONS.iter().find(|(name, ..)| *name == asked) else {
        let known: Vec<&str> = OPERATIONS.iter().map(|(name, ..)| *name).collect();
        return refused(format!("there is no config/{asked}; known are {}", known.join(", ")));
    };
    let given: Map<String, Json> = match message.payload.trim_ascii() {
        [] => Map::new(),
        payload => match serde_json::from_slice(payload) {
            Ok(Json::Object(given)) => given,
            Ok(_) => return refused("expected a JSON object".to_owned()),
            Err(error) => return refused(format!("the payload is no JSON: {error}")),
        },
    };
    if let Some(unknown) = given.keys().find(|key| !takes.contains(&key.as_str())) {
        return refused(match takes {
            [] => format!("{asked} takes no {unknown}; its payload is empty"),
            takes => format!("{asked} takes no {unknown}; it takes {}", takes.join(", ")),
        });
    }
    let mut arguments = given;
    arguments.insert("who".to_owned(), json!(by.to_string()));
    Ok(Wanted { op, arguments: Json::Object(arguments), reply })
}

/// The response topic, else that of answers. Not to the gateway's own topics, nor where it would be a request again, nor
/// where the asker could not have subscribed: it must not reach through the gateway what it can't reach itself.
fn reply_to(message: &Message, base: &str, by: &Asker, operation: &str) -> Option<Reply> {
    let properties = message.properties.as_properties();
    let named = properties.string(PropertyId::ResponseTopic);
    let topic: Arc<str> = match named {
        None => format!("{base}/config/{RESULT}").into(),
        Some(topic) => {
            let is_closed = topic.starts_with('$')
                || own_level(topic, base).is_some()
                || target(topic, base).is_some()
                || self::operation(topic, base).is_some()
                || matches!(by, Asker::Client { may_read_reply: false, .. } | Asker::Will { .. });
            if is_closed {
                return None;
            }
            topic.into()
        }
    };
    let correlation = properties.binary(PropertyId::CorrelationData).map(<[u8]>::to_vec);
    let qos = message.qos.min(QoS::AtLeastOnce);
    Some(Reply { topic, correlation, qos, operation: operation.to_owned() })
}

/// An answer as a message: what the operation says, and of which it is.
#[must_use]
pub fn answer(reply: Reply, mut said: Json) -> Message {
    if let Json::Object(said) = &mut said {
        said.insert("operation".to_owned(), json!(reply.operation));
    } else {
        // A list of versions.
        said = json!({"operation": reply.operation, "versions": said});
    }
    let mut properties = PropertiesBuf::new();
    properties.push(Property::U8(PropertyId::PayloadFormatIndicator, 1));
    if let Some(correlation) = &reply.correlation {
        properties.push(Property::Bin(PropertyId::CorrelationData, correlation));
    }
    let payload = Bytes::from(said.to_string());
    Message { topic: reply.topic, payload, qos: reply.qos, retain: false, properties, reading: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "fieldgate/gw";

    fn message(topic: &str, payload: &str, response: Option<&str>) -> Message {
        let mut properties = PropertiesBuf::new();
        if let Some(response) = response {
            properties.push(Property::Str(PropertyId::ResponseTopic, response));
        }
        Message {
            topic: format!("{BASE}/{topic}").into(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: QoS::ExactlyOnce,
            retain: false,
            properties,
            reading: None,
        }
    }

    fn client(user: Option<&str>, may_read_reply: bool) -> Asker {
        Asker::Client { client_id: "c".into(), user_name: user.map(Arc::from), may_read_reply }
    }

    fn judged(message: &Message, by: &Asker) -> Result<Wanted, (String, Option<Reply>)> {
        let at = Mono::from_nanos(5);
        judge(at, at, message, BASE, by, &["central".into()])
    }

    #[test]
    fn only_topics_one_level_below_config_are_requests_and_the_one_of_answers_is_none() {
        for (topic, expected) in [
            ("fieldgate/gw/config/get", Some("get")),
            ("fieldgate/gw/config/nonsense", Some("nonsense")),
            ("fieldgate/gw/config/result", None),
            ("fieldgate/gw/config/get/x", None),
            ("fieldgate/gw/config/", None),
            ("fieldgate/gw/config", None),
            ("fieldgate/gw2/config/get", None),
        ] {
            assert_eq!(operation(topic, BASE), expected, "{topic}");
        }
        assert!(is_result("fieldgate/gw/config/result", BASE) && !is_result("x/config/result", BASE));
    }

    #[test]
    fn a_user_and_a_named_upstream_may_ask_and_nobody_else() {
        let get = message("config/get", "", None);
        let wanted = judged(&get, &client(Some("ops"), true)).unwrap();
        assert_eq!((wanted.op, &wanted.arguments["who"]), ("config-get", &json!("client c (ops)")));
        assert!(judged(&get, &Asker::Upstream("central".into())).is_ok());
        for by in [client(None, true), Asker::Upstream("other".into()), Asker::Will { client_id: "c".into() }]
        {
            assert!(judged(&get, &by).is_err(), "{by}");
        }
        let retained = Message { retain: true, ..get };
        assert!(judged(&retained, &client(Some("ops"), true)).unwrap_err().0.contains("retained"));
    }

    #[test]
    fn a_payload_says_what_the_operation_takes_and_never_who_asks() {
        let ask =
            |topic: &str, payload: &str| judged(&message(topic, payload, None), &client(Some("ops"), true));
        let apply = ask("config/apply", r#"{"edits": [], "note": "why"}"#).unwrap();
        assert_eq!(apply.arguments, json!({"edits": [], "note": "why", "who": "client c (ops)"}));
        for (topic, payload, words) in [
            ("config/apply", r#"{"who": "somebody else"}"#, "takes no who"),
            ("config/get", r#"{"x": 1}"#, "takes no x; its payload is empty"),
            ("config/apply", "[]", "a JSON object"),
            ("config/apply", "{", "no JSON"),
            ("config/backup", "", "there is no config/backup; known are get"),
        ] {
            let (why, reply) = ask(topic, payload).unwrap_err();
            assert!(why.contains(words), "{topic}: {why}");
            assert_eq!(&*reply.unwrap().topic, "fieldgate/gw/config/result");
        }
    }

    #[test]
    fn an_answer_goes_where_the_asker_may_read_and_never_where_it_would_be_a_request() {
        let to = |response, may_read| {
            let wanted = judged(&message("config/get", "", Some(response)), &client(Some("ops"), may_read));
            wanted.unwrap().reply.map(|reply| reply.topic.to_string())
        };
        assert_eq!(to("answers/c", true).as_deref(), Some("answers/c"));
        assert_eq!(to("fieldgate/gw/config/result", true).as_deref(), Some("fieldgate/gw/config/result"));
        assert_eq!(to("answers/c", false), None);
        for own in ["$SYS/x", "fieldgate/gw/status", "fieldgate/gw/cmd/pump", "fieldgate/gw/config/apply"] {
            assert_eq!(to(own, true), None, "{own}");
        }
        let wanted = judged(&message("config/history", "", None), &client(Some("ops"), true)).unwrap();
        let answer = answer(wanted.reply.unwrap(), json!([1]));
        assert_eq!(answer.qos, QoS::AtLeastOnce);
        assert_eq!(&answer.payload[..], br#"{"operation":"history","versions":[1]}"#);
    }
}
