//! MQTT 5 properties (2.2.2): a borrowed view that was checked against the table in `property_table`, and a
//! buffer to build one.

use super::decode::DecodeError;
use super::property_table::{Row, Wire, row_of};
use super::topic;
use super::wire::{Count, Cursor, Out, VARINT_MAX, kind, string};

/// A property's identifier (2.2.2.2, table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0B,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1A,
    ServerReference = 0x1C,
    ReasonString = 0x1F,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQoS = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2A,
}

/// One property with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    /// A byte.
    U8(PropertyId, u8),
    /// A two-byte integer.
    U16(PropertyId, u16),
    /// A four-byte integer.
    U32(PropertyId, u32),
    /// A variable byte integer (the subscription identifier).
    Varint(PropertyId, u32),
    /// A UTF-8 string.
    Str(PropertyId, &'a str),
    /// Binary data.
    Bin(PropertyId, &'a [u8]),
    /// A user property.
    User(&'a str, &'a str),
}

impl PropertyId {
    /// The identifier on the wire.
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        #[allow(clippy::as_conversions, reason = "the enum is repr(u8)")]
        {
            self as u8
        }
    }

    /// From the wire; `None` for an identifier that MQTT 5 doesn't define.
    #[must_use]
    pub fn from_u8(id: u8) -> Option<Self> {
        row_of(id).map(|row| row.id)
    }

    /// The specification's name, in lower case, for logs and errors.
    #[must_use]
    pub fn name(self) -> &'static str {
        row_of(self.as_u8()).map_or("", |row| row.name)
    }

    /// Whether it travels with an application message from publisher to subscriber (3.3.2.3; WILL: 3.1.3.2).
    #[must_use]
    pub const fn is_forwardable(self) -> bool {
        matches!(
            self,
            Self::PayloadFormatIndicator
                | Self::MessageExpiryInterval
                | Self::ContentType
                | Self::ResponseTopic
                | Self::CorrelationData
                | Self::UserProperty
        )
    }
}

/// A value as it stands on the wire, before its strings are looked at.
#[derive(Clone, Copy)]
enum Raw<'a> {
    Number(u32),
    Bytes(&'a [u8]),
    Pair(&'a [u8], &'a [u8]),
}

/// Reads one property off the front.
fn read<'a>(cursor: &mut Cursor<'a>) -> Result<(&'static Row, Raw<'a>), DecodeError> {
    // An identifier is a variable byte integer, but those that exist take one byte, and a longer form is refused.
    let row = row_of(cursor.u8()?).ok_or(DecodeError::Malformed("an unknown property"))?;
    let raw = match row.wire {
        Wire::U8(..) => Raw::Number(cursor.u8()?.into()),
        Wire::U16(..) => Raw::Number(cursor.u16()?.into()),
        Wire::U32(..) => Raw::Number(cursor.u32()?),
        Wire::Varint(..) => Raw::Number(u32::try_from(cursor.varint()?).unwrap_or(VARINT_MAX)),
        Wire::Str | Wire::Bin => Raw::Bytes(cursor.binary()?),
        Wire::Pair => Raw::Pair(cursor.binary()?, cursor.binary()?),
    };
    Ok((row, raw))
}

/// Checks a value's range and its strings.
fn check_value(row: &Row, raw: Raw<'_>) -> Result<(), DecodeError> {
    match (row.wire, raw) {
        (
            Wire::U8(min, max) | Wire::U16(min, max) | Wire::U32(min, max) | Wire::Varint(min, max),
            Raw::Number(n),
        ) if n < min || n > max => Err(DecodeError::Protocol("a property is out of its range")),
        (Wire::Str, Raw::Bytes(bytes)) => {
            let text = string(bytes)?;
            if row.id == PropertyId::ResponseTopic && topic::check_name(text).is_err() {
                return Err(DecodeError::Protocol("the response topic is no topic name")); // 3.3.2-14
            }
            Ok(())
        }
        (_, Raw::Pair(name, value)) => string(name).and(string(value)).map(drop),
        _ => Ok(()),
    }
}

/// The property, once its strings were checked.
fn property<'a>(row: &Row, raw: Raw<'a>) -> Option<Property<'a>> {
    Some(match (row.wire, raw) {
        (Wire::U8(..), Raw::Number(n)) => Property::U8(row.id, u8::try_from(n).ok()?),
        (Wire::U16(..), Raw::Number(n)) => Property::U16(row.id, u16::try_from(n).ok()?),
        (Wire::U32(..), Raw::Number(n)) => Property::U32(row.id, n),
        (_, Raw::Number(n)) => Property::Varint(row.id, n),
        (Wire::Str, Raw::Bytes(bytes)) => Property::Str(row.id, std::str::from_utf8(bytes).ok()?),
        (_, Raw::Bytes(bytes)) => Property::Bin(row.id, bytes),
        (_, Raw::Pair(name, value)) => {
            Property::User(std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?)
        }
    })
}

