//! The options that `fieldgate pub` and `fieldgate sub` have in common, with mosquitto_pub's names, and the checked
//! settings that they make.

use std::ffi::OsString;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use bytes::Bytes;
use clap::builder::PossibleValue;

use super::message::{Message, Settings};
use super::properties::{Given, Side};
use super::refused::RefusedOptions;
use super::trust::TlsOptions;
use super::url::{self, Url};
use crate::config::BindTo;
use crate::io::dial::{self, ConnectError, Target, Way};
use crate::io::files;
use crate::io::transport::Transport;
use crate::mqtt::topic::{TopicFilter, check_name};
use crate::mqtt::{PropertiesBuf, Property, PropertyId, QoS, Version};
use crate::secret::{Secret, SecretRef};

const PORT: u16 = 1883;
const TLS_PORT: u16 = 8883;

/// The ports of `ws://` and `wss://` (RFC 6455, 3).
const WS_PORT: u16 = 80;
const WSS_PORT: u16 = 443;

/// Options of a connection.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// The broker's name or address.
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost")]
    host: String,
    /// Its port. Default: 1883, with TLS 8883, with --ws 80, with both 443.
    #[arg(short, long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Broker, login and topic in one: mqtt://user:password@host:port/topic; mqtts:// for TLS, ws:// and wss:// for
    /// WebSocket.
    #[arg(short = 'L', long, value_name = "URL", conflicts_with_all = ["host", "port"])]
    url: Option<String>,
    /// MQTT within WebSocket.
    #[arg(long)]
    ws: bool,
    /// The path of the WebSocket.
    #[arg(long, value_name = "PATH", default_value = "/mqtt", value_parser = ws_path)]
    ws_path: String,
    /// Connect to this Unix socket instead of to a host.
    #[arg(long, value_name = "SOCKET", conflicts_with_all = ["host", "port", "url", "ws", "bind", "tls", "cafile", "capath"])]
    unix: Option<PathBuf>,
    /// The address of this machine to connect from.
    #[arg(short = 'A', long = "bind", id = "bind", value_name = "ADDRESS")]
    bind: Option<IpAddr>,
    /// The client identifier. Default: a new one.
    #[arg(short, long, value_name = "ID")]
    id: Option<String>,
    /// The first part of the client identifier; the process id follows.
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id")]
    id_prefix: Option<String>,
    /// Keep the session: subscriptions, and messages that come while away. Needs an --id.
    #[arg(short = 'c', long = "disable-clean-session")]
    keep_session: bool,
    /// The user name.
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// The password. Everyone on this machine can see it in the list of processes: --pw-from hides it.
    #[arg(short = 'P', long, value_name = "PASSWORD", conflicts_with = "pw_from")]
    pw: Option<OsString>,
    /// Where the password is: file:PATH, env:NAME or credential:NAME.
    #[arg(long, value_name = "WHERE", value_parser = secret_reference)]
    pw_from: Option<SecretRef>,
    /// Tell of each packet on standard error.
    #[arg(short, long)]
    debug: bool,
    /// Print no errors.
    #[arg(long)]
    quiet: bool,
    /// Seconds without a packet after which the connection is tried out; 0: never.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60)]
    keepalive: u16,
    /// The protocol version. Default: 3.1.1, or 5 where -D or -x need it.
    #[arg(short = 'V', long, value_name = "VERSION")]
    protocol_version: Option<Protocol>,
    /// Seconds for which the broker keeps the session when we are gone (MQTT 5); -1: for ever.
    #[arg(short = 'x', long, value_name = "SECONDS", value_parser = session_expiry, allow_negative_numbers = true)]
    session_expiry_interval: Option<u32>,
    /// A property of a packet (MQTT 5), such as: -D publish content-type text/plain, or
    /// -D connect user-property name value.
    #[arg(short = 'D', long, num_args = 3..=4, value_names = ["PACKET", "PROPERTY", "VALUE"])]
    property: Vec<String>,
    /// The most messages with QoS 1 and 2 under way at once.
    #[arg(short = 'M', long, value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u16).range(1..))]
    max_inflight: u16,
    /// Where the broker publishes our will if we vanish.
    #[arg(long, value_name = "TOPIC")]
    will_topic: Option<String>,
    /// The will's payload. Default: empty.
    #[arg(long, value_name = "PAYLOAD", requires = "will_topic")]
    will_payload: Option<OsString>,
    /// The will's QoS.
    #[arg(long, value_name = "QOS", requires = "will_topic", default_value = "0", value_parser = qos)]
    will_qos: QoS,
    /// Make the will retained.
    #[arg(long, requires = "will_topic")]
    will_retain: bool,
    /// Accepted for old scripts: packets are always sent at once.
    #[arg(long, hide = true)]
    nodelay: bool,
    /// Print this help.
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// A file with options, one a line; those of the command line win.
    #[arg(short = 'o', long, value_name = "FILE")]
    options: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(flatten)]
    refused: RefusedOptions,
}

