//! How an upstream is reached: more addresses, a proxy, the way out of this machine, what its TLS must show.

use std::net::IpAddr;
use std::time::Duration;

use base64ct::{Base64, Base64Unpadded, Encoding};

use super::mistake::{Mistakes, quoted};
use super::schema::Effect::Reconnect;
use super::schema::{Key, Kind, Table, duration, key, optional, required};
use super::section::Section;
use super::text;
use crate::bridge::redirect::Allowed;
use crate::bridge::{Failover, Start};
use crate::secret::SecretRef;

/// The longest name of a network interface (IFNAMSIZ without its NUL).
const INTERFACE_BYTES_MAX: usize = 15;
/// The ports that proxies mostly have, where the config names none.
const PORT_HTTP: u16 = 3128;
const PORT_SOCKS: u16 = 1080;

/// An upstream's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl std::fmt::Display for BindTo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Interface(name) => f.write_str(name),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which protocol a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP CONNECT.
    Http,
    /// SOCKS 5; the proxy looks up the name.
    Socks5,
}

/// `[upstream.proxy]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Its protocol.
    pub kind: ProxyKind,
    /// Where it is.
    pub host: String,
    /// Default 3128 for HTTP, 1080 for SOCKS 5.
    pub port: u16,
    /// Its user, if it wants one.
    pub user_name: Option<String>,
    /// That user's password.
    pub password: Option<SecretRef>,
}

/// From where on this machine an upstream is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindTo {
    /// One of this machine's addresses.
    Address(IpAddr),
    /// A network interface, whatever the routes say.
    Interface(String),
}

/// More addresses of one upstream, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Tried when those before can't be reached.
    pub fallback: Vec<Address>,
    /// In which order.
    pub failover: Failover,
    /// The first address must have answered for so long before it is gone back to.
    pub return_after: Duration,
    /// Servers to which upstream may send us.
    pub redirects: Vec<Allowed>,
    /// A proxy.
    pub proxy: Option<Proxy>,
    /// From where.
    pub bind: Option<BindTo>,
    /// MQTT within WebSocket, at this path.
    pub websocket: Option<String>,
}

pub(super) const FALLBACK: Key = optional(
    "fallback",
    Kind::Texts { count_max: 7 },
    Reconnect,
    "More addresses of this upstream, tried when those before can't be reached; the port is the same unless given.",
);

pub(super) const FAILOVER: Key = key(
    "failover",
    Kind::Words(&["in-order", "shuffle"]),
    "\"in-order\"",
    Reconnect,
    "\"in-order\": host first, and back to it when it is there again; \"shuffle\": each round in a random order.",
);

pub(super) const RETURN_AFTER: Key = key(
    "return_after",
    duration(1_000, 86_400_000),
    "\"5min\"",
    Reconnect,
    "On a fallback, the host must have answered for so long before it is gone back to; 1s to 1d.",
);

pub(super) const REDIRECT_HOSTS: Key = optional(
    "redirect_hosts",
    Kind::Texts { count_max: 16 },
    Reconnect,
    "Servers to which a version 5 upstream may send the gateway, \"*.example.com:8883\"; the port is the same unless given.",
);

pub(super) const START: Key = key(
    "start",
    Kind::Words(&["automatic", "lazy", "once"]),
    "\"automatic\"",
    Reconnect,
    "\"automatic\": connected always; \"lazy\": when messages wait; \"once\": until the first connection ends.",
);

pub(super) const THRESHOLD: Key = key(
    "threshold",
    Kind::Integer { min: 1, max: 1_000_000 },
    "10",
    Reconnect,
    "With lazy, so many messages must wait before it is connected; 1 to 1000000.",
);

pub(super) const IDLE_TIMEOUT: Key = key(
    "idle_timeout",
    duration(1_000, 86_400_000),
    "\"60s\"",
    Reconnect,
    "With lazy, it is left when no message went for so long; 1s to 1d.",
);

pub(super) const WEBSOCKET: Key = key(
    "websocket",
    Kind::OneOf(&[Kind::Bool, Kind::Path]),
    "false",
    Reconnect,
    "MQTT within WebSocket: true for the path /mqtt, or a path; with tls it is wss.",
);

pub(super) const PROXY_KEY: Key = optional("proxy", Kind::Table(&PROXY), Reconnect, PROXY.doc);

