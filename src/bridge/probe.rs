//! Whether an upstream lets a client in: one CONNECT, without will and with a clean session, and what is answered.

use std::time::Duration;

use super::link::with_reason;
use crate::mqtt::{self, Connect, Packet, PropertiesBuf, ReasonCode, Version};
use crate::secret::Secret;

/// The first byte of a CONNACK (2.1.2, 3.2.1).
const CONNACK: u8 = 0x20;

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What an upstream said to the try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lets the client in.
    In,
    /// It doesn't know this client identifier, or ties it to something; all before it went well.
    NotThisName(String),
    /// It refuses, for what the config says.
    Refused(String),
    /// It can't be used now.
    Unavailable(String),
    /// It speaks something else.
    NoMqtt(String),
}

/// Who is tried.
#[derive(Clone, Debug)]
pub struct Login {
    /// 3.1.1 or 5.0.
    pub version: Version,
    /// The client identifier.
    pub client_id: String,
    /// The user name.
    pub user_name: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// One try.
#[derive(Debug)]
pub struct Probe {
    login: Login,
    received: Vec<u8>,
    /// The key of an upstream that what it said is about.
    key: Option<&'static str>,
}

impl Probe {
    /// A try of this login.
    #[must_use]
    pub const fn new(login: Login) -> Self {
        Self { login, received: Vec::new(), key: None }
    }

    /// What is sent first.
    ///
    /// # Errors
    /// In words, if the login is more than a packet can say.
    pub fn first(&self) -> Result<Vec<u8>, String> {
        let properties = PropertiesBuf::new();
        let connect = Connect {
            version: self.login.version,
            bridge: false,
            clean_start: true,
            keep_alive: u16::try_from(Duration::from_secs(30).as_secs()).unwrap_or(u16::MAX),
            client_id: &self.login.client_id,
            will: None,
            user_name: self.login.user_name.as_deref(),
            password: self.login.password.as_ref().map(Secret::expose),
            properties: properties.as_properties(),
        };
        let mut bytes = Vec::new();
        mqtt::encode(&Packet::Connect(connect), self.login.version, &mut bytes)
            .map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// Takes what was received; tells when it is enough.
    pub fn received(&mut self, bytes: &[u8]) -> Option<Verdict> {
        self.received.extend_from_slice(bytes);
        // Whoever isn't a broker may never send as much as its first bytes would mean.
        if self.received.first().is_some_and(|first| *first != CONNACK) {
            return Some(Verdict::NoMqtt("the answer is no CONNACK of MQTT".to_owned()));
        }
        let frame = match mqtt::frame(&self.received, ANSWER_BYTES_MAX) {
            Ok(None) => return None,
            Ok(Some(frame)) => frame,
            Err(error) => return Some(Verdict::NoMqtt(format!("the answer is no MQTT: {error}"))),
        };
        let verdict = match mqtt::decode(frame, self.login.version) {
            Ok(Packet::ConnAck(connack)) => {
                self.key = key(connack.reason, self.login.user_name.is_some());
                verdict(
                    connack.reason,
                    with_reason("upstream refuses the connection", connack.reason, connack.properties),
                )
            }
            Ok(_) => Verdict::NoMqtt("the answer is no CONNACK of MQTT".to_owned()),
            Err(error) => {
                Verdict::NoMqtt(format!("the answer is no MQTT of the version in the config: {error}"))
            }
        };
        self.received.clear();
        Some(verdict)
    }

    /// The key of an upstream that a refusal is about, where it tells.
    #[must_use]
    pub const fn key(&self) -> Option<&'static str> {
        self.key
    }

    /// What asks for an answer once it has let us in.
    #[must_use]
    pub fn ping(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Two bytes, always.
        let _ = mqtt::encode(&Packet::PingReq, self.login.version, &mut bytes);
        bytes
    }

    /// Takes what was received after [`Self::ping`]; whether it is answered.
    pub fn answered(&mut self, bytes: &[u8]) -> bool {
        self.received.extend_from_slice(bytes);
        let frame = mqtt::frame(&self.received, ANSWER_BYTES_MAX);
        let Ok(Some(frame)) = frame else { return false };
        matches!(mqtt::decode(frame, self.login.version), Ok(Packet::PingResp))
    }

