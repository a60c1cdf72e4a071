//! What good configs mean: each key arrives where it belongs, and what isn't said has its default.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "tests"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldgate::bridge::Start;
use fieldgate::bridge::redirect::Allowed;
use fieldgate::bridge::{Batch, Direction, DrainOrder, Failover, Priority, RetainRule, StreamConfig};
use fieldgate::broker::ListenerPolicy;
use fieldgate::config::*;
use fieldgate::filter::{Deadband, FilterConfig, Statistic};
use fieldgate::ingest::Publishing;
use fieldgate::message::OutboxId;
use fieldgate::mqtt::{QoS, Version};
use fieldgate::payload::{Form, Format, Template};
use fieldgate::secret::SecretRef;
use fieldgate::sensor::*;

fn good(text: &str) -> Config {
    good_files(&[text])
}

fn facts() -> Facts {
    Facts {
        default_id: "fg-1a2b".into(),
        host_name: Some("barn.lan".into()),
        machine: Some("0123abcd".into()),
    }
}

fn good_files(texts: &[&str]) -> Config {
    let sources: Vec<Source> = texts
        .iter()
        .enumerate()
        .map(|(n, text)| Source { file: format!("{n}.toml"), text: (*text).into() })
        .collect();
    parse(&sources, &facts()).unwrap_or_else(|m| panic!("{}", render(&m)))
}

#[test]
fn an_empty_file_is_a_working_gateway() {
    for config in [good(""), good_files(&[]), good("# nothing\n"), good("\u{feff}")] {
        assert_eq!(config.gateway.id, "fg-1a2b");
        assert_eq!(&*config.gateway.base_topic, "fieldgate/fg-1a2b");
        assert_eq!(config.gateway.site, None);
        assert_eq!(config.gateway.data_dir, PathBuf::from("/var/lib/fieldgate"));
        assert_eq!(config.gateway.control_socket, PathBuf::from("/run/fieldgate/control.sock"));
        assert_eq!(config.time.trust, TimeTrust::Auto);
        assert_eq!(config.log.level, LogLevel::Info);
        assert_eq!(config.health.every, Duration::from_secs(30));
        assert_eq!((config.buffer.max_size, config.buffer.reserve), (None, None), "found at the disk");
        assert_eq!((config.buffer.max_age, config.buffer.max_records), (None, None));
        assert_eq!(config.buffer.full, FullRule::DropOldest);
        assert_eq!(config.buffer.commit_interval, Duration::from_secs(1));
        assert_eq!(config.buffer.memory, 4 << 20);
        assert!(config.ports.is_empty() && config.devices.is_empty() && config.upstreams.is_empty());
        assert_eq!(config.listeners.len(), 1);
        assert_eq!(
            (&*config.listeners[0].name, config.listeners[0].bind.to_string().as_str()),
            ("mqtt", "127.0.0.1:1883")
        );
        assert!(config.broker.listeners[0].allow_anonymous);
        assert!(config.users.is_empty() && config.broker.forward.is_empty());
        assert_eq!(config.changes.confirm_within, Duration::from_secs(90));
        assert!(config.discovery.mdns);
    }
}

#[test]
fn the_defaults_of_the_broker_are_those_of_its_module() {
    let base = fieldgate::broker::Config {
        base: "fieldgate/fg-1a2b".into(),
        listeners: good("").broker.listeners,
        ..fieldgate::broker::Config::default()
    };
    assert_eq!(format!("{:?}", good("").broker), format!("{base:?}"));
}

#[test]
fn the_gateway_is_found_by_mdns_unless_that_is_turned_off() {
    assert!(good("[discovery]\nmdns = true\n").discovery.mdns);
    assert!(!good("[discovery]\nmdns = false\n").discovery.mdns);
}

#[test]
fn the_page_is_on_unless_it_is_turned_off_and_has_tls_on_every_interface() {
    let by_default = Web {
        enabled: true,
        bind: "[::]:8443".parse().unwrap(),
        plain: None,
        certificate: None,
        hosts: Vec::new(),
        session_idle: Duration::from_secs(1_800),
        session_max: Duration::from_secs(43_200),
        metrics_open: false,
        claim_window: Duration::from_secs(1_800),
        claim_code: None,
        texts_dir: "/etc/fieldgate/texts".into(),
    };
    assert_eq!(good("").web, by_default);
    let config = good(
        r#"
[web]
enabled = false
bind = "192.168.4.7:443"
plain = "[::1]:8080"
cert = "/c.pem"
key = "/k.pem"
hosts = ["Gate.Example.com"]
session_idle = "5min"
session_max = "1h"
metrics = "open"
claim_window = "1d"
claim_code = { credential = "claim" }
texts_dir = "/t"
"#,
    );
    let given = Web {
        enabled: false,
        bind: "192.168.4.7:443".parse().unwrap(),
        plain: Some("[::1]:8080".parse().unwrap()),
        certificate: Some(("/c.pem".into(), "/k.pem".into())),
        hosts: vec!["gate.example.com".into()],
        session_idle: Duration::from_secs(300),
        session_max: Duration::from_secs(3_600),
        metrics_open: true,
        claim_window: Duration::from_secs(86_400),
        claim_code: Some(SecretRef::Credential("claim".into())),
        texts_dir: "/t".into(),
    };
    assert_eq!(config.web, given);
}

#[test]
fn ten_lines_make_a_gateway() {
    let config = good(
        r#"
[[port]]
name = "usb0"
path = "/dev/ttyUSB0"
[[device]]
name = "weather"
port = "usb0"
decode = "json"
points = "*"
[[upstream]]
host = "broker.example"
"#,
    );
    let port = PortConfig {
        name: "usb0".into(),
        kind: PortKind::Serial,
        path: "/dev/ttyUSB0".into(),
        usb: None,
        baud: 9600,
        data_bits: DataBits::Eight,
        parity: Parity::None,
        stop_bits: StopBits::One,
        flow_control: FlowControl::None,
        dtr: None,
        rts: None,
        echo: false,
        gap: None,
        rs485: None,
    };
    assert_eq!(config.ports, [port]);
    let device = &config.devices[0];
    assert_eq!((&*device.name, &*device.port), ("weather", "usb0"));
    assert_eq!(device.framing, FramingConfig::Line { end: LineEnd::Any, bytes_max: 4096 });
    assert!(matches!(device.decode, DecodeConfig::Json) && matches!(device.points, Points::All));
    assert_eq!(device.stale_after, Duration::from_secs(60));
    let upstream = &config.upstreams[0];
    assert_eq!(
        (&*upstream.name, upstream.host.as_str(), upstream.port),
        ("broker.example", "broker.example", 1883)
    );
    assert_eq!((upstream.client_id.as_str(), upstream.version), ("fg-1a2b", Version::V311));
    assert_eq!((&upstream.tls, &upstream.user_name, &upstream.password), (&None, &None, &None));
    assert_eq!((upstream.keep_alive, upstream.inflight_max), (Duration::from_secs(30), 1000));
    assert_eq!(
        (upstream.backoff_min, upstream.backoff_max),
        (Duration::from_secs(1), Duration::from_secs(60))
    );
    assert_eq!(upstream.maps.len(), 1);
    let map = &upstream.maps[0];
    assert_eq!(
        (map.filter.as_str(), map.qos_max, map.retain),
        ("fieldgate/fg-1a2b/data/#", QoS::AtLeastOnce, RetainRule::Keep)
    );
    assert_eq!((map.local_prefix.as_str(), map.remote_prefix.as_str()), ("", ""));
    assert_eq!(config.broker.forward.len(), 1);
    assert_eq!(config.broker.forward[0].filter.as_str(), "fieldgate/fg-1a2b/data/#");
    assert_eq!(config.broker.forward[0].outbox, OutboxId(0));
}

