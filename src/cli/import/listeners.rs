//! Listeners: where clients get in, and how.

use std::net::IpAddr;

use super::access::Plan;
use super::conf::{Block, Conf, Entry};
use super::options::Weight;
use super::output::Section;
use super::report::{Kind, Place};
use super::translate::Translation;
use super::values::{self, list, quoted};
use crate::config::is_origin;

/// The port of the default listener.
const PORT: i64 = 1883;

/// Options of the default listener that Mosquitto opens it for, with the value that doesn't.
const OPENERS: &[(&str, &str)] = &[
    ("port", ""),
    ("bind_address", ""),
    ("socket_domain", ""),
    ("cafile", ""),
    ("capath", ""),
    ("certfile", ""),
    ("keyfile", ""),
    ("tls_engine", ""),
    ("tls_engine_kpass_sha1", ""),
    ("ciphers", ""),
    ("ciphers_tls1.3", ""),
    ("dhparamfile", ""),
    ("psk_hint", ""),
    ("crlfile", ""),
    ("password_file", ""),
    ("psk_file", ""),
    ("tls_keyform", "pem"),
    ("require_certificate", "false"),
    ("use_identity_as_username", "false"),
    ("use_subject_as_username", "false"),
    ("use_username_as_clientid", "false"),
    ("max_connections", "-1"),
    ("max_qos", "2"),
    ("protocol", "mqtt"),
];

/// Options with which a listener is left out unless they have this value: without them it would let in others.
const CLOSERS: &[(&str, &str)] = &[
    ("bind_interface", ""),
    ("mount_point", ""),
    ("psk_hint", ""),
    ("tls_engine", ""),
    ("use_subject_as_username", "false"),
    ("proxy_protocol_v2_require_tls", "false"),
];

/// A listener that is opened.
struct Open<'c> {
    block: &'c Block,
    /// The line that it stands for.
    place: Option<Place>,
    /// Where it is bound, each with an ending for its name.
    binds: Vec<(String, String)>,
    /// For its name.
    port: i64,
    /// Whether it is the only one, for this machine alone.
    is_only: bool,
    /// Where it says that nothing is retained.
    no_retain: Option<&'c Entry>,
}

/// All `[[broker.listener]]`, with a comment in the place of each that is left out.
pub(super) fn sections(translation: &mut Translation<'_>, conf: &Conf, plan: &Plan) -> Vec<Section> {
    let mut sections = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let mut any = false;
    for block in conf.listeners.iter().chain(is_default_open(conf).then_some(&conf.default_listener)) {
        let made =
            open(translation, conf, block).and_then(|open| listener(translation, plan, &open, &mut names));
        match made {
            Ok(made) => {
                any |= !made.is_empty();
                sections.extend(made);
            }
            Err(why) => {
                let place = block.head.as_ref().or(block.entries.first()).map(|entry| entry.place.clone());
                let mut absent = Section::new("");
                let from = place.as_ref().map(Place::to_string).unwrap_or_default();
                absent.comment(format!("The listener of {from} is left out: {why}."));
                sections.push(absent);
                translation.tell_at(
                    place,
                    "listener",
                    Kind::Refused(Weight::Security),
                    format!("this listener is left out: {why}"),
                );
            }
        }
    }
    if !any {
        // Without any the gateway would open one for this machine, for everybody there.
        let mut closed = Section::new("[[broker.listener]]");
        closed.comment("No listener could be carried over; this one lets in users alone, from this machine.");
        closed.set("bind", quoted(&format!("127.0.0.1:{PORT}")), None);
        closed.set("allow_anonymous", "false", None);
        sections.push(closed);
    }
    sections
}

/// Whether Mosquitto opens its default listener.
pub(super) fn is_default_open(conf: &Conf) -> bool {
    let opens = |(name, harmless): &(&str, &str)| {
        conf.default_listener.value(name).is_some_and(|value| !is_same(value, harmless))
    };
    conf.listeners.is_empty() || OPENERS.iter().any(opens)
}

