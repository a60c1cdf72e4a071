//! Operations on the broker: who is there, who gets what, what is retained, what passes; closing a connection, publishing,
//! forgetting a retained message. The broker thread answers in slices, see [`crate::broker::look`].

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::{Failure, Operation};
use crate::broker::look::{
    CLIENTS_AT_ONCE_MAX, Client, Consumer, Held, PREVIEW_BYTES_MAX, RETAINED_AT_ONCE_MAX, RuleLook,
};
use crate::broker::watch::Seen;
use crate::hex;
use crate::io::lock::Locked;
use crate::io::reporter::Reporter;
use crate::io::shard::{Look, ToBroker};
use crate::message::{Message, OutboxId};
use crate::mqtt::topic::check_name;
use crate::mqtt::{PropertiesBuf, QoS};
use crate::said;

/// The largest payload that is published from here: what people type or paste.
const PUBLISH_BYTES_MAX: usize = 64 * 1024;

/// What the operations are told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// Of `broker-kick`: which client, by its identifier.
    pub client: Option<String>,
    /// Of `broker-clients`: from which place on, as the answer before said; 0: all.
    pub from: Option<u32>,
    /// Of `broker-clients` and `broker-retained`: how many at most.
    pub max: Option<usize>,
    /// Of `broker-consumers`, `broker-message`, `broker-publish`, `broker-forget`: which.
    pub topic: Option<String>,
    /// Of `broker-retained` and `broker-topics`: what topics begin with.
    pub prefix: Option<String>,
    /// Of `broker-retained`: the topic to go on after.
    pub after: Option<String>,
    /// Of `broker-topics`: the change to go on after.
    pub change: Option<u64>,
    /// Of `broker-publish`: the payload as text.
    pub text: Option<String>,
    /// Of `broker-publish`: the payload as hexadecimal digits instead.
    pub hex: Option<String>,
    /// Of `broker-publish`: 0, 1 or 2; 0 without it.
    pub qos: Option<u8>,
    /// Of `broker-publish`: whether it is retained.
    pub retain: Option<bool>,
}

/// Answers an operation whose name begins with `broker-`.
pub(super) async fn answer(
    operation: Operation,
    arguments: Arguments,
    reporter: &Reporter,
) -> Result<Json, Failure> {
    match operation {
        Operation::BrokerClients => clients(arguments, reporter).await,
        Operation::BrokerKick => kick(arguments, reporter).await,
        Operation::BrokerConsumers => consumers(arguments, reporter).await,
        Operation::BrokerRules => rules(reporter).await,
        Operation::BrokerRetained => retained(arguments, reporter).await,
        Operation::BrokerMessage => message(arguments, reporter).await,
        Operation::BrokerTopics => topics(arguments, reporter).await,
        Operation::BrokerPublish => publish(arguments, reporter).await,
        Operation::BrokerForget => forget(arguments, reporter).await,
        _ => limits(reporter).await,
    }
}

/// Has the broker thread answer.
pub(super) async fn ask<T>(
    reporter: &Reporter,
    question: impl FnOnce(oneshot::Sender<T>) -> Look,
) -> Result<T, Failure> {
    let (answer, answered) = oneshot::channel();
    // Bounded by the operations at work.
    reporter.broker.force(ToBroker::Look(question(answer)));
    answered.await.map_err(|_| Failure::busy(said!("broker_silent", "the broker doesn't answer")))
}

fn needed(value: Option<String>, field: &'static str) -> Result<String, Failure> {
    value.ok_or_else(|| Failure::field(field, said!("missing", "{field} is missing", field = field)))
}

fn topic(arguments: &mut Arguments) -> Result<String, Failure> {
    let topic = needed(arguments.topic.take(), "topic")?;
    check_name(&topic)
        .map_err(|error| Failure::field("topic", said!("topic", "the topic {error}", error = error)))?;
    Ok(topic)
}