#[test]
fn the_gateway_takes_what_it_is_told() {
    let config = good(
        r#"
gateway = { id = "barn-7", site = " North ", base_topic = "site/{gateway}/{machine}", data_dir = "/data", control_socket = "/tmp/c", pid_file = "/tmp/p" }
time.trust = "always"
log.level = "trace"
health.every = "5min"

[buffer]
max_size = "1 GiB"
max_age = "30d"
max_records = 5000
full = "drop-newest"
reserve = "8 MiB"
commit_interval = "10s"
memory = "64 KiB"
"#,
    );
    let gateway = Gateway {
        id: "barn-7".into(),
        site: Some("North".into()),
        base_topic: "site/barn-7/0123abcd".into(),
        data_dir: "/data".into(),
        control_socket: "/tmp/c".into(),
        pid_file: Some("/tmp/p".into()),
    };
    assert_eq!(config.gateway, gateway);
    assert_eq!(&*config.broker.base, "site/barn-7/0123abcd");
    assert_eq!(config.time.trust, TimeTrust::Always);
    assert_eq!(config.log.level, LogLevel::Trace);
    assert_eq!(config.health.every, Duration::from_secs(300));
    let buffer = Buffer {
        max_size: Some(1 << 30),
        max_age: Some(Duration::from_secs(30 * 86_400)),
        max_records: Some(5000),
        full: FullRule::Refuse,
        reserve: Some(8 << 20),
        commit_interval: Duration::from_secs(10),
        memory: 64 << 10,
    };
    assert_eq!(config.buffer, buffer);
    assert_eq!(good("buffer.full = \"reject\"").buffer.full, FullRule::Refuse);
}

#[test]
fn each_word_of_a_line_setting_means_itself() {
    for (text, expected) in [("none", Parity::None), ("odd", Parity::Odd), ("even", Parity::Even)] {
        assert_eq!(port(&format!("parity = \"{text}\"")).parity, expected);
    }
    for (text, expected) in [
        ("none", FlowControl::None),
        ("software", FlowControl::Software),
        ("hardware", FlowControl::Hardware),
    ] {
        assert_eq!(port(&format!("flow_control = \"{text}\"")).flow_control, expected);
    }
    for (bits, expected) in
        [(5, DataBits::Five), (6, DataBits::Six), (7, DataBits::Seven), (8, DataBits::Eight)]
    {
        assert_eq!(port(&format!("data_bits = {bits}")).data_bits, expected);
    }
    for (bits, expected) in [(1, StopBits::One), (2, StopBits::Two)] {
        assert_eq!(port(&format!("stop_bits = {bits}")).stop_bits, expected);
    }
    let port = port("baud = 1_000_000\ndtr = false\nrts = true");
    assert_eq!((port.baud, port.dtr, port.rts), (1_000_000, Some(false), Some(true)));
    for (text, expected) in [
        ("off", LogLevel::Off),
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ] {
        assert_eq!(good(&format!("log.level = \"{text}\"")).log.level, expected);
    }
}

#[test]
fn the_log_goes_where_and_looks_as_it_says() {
    let default = good("").log;
    assert_eq!((default.events, default.levels, default.to), (None, vec![], vec![LogTo::Stderr]));
    assert_eq!((default.format, default.timestamp), (LogFormat::Text, LogTime::Utc));
    let file = LogFile {
        path: "/var/log/fieldgate/fieldgate.log".into(),
        max_size: 10 << 20,
        keep: 5,
        daily: false,
    };
    assert_eq!(default.file, file);
    assert_eq!(default.syslog, LogSyslog { socket: "/dev/log".into(), facility: 3 });
    assert_eq!(default.journal_socket, PathBuf::from("/run/systemd/journal/socket"));
    let log = good(
        r#"[log]
events = ["unsubscribe", "subscribe", "subscribe"]
to = ["topic", "file", "syslog", "journald", "stdout"]
format = "json"
timestamp = "%H:%M"
levels = { bridge = "warn", broker = "trace" }
file = { path = "/l", max_size = "0 B", keep = 0, daily = true }
syslog = { socket = "/s", facility = "local7" }
journald.socket = "/j"
"#,
    )
    .log;
    let expected = Log {
        level: LogLevel::Info,
        levels: vec![("broker", LogLevel::Trace), ("bridge", LogLevel::Warn)],
        events: Some(vec!["subscribe", "unsubscribe"]),
        to: vec![LogTo::Stdout, LogTo::Journald, LogTo::Syslog, LogTo::File, LogTo::Topic],
        format: LogFormat::Json,
        timestamp: LogTime::Pattern("%H:%M".into()),
        file: LogFile { path: "/l".into(), max_size: 0, keep: 0, daily: true },
        syslog: LogSyslog { socket: "/s".into(), facility: 23 },
        journal_socket: "/j".into(),
    };
    assert_eq!(log, expected);
    assert_eq!(good("log.to = []").log.to, []);
    for (text, expected) in
        [("utc", LogTime::Utc), ("local", LogTime::Local), ("epoch", LogTime::Epoch), ("none", LogTime::None)]
    {
        assert_eq!(good(&format!("log.timestamp = \"{text}\"")).log.timestamp, expected);
    }
}

fn port(lines: &str) -> PortConfig {
    good(&format!("[[port]]\nname = \"a\"\npath = \"/dev/a\"\n{lines}\n")).ports.remove(0)
}

fn device(lines: &str) -> DeviceConfig {
    let text = format!(
        "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"d\"\nport = \"p\"\n{lines}\n"
    );
    good(&text).devices.remove(0)
}

#[test]
fn frames_and_decoders_are_read_in_each_of_their_forms() {
    let framed =
        |framing: &str| device(&format!("decode = \"json\"\npoints = \"*\"\nframing = {framing}")).framing;
    let line = |end: LineEnd, bytes_max| FramingConfig::Line { end, bytes_max };
    assert_eq!(framed("\"line\""), line(LineEnd::Any, 4096));
    assert_eq!(framed("{ kind = \"line\", end = \"\\r\\n\" }"), line(LineEnd::Exact(b"\r\n".to_vec()), 4096));
    assert_eq!(framed("{ kind = \"line\", max = \"64 B\" }"), line(LineEnd::Any, 64));

    let decoded =
        |decode: &str| format!("{:?}", device(&format!("points = \"*\"\ndecode = {decode}")).decode);
    for (text, expected) in [
        ("\"json\"", "Json"),
        ("{ kind = \"json\" }", "Json"),
        ("\"key-value\"", "KeyValue { pair: '=', separator: None }"),
        (
            "{ kind = \"key-value\", pair = \":\", separator = \"|\" }",
            "KeyValue { pair: ':', separator: Some('|') }",
        ),
        ("\"csv\"", "Csv { separator: ',', columns: [] }"),
        (
            "{ kind = \"csv\", separator = \";\", columns = [\"a\", \"b\"] }",
            "Csv { separator: ';', columns: [\"a\", \"b\"] }",
        ),
        ("{ kind = \"csv\", separator = \"\\t\" }", "Csv { separator: '\\t', columns: [] }"),
        ("\"nmea\"", "Codec(Nmea { bare: false })"),
        ("{ kind = \"nmea\", checksum = \"optional\" }", "Codec(Nmea { bare: true })"),
        ("\"dsmr\"", "Codec(Dsmr)"),
        ("\"sml\"", "Codec(Sml)"),
        ("\"ve-direct\"", "Codec(VeDirect)"),
        ("\"iec62056-21\"", "Codec(Iec62056)"),
        ("{ kind = \"mbus\" }", "Codec(Mbus)"),
        ("{ kind = \"regex\", pattern = '(?<w>\\d+) kg' }", "Regex(Pattern(Regex(\"(?<w>\\\\d+) kg\")))"),
    ] {
        assert_eq!(decoded(text), expected, "{text}");
    }
    assert_eq!(
        device("decode = \"json\"\npoints = \"*\"\nstale_after = \"2h\"").stale_after,
        Duration::from_secs(7200)
    );
}

fn points(lines: &str) -> Vec<PointConfig> {
    match device(lines).points {
        Points::List(points) => points,
        Points::All => panic!("expected a list"),
    }
}

#[test]
fn a_point_keeps_every_digit_of_its_scale() {
    for (scale, expected) in [
        ("0.1", "0.1"),
        ("-0.01", "-0.01"),
        ("2", "2"),
        ("1e-3", "0.001"),
        ("\"0.30\"", "0.30"),
        ("0.1000000000000000055511151231", "0.1000000000000000055511151231"),
        ("1_000.5", "1000.5"),
        ("0x10", "16"),
        ("12345678901234567890", "12345678901234567890"),
    ] {
        let points = points(&format!(
            "decode = \"json\"\npoints = [{{ name = \"a\", scale = {scale}, offset = {scale} }}]"
        ));
        assert_eq!(
            (points[0].scale.to_string(), points[0].offset.to_string()),
            (expected.into(), expected.into())
        );
    }
}