fn is_same(value: &str, harmless: &str) -> bool {
    value == harmless || values::truth(value).is_ok_and(|truth| Ok(truth) == values::truth(harmless))
}

/// Where a block's listener is bound.
fn open<'c>(translation: &mut Translation<'_>, conf: &'c Conf, block: &'c Block) -> Result<Open<'c>, String> {
    for (name, harmless) in CLOSERS {
        if let Some(entry) = block.get(name).filter(|entry| !is_same(&entry.value, harmless)) {
            return Err(format!("{name} ({}) can't be carried over", entry.place));
        }
    }
    let domain = block.get("socket_domain");
    let (port, host, place) = match &block.head {
        Some(head) => {
            let (port, host) = head.value.split_once([' ', '\t']).unwrap_or((&head.value, ""));
            (port.to_owned(), Some(host.trim().to_owned()), Some(head.place.clone()))
        }
        None => {
            let host = block.value("bind_address").map(str::to_owned);
            let given = block.get("port").or(block.get("bind_address")).or(block.entries.first());
            (block.value("port").unwrap_or("1883").to_owned(), host, given.map(|entry| entry.place.clone()))
        }
    };
    let host = host.filter(|host| !host.is_empty());
    // Without a listener, a port or an address, Mosquitto is for this machine alone.
    let is_only =
        block.head.is_none() && conf.listeners.is_empty() && block.get("port").is_none() && host.is_none();
    let port = values::number(&port)
        .ok()
        .filter(|port| (0..=65_535).contains(port))
        .ok_or_else(|| format!("{} is no port", quoted(&port)))?;
    if block.head.is_none() && !is_only && block.get("port").is_none() && block.get("bind_address").is_none()
    {
        let why = "it stands above any listener, so Mosquitto opens its default listener for it, at port 1883; so does this config";
        translation.tell_at(place.clone(), "port", Kind::Differs, why);
    }
    let binds = match host.as_deref() {
        Some(path) if port == 0 => vec![(format!("unix:{}", translation.absolute(path)), String::new())],
        None if port == 0 => return Err("port 0 needs the path of a Unix socket".to_owned()),
        Some(host) => addresses(translation, host, port, domain)?,
        None if is_only => addresses(translation, "localhost", port, domain)?,
        None => vec![(anywhere(translation, port, domain)?, String::new())],
    };
    let no_retain = conf.globals.get("retain_available");
    let no_retain = no_retain.filter(|entry| values::truth(&entry.value) == Ok(false));
    Ok(Open { block, place, binds, port, is_only, no_retain })
}

/// Every address of this machine.
fn anywhere(translation: &Translation<'_>, port: i64, domain: Option<&Entry>) -> Result<String, String> {
    match domain.map(|entry| entry.value.as_str()) {
        Some("ipv6") => {
            Err("socket_domain ipv6 without an address would take IPv4 clients too; name the address".into())
        }
        Some("ipv4") => Ok(format!("0.0.0.0:{port}")),
        _ if translation.facts.has_ipv6 => Ok(format!("[::]:{port}")),
        _ => Ok(format!("0.0.0.0:{port}")),
    }
}

/// The addresses of a host, each a listener of its own.
fn addresses(
    translation: &Translation<'_>,
    host: &str,
    port: i64,
    domain: Option<&Entry>,
) -> Result<Vec<(String, String)>, String> {
    let ips = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => (translation.facts.resolve)(host),
    };
    let wanted = |ip: &&IpAddr| match domain.map(|entry| entry.value.as_str()) {
        Some("ipv4") => ip.is_ipv4(),
        Some("ipv6") => ip.is_ipv6(),
        _ => true,
    };
    let binds: Vec<(String, String)> = ips
        .iter()
        .filter(wanted)
        .zip(1..)
        .map(|(ip, number)| {
            let ip_text = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            (format!("{ip_text}:{port}"), if number == 1 { String::new() } else { format!("-{number}") })
        })
        .collect();
    match binds.is_empty() {
        true => Err(match domain {
            Some(domain) => {
                format!("{} has no address of the kind that {} asks for", quoted(host), domain.place)
            }
            None => format!("{} has no address on this machine; name the address instead", quoted(host)),
        }),
        false => Ok(binds),
    }
}

