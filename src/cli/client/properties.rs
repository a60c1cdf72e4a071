//! MQTT 5 properties from the command line: `-D <packet> <property> <value>`, as mosquitto_pub takes them.

use crate::mqtt::{PropertiesBuf, Property, PropertyId};

/// The properties of each packet that a client may give some.
#[derive(Debug, Default)]
pub(in crate::cli) struct Given {
    pub(in crate::cli) connect: PropertiesBuf,
    pub(in crate::cli) publish: PropertiesBuf,
    pub(in crate::cli) subscribe: PropertiesBuf,
    pub(in crate::cli) unsubscribe: PropertiesBuf,
    pub(in crate::cli) disconnect: PropertiesBuf,
    pub(in crate::cli) will: PropertiesBuf,
}

/// Which packets a command has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Side {
    Publisher,
    Subscriber,
}

/// How a value is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    U16,
    U32,
    Varint,
    Text,
    Binary,
    Pair,
}

use PropertyId as P;

const CONNECT: &str = "connect";
const PUBLISH: &str = "publish";
const SUBSCRIBE: &str = "subscribe";
const UNSUBSCRIBE: &str = "unsubscribe";
const DISCONNECT: &str = "disconnect";
const WILL: &str = "will";

/// Name, identifier, how it is written, and in which packets a client may send it (table 2-4).
const TABLE: &[(&str, PropertyId, Kind, &[&str])] = &[
    ("payload-format-indicator", P::PayloadFormatIndicator, Kind::U8, &[PUBLISH, WILL]),
    ("message-expiry-interval", P::MessageExpiryInterval, Kind::U32, &[PUBLISH, WILL]),
    ("content-type", P::ContentType, Kind::Text, &[PUBLISH, WILL]),
    ("response-topic", P::ResponseTopic, Kind::Text, &[PUBLISH, WILL]),
    ("correlation-data", P::CorrelationData, Kind::Binary, &[PUBLISH, WILL]),
    ("topic-alias", P::TopicAlias, Kind::U16, &[PUBLISH]),
    ("will-delay-interval", P::WillDelayInterval, Kind::U32, &[WILL]),
    ("subscription-identifier", P::SubscriptionIdentifier, Kind::Varint, &[SUBSCRIBE]),
    ("session-expiry-interval", P::SessionExpiryInterval, Kind::U32, &[CONNECT, DISCONNECT]),
    ("receive-maximum", P::ReceiveMaximum, Kind::U16, &[CONNECT]),
    ("maximum-packet-size", P::MaximumPacketSize, Kind::U32, &[CONNECT]),
    ("topic-alias-maximum", P::TopicAliasMaximum, Kind::U16, &[CONNECT]),
    ("request-problem-information", P::RequestProblemInformation, Kind::U8, &[CONNECT]),
    ("request-response-information", P::RequestResponseInformation, Kind::U8, &[CONNECT]),
    (
        "user-property",
        P::UserProperty,
        Kind::Pair,
        &[CONNECT, PUBLISH, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, WILL],
    ),
];

impl Given {
    /// Reads the words of all -D options, one after the other.
    ///
    /// # Errors
    /// In words, naming what is wrong.
    pub(in crate::cli) fn parse(words: &[String], side: Side) -> Result<Self, String> {
        let mut given = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(packet) = words.next() {
            let packet = packet.to_ascii_lowercase();
            let mut next = |what| words.next().ok_or_else(|| format!("-D {packet}: {what} is missing"));
            let name = next("the property")?;
            let value = next("the value")?;
            let row = TABLE.iter().find(|(row, ..)| *row == name);
            let Some((_, id, kind, packets)) = row else {
                return Err(format!("-D {packet} {name}: there is no such property{}", known(&packet)));
            };
            let second = if *kind == Kind::Pair { next("the user property's value")? } else { "" };
            let properties = given.of(&packet, side).ok_or_else(|| {
                format!("-D {packet}: this command sends no such packet, or it takes no properties")
            })?;
            if !packets.contains(&packet.as_str()) {
                return Err(format!("-D {packet} {name}: {packet} can't have it{}", known(&packet)));
            }
            let repeated = *kind != Kind::Pair
                && properties.as_properties().iter().any(|property| identifier(property) == *id);
            if repeated {
                return Err(format!("-D {packet} {name}: given twice"));
            }
            if !push(properties, *id, *kind, value, second) {
                return Err(format!("-D {packet} {name} {value:?}: not a value for it"));
            }
        }
        Ok(given)
    }

