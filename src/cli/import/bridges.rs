//! Bridges: each becomes an upstream with its maps.

use std::net::IpAddr;

use super::conf::{Block, Conf, Entry};
use super::options::Weight;
use super::output::Section;
use super::report::Kind;
use super::topics;
use super::translate::{SecretFile, Translation};
use super::values::{self, in_seconds, list, quoted};
use crate::secret::Secret;

/// Mosquitto's defaults.
const PORT: u16 = 1883;
/// Addresses besides the first.
const FALLBACK_MAX: usize = 7;
const KEEP_ALIVE_SECONDS: i64 = 60;
const RESTART_SECONDS: (i64, i64) = (5, 30);
/// What an upstream can have.
const KEEP_ALIVE_SECONDS_MAX: i64 = 65_535;
const BACKOFF_SECONDS_MAX: (i64, i64) = (3_600, 86_400);
/// For which an upstream of version 5 keeps a session.
const SESSION_SECONDS_MAX: i64 = 2_592_000;
const NAME_BYTES_MAX: usize = 64;
const THRESHOLD: i64 = 10;
const THRESHOLD_MAX: i64 = 1_000_000;
const IDLE_SECONDS_MAX: i64 = 86_400;

/// Options with which a bridge is left out unless they have this value.
const CLOSERS: &[&str] = &["bridge_identity", "bridge_psk"];

/// The sections of one bridge, or a comment that says why it is left out.
pub(super) fn sections(translation: &mut Translation<'_>, conf: &Conf, bridge: &Block) -> Vec<Section> {
    let Some(head) = &bridge.head else { return Vec::new() };
    match upstream(translation, conf, bridge, head) {
        Ok(sections) => sections,
        Err(why) => {
            translation.refuse(head, Weight::Delivery, format!("this bridge is left out: {why}"));
            let mut absent = Section::new("");
            absent.comment(format!("The bridge of {} is left out: {why}.", head.place));
            vec![absent]
        }
    }
}

fn upstream(
    translation: &mut Translation<'_>,
    _conf: &Conf,
    bridge: &Block,
    head: &Entry,
) -> Result<Vec<Section>, String> {
    if let Some(entry) = CLOSERS.iter().find_map(|name| bridge.get(name)) {
        return Err(format!("{} ({}) can't be carried over", entry.name, entry.place));
    }
    let maps = topics::maps(translation, bridge)?;
    let tls = tls(translation, bridge)?;
    let mut section = Section::new("[[upstream]]");
    section.comment(format!("From {}.", head.place));
    section.set("name", quoted(&name(translation, head)), Some(&head.place));
    addresses(translation, bridge, &mut section)?;
    if let Some(entry) = bridge.get("bridge_bind_address") {
        match entry.value.parse::<IpAddr>() {
            Ok(ip) => section.set("bind", quoted(&ip.to_string()), Some(&entry.place)),
            Err(_) => {
                translation.tell(entry, Kind::Mistake, format!("{} is no IP address", quoted(&entry.value)))
            }
        }
    }
    let client_id = bridge.get("remote_clientid").or(bridge.get("clientid"));
    let named = format!("{}.{}", head.value, translation.facts.host_name);
    match client_id {
        Some(entry) if entry.value.contains('{') => {
            return Err(format!("a brace in {} ({}) begins a placeholder", entry.name, entry.place));
        }
        Some(entry) => section.set("client_id", quoted(&entry.value), Some(&entry.place)),
        None => section.set_because("client_id", quoted(&named), "as Mosquitto names itself there"),
    }
    status(translation, bridge, client_id.map_or(&named, |entry| &entry.value), &mut section);
    session(bridge, &mut section);
    version(translation, bridge, &mut section);
    login(translation, bridge, head, &mut section)?;
    times(translation, bridge, &mut section);
    start(translation, bridge, &mut section);
    if let Some(entry) = bridge.get("bridge_receive_maximum") {
        let count = values::number(&entry.value).unwrap_or(20).clamp(2, 1_000);
        section.set("inflight_max", count.to_string(), Some(&entry.place));
    }
    let mut sections = vec![section];
    sections.extend(tls);
    sections.extend(maps);
    Ok(sections)
}