    /// What is sent last.
    #[must_use]
    pub fn last(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let goodbye = mqtt::Disconnect { reason: ReasonCode::Success, properties: mqtt::Properties::EMPTY };
        // Nothing in it can be too long.
        let _ = mqtt::encode(&Packet::Disconnect(goodbye), self.login.version, &mut bytes);
        bytes
    }
}

/// The key that a refusal is about.
const fn key(reason: ReasonCode, has_user_name: bool) -> Option<&'static str> {
    match reason {
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized if has_user_name => Some("password"),
        ReasonCode::BadUserNameOrPassword | ReasonCode::NotAuthorized => Some("user_name"),
        ReasonCode::ClientIdentifierNotValid => Some("client_id"),
        ReasonCode::UnsupportedProtocolVersion => Some("version"),
        _ => None,
    }
}

fn verdict(reason: ReasonCode, words: String) -> Verdict {
    match reason {
        reason if !reason.is_error() => Verdict::In,
        ReasonCode::ClientIdentifierNotValid => Verdict::NotThisName(words),
        // Many brokers answer a wrong password with this code, too.
        ReasonCode::NotAuthorized => {
            Verdict::Refused(words + "; check user_name, password and the rights of this client there")
        }
        ReasonCode::ServerBusy
        | ReasonCode::ServerUnavailable
        | ReasonCode::QuotaExceeded
        | ReasonCode::ConnectionRateExceeded => Verdict::Unavailable(words),
        _ => Verdict::Refused(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(version: Version) -> Probe {
        let login = Login { version, client_id: "gw-probe".into(), user_name: None, password: None };
        Probe::new(login)
    }

    #[test]
    fn each_answer_is_told_for_what_it_is() {
        use Verdict::{In, NoMqtt, NotThisName, Refused, Unavailable};
        let words = |verdict: Verdict| match verdict {
            In => "in".to_owned(),
            NotThisName(words) => format!("name: {words}"),
            Refused(words) => format!("refused: {words}"),
            Unavailable(words) => format!("unavailable: {words}"),
            NoMqtt(words) => format!("no mqtt: {words}"),
        };
        for (version, answer, expected) in [
            (Version::V311, &b"\x20\x02\x00\x00"[..], "in"),
            (Version::V311, b"\x20\x02\x00\x02", "name: upstream refuses the connection: "),
            (Version::V311, b"\x20\x02\x00\x05", "refused: upstream refuses the connection: "),
            (Version::V311, b"\x20\x02\x00\x04", "refused: upstream refuses the connection: "),
            (Version::V311, b"\x20\x02\x00\x03", "unavailable: upstream refuses the connection: "),
            (Version::V5, b"\x20\x03\x00\x85\x00", "name: upstream refuses the connection: "),
            (Version::V5, b"\x20\x03\x00\x00\x00", "in"),
            (Version::V311, b"HTTP/1.1 400 Bad Request\r\n", "no mqtt: "),
            (Version::V311, b"\xd0\x00", "no mqtt: the answer is no CONNACK"),
        ] {
            let mut one = probe(version);
            let mut told = None;
            for byte in answer {
                told = told.or_else(|| one.received(&[*byte]));
            }
            if answer == b"\x20\x02\x00\x05" {
                assert_eq!(one.key(), Some("user_name"), "there was none");
            }
            let told = words(told.expect("a verdict"));
            assert!(told.starts_with(expected), "{answer:?}: {told}");
        }
    }

    #[test]
    fn an_answer_to_the_ping_is_known_in_whatever_pieces_it_comes() {
        let mut one = probe(Version::V311);
        assert_eq!(one.received(b"\x20\x02\x00\x00"), Some(Verdict::In));
        assert_eq!((one.key(), one.ping()), (None, b"\xc0\x00".to_vec()));
        assert!(!one.answered(b"\xd0"));
        assert!(one.answered(b"\x00"));
    }

    #[test]
    fn what_is_sent_has_neither_will_nor_session() {
        let first = probe(Version::V311).first().unwrap();
        let Ok(Some(frame)) = mqtt::frame(&first, 1_000) else { panic!("{first:?}") };
        let Ok(Packet::Connect(connect)) = mqtt::decode(frame, Version::V311) else { panic!("{first:?}") };
        assert!(connect.clean_start && connect.will.is_none() && !connect.bridge);
        assert_eq!(connect.client_id, "gw-probe");
        assert_eq!(probe(Version::V311).last(), b"\xe0\x00");
    }
}
