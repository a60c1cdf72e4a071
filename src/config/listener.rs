//! `[[broker.listener]]` with `[broker.listener.websocket]`: where the broker listens, how clients get there, and which
//! of them. What TLS adds stands in `listener_tls`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::listener_access::{LISTENER_ACL, LISTENER_USER, has_own_users};
use super::listener_tls::{ListenerTls, TLS, asks_for_certificates, listener_tls};
use super::mistake::{Mistakes, Span, quoted};
use super::names::unique_texts;
use super::schema::Effect::{Live, Reconnect};
use super::schema::{Kind, Table, computed, key, optional, several};
use super::section::{Section, Value};
use super::value::alternatives;
use crate::broker::ListenerPolicy;
use crate::mqtt::{QoS, Version};

/// Where the broker listens if the file says nothing: for this machine alone.
const DEFAULT_BIND: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1883);

/// The name of a listener that has none.
pub(super) const DEFAULT_NAME: &str = "mqtt";

/// The path of a WebSocket, unless another is named: what clients take by default.
const DEFAULT_PATH: &str = "/mqtt";

/// Whatever the path of the URL is.
pub(crate) const ANY_PATH: &str = "*";

/// The versions by the names that people use.
const VERSIONS: [(&str, Version); 3] = [("3.1", Version::V31), ("3.1.1", Version::V311), ("5", Version::V5)];

/// `[[broker.listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Default `mqtt`.
    pub name: Arc<str>,
    /// Default 127.0.0.1:1883. Anything but this machine needs users, `allow_anonymous = true`, or certificates of
    /// all clients.
    pub bind: Bind,
    /// Certificates, if it speaks TLS.
    pub tls: Option<ListenerTls>,
    /// Whether MQTT comes in WebSocket frames.
    pub websocket: Option<WebSocket>,
    /// Whether each connection starts with a header of the PROXY protocol, version 1 or 2.
    pub proxy_protocol: bool,
}

impl Listener {
    /// A plain one.
    #[must_use]
    pub fn plain(name: Arc<str>, bind: SocketAddr) -> Self {
        Self { name, bind: Bind::Tcp(bind), tls: None, websocket: None, proxy_protocol: false }
    }

    /// What carries MQTT, as people call it.
    #[must_use]
    pub const fn transport(&self) -> &'static str {
        match (&self.bind, &self.websocket, &self.tls) {
            (Bind::Unix(_), None, _) => "Unix socket",
            (Bind::Unix(_), Some(_), _) => "WebSocket, Unix socket",
            (Bind::Tcp(_), None, None) => "TCP",
            (Bind::Tcp(_), None, Some(_)) => "TLS",
            (Bind::Tcp(_), Some(_), None) => "WebSocket",
            (Bind::Tcp(_), Some(_), Some(_)) => "WebSocket, TLS",
        }
    }
}

/// What a listener is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// An IP address and a port. `::` takes IPv4 as well.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Bind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `websocket` of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocket {
    /// Default `/mqtt`; `*` is any.
    pub path: String,
    /// Pages that may connect besides those of the gateway's own host, such as `https://panel.example`; `*` is
    /// every page. Default none. Whoever sends no Origin isn't a page.
    pub origins: Vec<String>,
    /// Host names under which a page of the gateway's own host may connect, besides addresses, this machine's name,
    /// localhost and `*.local`. Default none.
    pub hosts: Vec<String>,
}