/// What logs call it: no level separators, no wildcards.
fn name(translation: &mut Translation<'_>, head: &Entry) -> String {
    let mut name: String = head
        .value
        .chars()
        .map(|c| if matches!(c, '/' | '+' | '#') || c.is_control() { '-' } else { c })
        .collect();
    while name.len() > NAME_BYTES_MAX {
        name.pop();
    }
    if name != head.value {
        translation.tell(
            head,
            Kind::Differs,
            format!("its name can't be said; it is called {}", quoted(&name)),
        );
    }
    name
}

/// Where it is: the first address, and the others.
fn addresses(translation: &mut Translation<'_>, bridge: &Block, section: &mut Section) -> Result<(), String> {
    let all: Vec<&Entry> = bridge
        .entries
        .iter()
        .filter(|entry| matches!(entry.name.as_str(), "address" | "addresses"))
        .collect();
    let mut found = Vec::new();
    for entry in &all {
        for word in entry.value.split_whitespace() {
            found.push((address(word)?, *entry));
        }
    }
    let mut found = found.into_iter();
    let ((host, port), first) = found.next().ok_or("it has no address")?;
    section.set("host", quoted(&host), Some(&first.place));
    section.set("port", port.to_string(), Some(&first.place));
    let others: Vec<((String, u16), &Entry)> = found.collect();
    let round_robin = bridge.get("round_robin").filter(|entry| values::truth(&entry.value) == Ok(true));
    let Some((_, second)) = others.first() else {
        if let Some(entry) = round_robin {
            translation.tell(entry, Kind::NotNeeded, "there is one address only");
        }
        return Ok(());
    };
    if others.len() > FALLBACK_MAX {
        let text = format!("besides the first, {FALLBACK_MAX} addresses can be said");
        translation.refuse(second, Weight::Delivery, text);
    }
    let others: Vec<String> = others
        .iter()
        .take(FALLBACK_MAX)
        .map(
            |((host, port), _)| {
                if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
            },
        )
        .collect();
    section.set("fallback", list(others.iter().map(String::as_str)), Some(&second.place));
    if let Some(entry) = round_robin {
        section.set("failover", "\"shuffle\"", Some(&entry.place));
        translation.tell(entry, Kind::Differs, "the next address is any of them, not the one that follows");
    }
    Ok(())
}