/// Protocol versions by mosquitto's names for them.
#[derive(Clone, Copy, Debug)]
struct Protocol(Version);

impl clap::ValueEnum for Protocol {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Version::V31), Self(Version::V311), Self(Version::V5)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self.0 {
            Version::V31 => PossibleValue::new("31").aliases(["mqttv31", "3.1"]),
            Version::V311 => PossibleValue::new("311").aliases(["mqttv311", "3.1.1"]),
            Version::V5 => PossibleValue::new("5").aliases(["mqttv5", "5.0"]),
        })
    }
}

/// Where the broker is, and whom we trust there.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Endpoint {
    target: Target,
    tls: Option<TlsOptions>,
}

impl Endpoint {
    /// Opens a transport; files are read anew for each attempt.
    ///
    /// # Errors
    /// In words.
    pub(in crate::cli) async fn connect(&self) -> Result<Transport, ConnectError> {
        let tls = match &self.tls {
            Some(tls) => {
                Some(tls.client(&self.target.host).map_err(|words| ConnectError { words, permanent: true })?)
            }
            None => None,
        };
        dial::connect_with(&self.target, tls).await
    }
}

/// The options, checked.
#[derive(Debug)]
pub(in crate::cli) struct Resolved {
    pub(in crate::cli) endpoint: Endpoint,
    pub(in crate::cli) settings: Settings,
    /// The URL's topic.
    pub(in crate::cli) topic: Option<String>,
    /// What published messages have.
    pub(in crate::cli) publish_properties: PropertiesBuf,
}

impl Options {
    /// Whether errors are not to be printed.
    pub(in crate::cli) const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Checks the options together, and reads the password. `needs_5` is an option of the command's own that only
    /// MQTT 5 has.
    ///
    /// # Errors
    /// In words.
    pub(in crate::cli) fn resolve(&self, side: Side, needs_5: Option<&str>) -> Result<Resolved, String> {
        self.refused.check()?;
        let mut given = Given::parse(&self.property, side)?;
        let version = self.version(needs_5)?;
        self.set_session_expiry(version, &mut given.connect)?;
        let url = self.url.as_deref().map(url::parse).transpose()?;
        let will = self.will(std::mem::take(&mut given.will))?;
        let password = match &self.pw_from {
            Some(reference) => Some(files::secret(reference)?),
            None => self.pw.clone().map(|password| Secret::new(password.into_vec())),
        };
        let (mut user_name, mut password, mut topic) = (self.username.clone(), password, None);
        let endpoint = self.endpoint(url.as_ref());
        if let Some(Url { user_name: user, password: secret, topic: name, .. }) = url {
            user_name = user_name.or(user);
            password = password.or(secret.map(Secret::new));
            topic = Some(name);
        }
        // MQTT 5 allows it (3.1.2.9); before, a password stands only behind a user name (3.1.2-22).
        if password.is_some() && user_name.is_none() && version != Version::V5 {
            return Err("a password needs a user name (-u)".into());
        }
        let settings = Settings {
            version,
            client_id: self.client_id()?,
            clean_start: !self.keep_session,
            keep_alive: self.keepalive,
            user_name,
            password,
            will,
            inflight_max: self.max_inflight.into(),
            subscribe: Vec::new(),
            unsubscribe: Vec::new(),
            connect_properties: given.connect,
            subscribe_properties: given.subscribe,
            unsubscribe_properties: given.unsubscribe,
            disconnect_properties: given.disconnect,
            traced: self.debug,
        };
        Ok(Resolved { endpoint, settings, topic, publish_properties: given.publish })
    }

    fn endpoint(&self, url: Option<&Url>) -> Endpoint {
        let is_tls = self.tls.is_used() || url.is_some_and(|url| url.tls);
        let is_ws = self.ws || url.is_some_and(|url| url.websocket);
        let port = url.and_then(|url| url.port).or(self.port);
        let default = match (is_ws, is_tls) {
            (false, false) => PORT,
            (false, true) => TLS_PORT,
            (true, false) => WS_PORT,
            (true, true) => WSS_PORT,
        };
        Endpoint {
            target: Target {
                host: url.map_or_else(|| self.host.clone(), |url| url.host.clone()),
                port: port.unwrap_or(default),
                tls: is_tls.then(|| self.tls.files()),
                secret_error: None,
                way: Way {
                    proxy: None,
                    bind: self.bind.map(BindTo::Address),
                    websocket: is_ws.then(|| self.ws_path.clone()),
                    unix: self.unix.clone(),
                },
            },
            tls: is_tls.then(|| self.tls.clone()),
        }
    }