/// `[[broker.listener]]`
pub static LISTENER: Table = Table {
    name: "[[broker.listener]]",
    doc: "Where the broker listens; without any, 127.0.0.1:1883 for this machine alone.",
    keys: &[
        computed(
            "name",
            Kind::Id { bytes_max: 64 },
            "mqtt",
            Reconnect,
            "What logs call it; unique among the listeners.",
        ),
        key(
            "bind",
            Kind::Bind,
            "\"127.0.0.1:1883\"",
            Reconnect,
            "Address and port, or unix:/path; 0.0.0.0 is every IPv4 interface, [::] every one.",
        ),
        computed(
            "allow_anonymous",
            Kind::Bool,
            "true for clients of this machine (loopback, Unix socket; not behind a proxy) and where client \
             certificates are required, else false",
            Live,
            "Whether a client without user name gets in.",
        ),
        key(
            "check_users",
            Kind::Bool,
            "true",
            Live,
            "Whether a user name must be right; false takes any, and needs allow_anonymous = true.",
        ),
        several("user", &LISTENER_USER, 1_000, Live),
        several("acl", &LISTENER_ACL, 1_000, Live),
        optional(
            "password_file",
            Kind::Path,
            Live,
            "Its users, instead of those of [broker], in Mosquitto's format.",
        ),
        optional(
            "acl_file",
            Kind::Path,
            Live,
            "Its rules, instead of those of [broker], in Mosquitto's format.",
        ),
        key(
            "client_id_from_user",
            Kind::Bool,
            "false",
            Live,
            "Whether the user name takes the place of the client identifier; who has none doesn't get in.",
        ),
        key(
            "versions",
            Kind::Texts { count_max: 3 },
            "[\"3.1\", \"3.1.1\", \"5\"]",
            Live,
            "MQTT versions that are let in.",
        ),
        key(
            "max_qos",
            Kind::Integer { min: 0, max: 2 },
            "2",
            Live,
            "The highest QoS that its clients may send and are granted; 0 to 2.",
        ),
        key("retain_available", Kind::Bool, "true", Live, "Whether its clients may have messages retained."),
        computed(
            "connections_max",
            Kind::Integer { min: 1, max: 65_000 },
            "connections_max of [broker]",
            Live,
            "Clients of this listener; 1 to 65000.",
        ),
        optional("tls", Kind::Table(&TLS), Reconnect, "Clients speak TLS; [broker.listener.tls]."),
        key(
            "websocket",
            Kind::OneOf(&[Kind::Bool, Kind::Table(&WEBSOCKET)]),
            "false",
            Reconnect,
            "true: MQTT comes over WebSocket, at /mqtt; or [broker.listener.websocket].",
        ),
        key(
            "proxy_protocol",
            Kind::Bool,
            "false",
            Reconnect,
            "Each connection starts with a PROXY header, version 1 or 2, as HAProxy sends it.",
        ),
    ],
};

/// `[broker.listener.websocket]`
pub static WEBSOCKET: Table = Table {
    name: "[broker.listener.websocket]",
    doc: "MQTT over WebSocket.",
    keys: &[
        key(
            "path",
            Kind::Text { bytes_max: 128 },
            "\"/mqtt\"",
            Reconnect,
            "The path of the URL; \"*\" is any.",
        ),
        key(
            "origins",
            Kind::Texts { count_max: 32 },
            "[]",
            Reconnect,
            "Pages that may connect besides those of this host; \"*\" is every page.",
        ),
        key(
            "hosts",
            Kind::Texts { count_max: 32 },
            "[]",
            Reconnect,
            "Names of this host for its own pages, besides its addresses, its own name and *.local.",
        ),
    ],
};