    fn of(&mut self, packet: &str, side: Side) -> Option<&mut PropertiesBuf> {
        let subscribes = side == Side::Subscriber;
        match packet {
            CONNECT => Some(&mut self.connect),
            PUBLISH if !subscribes => Some(&mut self.publish),
            SUBSCRIBE if subscribes => Some(&mut self.subscribe),
            UNSUBSCRIBE if subscribes => Some(&mut self.unsubscribe),
            DISCONNECT => Some(&mut self.disconnect),
            WILL => Some(&mut self.will),
            _ => None,
        }
    }
}

/// The properties' names as the table has them, for output.
pub(in crate::cli) fn name_of(id: PropertyId) -> &'static str {
    TABLE.iter().find(|(_, row, ..)| *row == id).map_or("", |(name, ..)| name)
}

/// The identifier of a property.
pub(in crate::cli) const fn identifier(property: Property<'_>) -> PropertyId {
    match property {
        Property::U8(id, _)
        | Property::U16(id, _)
        | Property::U32(id, _)
        | Property::Varint(id, _)
        | Property::Str(id, _)
        | Property::Bin(id, _) => id,
        Property::User(..) => P::UserProperty,
    }
}

fn push(properties: &mut PropertiesBuf, id: PropertyId, kind: Kind, value: &str, second: &str) -> bool {
    let property = match kind {
        Kind::U8 => value.parse().ok().map(|n| Property::U8(id, n)),
        Kind::U16 => value.parse().ok().map(|n| Property::U16(id, n)),
        Kind::U32 => value.parse().ok().map(|n| Property::U32(id, n)),
        Kind::Varint => value.parse().ok().map(|n| Property::Varint(id, n)),
        Kind::Text => Some(Property::Str(id, value)),
        Kind::Binary => Some(Property::Bin(id, value.as_bytes())),
        Kind::Pair => Some(Property::User(value, second)),
    };
    property.is_some_and(|property| properties.push(property))
}

fn known(packet: &str) -> String {
    let names = TABLE.iter().filter(|(.., packets)| packets.contains(&packet)).map(|(name, ..)| *name);
    let names: Vec<&str> = names.collect();
    if names.is_empty() { String::new() } else { format!("; it can have {}", names.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str, side: Side) -> Result<Given, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Given::parse(&words, side)
    }

    #[test]
    fn properties_stand_in_the_packet_that_was_named() {
        let words = "CONNECT receive-maximum 5 publish user-property a b publish user-property a c \
                     publish message-expiry-interval 30 will will-delay-interval 9 disconnect user-property x y";
        let given = parse(words, Side::Publisher).unwrap();
        let shown = |properties: &PropertiesBuf| format!("{:?}", properties.as_properties());
        for (properties, expected) in [
            (&given.connect, "[U16(ReceiveMaximum, 5)]"),
            (&given.publish, r#"[User("a", "b"), User("a", "c"), U32(MessageExpiryInterval, 30)]"#),
            (&given.will, "[U32(WillDelayInterval, 9)]"),
            (&given.disconnect, r#"[User("x", "y")]"#),
            (&given.subscribe, "[]"),
        ] {
            assert_eq!(shown(properties), expected);
        }
        let given = parse("subscribe subscription-identifier 7", Side::Subscriber).unwrap();
        assert_eq!(shown(&given.subscribe), "[Varint(SubscriptionIdentifier, 7)]");
    }

    #[test]
    fn wrong_properties_are_told_in_words() {
        for (words, side, part) in [
            ("publish", Side::Publisher, "the property is missing"),
            ("publish content-type", Side::Publisher, "the value is missing"),
            ("publish user-property a", Side::Publisher, "value is missing"),
            ("publish colour red", Side::Publisher, "it can have payload-format-indicator"),
            ("connect content-type a", Side::Publisher, "can't have it"),
            ("subscribe user-property a b", Side::Publisher, "sends no such packet"),
            ("publish content-type a", Side::Subscriber, "sends no such packet"),
            ("pingreq user-property a b", Side::Publisher, "sends no such packet"),
            ("publish message-expiry-interval soon", Side::Publisher, "not a value"),
            ("publish payload-format-indicator 2", Side::Publisher, "not a value"),
            ("connect receive-maximum 0", Side::Publisher, "not a value"),
            ("connect receive-maximum 1 connect receive-maximum 2", Side::Publisher, "twice"),
        ] {
            let error = parse(words, side).unwrap_err();
            assert!(error.contains(part), "{words}: {error}");
        }
    }
}