pub(super) const BIND: Key = optional(
    "bind",
    Kind::Text { bytes_max: 64 },
    Reconnect,
    "From where on this machine: one of its IP addresses, or the name of a network interface.",
);

/// `[upstream.proxy]`
pub static PROXY: Table = Table {
    name: "[upstream.proxy]",
    doc: "The way to this upstream leads through a proxy.",
    keys: &[
        key(
            "kind",
            Kind::Words(&["http", "socks5"]),
            "\"http\"",
            Reconnect,
            "\"http\": HTTP CONNECT; \"socks5\": SOCKS 5, and the proxy looks up the name.",
        ),
        required("host", Kind::Host, "\"proxy.example.com\"", Reconnect, "Host name or IP address."),
        super::schema::computed(
            "port",
            Kind::Integer { min: 1, max: 65_535 },
            "3128, for socks5 1080",
            Reconnect,
            "Port, 1 to 65535.",
        ),
        optional("user_name", Kind::Text { bytes_max: 255 }, Reconnect, "The proxy's user."),
        optional("password", Kind::Secret, Reconnect, "Where that user's password is kept."),
    ],
};

/// Reads the keys of an `[[upstream]]` that are about the way there. `port` is the upstream's own.
pub(super) fn reach(section: &Section, port: u16, mistakes: &mut Mistakes<'_>) -> Reach {
    let fallback = section.texts("fallback").iter().filter_map(|(written, span)| {
        address(written, port)
            .map_err(|(message, help)| mistakes.note(*span, format!("fallback: {message}"), help))
            .ok()
    });
    let fallback = fallback.collect::<Vec<_>>();
    if fallback.is_empty() && section.texts("fallback").is_empty() {
        for name in ["failover", "return_after"] {
            if section.is_given(name) {
                let message = format!("{name}: without fallback there is one address only");
                mistakes.add_with_help(
                    section.key_span(name),
                    message,
                    "add fallback = [\"b.example.com\"], or take this away",
                );
            }
        }
    }
    Reach {
        fallback,
        failover: if section.word("failover") == "shuffle" { Failover::Shuffle } else { Failover::InOrder },
        return_after: section.duration("return_after"),
        redirects: redirects(section, port, mistakes),
        proxy: section.table("proxy").map(|table| proxy(table, mistakes)),
        bind: bind(section, mistakes),
        websocket: websocket(section),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address.
fn address(written: &str, port: u16) -> Result<Address, super::value::Refusal> {
    let (host, port) = match written.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, port),
        Some((host, rest)) => (host, port_of(written, rest.strip_prefix(':').unwrap_or(rest))?),
        None if written.parse::<IpAddr>().is_ok() => (written, port),
        None => match written.rsplit_once(':') {
            Some((host, rest)) if !written.contains("://") && !host.contains(':') => {
                (host, port_of(written, rest)?)
            }
            _ => (written, port),
        },
    };
    text::host(host)?;
    Ok(Address { host: host.to_owned(), port })
}

/// Where upstream may send us.
fn redirects(section: &Section, port: u16, mistakes: &mut Mistakes<'_>) -> Vec<Allowed> {
    let written = section.texts("redirect_hosts");
    let one = |(written, span): &(String, _)| {
        let (star, rest) = match written.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", written.as_str()),
        };
        match address(rest, port) {
            Ok(address) => Some(Allowed { host: format!("{star}{}", address.host), port: address.port }),
            Err((message, help)) => {
                mistakes.note(*span, format!("redirect_hosts: {message}"), help);
                None
            }
        }
    };
    written.iter().filter_map(one).collect()
}

/// When the upstream is connected.
pub(super) fn start(section: &Section) -> Start {
    match section.word("start") {
        "lazy" => Start::Lazy {
            threshold: section.integer("threshold"),
            idle_timeout: section.duration("idle_timeout"),
        },
        "once" => Start::Once,
        _ => Start::Automatic,
    }
}

fn port_of(written: &str, port: &str) -> Result<u16, super::value::Refusal> {
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    port.ok_or_else(|| (format!("{} has no port from 1 to 65535 behind its colon", quoted(written)), None))
}