/// The sections of one listener.
fn listener(
    translation: &mut Translation<'_>,
    plan: &Plan,
    open: &Open<'_>,
    names: &mut Vec<String>,
) -> Result<Vec<Section>, String> {
    let block = open.block;
    let tls = tls(translation, block)?;
    let is_named = block.is_true("use_identity_as_username") && tls.is_some();
    let door = plan.door(translation, block, open.is_only, is_named)?;
    let mut common = Section::new("[[broker.listener]]");
    let from = open.place.as_ref();
    common.set("allow_anonymous", door.allow_anonymous.to_string(), door.because.as_ref());
    if !door.check_users {
        let why = "Mosquitto without a password_file takes any user name";
        common.set_because("check_users", "false", why);
    }
    door.set_files(&mut common);
    if let Some(entry) = open.no_retain {
        common.set("retain_available", "false", Some(&entry.place));
    }
    more(translation, block, &mut common);
    let websocket = websocket(translation, block)?;
    let kind = if websocket.is_some() { "ws" } else { "mqtt" };
    let kind = if open.port == 0 { "unix".to_owned() } else { format!("{kind}-{}", open.port) };
    let mut sections = Vec::new();
    for (bind, ending) in &open.binds {
        let mut section = common.clone();
        section.comment(match from {
            Some(place) => format!("From {place}."),
            None => "Mosquitto without any listener is for this machine alone.".to_owned(),
        });
        section.set("name", quoted(&unique(format!("{kind}{ending}"), names)), None);
        section.set("bind", quoted(bind), from);
        sections.push(section);
        sections.extend(door.rules());
        sections.extend(tls.clone());
        sections.extend(websocket.clone());
    }
    Ok(sections)
}

fn unique(name: String, names: &mut Vec<String>) -> String {
    let mut number = 1;
    let mut unique = name.clone();
    while names.contains(&unique) {
        number += 1;
        unique = format!("{name}-{number}");
    }
    names.push(unique.clone());
    unique
}

/// Keys of the listener itself.
fn more(translation: &mut Translation<'_>, block: &Block, section: &mut Section) {
    if let Some(entry) = block.get("max_connections") {
        match values::number(&entry.value) {
            Ok(count @ 1..=65_000) => section.set("connections_max", count.to_string(), Some(&entry.place)),
            Ok(count) if count > 65_000 => {
                translation.tell(
                    entry,
                    Kind::Differs,
                    "more than 65000 can't be said; broker.connections_max holds",
                );
            }
            // -1, and 0 too, are no limit in Mosquitto.
            _ => {}
        }
    }
    if let Some(entry) = block.get("accept_protocol_versions") {
        let names = [("3", "3.1"), ("4", "3.1.1"), ("5", "5")];
        let known = |word: &str| names.iter().find(|(number, _)| *number == word).map(|(_, name)| *name);
        let versions: Option<Vec<&str>> =
            entry.value.split([',', ' ']).filter(|word| !word.is_empty()).map(known).collect();
        match versions {
            Some(versions) => section.set("versions", list(versions), Some(&entry.place)),
            None => translation.tell(entry, Kind::Mistake, "the versions are 3, 4 and 5"),
        }
    }
    if let Some(entry) =
        block.get("use_username_as_clientid").filter(|entry| values::truth(&entry.value) == Ok(true))
    {
        section.set("client_id_from_user", "true", Some(&entry.place));
    }
    if let Some(entry) = block.get("max_qos") {
        match values::number(&entry.value) {
            Ok(qos @ 0..=1) => section.set("max_qos", qos.to_string(), Some(&entry.place)),
            Ok(2) => {}
            _ => translation.tell(entry, Kind::Mistake, "it is 0, 1 or 2"),
        }
    }
    if let Some(entry) = block.get("enable_proxy_protocol") {
        section.set("proxy_protocol", "true", Some(&entry.place));
    }
}