/// How much of properties one packet may bring; held while they are read, not after. The standard has no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PropertyLimits {
    /// User properties.
    pub user_max: usize,
    /// Bytes of all properties together.
    pub bytes_max: usize,
}

impl PropertyLimits {
    /// As much as the packet holds.
    pub const NONE: Self = Self { user_max: usize::MAX, bytes_max: usize::MAX };
}

/// The properties of one packet as they stood on the wire, without their length; already checked for known
/// identifiers, types, ranges, placement and repetition. Walking it can't fail.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Self = Self(&[]);

    /// Reads length and properties of a packet of type `kind`, and checks all rules of one packet.
    pub(super) fn read(cursor: &mut Cursor<'a>, kind: u8) -> Result<Self, DecodeError> {
        let len = cursor.varint()?;
        let PropertyLimits { bytes_max, .. } = cursor.limits;
        if len > bytes_max {
            return Err(DecodeError::PropertiesTooLong { bytes: len, max: bytes_max });
        }
        Self::check(cursor.take(len)?, kind, cursor.limits)
    }

    fn check(bytes: &'a [u8], kind: u8, limits: PropertyLimits) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let mut seen = 0_u64;
        let mut user = 0;
        while !cursor.is_empty() {
            let (row, raw) = read(&mut cursor)?;
            if !row.packets.has(kind) {
                return Err(DecodeError::Malformed("a property that this packet can't have")); // 2.2.2.2
            }
            let bit = 1_u64 << row.id.as_u8();
            if seen & bit != 0 && !row.repeats.has(kind) {
                return Err(DecodeError::Protocol("a property stands twice"));
            }
            seen |= bit;
            if row.id == PropertyId::UserProperty {
                user += 1;
                if user > limits.user_max {
                    return Err(DecodeError::TooManyUserProperties { max: limits.user_max });
                }
            }
            check_value(row, raw)?;
        }
        Ok(Self(bytes))
    }

    /// The encoded bytes, without the length in front.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// Each property with the bytes that it takes, identifier included.
    fn raw(self) -> impl Iterator<Item = (&'static Row, Raw<'a>, &'a [u8])> {
        let mut cursor = Cursor::new(self.0);
        std::iter::from_fn(move || {
            let before = cursor.rest();
            let (row, raw) = read(&mut cursor).ok()?;
            Some((row, raw, before.get(..before.len().checked_sub(cursor.rest().len())?)?))
        })
    }

    fn find(self, id: PropertyId) -> Option<Raw<'a>> {
        self.raw().find(|(row, ..)| row.id == id).map(|(_, raw, _)| raw)
    }

    /// All properties in wire order.
    pub fn iter(self) -> impl Iterator<Item = Property<'a>> {
        self.raw().filter_map(|(row, raw, _)| property(row, raw))
    }

    /// The value of a numeric property (byte, two-, four-byte or variable byte integer); the first, if it repeats.
    #[must_use]
    pub fn number(self, id: PropertyId) -> Option<u32> {
        match self.find(id)? {
            Raw::Number(number) => Some(number),
            Raw::Bytes(_) | Raw::Pair(..) => None,
        }
    }

    /// The same with so many seconds left to live (5.0, 3.3.2-6); `None` where they say so already, or nothing of it.
    #[must_use]
    pub fn with_seconds_left(self, seconds: u32) -> Option<PropertiesBuf> {
        let said = self.number(PropertyId::MessageExpiryInterval)?;
        if said == seconds {
            return None;
        }
        let mut aged = PropertiesBuf::new();
        for property in self.iter() {
            aged.push(match property {
                Property::U32(PropertyId::MessageExpiryInterval, _) => {
                    Property::U32(PropertyId::MessageExpiryInterval, seconds)
                }
                other => other,
            });
        }
        Some(aged)
    }

    /// The value of a string property.
    #[must_use]
    pub fn string(self, id: PropertyId) -> Option<&'a str> {
        match row_of(id.as_u8())?.wire {
            Wire::Str => std::str::from_utf8(self.bytes(id)?).ok(),
            _ => None,
        }
    }

    /// The value of a binary property.
    #[must_use]
    pub fn binary(self, id: PropertyId) -> Option<&'a [u8]> {
        match row_of(id.as_u8())?.wire {
            Wire::Bin => self.bytes(id),
            _ => None,
        }
    }

    fn bytes(self, id: PropertyId) -> Option<&'a [u8]> {
        match self.find(id)? {
            Raw::Bytes(bytes) => Some(bytes),
            Raw::Number(_) | Raw::Pair(..) => None,
        }
    }

    /// An owned copy.
    #[must_use]
    pub fn to_buf(self) -> PropertiesBuf {
        PropertiesBuf(self.0.to_vec())
    }
}