#[test]
fn points_have_their_defaults_and_take_what_they_are_told() {
    let lines = r#"decode = "json"
[[device.points]]
name = "plain"
[[device.points]]
name = "full"
from = "/a/b"
type = "integer"
scale = 10
offset = -5
unit = " Cel "
min = -40
max = 85.5
optional = true
[[device.points]]
name = "on"
type = "bool"
[[device.points]]
name = "word"
type = "text"
[[device.points]]
name = "third"
from = 3
type = "number"
"#;
    let points = points(lines);
    let plain = &points[0];
    assert_eq!((&*plain.name, plain.from.as_str(), plain.kind), ("plain", "plain", PointType::Number));
    assert_eq!((plain.scale.to_string(), plain.offset.to_string()), ("1".into(), "0".into()));
    assert_eq!((&plain.unit, plain.min, plain.max, plain.optional), (&None, None, None, false));
    let full = &points[1];
    assert_eq!((&*full.name, full.from.as_str(), full.kind), ("full", "/a/b", PointType::Integer));
    assert_eq!((full.scale.to_string(), full.offset.to_string()), ("10".into(), "-5".into()));
    assert_eq!(full.unit.as_deref(), Some("Cel"));
    assert_eq!((full.min, full.max, full.optional), (Some(-40.0), Some(85.5), true));
    assert_eq!(
        (points[2].kind, points[3].kind, points[4].kind),
        (PointType::Bool, PointType::Text, PointType::Number)
    );
    assert_eq!(points[4].from, "3");
}

#[test]
fn listeners_let_the_nameless_in_on_loopback_alone() {
    let config = good(
        r#"
[[broker.user]]
name = "plc"
password = { file = "/etc/fieldgate/secrets/plc" }
[[broker.user]]
name = "b"
password = { env = "B_1" }
[[broker.user]]
name = "c"
password = { credential = "c.d-e" }
[[broker.listener]]
name = "local"
[[broker.listener]]
name = "six"
bind = "[::1]:1883"
[[broker.listener]]
name = "mapped"
bind = "[::ffff:127.0.0.1]:1885"
[[broker.listener]]
name = "lan"
bind = "192.0.2.1:1883"
[[broker.listener]]
name = "open"
bind = "0.0.0.0:1884"
allow_anonymous = true
[[broker.listener]]
name = "closed"
bind = "127.0.0.1:1886"
allow_anonymous = false
"#,
    );
    let seen: Vec<(&str, String, bool)> = config
        .listeners
        .iter()
        .zip(&config.broker.listeners)
        .map(|(listener, policy)| {
            assert_eq!(listener.name, policy.name);
            (&*listener.name, listener.bind.to_string(), policy.allow_anonymous)
        })
        .collect();
    let row = |name, bind: &str, anonymous| (name, bind.to_owned(), anonymous);
    assert_eq!(
        seen,
        [
            row("local", "127.0.0.1:1883", true),
            row("six", "[::1]:1883", true),
            row("mapped", "[::ffff:127.0.0.1]:1885", true),
            row("lan", "192.0.2.1:1883", false),
            row("open", "0.0.0.0:1884", true),
            row("closed", "127.0.0.1:1886", false),
        ]
    );
    let user = |name: &str, password| User { name: name.into(), password };
    assert_eq!(
        config.users,
        [
            user("plc", SecretRef::File("/etc/fieldgate/secrets/plc".into())),
            user("b", SecretRef::Env("B_1".into())),
            user("c", SecretRef::Credential("c.d-e".into())),
        ]
    );
    let open = good("[[broker.listener]]\nbind = \"0.0.0.0:1883\"\nallow_anonymous = true");
    assert!(open.broker.listeners[0].allow_anonymous && open.users.is_empty());
}

#[test]
fn what_is_said_of_a_listener_arrives_in_its_own_place() {
    let config = good(
        r#"
[[broker.listener]]
name = "plain"
bind = "[::1]:1"
[[broker.listener]]
name = "devices"
bind = "0.0.0.0:8883"
versions = ["5", "3.1.1"]
connections_max = 40
max_qos = 1
retain_available = false
client_id_from_user = true
[broker.listener.tls]
cert = "/c.pem"
key = "/k.pem"
client_ca = "/ca.pem"
crl = "/crl.pem"
crl_expired = "deny"
min_version = "1.3"
user_from_cert = "san"
[[broker.listener]]
name = "pages"
bind = "0.0.0.0:8084"
allow_anonymous = true
check_users = false
proxy_protocol = true
tls = { cert = "/c.pem", key = "/k.pem", client_ca = "/ca.pem", client_cert = "optional", user_from_cert = "cn" }
websocket = { path = "/x", origins = ["https://Panel.example", "*"], hosts = ["GW.example.com"] }
[[broker.listener]]
name = "local"
bind = "unix:/run/fieldgate/mqtt.sock"
websocket = { path = "*" }
"#,
    );
    let tls = |client_ca, crl: Option<&str>, user_from_cert| ListenerTls {
        min_version: if crl.is_some() { TlsVersion::V13 } else { TlsVersion::V12 },
        crl_expired: if crl.is_some() { CrlExpired::Deny } else { CrlExpired::Warn },
        cert: "/c.pem".into(),
        key: "/k.pem".into(),
        client_ca,
        crl: crl.map(Into::into),
        user_from_cert,
    };
    let listener =
        |name: &str, bind| Listener { bind, ..Listener::plain(name.into(), "[::1]:1".parse().unwrap()) };
    let tcp = |address: &str| Bind::Tcp(address.parse().unwrap());
    let websocket = |path: &str, origins: &[&str], hosts: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Some(WebSocket { path: path.into(), origins: owned(origins), hosts: owned(hosts) })
    };
    let required = Some(("/ca.pem".into(), ClientCertificate::Required));
    let optional = Some(("/ca.pem".into(), ClientCertificate::Optional));
    assert_eq!(
        config.listeners,
        [
            listener("plain", tcp("[::1]:1")),
            Listener {
                tls: Some(tls(required, Some("/crl.pem"), Some(CertificateName::Alternative))),
                ..listener("devices", tcp("0.0.0.0:8883"))
            },
            Listener {
                tls: Some(tls(optional, None, Some(CertificateName::Common))),
                websocket: websocket("/x", &["https://panel.example", "*"], &["gw.example.com"]),
                proxy_protocol: true,
                ..listener("pages", tcp("0.0.0.0:8084"))
            },
            Listener {
                websocket: websocket("*", &[], &[]),
                ..listener("local", Bind::Unix("/run/fieldgate/mqtt.sock".into()))
            },
        ]
    );
    let policy =
        |name: &str| ListenerPolicy { name: name.into(), allow_anonymous: true, ..ListenerPolicy::default() };
    assert_eq!(
        config.broker.listeners,
        [
            policy("plain"),
            ListenerPolicy {
                versions: vec![Version::V5, Version::V311],
                qos_max: fieldgate::mqtt::QoS::AtLeastOnce,
                retain_available: false,
                connections_max: Some(40),
                client_id_from_user: true,
                ..policy("devices")
            },
            ListenerPolicy { check_users: false, ..policy("pages") },
            policy("local"),
        ]
    );
}

#[test]
fn a_listener_has_the_users_and_the_rules_that_it_names() {
    use fieldgate::broker::acl::{Access, Rule, Who};
    let config = good(
        r#"
[[broker.listener]]
name = "common"
allow_anonymous = true
[[broker.listener]]
name = "both"
bind = "0.0.0.0:1"
password_file = "/passwd"
acl_file = "/acl"
[[broker.listener]]
name = "inline"
bind = "0.0.0.0:2"
[[broker.listener.user]]
name = "ann"
password = { env = "ANN" }
[[broker.listener.acl]]
user = "ann"
allow = [{ topic = "a/#", access = "read" }]
"#,
    );
    let own_users: Vec<bool> = config.broker.listeners.iter().map(|policy| policy.own_users).collect();
    assert_eq!(own_users, [false, true, true]);
    assert!(config.users.is_empty());
    let [both, inline] = &config.own_access[..] else { panic!("{:?}", config.own_access) };
    let (users, rules) = (both.users.as_ref().unwrap(), both.rules.as_ref().unwrap());
    assert_eq!((&*both.listener, users.list.len()), ("both", 0));
    assert_eq!(users.file.as_deref(), Some(Path::new("/passwd")));
    assert_eq!(rules.file.as_deref(), Some(Path::new("/acl")));
    assert_eq!(rules.acl.rules(), None);
    let (users, rules) = (inline.users.as_ref().unwrap(), inline.rules.as_ref().unwrap());
    assert_eq!((&*inline.listener, &*users.list[0].name, &users.file), ("inline", "ann", &None));
    let rule = Rule {
        who: Who::User("ann".into()),
        allow: true,
        access: Access::READ,
        filter: fieldgate::mqtt::topic::TopicFilter::parse("a/#").unwrap(),
        substitutes: true,
    };
    assert_eq!(rules.acl.rules(), Some(&[rule][..]));
    let own: Vec<&str> = config.broker.own_rules.keys().map(|name| &**name).collect();
    assert_eq!(own, ["both", "inline"]);
    assert_eq!(config.broker.own_rules["inline"], rules.acl);
}