    fn version(&self, needs_5: Option<&str>) -> Result<Version, String> {
        let needs_5 = if !self.property.is_empty() {
            Some("-D")
        } else if self.session_expiry_interval.is_some() {
            Some("-x")
        } else {
            needs_5
        };
        match (self.protocol_version, needs_5) {
            (Some(Protocol(Version::V5)), _) | (None, Some(_)) => Ok(Version::V5),
            (Some(Protocol(_)), Some(option)) => Err(format!("{option} needs MQTT 5: -V 5")),
            (Some(Protocol(version)), None) => Ok(version),
            (None, None) => Ok(Version::V311),
        }
    }

    /// -x, or for ever with -c, as MQTT 3 has it.
    fn set_session_expiry(&self, version: Version, connect: &mut PropertiesBuf) -> Result<(), String> {
        let given = connect.as_properties().number(PropertyId::SessionExpiryInterval).is_some();
        match self.session_expiry_interval {
            Some(_) if given => return Err("-x and -D connect session-expiry-interval say the same".into()),
            Some(seconds) => connect.push(Property::U32(PropertyId::SessionExpiryInterval, seconds)),
            None if version == Version::V5 && self.keep_session && !given => {
                connect.push(Property::U32(PropertyId::SessionExpiryInterval, u32::MAX))
            }
            None => true,
        };
        Ok(())
    }

    fn will(&self, properties: PropertiesBuf) -> Result<Option<Message>, String> {
        let Some(topic) = &self.will_topic else {
            return match properties.as_properties().is_empty() {
                true => Ok(None),
                false => Err("-D will: there is no --will-topic".into()),
            };
        };
        topic_name(topic)?;
        let payload = self.will_payload.clone().unwrap_or_default().into_vec();
        if payload.len() > 65_535 {
            return Err("--will-payload: at most 65535 bytes".into());
        }
        Ok(Some(Message {
            topic: topic.clone(),
            payload: Bytes::from(payload),
            qos: self.will_qos,
            retain: self.will_retain,
            properties,
            packet_id: None,
        }))
    }

    fn client_id(&self) -> Result<String, String> {
        let id = match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            (None, None) if self.keep_session => {
                return Err("-c needs a client identifier (-i): the session is found by it".into());
            }
            // 23 characters are what an old broker must accept (3.1.3-5).
            (None, None) => format!("fieldgate-{:08x}", fastrand::u32(..)),
        };
        if id.len() > 65_535 || id.contains('\0') {
            return Err("this can't be a client identifier (-i)".into());
        }
        Ok(id)
    }
}

/// 0, 1 or 2.
///
/// # Errors
/// In words.
pub(in crate::cli) fn qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_u8).ok_or_else(|| "is 0, 1 or 2".into())
}

/// Checks a topic to publish to.
///
/// # Errors
/// In words.
pub(in crate::cli) fn topic_name(topic: &str) -> Result<(), String> {
    check_name(topic).map_err(|error| format!("{topic:?} is no topic to publish to: {error}"))
}

/// Checks a filter.
///
/// # Errors
/// In words.
pub(in crate::cli) fn topic_filter(filter: &str) -> Result<TopicFilter, String> {
    TopicFilter::parse(filter).map_err(|error| format!("{filter:?} is no topic filter: {error}"))
}

/// The path of a request: printable ASCII without spaces (RFC 3986, 2).
fn ws_path(text: &str) -> Result<String, String> {
    match text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("is a path such as /mqtt; what isn't ASCII is written as %C3%A4".into()),
    }
}

pub(in crate::cli) fn secret_reference(text: &str) -> Result<SecretRef, String> {
    match text.split_once(':') {
        Some(("file", path)) if !path.is_empty() => Ok(SecretRef::File(path.into())),
        Some(("env", name)) if !name.is_empty() => Ok(SecretRef::Env(name.to_owned())),
        Some(("credential", name)) if !name.is_empty() => Ok(SecretRef::Credential(name.to_owned())),
        _ => Err("is file:PATH, env:NAME or credential:NAME".into()),
    }
}

fn session_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        _ => text.parse().map_err(|_| "is a number of seconds, or -1 for ever".into()),
    }
}