fn proxy(table: &Section, mistakes: &mut Mistakes<'_>) -> Proxy {
    let kind = if table.word("kind") == "socks5" { ProxyKind::Socks5 } else { ProxyKind::Http };
    let user_name = table.text("user_name").map(str::to_owned);
    if table.secret("password").is_some() && user_name.is_none() && !table.is_mistaken("user_name") {
        let message = "password: without user_name it is of no use";
        mistakes.add_with_help(table.key_span("password"), message, "add user_name");
    }
    if kind == ProxyKind::Socks5 && user_name.is_some() && table.secret("password").is_none() {
        let message = "user_name: SOCKS 5 has no user without a password";
        mistakes.add_with_help(table.key_span("user_name"), message, "add password");
    }
    // RFC 7617, 2.
    if kind == ProxyKind::Http && user_name.as_ref().is_some_and(|name| name.contains(':')) {
        mistakes.add(table.span("user_name"), "user_name: a proxy's user name can't have a colon");
    }
    let default = if kind == ProxyKind::Http { PORT_HTTP } else { PORT_SOCKS };
    Proxy {
        kind,
        host: table.string("host"),
        port: if table.is_given("port") { table.integer("port") } else { default },
        user_name,
        password: table.secret("password").cloned(),
    }
}

/// The path of the WebSocket, if there shall be one.
pub(super) fn websocket(section: &Section) -> Option<String> {
    match section.text("websocket") {
        Some(path) => Some(path.to_owned()),
        None => section.bool("websocket").unwrap_or(false).then(|| "/mqtt".to_owned()),
    }
}

fn bind(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<BindTo> {
    let written = section.text("bind")?;
    if let Ok(address) = written.parse::<IpAddr>() {
        return Some(BindTo::Address(address));
    }
    let fits = written.len() <= INTERFACE_BYTES_MAX && !written.contains(['/', ':', ' ']);
    if !fits {
        let message = format!("bind: {} is neither an IP address nor a network interface", quoted(written));
        let help = "write one such as \"192.168.1.20\" or \"eth0\"; ip address shows them";
        mistakes.add_with_help(section.span("bind"), message, help);
        return None;
    }
    Some(BindTo::Interface(written.to_owned()))
}

/// Reads `pin`: `sha256/` and the Base64 form of the hash, as curl's `--pinnedpubkey` has it with two slashes.
pub(super) fn pins(table: &Section, mistakes: &mut Mistakes<'_>) -> Vec<[u8; 32]> {
    let mut pins = Vec::new();
    for (written, span) in table.texts("pin") {
        match pin(written) {
            Some(pin) => pins.push(pin),
            None => mistakes.add_with_help(
                *span,
                format!("pin: {} is not sha256/ and 44 characters of Base64", quoted(written)),
                "openssl x509 -in cert.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 \
                 -binary | base64",
            ),
        }
    }
    pins
}

fn pin(written: &str) -> Option<[u8; 32]> {
    let text = written.strip_prefix("sha256/")?.trim_start_matches('/');
    let bytes = Base64::decode_vec(text).or_else(|_| Base64Unpadded::decode_vec(text)).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_port() {
        let cases = [
            ("b.example.com", Some(("b.example.com", 1883))),
            ("b.example.com:8883", Some(("b.example.com", 8883))),
            ("10.0.0.2", Some(("10.0.0.2", 1883))),
            ("10.0.0.2:1", Some(("10.0.0.2", 1))),
            ("fe80::1", Some(("fe80::1", 1883))),
            ("[fe80::1]", Some(("fe80::1", 1883))),
            ("[fe80::1]:99", Some(("fe80::1", 99))),
            ("b:0", None),
            ("b:65536", None),
            ("b:mqtt", None),
            ("mqtt://b", None),
            ("[fe80::1]x", None),
            ("a b", None),
        ];
        for (written, expected) in cases {
            let read = address(written, 1883).ok();
            let read = read.as_ref().map(|address| (address.host.as_str(), address.port));
            assert_eq!(read, expected, "{written}");
        }
    }

    #[test]
    fn a_pin_is_a_hash_of_32_bytes() {
        let hash = Base64::encode_string(&[7; 32]);
        for (written, good) in [
            (format!("sha256/{hash}"), true),
            (format!("sha256//{hash}"), true),
            (format!("sha256/{}", hash.trim_end_matches('=')), true),
            (hash, false),
            ("sha256/abcd".to_owned(), false),
        ] {
            assert_eq!(pin(&written), good.then_some([7; 32]), "{written}");
        }
    }
}