#[test]
fn each_bound_of_the_broker_arrives_in_its_own_place() {
    let config = good(
        r#"
[broker]
packet_max = "1 MiB"
first_packet_max = "2 KiB"
connect_timeout = "3s"
connections_max = 4
inflight_max = 5
receive_max = 6
queue_messages_max = 7
queue_max = "8 KiB"
queues_max = "20 KiB"
out_buffer_max = "9 KiB"
out_buffer_stall_max = "10min"
client_id_max = "111 B"
topic_max = "112 B"
topic_levels_max = 13
subscriptions_max = 14
topic_alias_max = 0
user_properties_max = 21
properties_max = "22 KiB"
keep_alive_max = "23s"
retained_messages_max = 16
retained_max = "17 KiB"
retained_message_max = "24 KiB"
retained_per_user_max = 25
sessions_max = 18
session_expiry_max = "19d"
anonymous_session_expiry_max = "26min"
will_delay_max = "27s"
response_information = "replies/%c"
memory_max = "28 MiB"
connections_per_address_max = 29
half_open_per_address_max = 30
connect_rate_per_address_max = 31
connect_burst_per_address_max = 32
connect_rate_max = 33
publish_rate_max = 34
publish_bytes_rate_max = "35 KiB"
queue_full = "disconnect"
subscriptions_total_max = 36
filters_per_packet_max = 37
will_max = "38 KiB"
user = [
    { name = "a", password = { env = "A" }, queue_full = "drop-newest" },
    { name = "b", password = { env = "B" } },
]
client_id_prefixes = ["meter-", "gauge-"]
sys_interval = "20s"
persistence = false
commit_interval = "24ms"
commit_interval_pressed = "25ms"
"#,
    );
    let expected = fieldgate::broker::Config {
        commands: Vec::new(),
        config_requests: false,
        base: "fieldgate/fg-1a2b".into(),
        listeners: config.broker.listeners.clone(),
        acl: std::sync::Arc::default(),
        own_rules: Default::default(),
        client_id_prefixes: vec!["meter-".into(), "gauge-".into()],
        forward: Vec::new(),
        packet_bytes_max: 1 << 20,
        first_packet_bytes_max: 2048,
        connect_timeout: Duration::from_secs(3),
        connections_max: 4,
        arrivals: fieldgate::broker::Arrivals {
            clients_per_address_max: 29,
            half_open_per_address_max: 30,
            rate_per_address_max: 31,
            burst_per_address_max: 32,
            rate_max: 33,
        },
        publish_rate: fieldgate::broker::PublishRate { messages_max: Some(34), bytes_max: Some(35 << 10) },
        inflight_max: 5,
        receive_max: 6,
        queue_messages_max: 7,
        queue_bytes_max: 8 << 10,
        queue_full: fieldgate::broker::QueueFull::Disconnect,
        queue_full_of: [("a".into(), fieldgate::broker::QueueFull::DropNewest)].into(),
        queues_bytes_max: 20 << 10,
        out_buffer_bytes_max: 9 << 10,
        out_buffer_stall_max: Duration::from_secs(600),
        client_id_bytes_max: 111,
        topic_bytes_max: 112,
        topic_levels_max: 13,
        subscriptions_max: 14,
        subscriptions_total_max: 36,
        filters_per_packet_max: 37,
        will_bytes_max: 38 << 10,
        topic_alias_max: 0,
        properties: fieldgate::mqtt::PropertyLimits { user_max: 21, bytes_max: 22 << 10 },
        keep_alive_max: Some(Duration::from_secs(23)),
        retained_max: 16,
        retained_bytes_max: 17 << 10,
        retained_message_bytes_max: 24 << 10,
        retained_per_user_max: 25,
        sessions_max: 18,
        session_expiry_max: Some(Duration::from_secs(19 * 86_400)),
        anonymous_session_expiry_max: Some(Duration::from_secs(26 * 60)),
        will_delay_max: Some(Duration::from_secs(27)),
        response_information: Some("replies/%c".into()),
        memory_bytes_max: Some(28 << 20),
        sys_interval: Duration::from_secs(20),
        persistence: false,
        commit_interval: Duration::from_millis(24),
        commit_interval_pressed: Duration::from_millis(25),
    };
    assert_eq!(format!("{:?}", config.broker), format!("{expected:?}"));
}

#[test]
fn rules_and_files_of_who_may_do_what_arrive() {
    use fieldgate::broker::acl::{Access, Rule, Who};
    use fieldgate::mqtt::topic::TopicFilter;
    let config = good(
        r##"
[broker]
password_file = "/etc/fieldgate/passwd"
acl_file = "/etc/fieldgate/acl"
[[broker.acl]]
user = "plc"
allow = [{ topic = "plc/%c/#" }, { topic = "all", access = "read" }]
deny = [{ topic = "plc/secret", access = "write" }]
[[broker.acl]]
client_id = "meter-*"
allow = [{ topic = "meters/+", access = "subscribe" }]
[[broker.acl]]
anonymous = true
deny = [{ topic = "#" }]
[[broker.acl]]
[[broker.acl.allow]]
topic = "everyone"
access = "readwrite"
[[broker.listener]]
bind = "0.0.0.0:1883"
"##,
    );
    assert_eq!(config.password_file.as_deref(), Some(Path::new("/etc/fieldgate/passwd")));
    assert_eq!(config.acl_file.as_deref(), Some(Path::new("/etc/fieldgate/acl")));
    let rule = |who: &Who, allow, access, filter: &str| Rule {
        who: who.clone(),
        allow,
        access,
        filter: TopicFilter::parse(filter).unwrap(),
        substitutes: true,
    };
    let plc = Who::User("plc".into());
    let expected = [
        rule(&plc, true, Access::READ_WRITE, "plc/%c/#"),
        rule(&plc, true, Access::READ, "all"),
        rule(&plc, false, Access::WRITE, "plc/secret"),
        rule(&Who::ClientId("meter-*".into()), true, Access::SUBSCRIBE, "meters/+"),
        rule(&Who::Anonymous, false, Access::READ_WRITE, "#"),
        rule(&Who::Everyone, true, Access::READ_WRITE, "everyone"),
    ];
    assert_eq!(config.broker.acl.rules(), Some(&expected[..]));
    assert_eq!(good("").broker.acl.rules(), None, "nothing is said, everything is allowed");
    assert_eq!(good("[[broker.acl]]\n").broker.acl.rules(), Some(&[][..]), "nothing is allowed");
}

#[test]
fn a_small_packet_bound_takes_the_default_for_first_packets_with_it() {
    assert_eq!(good("broker.packet_max = \"4 KiB\"").broker.first_packet_bytes_max, 4096);
}