/// What the tables of listeners mean: the broker's part and the shell's, in the same order.
pub(super) fn listeners(
    broker: &Section,
    has_users: bool,
    mistakes: &mut Mistakes<'_>,
) -> (Vec<ListenerPolicy>, Vec<Listener>) {
    let sections = broker.tables("listener");
    if sections.is_empty() {
        let name: Arc<str> = Arc::from(DEFAULT_NAME);
        let policy =
            ListenerPolicy { name: Arc::clone(&name), allow_anonymous: true, ..ListenerPolicy::default() };
        return (vec![policy], vec![Listener::plain(name, DEFAULT_BIND)]);
    }
    let named = sections.iter().filter(|section| !section.is_mistaken("name"));
    let names = named.map(|section| (section.text("name").unwrap_or(DEFAULT_NAME), section.span("name")));
    unique_texts(mistakes, "[[broker.listener]]", "name", names);
    let mut bound: Vec<(Bind, Span)> = Vec::new();
    let mut policies = Vec::new();
    let mut listeners = Vec::new();
    for section in sections {
        let name: Arc<str> = Arc::from(section.text("name").unwrap_or(DEFAULT_NAME));
        let bind = match section.value("bind") {
            Some(Value::Bind(bind)) => Some(bind.clone()),
            _ => None,
        };
        let tls = section.table("tls").map(|tls| listener_tls(tls, mistakes));
        // Whoever comes through a proxy comes from anywhere.
        let is_proxied = section.bool("proxy_protocol") == Some(true);
        let is_local = bind.as_ref().is_none_or(is_local) && !is_proxied;
        let all_have_certificates =
            section.is_mistaken("tls") || tls.as_ref().is_some_and(asks_for_certificates);
        let allow_anonymous = section.bool("allow_anonymous").unwrap_or(is_local || all_have_certificates);
        if let Some(bind) = &bind {
            clash(section, bind, &bound, mistakes);
            bound.push((bind.clone(), section.span("bind")));
            let names_come_with_certificates = tls.as_ref().is_some_and(|tls| tls.user_from_cert.is_some());
            let own_users = has_own_users(section);
            let somebody = has_users || own_users || allow_anonymous || names_come_with_certificates;
            if !somebody && !section.is_mistaken("allow_anonymous") {
                nobody_gets_in(section, bind, is_local, mistakes);
            }
        }
        policies.push(ListenerPolicy {
            name: Arc::clone(&name),
            allow_anonymous,
            check_users: checks_users(section, allow_anonymous, mistakes),
            own_users: has_own_users(section),
            client_id_from_user: section.bool("client_id_from_user") == Some(true),
            versions: versions(section, mistakes),
            qos_max: QoS::from_u8(section.integer("max_qos")).unwrap_or(QoS::ExactlyOnce),
            retain_available: section.bool("retain_available") != Some(false),
            connections_max: section
                .value("connections_max")
                .map(|_| section.integer::<usize>("connections_max")),
        });
        listeners.push(Listener {
            name,
            bind: bind.unwrap_or(Bind::Tcp(DEFAULT_BIND)),
            tls,
            websocket: websocket(section, mistakes),
            proxy_protocol: is_proxied,
        });
    }
    (policies, listeners)
}

/// Whether only this machine gets there.
fn is_local(bind: &Bind) -> bool {
    match bind {
        Bind::Tcp(address) => address.ip().to_canonical().is_loopback(),
        Bind::Unix(_) => true,
    }
}

/// Notes a listener that takes any name and refuses those who have none: they would only have to invent one.
fn checks_users(section: &Section, allow_anonymous: bool, mistakes: &mut Mistakes<'_>) -> bool {
    let checks_users = section.bool("check_users") != Some(false);
    if !checks_users && !allow_anonymous && !section.is_mistaken("allow_anonymous") {
        let message = "check_users: without it any user name gets in, but allow_anonymous is false here";
        let help = "write allow_anonymous = true to let everyone in, or leave check_users out";
        mistakes.add_with_help(section.span("check_users"), message, help);
    }
    checks_users
}

fn versions(section: &Section, mistakes: &mut Mistakes<'_>) -> Vec<Version> {
    let written = section.texts("versions");
    let mut versions = Vec::new();
    for (text, span) in written {
        match VERSIONS.iter().find(|(name, _)| name == text) {
            Some((_, version)) if versions.contains(version) => {
                mistakes.add(*span, format!("versions: {} stands here twice", quoted(text)));
            }
            Some((_, version)) => versions.push(*version),
            None => {
                let names = VERSIONS.map(|(name, _)| name);
                mistakes.add(*span, format!("versions: {} is not {}", quoted(text), alternatives(&names)));
            }
        }
    }
    if written.is_empty() && section.is_given("versions") && !section.is_mistaken("versions") {
        mistakes.add(section.span("versions"), "versions: with none nobody could get in");
    }
    versions
}