/// `[broker.listener.websocket]`
fn websocket(translation: &mut Translation<'_>, block: &Block) -> Result<Option<Section>, String> {
    let Some(protocol) = block.get("protocol") else { return Ok(None) };
    match protocol.value.as_str() {
        "mqtt" => return Ok(None),
        "websockets" => {}
        "http_api" => {
            return Err("protocol http_api is none of MQTT; fieldgate status has what it tells".into());
        }
        other => {
            translation.tell(protocol, Kind::Mistake, format!("{} is no protocol", quoted(other)));
            return Err(format!("{} is no protocol", quoted(other)));
        }
    }
    let mut section = Section::new("[broker.listener.websocket]");
    section.set("path", "\"*\"", Some(&protocol.place));
    let origins: Vec<&Entry> = block.all("websockets_origin").collect();
    match origins.first() {
        Some(first) => {
            let (good, bad): (Vec<&Entry>, Vec<&Entry>) =
                origins.iter().copied().partition(|entry| is_origin(&entry.value));
            for entry in bad {
                let said = format!("{} is no origin, as https://panel.example is", quoted(&entry.value));
                translation.tell(entry, Kind::Mistake, said);
            }
            let texts = good.iter().map(|entry| entry.value.as_str());
            section.set("origins", list(texts), Some(&first.place));
        }
        None => section.set_because("origins", "[\"*\"]", "Mosquitto's default: every page may connect"),
    }
    Ok(Some(section))
}

/// `[broker.listener.tls]`
fn tls(translation: &mut Translation<'_>, block: &Block) -> Result<Option<Section>, String> {
    let (cert, key) = match (block.get("certfile"), block.get("keyfile")) {
        (None, None) => {
            return match block.is_true("require_certificate") {
                true => Err("it asks for certificates and has none of its own (certfile, keyfile)".into()),
                false => Ok(None),
            };
        }
        (Some(cert), Some(key)) => (cert, key),
        (Some(entry), None) | (None, Some(entry)) => {
            translation.tell(entry, Kind::Mistake, "certfile and keyfile are both needed");
            return Err("certfile and keyfile are both needed".into());
        }
    };
    let mut section = Section::new("[broker.listener.tls]");
    translation.set_path(&mut section, "cert", Some(cert));
    translation.set_path(&mut section, "key", Some(key));
    tls_version(translation, block, &mut section);
    let named = block.get("use_identity_as_username").filter(|entry| values::truth(&entry.value) == Ok(true));
    if !block.is_true("require_certificate") {
        if named.is_some() {
            return Err(
                "use_identity_as_username without require_certificate lets nobody in in Mosquitto".into()
            );
        }
        return Ok(Some(section));
    }
    let Some(ca) = block.get("cafile").or(block.get("capath")) else {
        return Err("require_certificate needs the authorities, cafile or capath".into());
    };
    if let Some(other) = block.get("capath").filter(|_| ca.name == "cafile") {
        let text = "the authorities of cafile alone are trusted; put all into one folder";
        translation.refuse(other, Weight::Delivery, text);
    }
    translation.set_path(&mut section, "client_ca", Some(ca));
    section.set("client_cert", "\"required\"", block.get("require_certificate").map(|entry| &entry.place));
    translation.set_path(&mut section, "crl", block.get("crlfile"));
    if let Some(named) = named {
        section.set("user_from_cert", "\"cn\"", Some(&named.place));
    }
    Ok(Some(section))
}

fn tls_version(translation: &mut Translation<'_>, block: &Block, section: &mut Section) {
    let Some(entry) = block.get("tls_version") else { return };
    match entry.value.as_str() {
        "tlsv1.2" => section.set("min_version", "\"1.2\"", Some(&entry.place)),
        "tlsv1.3" => section.set("min_version", "\"1.3\"", Some(&entry.place)),
        "tlsv1.1" | "tlsv1" => {
            let text = "versions of TLS before 1.2 aren't spoken; clients that know no other can't connect";
            translation.refuse(entry, Weight::Delivery, text);
        }
        other => translation.tell(entry, Kind::Mistake, format!("{} is no version of TLS", quoted(other))),
    }
}
