//! `[web]`: the page and its API.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::mistake::Mistakes;
use super::schema::Effect::{Live, Reconnect, Restart};
use super::schema::{Kind, Table, duration, key, optional};
use super::section::{Section, Value};
use super::{Bind, text};
use crate::secret::SecretRef;

const DAY_MS: u64 = 86_400_000;

/// Names of the gateway that may be listed.
const HOSTS_MAX: usize = 16;

/// Where the page is unless the config says otherwise: every interface, of IPv4 too.
pub(super) const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 8443);

/// `[web]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Web {
    /// Whether there is a page. Default true.
    pub enabled: bool,
    /// Where it is, with TLS. Default `[::]:8443`.
    pub bind: SocketAddr,
    /// Where it is without TLS, for a tunnel; this machine only. Default none.
    pub plain: Option<SocketAddr>,
    /// Certificate and key, PEM. Default: made by the gateway at its first start.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Names of the gateway besides its addresses, its own name, localhost and *.local. In lower case.
    pub hosts: Vec<String>,
    /// A session that isn't used for this long ends. Default 30 min.
    pub session_idle: Duration,
    /// A session ends after this. Default 12 h.
    pub session_max: Duration,
    /// Whether `/metrics` is open to everybody. Default false.
    pub metrics_open: bool,
    /// How long after the start the gateway may be claimed. Default 30 min.
    pub claim_window: Duration,
    /// The claim code, if it was set beforehand.
    pub claim_code: Option<SecretRef>,
    /// Further languages: one *.toml each. Default /etc/fieldgate/texts.
    pub texts_dir: PathBuf,
}

/// `[web]`
pub static WEB: Table = Table {
    name: "[web]",
    doc: "The page that people look at and set the gateway up with, and its API.",
    keys: &[
        key("enabled", Kind::Bool, "true", Restart, "Whether there is a page."),
        key(
            "bind",
            Kind::Bind,
            "\"[::]:8443\"",
            Reconnect,
            "Address and port, with TLS; [::] is every interface, [::1] this machine alone.",
        ),
        optional(
            "plain",
            Kind::Bind,
            Reconnect,
            "Address and port without TLS, for a tunnel: of this machine alone, such as 127.0.0.1:8080.",
        ),
        optional(
            "cert",
            Kind::Path,
            Reconnect,
            "PEM file of the page's certificate chain; without it the gateway makes its own.",
        ),
        optional("key", Kind::Path, Reconnect, "PEM file of its key."),
        key(
            "hosts",
            Kind::Texts { count_max: HOSTS_MAX },
            "[]",
            Live,
            "Names under which the page is asked for, besides its addresses, its own name, localhost and *.local.",
        ),
        key(
            "session_idle",
            duration(60_000, DAY_MS),
            "\"30min\"",
            Live,
            "Whoever does nothing for this long must log in again; 1min to 1d.",
        ),
        key(
            "session_max",
            duration(60_000, 30 * DAY_MS),
            "\"12h\"",
            Live,
            "Everybody must log in again after this; 1min to 30d.",
        ),
        key(
            "metrics",
            Kind::Words(&["login", "open"]),
            "\"login\"",
            Live,
            "Who may read /metrics: whoever is logged in or has a token, or everybody.",
        ),
        key(
            "claim_window",
            duration(60_000, 7 * DAY_MS),
            "\"30min\"",
            Restart,
            "How long after the start a gateway without accounts may be claimed; 1min to 7d.",
        ),
        optional(
            "claim_code",
            Kind::Secret,
            Restart,
            "Where the claim code is kept if it was set beforehand, such as on a label.",
        ),
        key(
            "texts_dir",
            Kind::Path,
            "\"/etc/fieldgate/texts\"",
            Live,
            "Further languages of the page: one file each, named as the language, such as fr.toml.",
        ),
    ],
};

pub(super) fn web(section: &Section, mistakes: &mut Mistakes<'_>) -> Web {
    let certificate = section.path("cert").zip(section.path("key"));
    for (has, lacks) in [("cert", "key"), ("key", "cert")] {
        if section.is_given(has) && !section.is_given(lacks) && !section.is_mistaken(has) {
            mistakes.add(section.key_span(has), format!("{has}: it needs {lacks} too"));
        }
    }
    let plain = address(section, "plain", mistakes);
    if let Some(plain) = plain
        && !plain.ip().to_canonical().is_loopback()
    {
        mistakes.add_with_help(
            section.span("plain"),
            format!("plain: {plain} can be reached from elsewhere, where passwords need TLS"),
            "write plain = \"127.0.0.1:8080\", or use bind",
        );
    }
    let (idle, max) = (section.duration("session_idle"), section.duration("session_max"));
    let given = section.is_given("session_idle") || section.is_given("session_max");
    if given && idle > max && !section.is_mistaken("session_idle") && !section.is_mistaken("session_max") {
        let which = if section.is_given("session_idle") { "session_idle" } else { "session_max" };
        mistakes
            .add(section.span(which), "session_idle is longer than session_max, which ends every session");
    }
    for (host, span) in section.texts("hosts") {
        if let Err((message, help)) = text::host(host) {
            mistakes.note(*span, format!("hosts: {message}"), help);
        }
    }
    Web {
        enabled: section.bool("enabled") != Some(false),
        bind: address(section, "bind", mistakes).unwrap_or(ANYWHERE),
        plain,
        certificate,
        hosts: section.texts("hosts").iter().map(|(host, _)| host.to_ascii_lowercase()).collect(),
        session_idle: idle,
        session_max: max,
        metrics_open: section.word("metrics") == "open",
        claim_window: section.duration("claim_window"),
        claim_code: section.secret("claim_code").cloned(),
        texts_dir: PathBuf::from(section.string("texts_dir")),
    }
}

fn address(section: &Section, key: &str, mistakes: &mut Mistakes<'_>) -> Option<SocketAddr> {
    match section.value(key) {
        Some(Value::Bind(Bind::Tcp(address))) => Some(*address),
        Some(Value::Bind(Bind::Unix(_))) => {
            mistakes.add(
                section.span(key),
                format!("{key}: expected an address and a port; browsers know no Unix socket"),
            );
            None
        }
        _ => None,
    }
}