#[test]
fn upstreams_take_what_they_are_told_and_each_map_becomes_a_rule() {
    let config = good(
        r#"
[[upstream]]
host = "a.example"
tls = true

[[upstream]]
name = "second"
host = "2001:db8::1"
port = 2883
client_id = "me"
version = "5"
user_name = "u"
password = { credential = "x" }
keep_alive = "10s"
inflight_max = 900
topic_alias_max = 7
backoff_min = "500ms"
backoff_max = "10min"
fallback = ["c.example", "[2001:db8::2]:99"]
failover = "shuffle"
return_after = "10min"
redirect_hosts = ["*.r.example", "R2.example:99", "[fe80::1]:7"]
start = "lazy"
threshold = 3
idle_timeout = "5s"
bind = "eth0"
websocket = "/ws"
ack_timeout = "5s"
clean_session = true
watch_status = false
notification_topic = "$SYS/broker/connection/me/state"
session_expiry = "2d"
drain = "interleave"
live_share = 25
drain_messages_max = 100
drain_bytes_max = "64 KiB"
receipts = false
health_every = "1h"
bytes_per_day_max = "5 MiB"
[upstream.tls]
ca = "/ca.pem"
server_name = "b.example"
cert = "/c.pem"
key = "/k.pem"
min_version = "1.3"
alpn = ["mqtt"]
pin = ["sha256/BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="]
[upstream.proxy]
kind = "socks5"
host = "p.example"
user_name = "pu"
password = { env = "PP" }
[[upstream.stream]]
name = "bulk"
max_size = "2 MiB"
max_age = "2d"
max_records = 1000
full = "reject"
drain = "newest-first"
live_share = 10
priority = "low"
[[upstream.stream]]
name = "alarms"
priority = "high"
[[upstream.map]]
filter = "fieldgate/+/data/#"
local_prefix = "fieldgate/"
remote_prefix = "x/"
qos = 0
retain = "never"
expiry = "7d"
priority = "high"
stream = "bulk"
[[upstream.map]]
filter = "lan/#"
stream = "default"
expiry = "1h"
batch = { max_messages = 20, max_bytes = "2 KiB", max_wait = "1min" }
[[upstream.map]]
filter = "from/{gateway}/#"
direction = "in"
local_prefix = "from/"
remote_prefix = "to/"
qos = 2
retain = "always"
"#,
    );
    let [first, second] = &config.upstreams[..] else { panic!("two") };
    assert_eq!((first.port, first.tls.as_ref()), (8883, Some(&UpstreamTls::default())));
    assert_eq!((&*second.name, second.host.as_str(), second.port), ("second", "2001:db8::1", 2883));
    assert_eq!((second.client_id.as_str(), second.version), ("me", Version::V5));
    assert_eq!(
        (second.user_name.as_deref(), &second.password),
        (Some("u"), &Some(SecretRef::Credential("x".into())))
    );
    assert_eq!((second.keep_alive, second.inflight_max), (Duration::from_secs(10), 900));
    let lazy = Start::Lazy { threshold: 3, idle_timeout: Duration::from_secs(5) };
    assert_eq!((first.start, second.start), (Start::Automatic, lazy));
    assert_eq!(good("[[upstream]]\nhost = \"a\"\nstart = \"once\"").upstreams[0].start, Start::Once);
    assert_eq!((first.topic_alias_max, second.topic_alias_max), (64, 7));
    assert_eq!(
        (second.backoff_min, second.backoff_max),
        (Duration::from_millis(500), Duration::from_secs(600))
    );
    assert_eq!((second.ack_timeout, second.clean_session), (Duration::from_secs(5), true));
    assert_eq!((second.session_expiry, second.watch_status), (Duration::from_secs(172_800), false));
    assert_eq!(second.notification_topic.as_deref(), Some("$SYS/broker/connection/me/state"));
    assert_eq!((first.drain, second.drain), (DrainOrder::OldestFirst, DrainOrder::Interleave));
    assert_eq!((first.live_share, second.live_share), (50, 25));
    assert_eq!((first.drain_messages_max, second.drain_messages_max), (None, Some(100)));
    assert_eq!((first.drain_bytes_max, second.drain_bytes_max), (None, Some(65_536)));
    assert_eq!((first.receipts, second.receipts), (true, false));
    assert_eq!((first.health_every, second.health_every), (None, Some(Duration::from_secs(3_600))));
    assert_eq!((first.bytes_per_day_max, second.bytes_per_day_max), (None, Some(5 << 20)));
    let batch = Batch { messages_max: 20, bytes_max: 2_048, wait_max: Duration::from_secs(60) };
    assert_eq!(second.maps.iter().map(|map| map.batch).collect::<Vec<_>>(), [None, Some(batch), None]);
    let usual = good("[[upstream]]\nhost = \"a\"\n[[upstream.map]]\nfilter = \"a/#\"\nbatch = {}");
    let batch = Batch { messages_max: 50, bytes_max: 16_384, wait_max: Duration::from_secs(10) };
    assert_eq!(usual.upstreams[0].maps[0].batch, Some(batch));
    let expiries = second.maps.iter().map(|map| map.expiry).collect::<Vec<_>>();
    assert_eq!(expiries, [Some(Duration::from_secs(7 * 86_400)), Some(Duration::from_secs(3_600)), None]);
    assert_eq!(second.maps.iter().map(|map| map.high).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(second.maps.iter().map(|map| map.stream).collect::<Vec<_>>(), [1, 0, 0]);
    let bulk = Stream {
        machine: StreamConfig {
            name: "bulk".into(),
            drain: DrainOrder::NewestFirst,
            live_share: 10,
            priority: Priority::Low,
        },
        max_size: Some(2 << 20),
        max_age: Some(Duration::from_secs(2 * 86_400)),
        max_records: Some(1_000),
        full: Some(FullRule::Refuse),
    };
    let alarms = Stream {
        machine: StreamConfig {
            name: "alarms".into(),
            drain: DrainOrder::OldestFirst,
            live_share: 50,
            priority: Priority::High,
        },
        max_size: None,
        max_age: None,
        max_records: None,
        full: None,
    };
    assert_eq!(second.streams, [bulk, alarms]);
    assert!(first.streams.is_empty());
    let inward = &second.maps[2];
    assert_eq!(inward.remote_filter.as_ref().unwrap().as_str(), "to/fg-1a2b/#");
    assert_eq!((inward.direction, inward.qos_max), (Direction::In, QoS::ExactlyOnce));
    assert_eq!(inward.retain, RetainRule::Always);
    let tls = UpstreamTls {
        ca: Some("/ca.pem".into()),
        server_name: Some("b.example".into()),
        cert: Some("/c.pem".into()),
        key: Some("/k.pem".into()),
        only_13: true,
        alpn: vec!["mqtt".into()],
        pins: vec![[7; 32]],
    };
    assert_eq!(second.tls, Some(tls));
    let address = |host: &str, port| Address { host: host.into(), port };
    let reach = Reach {
        fallback: vec![address("c.example", 2883), address("2001:db8::2", 99)],
        failover: Failover::Shuffle,
        return_after: Duration::from_secs(600),
        redirects: [("*.r.example", 2883), ("R2.example", 99), ("fe80::1", 7)]
            .map(|(host, port)| Allowed { host: host.into(), port })
            .into(),
        proxy: Some(Proxy {
            kind: ProxyKind::Socks5,
            host: "p.example".into(),
            port: 1080,
            user_name: Some("pu".into()),
            password: Some(SecretRef::Env("PP".into())),
        }),
        bind: Some(BindTo::Interface("eth0".into())),
        websocket: Some("/ws".into()),
    };
    assert_eq!(second.reach, reach);
    let map = &second.maps[0];
    assert_eq!(
        (map.filter.as_str(), map.local_prefix.as_str(), map.remote_prefix.as_str()),
        ("fieldgate/+/data/#", "fieldgate/", "x/")
    );
    assert_eq!((map.qos_max, map.retain), (QoS::AtMostOnce, RetainRule::Never));
    let rules: Vec<(&str, u16)> =
        config.broker.forward.iter().map(|rule| (rule.filter.as_str(), rule.outbox.0)).collect();
    assert_eq!(rules, [("fieldgate/fg-1a2b/data/#", 0), ("fieldgate/+/data/#", 1), ("lan/#", 1)]);
    assert_eq!(good("[[upstream]]\nhost = \"a\"\ntls = false").upstreams[0].tls, None);
    assert_eq!(good("[[upstream]]\nhost = \"a\"\ntls = {}").upstreams[0].tls, Some(UpstreamTls::default()));
}

#[test]
fn placeholders_stand_for_what_the_gateway_and_its_machine_are_called() {
    let config = good(
        r#"
gateway.site = "North 1"
[[upstream]]
host = "a"
client_id = "{site}/{gateway}-{hostname}-{machine}-{"
[[upstream.map]]
filter = "x/{machine}/#"
remote_prefix = "{hostname}/{site}/{device}/"
"#,
    );
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.client_id, "North 1/fg-1a2b-barn.lan-0123abcd-{");
    let map = &upstream.maps[0];
    assert_eq!(map.filter.as_str(), "x/0123abcd/#");
    assert_eq!(map.remote_prefix, "barn.lan/North 1/{device}/");
}