/// Host and port; the last colon is the port's, also behind an IPv6 address.
fn address(word: &str) -> Result<(String, u16), String> {
    let (host, port) = match word.rsplit_once(':') {
        Some((host, port)) => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            (host, port.ok_or_else(|| format!("{} has no port", quoted(word)))?)
        }
        None => (word, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let may_stand = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let is_host = !host.is_empty() && host.chars().all(may_stand);
    if is_host { Ok((host.to_owned(), port)) } else { Err(format!("{} is no address", quoted(word))) }
}

fn version(translation: &mut Translation<'_>, bridge: &Block, section: &mut Section) {
    let Some(entry) = bridge.get("bridge_protocol_version") else { return };
    match entry.value.as_str() {
        "mqttv311" => section.set("version", "\"3.1.1\"", Some(&entry.place)),
        "mqttv50" => section.set("version", "\"5\"", Some(&entry.place)),
        "mqttv31" => translation.tell(entry, Kind::Differs, "the upstream is spoken to in MQTT 3.1.1"),
        other => translation.tell(entry, Kind::Mistake, format!("{} is no version", quoted(other))),
    }
}

/// Who is told whether the upstream is there.
fn status(translation: &mut Translation<'_>, bridge: &Block, client_id: &str, section: &mut Section) {
    section.comment("Besides what the maps name, <base>/status and <base>/health are published there.");
    if let Some(entry) = bridge.get("try_private").filter(|entry| values::truth(&entry.value) == Ok(false)) {
        section.set("watch_status", "false", Some(&entry.place));
    }
    let wanted = bridge.get("notifications");
    if wanted.is_some_and(|entry| values::truth(&entry.value) == Ok(false)) {
        return;
    }
    let topic = bridge.get("notification_topic");
    let text = topic
        .map_or_else(|| format!("$SYS/broker/connection/{client_id}/state"), |entry| entry.value.clone());
    if text.contains(['+', '#']) {
        let why = format!("nothing can be published to {}, which has a wildcard", quoted(&text));
        if let Some(entry) = topic.or(bridge.head.as_ref()) {
            translation.tell(entry, Kind::Differs, why);
        }
        return;
    }
    match topic {
        Some(entry) => section.set("notification_topic", quoted(&text), Some(&entry.place)),
        None => section.set_because("notification_topic", quoted(&text), "as Mosquitto does"),
    }
    if let Some(entry) = topic.or(wanted).filter(|_| !bridge.is_true("notifications_local_only")) {
        let text = "the LAN is told there; upstream is told by <base>/status and its will";
        translation.tell(entry, Kind::Differs, text);
    }
}

/// What the upstream keeps for us.
fn session(bridge: &Block, section: &mut Section) {
    let clean = bridge.get("cleansession");
    section.set("clean_session", bridge.is_true("cleansession").to_string(), clean.map(|entry| &entry.place));
    if let Some(entry) = bridge.get("bridge_session_expiry_interval") {
        let seconds = values::number(&entry.value).unwrap_or(i64::MAX).clamp(0, SESSION_SECONDS_MAX);
        section.set("session_expiry", in_seconds(seconds), Some(&entry.place));
    }
}

/// User name, and the password in a file of its own.
fn login(
    translation: &mut Translation<'_>,
    bridge: &Block,
    head: &Entry,
    section: &mut Section,
) -> Result<(), String> {
    let user = bridge.get("remote_username").or(bridge.get("username"));
    let password = bridge.get("remote_password").or(bridge.get("password"));
    if let Some(entry) = user {
        section.set("user_name", quoted(&entry.value), Some(&entry.place));
    }
    let Some(entry) = password else { return Ok(()) };
    if user.is_none() {
        translation.tell(entry, Kind::Mistake, "a password needs remote_username");
        return Err("it has a password and no user name".into());
    }
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
    let name: String = head.value.chars().map(plain).collect();
    let taken = translation.secrets.len();
    let mut path = format!("{}{name}.password", translation.facts.secrets);
    if translation.secrets.iter().any(|secret| secret.path == path) {
        path = format!("{}{name}-{taken}.password", translation.facts.secrets);
    }
    section.set("password", format!("{{ file = {} }}", quoted(&path)), Some(&entry.place));
    let secret = Secret::new(entry.value.clone().into_bytes());
    translation.secrets.push(SecretFile { path, secret, from: entry.place.clone() });
    Ok(())
}

/// When it is connected.
fn start(translation: &mut Translation<'_>, bridge: &Block, section: &mut Section) {
    let start = bridge.get("start_type");
    if let Some(entry) = start {
        match entry.value.as_str() {
            "automatic" | "lazy" | "once" => {
                section.set("start", quoted(&entry.value), Some(&entry.place));
            }
            other => {
                let text = format!("{} is neither automatic nor lazy nor once", quoted(other));
                translation.tell(entry, Kind::Mistake, text);
            }
        }
    }
    let lazy = start.is_some_and(|entry| entry.value == "lazy");
    for (name, min, max) in [("threshold", 1, THRESHOLD_MAX), ("idle_timeout", 1, IDLE_SECONDS_MAX)] {
        let Some(entry) = bridge.get(name) else { continue };
        if !lazy {
            translation.tell(entry, Kind::NotNeeded, "it belongs to start_type lazy");
            continue;
        }
        let Ok(number) = values::number(&entry.value) else { continue };
        // Mosquitto connects when more than the threshold wait.
        let number = if name == "threshold" { number.saturating_add(1) } else { number };
        let within = number.clamp(min, max);
        let value = if name == "threshold" { within.to_string() } else { in_seconds(within) };
        section.set(name, value, Some(&entry.place));
    }
    if lazy && bridge.get("threshold").is_none() {
        section.set_because("threshold", (THRESHOLD + 1).to_string(), "more than Mosquitto's default");
    }
}

fn times(translation: &mut Translation<'_>, bridge: &Block, section: &mut Section) {
    let keep_alive = bridge.get("keepalive_interval");
    let seconds =
        keep_alive.and_then(|entry| values::number(&entry.value).ok()).unwrap_or(KEEP_ALIVE_SECONDS);
    let within = seconds.clamp(2, KEEP_ALIVE_SECONDS_MAX);
    match keep_alive {
        Some(entry) => section.set("keep_alive", in_seconds(within), Some(&entry.place)),
        None => section.set_because("keep_alive", in_seconds(within), "Mosquitto's default"),
    }
    let Some(entry) = bridge.get("restart_timeout") else {
        let (min, max) = RESTART_SECONDS;
        section.set_because("backoff_min", in_seconds(min), "Mosquitto's default");
        section.set_because("backoff_max", in_seconds(max), "Mosquitto's default");
        return;
    };
    let numbers: Vec<i64> = entry.value.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let (base, cap) = match numbers.as_slice() {
        [constant] => (*constant, *constant),
        [base, cap] | [base, cap, _] => (*base, *cap),
        _ => return translation.tell(entry, Kind::Mistake, "it is one number of seconds, or two"),
    };
    let (min_max, max_max) = BACKOFF_SECONDS_MAX;
    let base = base.clamp(1, min_max);
    section.set("backoff_min", in_seconds(base), Some(&entry.place));
    section.set("backoff_max", in_seconds(cap.clamp(base, max_max)), Some(&entry.place));
    if numbers.len() == 1 {
        translation.tell(
            entry,
            Kind::Differs,
            "each wait is a random share of it, so that gateways don't return in step",
        );
    }
}

/// How TLS is done. `None`: not at all.
fn tls(translation: &mut Translation<'_>, bridge: &Block) -> Result<Option<Section>, String> {
    let system =
        bridge.get("bridge_tls_use_os_certs").filter(|entry| values::truth(&entry.value) == Ok(true));
    let ca = bridge.get("bridge_cafile").or(bridge.get("bridge_capath"));
    if let Some(other) = bridge.get("bridge_capath").filter(|_| bridge.get("bridge_cafile").is_some()) {
        translation.tell(other, Kind::Differs, "the authorities of bridge_cafile alone are trusted");
    }
    if let (Some(ca), Some(system)) = (ca, system) {
        translation.tell(system, Kind::Differs, format!("the authorities of {} alone are trusted", ca.name));
    }
    let (cert, key) = (bridge.get("bridge_certfile"), bridge.get("bridge_keyfile"));
    if let (Some(one), None) | (None, Some(one)) = (cert, key) {
        return Err(format!("bridge_certfile and bridge_keyfile are both needed ({})", one.place));
    }
    if ca.is_none() && system.is_none() {
        let alone =
            ["bridge_certfile", "bridge_alpn", "bridge_tls_version"].iter().find_map(|name| bridge.get(name));
        return match alone {
            Some(entry) if entry.name == "bridge_certfile" => {
                Err("bridge_certfile needs bridge_cafile".into())
            }
            Some(entry) => {
                translation.tell(
                    entry,
                    Kind::NotNeeded,
                    "without bridge_cafile there is no TLS, in Mosquitto too",
                );
                Ok(None)
            }
            None => Ok(None),
        };
    }
    let mut section = Section::new("[upstream.tls]");
    if let Some(from) = ca.or(system) {
        section.comment(format!("From {}.", from.place));
    }
    translation.set_path(&mut section, "ca", ca);
    translation.set_path(&mut section, "cert", cert);
    translation.set_path(&mut section, "key", key);
    if let Some(entry) = bridge.get("bridge_alpn") {
        section.set("alpn", list([entry.value.as_str()]), Some(&entry.place));
    }
    if let Some(entry) = bridge.get("bridge_tls_version") {
        match entry.value.as_str() {
            "tlsv1.2" => section.set("min_version", "\"1.2\"", Some(&entry.place)),
            "tlsv1.3" => section.set("min_version", "\"1.3\"", Some(&entry.place)),
            "tlsv1.1" | "tlsv1" => {
                let text = "versions of TLS before 1.2 aren't spoken; an upstream that knows no other can't be reached";
                translation.refuse(entry, Weight::Delivery, text);
            }
            other => {
                translation.tell(entry, Kind::Mistake, format!("{} is no version of TLS", quoted(other)))
            }
        }
    }
    Ok(Some(section))
}