/// Whether a page can come from there, or `*` is meant: any page.
pub(crate) fn is_origin(text: &str) -> bool {
    let host = text.split_once("://").map(|(_, host)| host).filter(|host| !host.is_empty());
    text == "*" || host.is_some_and(|host| !host.contains(['/', '*', ' ']))
}

fn websocket(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<WebSocket> {
    let Some(table) = section.table("websocket") else {
        let by_default = WebSocket { path: DEFAULT_PATH.to_owned(), origins: Vec::new(), hosts: Vec::new() };
        return (section.bool("websocket") == Some(true)).then_some(by_default);
    };
    let path = table.string("path");
    if !path.is_empty() && path != ANY_PATH && !path.starts_with('/') {
        let help = format!("write \"/{path}\"");
        mistakes.add_with_help(
            table.span("path"),
            format!("path: {} doesn't start with /", quoted(&path)),
            help,
        );
    }
    let origins = table.texts("origins");
    for (origin, span) in origins {
        if !is_origin(origin) {
            mistakes.add_with_help(
                *span,
                format!("origins: {} is no origin of a page", quoted(origin)),
                "write scheme and host, such as \"https://panel.example\" or \"http://10.0.0.5:8080\", or \"*\"",
            );
        }
    }
    let hosts = table.texts("hosts");
    for (host, span) in hosts {
        if host.is_empty() || host.contains(['/', ':', '*', ' ']) {
            mistakes.add_with_help(
                *span,
                format!("hosts: {} is no host name", quoted(host)),
                "write the name alone, such as \"gw.example.com\"",
            );
        }
    }
    let lower = |texts: &[(String, Span)]| texts.iter().map(|(text, _)| text.to_lowercase()).collect();
    Some(WebSocket { path, origins: lower(origins), hosts: lower(hosts) })
}

/// Notes a listener that faces the LAN, or refuses the nameless, while there are no users.
fn nobody_gets_in(section: &Section, bind: &Bind, is_local: bool, mistakes: &mut Mistakes<'_>) {
    const HELP: &str = "add [[broker.user]] with name = \"…\" and password = { file = \"/etc/fieldgate/secrets/…\" }, \
                        or password_file = \"/etc/fieldgate/passwd\" in [broker] (`fieldgate passwd` makes it), \
                        or write allow_anonymous = true here to let everyone in";
    if section.bool("proxy_protocol") == Some(true) {
        let message =
            "proxy_protocol: clients come from beyond the proxy, but there is no [[broker.user]] to let in";
        mistakes.add_with_help(section.key_span("proxy_protocol"), message, HELP);
    } else if is_local {
        let message = "allow_anonymous: without a [[broker.user]] nobody could get in";
        mistakes.add_with_help(section.span("allow_anonymous"), message, HELP);
    } else {
        let message = format!("bind: {bind} faces the network, but there is no [[broker.user]] to let in");
        mistakes.add_with_help(section.span("bind"), message, HELP);
    }
}

/// Notes an address that another listener holds.
fn clash(section: &Section, bind: &Bind, bound: &[(Bind, Span)], mistakes: &mut Mistakes<'_>) {
    if let Some((other, span)) = bound.iter().find(|(other, _)| holds(other, bind)) {
        let place = mistakes.place(*span);
        let message = match other == bind {
            true => format!("bind: {bind} is taken by the [[broker.listener]] at {place}"),
            false => format!("bind: {bind} is covered by {} at {place}", quoted(&other.to_string())),
        };
        mistakes.add(section.span("bind"), message);
    }
}

/// Whether two listeners can't both be bound. Port 0 lets the system choose, so it never clashes.
fn holds(one: &Bind, other: &Bind) -> bool {
    let (one, other) = match (one, other) {
        (Bind::Tcp(one), Bind::Tcp(other)) => (one, other),
        (one, other) => return one == other,
    };
    let everywhere = |a: &SocketAddr, b: &SocketAddr| a.ip().is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    one.port() == other.port()
        && other.port() != 0
        && (one.ip() == other.ip() || everywhere(one, other) || everywhere(other, one))
}