#[test]
fn every_topic_pattern_of_mosquitto_can_be_said() {
    // topic <pattern> <direction> <qos> <local prefix> <remote prefix>: what is local, and what is subscribed to.
    for (pattern, direction, local_prefix, remote_prefix, local, remote) in [
        ("#", "both", "local/", "remote/", "local/#", Some("remote/#")),
        ("#", "in", "", "", "#", Some("#")),
        ("#", "out", "", "", "#", None),
        ("", "in", "local/x", "remote/y", "local/x", Some("remote/y")),
        ("+/set", "both", "", "remote/", "+/set", Some("remote/+/set")),
        ("#", "in", "cloud/", "$SYS/", "cloud/#", Some("$SYS/#")),
    ] {
        let config = good(&format!(
            "[[upstream]]\nhost = \"a\"\n[[upstream.map]]\nfilter = \"{local_prefix}{pattern}\"\n\
             direction = \"{direction}\"\nlocal_prefix = \"{local_prefix}\"\nremote_prefix = \"{remote_prefix}\"\n"
        ));
        let map = &config.upstreams[0].maps[0];
        assert_eq!(map.filter.as_str(), local);
        assert_eq!(map.remote_filter.as_ref().map(|filter| filter.as_str()), remote, "{pattern}");
        assert_eq!(config.broker.forward.len(), usize::from(direction != "in"), "{pattern} {direction}");
    }
}

#[test]
fn lists_of_several_files_add_up_and_tables_join() {
    let config = good_files(&[
        "gateway.id = \"a\"\n[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[broker]\nconnections_max = 7\n",
        "[gateway]\nsite = \"x\"\n[[port]]\nname = \"q\"\npath = \"/dev/q\"\n[broker]\nsessions_max = 9\n",
        "[[device]]\nname = \"d\"\nport = \"q\"\ndecode = \"json\"\npoints = \"*\"\n[[broker.listener]]\nname = \"l\"\n",
    ]);
    assert_eq!((config.gateway.id.as_str(), config.gateway.site.as_deref()), ("a", Some("x")));
    assert_eq!(config.ports.iter().map(|port| &*port.name).collect::<Vec<_>>(), ["p", "q"]);
    assert_eq!(&*config.devices[0].port, "q");
    assert_eq!((config.broker.connections_max, config.broker.sessions_max), (7, 9));
    assert_eq!(&*config.listeners[0].name, "l");
}

#[test]
fn a_machine_id_that_no_topic_can_hold_is_made_fit() {
    for (machine, expected) in
        [("a/b+c", "a-b-c"), ("", "gateway"), ("ä", "-"), (&*"x".repeat(70), &*"x".repeat(64))]
    {
        let config = parse(&[], &Facts { default_id: machine.into(), ..Facts::default() }).unwrap();
        assert_eq!(config.gateway.id, expected);
        assert_eq!(*config.gateway.base_topic, format!("fieldgate/{expected}"));
    }
}

#[test]
fn a_polled_device_is_asked_as_the_config_says() {
    use fieldgate::sensor::modbus::pdu::ReadFunction;
    let config = good(
        "[[port]]\nname = \"bus\"\npath = \"/dev/b\"\nparity = \"even\"\necho = true\ngap = \"5ms\"\n\
         rs485 = { rts = \"after-send\", delay_after = \"2ms\" }\n\
         [[port]]\nname = \"plc\"\nkind = \"tcp\"\naddress = \"[fe80::1]\"\n\
         [[device]]\nname = \"m\"\nport = \"bus\"\ndecode = \"registers\"\nunit_id = 7\nevery = \"1min\"\n\
         timeout = \"2s\"\nretries = 3\npause = \"20ms\"\nmax_hole = 4\nmax_registers = 80\n\
         [[device.points]]\nname = \"e\"\nfunction = 4\naddress = 72\ntype = \"u32\"\nword_order = \"low-word-first\"\n\
         [[device.points]]\nname = \"c\"\nfunction = 1\naddress = { exact = 40001 }\n\
         [[device]]\nname = \"d\"\nport = \"plc\"\ndecode = \"registers\"\nunit_id = 0\nstale_after = \"20s\"\n\
         [[device.points]]\nname = \"s\"\nfunction = 3\naddress = 40000\ntype = \"u16\"\nmask = 0xff\n",
    );
    let [bus, plc] = &config.ports[..] else { panic!("{:?}", config.ports) };
    let (before, after) = (Duration::ZERO, Duration::from_millis(2));
    let rs485 = Rs485 { rts_on_send: false, delay_before: before, delay_after: after };
    assert_eq!(
        (bus.kind, bus.echo, bus.gap, bus.rs485),
        (PortKind::Serial, true, Some(after * 5 / 2), Some(rs485))
    );
    assert_eq!((bus.line_rate().baud, bus.line_rate().character_bits), (9_600, 11));
    assert_eq!((plc.kind, plc.path.as_str()), (PortKind::Tcp, "[fe80::1]:502"));
    let [meter, direct] = &config.devices[..] else { panic!("{:?}", config.devices) };
    let poll = PollConfig {
        every: Duration::from_secs(60),
        timeout: Duration::from_secs(2),
        retries: 3,
        pause: Duration::from_millis(20),
        ask: Ask::Registers { unit_id: 7, hole_max: 4, registers_max: 80 },
    };
    assert_eq!(meter.poll.as_ref(), Some(&poll));
    assert_eq!(meter.stale_after, Duration::from_secs(180), "three cycles");
    assert_eq!(direct.stale_after, Duration::from_secs(20), "as it is written");
    let Points::List(points) = &meter.points else { panic!("{:?}", meter.points) };
    let register = |function, address| Some(Register { function, address });
    assert_eq!(points[0].register, register(ReadFunction::InputRegisters, 72));
    assert_eq!(points[0].cell.unwrap().word_order, WordOrder::LowFirst);
    assert_eq!(
        (points[1].register, points[1].kind),
        (register(ReadFunction::Coils, 40_001), PointType::Bool)
    );
    let Points::List(points) = &direct.points else { panic!("{:?}", direct.points) };
    assert_eq!(points[0].register, register(ReadFunction::HoldingRegisters, 40_000));
    assert_eq!(points[0].cell.unwrap().mask, Some(0xff));
    let defaults = PollConfig {
        every: Duration::from_secs(10),
        timeout: Duration::from_millis(500),
        retries: 1,
        pause: Duration::ZERO,
        ask: Ask::Registers { unit_id: 0, hole_max: 0, registers_max: 60 },
    };
    assert_eq!(direct.poll.as_ref(), Some(&defaults));
}

#[test]
fn what_a_device_can_be_told_is_as_the_config_says() {
    let config = good(
        "[[port]]\nname = \"bus\"\npath = \"/dev/b\"\n[[port]]\nname = \"tty\"\npath = \"/dev/t\"\n\
         [[device]]\nname = \"m\"\nport = \"bus\"\ndecode = \"registers\"\nunit_id = 7\n\
         [[device.points]]\nname = \"a\"\nfunction = 3\naddress = 1\ntype = \"u16\"\nwritable = true\n\
         [[device.points]]\nname = \"b\"\nfunction = 1\naddress = 1\nwritable = true\nwrite_function = 15\n\
         verify_write = false\n\
         [[device.points]]\nname = \"c\"\nfunction = 4\naddress = 1\ntype = \"u16\"\n\
         [[device]]\nname = \"h\"\nport = \"tty\"\ndecode = \"key-value\"\npoints = \"*\"\n\
         [[device.commands]]\nname = \"x\"\nscale = 0.1\nmin = 5\nmax = 30\nsend = \"S{value:03}\\r\"\n\
         expect = \"^OK\"\ntimeout = \"2s\"\n\
         [[device.commands]]\nname = \"y\"\ntype = \"bool\"\nmap = { 160 = true, 0 = false }\n\
         send_hex = \"ff 01 79 {value:u8} 00 00 00 00\"\ncheck = { kind = \"sum8-neg\", over = [1, 8] }\n\
         expect_hex = \"ff 79\"\n\
         [[device]]\nname = \"o\"\nport = \"tty\"\ndecode = \"json\"\npoints = \"*\"\n",
    );
    let [meter, heater, other] = &config.devices[..] else { panic!("{:?}", config.devices) };
    let Points::List(points) = &meter.points else { panic!("{:?}", meter.points) };
    let writes: Vec<Option<WriteConfig>> = points.iter().map(|point| point.write).collect();
    let plain = WriteConfig { by_several: false, verify: true };
    let several = WriteConfig { by_several: true, verify: false };
    assert_eq!(writes, [Some(plain), Some(several), None]);
    let [x, y] = &heater.commands[..] else { panic!("{:?}", heater.commands) };
    assert_eq!((&*x.value.name, x.value.min, x.value.max), ("x", Some(5.0), Some(30.0)));
    assert_eq!((x.value.scale.to_string(), x.timeout, x.check), ("0.1".into(), Duration::from_secs(2), None));
    assert_eq!(x.send, SendTemplate::text("S{value:03}\r").unwrap());
    assert!(matches!(&x.expect, Some(Expect::Line(regex)) if regex.0.as_str() == "^OK"), "{:?}", x.expect);
    assert_eq!((y.value.kind, y.value.map.len(), y.timeout), (PointType::Bool, 2, Duration::from_secs(1)));
    let check = y.check.unwrap();
    assert_eq!((check.kind, check.from, check.to, check.at), (CheckKind::Sum8Neg, 1, Some(8), -1));
    assert!(matches!(&y.expect, Some(Expect::Bytes(bytes)) if *bytes == [0xff, 0x79]), "{:?}", y.expect);
    assert!(other.commands.is_empty() && !other.takes_commands());
    let commanded: Vec<&str> = config.broker.commands.iter().map(|name| &**name).collect();
    assert_eq!(commanded, ["m", "h"]);
}