impl std::fmt::Debug for Properties<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Properties being built, or owned. An empty one does not allocate.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PropertiesBuf(Vec<u8>);

impl PropertiesBuf {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Appends one. The caller keeps to the table of what may stand where, and how often. False, with nothing
    /// appended, if the value can't stand on the wire: not of the property's type, out of its range, a string
    /// with U+0000 or of more than 65,535 bytes.
    pub fn push(&mut self, property: Property<'_>) -> bool {
        let mut count = Count::default();
        if !is_valid(property) || put(property, &mut count).is_none() {
            return false;
        }
        self.0.reserve(count.0);
        put(property, &mut self.0).is_some()
    }

    /// Appends properties that were checked before, keeping only those that travel with an application message
    /// from publisher to subscriber (3.3.2.3: payload format, expiry, content type, response topic, correlation
    /// data, user properties).
    pub fn push_forwardable(&mut self, from: Properties<'_>) {
        for (row, _, bytes) in from.raw() {
            if row.id.is_forwardable() {
                self.0.extend_from_slice(bytes);
            }
        }
    }

    /// Takes all out; the memory stays.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends properties that were checked before.
    pub fn extend(&mut self, from: Properties<'_>) {
        self.0.extend_from_slice(from.0);
    }

    /// The borrowed view.
    #[must_use]
    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }

    /// Checks bytes that were stored; `None` if they are not well-formed properties of a PUBLISH.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        Properties::check(bytes, kind::PUBLISH, PropertyLimits::NONE).ok().map(Properties::to_buf)
    }
}

/// Whether type and value are the ones of the identifier.
fn is_valid(property: Property<'_>) -> bool {
    let (id, raw) = match property {
        Property::U8(id, n) => (id, Raw::Number(n.into())),
        Property::U16(id, n) => (id, Raw::Number(n.into())),
        Property::U32(id, n) | Property::Varint(id, n) => (id, Raw::Number(n)),
        Property::Str(id, text) => (id, Raw::Bytes(text.as_bytes())),
        Property::Bin(id, bytes) => (id, Raw::Bytes(bytes)),
        Property::User(name, value) => {
            (PropertyId::UserProperty, Raw::Pair(name.as_bytes(), value.as_bytes()))
        }
    };
    let Some(row) = row_of(id.as_u8()) else { return false };
    let same_type = matches!(
        (row.wire, property),
        (Wire::U8(..), Property::U8(..))
            | (Wire::U16(..), Property::U16(..))
            | (Wire::U32(..), Property::U32(..))
            | (Wire::Varint(..), Property::Varint(..))
            | (Wire::Str, Property::Str(..))
            | (Wire::Bin, Property::Bin(..))
            | (Wire::Pair, Property::User(..))
    );
    same_type && check_value(row, raw).is_ok()
}

/// Writes one property; `None` if a field is too long, with something written perhaps.
fn put(property: Property<'_>, out: &mut impl Out) -> Option<()> {
    match property {
        Property::U8(id, n) => {
            out.u8(id.as_u8());
            out.u8(n);
        }
        Property::U16(id, n) => {
            out.u8(id.as_u8());
            out.u16(n);
        }
        Property::U32(id, n) => {
            out.u8(id.as_u8());
            out.u32(n);
        }
        Property::Varint(id, n) => {
            out.u8(id.as_u8());
            out.varint(usize::try_from(n).ok()?).ok()?;
        }
        Property::Str(id, text) => {
            out.u8(id.as_u8());
            out.binary(text.as_bytes()).ok()?;
        }
        Property::Bin(id, bytes) => {
            out.u8(id.as_u8());
            out.binary(bytes).ok()?;
        }
        Property::User(name, value) => {
            out.u8(PropertyId::UserProperty.as_u8());
            out.binary(name.as_bytes()).ok()?;
            out.binary(value.as_bytes()).ok()?;
        }
    }
    Some(())
}

impl std::fmt::Debug for PropertiesBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_properties().fmt(f)
    }
}