/// The clients, some at a time.
async fn clients(arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let from = arguments.from.unwrap_or(0);
    let max = arguments.max.unwrap_or(CLIENTS_AT_ONCE_MAX);
    let found = ask(reporter, |answer| Look::Clients { from, max, answer }).await?;
    let doors = doors(reporter);
    let clients: Vec<Json> = found.clients.iter().map(|one| client(one, &doors)).collect();
    Ok(json!({"clients": clients, "next": found.next}))
}

/// Name and transport of the listeners.
fn doors(reporter: &Reporter) -> Vec<(Arc<str>, &'static str)> {
    reporter.listeners.locked().iter().map(|one| (one.name.clone(), one.transport)).collect()
}

fn client(client: &Client, doors: &[(Arc<str>, &'static str)]) -> Json {
    let there = client.connected.as_ref();
    let door = there.and_then(|there| doors.get(usize::from(there.listener.0)));
    json!({
        "client": &*client.client_id,
        "user": client.user_name.as_deref(),
        "connected": there.is_some(),
        "address": there.map(|there| &*there.address),
        "listener": door.map(|(name, _)| &**name),
        "transport": door.map(|(_, transport)| *transport),
        "version": there.map(|there| there.version.name()),
        "connected_s": there.map(|there| there.since.as_secs()),
        "seen_s": there.map(|there| there.seen.as_secs()),
        "away_s": client.away.map(|away| away.as_secs()),
        "queued_messages": client.queued.0,
        "queued_bytes": client.queued.1,
        "inflight": client.inflight,
        "subscriptions": client.subscriptions,
        "persistent": client.is_persistent,
    })
}

/// Closes a client's connection. Its session stays, and it may come back.
async fn kick(arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let client_id = needed(arguments.client, "client")?;
    let wanted = client_id.clone();
    match ask(reporter, |answer| Look::Kick { client_id, answer }).await? {
        true => Ok(json!({"client": wanted, "kicked": true})),
        false => Err(Failure::field(
            "client",
            said!("no_client", "no client \"{client}\" is connected", client = wanted),
        )),
    }
}

/// Who gets what is published to a topic.
async fn consumers(mut arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let topic = topic(&mut arguments)?;
    let asked = topic.clone();
    let found = ask(reporter, |answer| Look::Consumers { topic: asked, answer }).await?;
    let consumer = |one: &Consumer| {
        json!({
            "client": &*one.client_id,
            "user": one.user_name.as_deref(),
            "connected": one.is_connected,
            "qos": one.qos.as_u8(),
            "share": one.share,
        })
    };
    Ok(json!({
        "topic": topic,
        "clients": found.clients.iter().map(consumer).collect::<Vec<_>>(),
        "more": found.more,
        "upstreams": upstreams(reporter, &found.outboxes),
        "command": found.is_command,
        "closed": found.closed,
    }))
}

/// The names of the upstreams that these outboxes belong to.
fn upstreams(reporter: &Reporter, outboxes: &[OutboxId]) -> Vec<String> {
    let all = reporter.links.all();
    let has = |own: &[OutboxId]| own.iter().any(|outbox| outboxes.contains(outbox));
    let concerned = all.iter().filter(|bridge| has(&bridge.outboxes.borrow()));
    concerned.map(|bridge| bridge.machine.borrow().name().to_string()).collect()
}

/// What is retained, some at a time.
async fn retained(arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let Arguments { prefix, after, max, .. } = arguments;
    let prefix = prefix.unwrap_or_default();
    let max = max.unwrap_or(RETAINED_AT_ONCE_MAX);
    let payload_max = PREVIEW_BYTES_MAX;
    let page = ask(reporter, |answer| Look::Held { prefix, after, max, payload_max, answer }).await?;
    let messages: Vec<Json> = page.messages.iter().map(held).collect();
    Ok(json!({"messages": messages, "next": page.next.as_deref()}))
}

/// The retained message of a topic, whole.
async fn message(mut arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let topic = topic(&mut arguments)?;
    match ask(reporter, |answer| Look::HeldAt { topic, answer }).await? {
        Some(found) => Ok(held(&found)),
        None => Err(Failure::field("topic", said!("nothing_retained", "nothing is retained there"))),
    }
}

fn held(held: &Held) -> Json {
    let mut json = payload(&held.payload, held.bytes);
    if let Json::Object(fields) = &mut json {
        fields.insert("topic".into(), json!(&*held.topic));
        fields.insert("qos".into(), json!(held.qos.as_u8()));
        fields.insert("expires_s".into(), json!(held.expires.map(|left| left.as_secs())));
    }
    json
}

/// A payload, perhaps cut off, as text where it is some, else as hexadecimal digits.
fn payload(shown: &[u8], bytes: usize) -> Json {
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // Cut off in the middle of a character.
        Err(error) if error.error_len().is_none() && shown.len() < bytes => {
            shown.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    };
    // Control characters other than line breaks and tabs are no text for people.
    let text =
        text.filter(|text| !text.contains(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')));
    match text {
        Some(text) => json!({"text": text, "bytes": bytes, "cut": shown.len() < bytes}),
        None => json!({"hex": hex::encode(shown), "bytes": bytes, "cut": shown.len() < bytes}),
    }
}

/// Listeners and who gets in there, and how near the bounds are.
async fn limits(reporter: &Reporter) -> Result<Json, Failure> {
    let house = ask(reporter, Look::House).await?;
    let transports = doors(reporter);
    let errors: Vec<Option<String>> =
        reporter.listeners.locked().iter().map(|listener| listener.error.clone()).collect();
    let doors = house.doors.iter().enumerate().map(|(at, door)| {
        json!({
            "name": &*door.name,
            "transport": transports.get(at).map(|(_, transport)| *transport),
            "clients": door.clients,
            "allow_anonymous": door.allow_anonymous,
            "check_users": door.check_users,
            "own_users": door.own_users,
            "error": errors.get(at).cloned().flatten(),
        })
    });
    let bounds =
        house.bounds.iter().map(|near| json!({"name": near.name, "used": near.used, "max": near.max}));
    Ok(json!({"listeners": doors.collect::<Vec<_>>(), "limits": bounds.collect::<Vec<_>>()}))
}

/// The rules of who may publish and subscribe to what.
async fn rules(reporter: &Reporter) -> Result<Json, Failure> {
    let house = ask(reporter, Look::House).await?;
    let rule = |one: &RuleLook| {
        let (kind, name) = one.rule.who.parts();
        json!({
            "listener": one.listener.as_deref(),
            "for": kind,
            "name": name,
            "allow": one.rule.allow,
            "read": one.rule.access.read,
            "write": one.rule.access.write,
            "subscribe": one.rule.access.subscribe,
            "filter": one.rule.filter.as_str(),
        })
    };
    Ok(json!({
        "open": house.is_open,
        "rules": house.rules.iter().map(rule).collect::<Vec<_>>(),
        "more": house.rules_more,
    }))
}

/// The topics whose last message is another one since a change.
async fn topics(arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let Arguments { prefix, change, .. } = arguments;
    let (prefix, after) = (prefix.unwrap_or_default(), change.unwrap_or(0));
    let found = ask(reporter, |answer| Look::Topics { prefix, after, answer }).await?;
    let seen = |seen: &Seen| {
        let mut json = payload(&seen.payload, seen.bytes);
        if let Json::Object(fields) = &mut json {
            fields.insert("topic".into(), json!(&*seen.topic));
            fields.insert("qos".into(), json!(seen.qos.as_u8()));
            fields.insert("retain".into(), json!(seen.retain));
            fields.insert("messages".into(), json!(seen.messages));
            let ago = seen.ago.map(|ago| u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
            fields.insert("ago_ms".into(), json!(ago));
        }
        json
    };
    Ok(json!({
        "topics": found.seen.iter().map(seen).collect::<Vec<_>>(),
        "change": found.change,
        "more": found.more,
        "known": found.topics,
        "forgotten": found.forgotten,
    }))
}

/// Publishes a message, where a client of the LAN may.
async fn publish(mut arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let topic = topic(&mut arguments)?;
    let payload = match (arguments.text, arguments.hex) {
        (Some(_), Some(_)) => {
            return Err(Failure::field("hex", said!("text_or_hex", "either text or hex, not both")));
        }
        (text, None) => text.unwrap_or_default().into_bytes(),
        (None, Some(digits)) => bytes_of(&digits).ok_or_else(|| {
            Failure::field("hex", said!("hex", "hex: expected pairs of hexadecimal digits"))
        })?,
    };
    if payload.len() > PUBLISH_BYTES_MAX {
        let words = format!("the payload has {} bytes; {PUBLISH_BYTES_MAX} are allowed", payload.len());
        return Err(Failure::field("text", words));
    }
    let qos = arguments.qos.unwrap_or(0);
    let qos =
        QoS::from_u8(qos).ok_or_else(|| Failure::field("qos", said!("qos", "qos: expected 0, 1 or 2")))?;
    let asked = topic.clone();
    let found = ask(reporter, |answer| Look::Consumers { topic: asked, answer }).await?;
    if let Some(why) = found.closed {
        return Err(Failure::field("topic", why));
    }
    if found.is_command {
        return Err(Failure::field(
            "topic",
            "this is a command to a device; set its point instead, which tells what came of it",
        ));
    }
    let clients = found.clients.len().saturating_add(found.more);
    let upstreams = upstreams(reporter, &found.outboxes);
    send(reporter, &topic, Bytes::from(payload), qos, arguments.retain.unwrap_or(false))?;
    Ok(json!({"topic": topic, "clients": clients, "upstreams": upstreams}))
}

/// Has a topic's retained message forgotten.
async fn forget(mut arguments: Arguments, reporter: &Reporter) -> Result<Json, Failure> {
    let topic = topic(&mut arguments)?;
    let asked = topic.clone();
    match ask(reporter, |answer| Look::HeldAt { topic: asked, answer }).await? {
        None => return Err(Failure::field("topic", said!("nothing_retained", "nothing is retained there"))),
        Some(held) if held.is_own => {
            return Err(Failure::field(
                "topic",
                said!("kept_message", "the gateway itself keeps this message"),
            ));
        }
        Some(_) => {}
    }
    send(reporter, &topic, Bytes::new(), QoS::AtLeastOnce, true)?;
    Ok(json!({"topic": topic, "forgotten": true}))
}

/// Bytes from pairs of hexadecimal digits, between which blanks may stand.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    hex::decode(&digits.split_whitespace().collect::<String>())
}

fn send(reporter: &Reporter, topic: &str, payload: Bytes, qos: QoS, retain: bool) -> Result<(), Failure> {
    let weight = topic.len() + payload.len() + 128;
    let message = Message {
        topic: Arc::from(topic),
        payload,
        qos,
        retain,
        properties: PropertiesBuf::new(),
        reading: None,
    };
    let busy = |_| Failure::busy(said!("broker_busy", "the broker has too much to do; try again"));
    reporter.broker.push(ToBroker::Local(message), weight).map_err(busy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_pairs_with_or_without_blanks() {
        assert_eq!(bytes_of("00 fF\n10"), Some(vec![0, 255, 16]));
        assert_eq!(bytes_of(""), Some(vec![]));
        for wrong in ["0", "0g", "00 1"] {
            assert_eq!(bytes_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_payload_is_text_where_people_can_read_it_and_digits_where_not() {
        for (shown, bytes, expected) in [
            (&b"21.5"[..], 4, json!({"text": "21.5", "bytes": 4, "cut": false})),
            (b"", 0, json!({"text": "", "bytes": 0, "cut": false})),
            (b"a\xc3", 9, json!({"text": "a", "bytes": 9, "cut": true})),
            (b"a\xc3", 2, json!({"hex": "61c3", "bytes": 2, "cut": false})),
            (b"\0\x01", 2, json!({"hex": "0001", "bytes": 2, "cut": false})),
            (b"a\n\tb", 4, json!({"text": "a\n\tb", "bytes": 4, "cut": false})),
        ] {
            assert_eq!(payload(shown, bytes), expected, "{shown:?}");
        }
    }
}