#[test]
fn meters_are_asked_as_the_config_says() {
    use fieldgate::sensor::{MbusAddress, MeterAsk};
    let port = |name: &str| format!("[[port]]\nname = \"{name}\"\npath = \"/dev/{name}\"\n");
    let device = |name: &str, port: &str, more: &str| {
        format!("[[device]]\nname = \"{name}\"\nport = \"{port}\"\npoints = \"*\"\n{more}\n")
    };
    let iec = |more: &str| format!("decode = \"iec62056-21\"\n{more}");
    let mbus = |more: &str| format!("decode = \"mbus\"\npoll = {{ {more} }}");
    let text = port("a")
        + &port("b")
        + &port("c")
        + &device("m1", "a", &iec("poll = { address = 12345678, baud_max = 4800, wake_up = true }"))
        + &device("m2", "b", &iec("poll = {}\nevery = \"1h\"\ntimeout = \"3s\""))
        + &device("s1", "c", &mbus("address = 5"))
        + &device(
            "s2",
            "c",
            &mbus("address = \"1234FFFF\", manufacturer = \"KAM\", version = 1, medium = 4"),
        );
    let config = good(&text);
    let polls: Vec<PollConfig> = config.devices.iter().map(|device| device.poll.clone().unwrap()).collect();
    let (quarter, seconds) = (Duration::from_secs(900), Duration::from_secs);
    let meter = |address: &str, baud_max, wake_up| {
        Ask::Meter(MeterAsk { address: address.to_owned(), baud_max, wake_up })
    };
    // KAM: 11, 1 and 13 in five bits each.
    let second = MbusAddress::Secondary([0xff, 0xff, 0x34, 0x12, 0x2d, 0x2c, 1, 4]);
    let expected = [
        (quarter, Duration::from_millis(2_500), meter("12345678", 4_800, true)),
        (seconds(3_600), seconds(3), meter("", 19_200, false)),
        (quarter, Duration::from_millis(500), Ask::Mbus(MbusAddress::Primary(5))),
        (quarter, Duration::from_millis(500), Ask::Mbus(second)),
    ];
    for (poll, (every, timeout, ask)) in polls.into_iter().zip(expected) {
        assert_eq!((poll.every, poll.timeout, poll.ask), (every, timeout, ask));
    }
    assert_eq!(config.devices[0].stale_after, quarter * 3);
    let profile =
        good(&(port("a") + "[[device]]\nname = \"d\"\nport = \"a\"\nprofile = \"iec62056-21-meter\"\n"));
    assert_eq!((profile.ports[0].baud, profile.ports[0].data_bits.count()), (300, 7));
}

#[test]
fn a_satellite_receiver_tells_the_time_as_the_config_says() {
    let gps = "[[port]]\nname = \"p\"\npath = \"/dev/p\"\n[[device]]\nname = \"gps\"\nport = \"p\"\nprofile = \"nmea-gps\"\n";
    let gnss = |text: &str| good(&(gps.to_owned() + text)).time.gnss;
    assert_eq!(gnss(""), None);
    let least = gnss("[time.gnss]\ndevice = \"gps\"\n").unwrap();
    assert_eq!((&*least.device, &*least.port), ("gps", "p"));
    assert_eq!(
        (least.latency, least.hold, least.is_preferred),
        (Duration::ZERO, Duration::from_secs(14_400), false)
    );
    let all =
        gnss("[time]\ngnss = { device = \"gps\", latency = \"150ms\", hold = \"1h\", prefer = \"gnss\" }\n")
            .unwrap();
    assert_eq!(
        (all.latency, all.hold, all.is_preferred),
        (Duration::from_millis(150), Duration::from_secs(3_600), true)
    );
}

/// A config with a device `d` that says this of its publishing, and has these points.
fn published(all: &str, own: &str, points: &str) -> (Publishing, Config) {
    let text = format!(
        "{all}\n[[port]]\nname = \"p\"\npath = \"/dev/a\"\n[[device]]\nname = \"d\"\nport = \"p\"\ndecode = \"json\"\n\
         publish = {{ {own} }}\npoints = {points}\n"
    );
    let config = good(&text);
    (config.publish.devices[0].clone(), config)
}

#[test]
fn each_reading_is_published_as_json_unless_something_else_is_said() {
    let (own, config) = published("", "", "\"*\"");
    let expected = Publishing {
        filter: FilterConfig { tell_stale: true, ..FilterConfig::default() },
        ..Publishing::default()
    };
    assert_eq!((&own, &config.publish.defaults), (&expected, &expected));
    assert_eq!(config.publish.home_assistant, None);
}

#[test]
fn a_device_takes_from_publish_what_it_does_not_say_itself() {
    let all = "[publish]\npayload = \"plain\"\nretain = true\nmin_interval = \"2s\"\nstale_reading = false";
    let (own, config) =
        published(all, "payload = \"influx\", max_interval = \"1h\", deadband = \"2 %\"", "\"*\"");
    assert_eq!((config.publish.defaults.split, own.split), (true, false), "plain is for one point");
    assert_eq!((own.form.format(), own.retain), (&Format::Influx, true));
    let expected = FilterConfig {
        on_change: true,
        deadband: Some(Deadband::Percent(2.0)),
        min_interval: Some(Duration::from_secs(2)),
        max_interval: Some(Duration::from_secs(3_600)),
        ..FilterConfig::default()
    };
    assert_eq!(own.filter, expected);
    let defaults = &config.publish.defaults.filter;
    assert_eq!((defaults.on_change, defaults.min_interval), (false, expected.min_interval));
}

#[test]
fn a_deadband_anywhere_means_that_changes_count() {
    let points = "[{ name = \"t\", deadband = 0.5 }, { name = \"h\" }]";
    let (own, _) = published("", "", points);
    assert!(own.filter.on_change);
    assert_eq!(own.filter.deadbands.get("t"), Some(&Deadband::Absolute(0.5)));
    assert_eq!((own.filter.deadbands.len(), own.filter.deadband), (1, None));
    let (own, _) = published("[publish]\ndeadband = 1", "", "\"*\"");
    assert!(own.filter.on_change);
    let (own, _) = published("[publish]\ndeadband = 1", "on_change = false", "\"*\"");
    assert!(!own.filter.on_change);
}

#[test]
fn windows_templates_and_home_assistant_arrive() {
    let all = "[publish]\nwindow = \"1min\"\n[home_assistant]\nenabled = true\nprefix = \"ha\"";
    let own = "mode = \"all\", payload = { template = '{device} {value.t_mean}', content_type = \"text/x\" }";
    let (own, config) = published(all, own, "[{ name = \"t\" }]");
    assert_eq!(own.filter.window, Some((Duration::from_secs(60), Statistic::All)));
    let template = Template::parse("{device} {value.t_mean}", "text/x").unwrap();
    assert_eq!(own.form.format(), &Format::Template(template.into()));
    assert_eq!(config.publish.defaults.filter.window, None);
    assert_eq!(config.publish.home_assistant.as_deref(), Some("ha"));
    let map = "[[upstream]]\nhost = \"h\"\n[[upstream.map]]\nfilter = \"a\"\npayload = \"senml-cbor\"";
    assert_eq!(good(map).upstreams[0].maps[0].form, Some(Form::new(Format::SenmlCbor)));
}

#[test]
fn gpio_lines_take_what_they_are_told() {
    use fieldgate::gpio::{
        BackendName, Bias, CounterConfig, EdgeKind, GpioConfig, LineName, Mode, OutputConfig, Startup,
    };
    let config = good(
        r#"
[[gpio]]
name = "water"
line = "GPIO17"
mode = "counter"

[[gpio]]
name = "gas"
line = { chip = "pinctrl-bcm2711", offset = 4 }
backend = "rppal"
active_low = true
bias = "pull-up"
debounce = "30ms"
every = "10s"
[gpio.mode]
kind = "counter"
edge = "falling"
per_pulse = 0.01
unit = "m3"
rate_per = "min"
timeout = "1min"
persist_every = "5s"

[[gpio]]
name = "fan"
line = "GPIO5"
backend = "gpiocdev"
mode = { kind = "frequency", scale = 30, unit = "1/min" }

[[gpio]]
name = "pump"
line = "GPIO6"
backend = "sim"
mode = { kind = "output", startup = "last", on_exit = "keep", max_on = "1h", interlock = ["valve"] }

[[gpio]]
name = "valve"
line = "GPIO7"
bias = "disabled"
mode = { kind = "output", startup = "keep", on_exit = "on", on_disconnect = { state = "on", after = "5s" } }

[[gpio]]
name = "door"
line = "GPIO8"
bias = "pull-down"
mode = "input"

[[upstream]]
host = "broker.example"
"#,
    );
    let water = GpioConfig {
        name: "water".into(),
        line: LineName::Name("GPIO17".into()),
        backend: BackendName::Auto,
        active_low: false,
        bias: Bias::AsIs,
        debounce: Duration::ZERO,
        every: Duration::from_secs(30),
        unit: None,
        mode: Mode::Counter(CounterConfig {
            edge: EdgeKind::Rising,
            per_pulse: "1".parse().unwrap(),
            rate_per: Duration::from_secs(3_600),
            timeout: Duration::from_secs(300),
            persist_every: Duration::from_secs(60),
        }),
    };
    let gas = GpioConfig {
        name: "gas".into(),
        line: LineName::At { chip: "pinctrl-bcm2711".into(), offset: 4 },
        backend: BackendName::Rppal,
        active_low: true,
        bias: Bias::PullUp,
        debounce: Duration::from_millis(30),
        every: Duration::from_secs(10),
        unit: Some("m3".into()),
        mode: Mode::Counter(CounterConfig {
            edge: EdgeKind::Falling,
            per_pulse: "0.01".parse().unwrap(),
            rate_per: Duration::from_secs(60),
            timeout: Duration::from_secs(60),
            persist_every: Duration::from_secs(5),
        }),
    };
    assert_eq!(config.gpio[..2], [water, gas]);
    let frequency = Mode::Frequency {
        edge: EdgeKind::Rising,
        scale: "30".parse().unwrap(),
        timeout: Duration::from_secs(10),
    };
    assert_eq!((&config.gpio[2].mode, config.gpio[2].backend), (&frequency, BackendName::Gpiocdev));
    assert_eq!(config.gpio[2].unit.as_deref(), Some("1/min"));
    let pump = OutputConfig {
        startup: Startup::Last,
        on_exit: None,
        on_disconnect: None,
        max_on: Some(Duration::from_secs(3_600)),
        interlock: vec!["valve".into()],
    };
    let valve = OutputConfig {
        startup: Startup::Keep,
        on_exit: Some(true),
        on_disconnect: Some((true, Duration::from_secs(5))),
        max_on: None,
        interlock: vec![],
    };
    assert_eq!((&config.gpio[3].mode, config.gpio[3].backend), (&Mode::Output(pump), BackendName::Sim));
    assert_eq!((&config.gpio[4].mode, config.gpio[4].bias), (&Mode::Output(valve), Bias::Disabled));
    assert_eq!(
        (&config.gpio[5].mode, config.gpio[5].bias),
        (&Mode::Input { edge: EdgeKind::Both }, Bias::PullDown)
    );
    let commands: Vec<&str> = config.broker.commands.iter().map(|name| &**name).collect();
    assert_eq!(commands, ["water", "gas", "pump", "valve"], "what takes commands");
}

#[test]
fn a_program_and_files_have_their_defaults_and_their_values() {
    let config = good(
        r#"
[[exec]]
name = "inverter"
command = ["/bin/inverter", "--json"]
[[exec]]
name = "other"
command = ["/bin/other"]
user = "nobody"
cwd = "/srv"
env = { A = "x", B = 1.50, C = true }
[[device]]
name = "roof"
port = "inverter"
decode = "json"
points = "*"
[[file]]
name = "cellar"
path = "/sys/bus/w1/devices/28-*/temperature"
[[file]]
name = "air"
path = "/sys/*/b?/x"
device = "room-{2}"
every = "1s"
timeout = "20ms"
pattern = 't=(?<value>\d+)'
point = "temperature"
scale = "0.001"
offset = -1
precision = 1
unit = "Cel"
invalid = [85000]
min = -1
max = 2
stale_after = "3s"
[[file]]
name = "known"
profile = "ds18b20"
every = "1min"
"#,
    );
    let [inverter, other] = config.execs.as_slice() else { panic!("{:?}", config.execs) };
    assert_eq!(inverter.command, ["/bin/inverter", "--json"]);
    assert_eq!((&inverter.user, &inverter.cwd, inverter.env.len()), (&None, &None, 0));
    assert_eq!((other.user.as_deref(), other.cwd.as_deref()), (Some("nobody"), Some(Path::new("/srv"))));
    let env: Vec<(&str, &str)> =
        other.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "x"), ("B", "1.50"), ("C", "true")]);
    assert_eq!(&*config.devices[0].port, "inverter");

    let [cellar, air, known] = config.files.as_slice() else { panic!("{:?}", config.files) };
    assert_eq!((&*cellar.name, cellar.device.as_str()), ("cellar", "cellar-{1}"));
    assert_eq!((cellar.every, cellar.timeout), (Duration::from_secs(10), Duration::from_secs(5)));
    assert_eq!((&*cellar.point.name, cellar.stale_after), ("value", Duration::from_secs(60)));
    assert_eq!(cellar.pattern.0.as_str(), r"(?<value>\S+)");
    assert_eq!((air.device.as_str(), air.pattern.0.as_str()), ("room-{2}", r"t=(?<value>\d+)"));
    assert_eq!((air.every, air.timeout), (Duration::from_secs(1), Duration::from_millis(20)));
    assert_eq!((&*air.point.name, air.point.unit.as_deref()), ("temperature", Some("Cel")));
    assert_eq!((air.point.scale.to_string().as_str(), air.point.offset), ("0.001", (-1).into()));
    assert_eq!((air.point.precision, air.point.min, air.point.max), (Some(1), Some(-1.0), Some(2.0)));
    assert_eq!(air.point.invalid, [RawValue::Number(85_000.into())]);
    assert_eq!(air.stale_after, Duration::from_secs(3));
    assert_eq!(known.path, "/sys/bus/w1/devices/28-*/temperature");
    assert_eq!((known.every, known.stale_after), (Duration::from_secs(60), Duration::from_secs(180)));
    assert_eq!((&*known.point.name, known.point.invalid.len()), ("temperature", 2));
}

#[test]
fn a_port_is_found_by_its_adapter_or_by_a_pattern() {
    let config = good(
        r#"
[[port]]
name = "a"
usb = { serial = "A50285BI" }
[[port]]
name = "b"
usb = { vid_pid = "0403:6001", interface = 0 }
[[port]]
name = "c"
path = "/dev/serial/by-id/usb-FTDI_*"
"#,
    );
    let [a, b, c] = config.ports.as_slice() else { panic!("{:?}", config.ports) };
    let serial = UsbMatch { serial: Some("A50285BI".into()), ..UsbMatch::default() };
    assert_eq!((a.usb.as_ref(), a.path.as_str()), (Some(&serial), "usb serial A50285BI"));
    let kind = UsbMatch { serial: None, vid_pid: Some("0403:6001".into()), interface: Some(0) };
    assert_eq!((b.usb.as_ref(), b.path.as_str()), (Some(&kind), "usb 0403:6001 interface 0"));
    assert_eq!((&c.usb, c.path.as_str()), (&None, "/dev/serial/by-id/usb-FTDI_*"));
}
