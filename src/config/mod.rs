//! The config file: text to a complete, checked [`Config`], or the full list of [`Mistake`]s. Pure: reading the
//! files and the secrets is the shell's business.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::mqtt::Version;
use crate::secret::SecretRef;
use crate::{bridge, sensor};

mod acl;
mod broker;
mod cell;
mod changes;
mod codec;
mod command;
mod decimal;
pub mod describe;
mod device;
pub mod diff;
mod discovery;
pub(crate) mod duration;
pub mod edit;
mod exec;
mod file;
mod framing;
mod gateway;
mod gpio;
mod listener;
mod listener_access;
mod listener_tls;
mod locate;
pub mod log;
mod map;
mod meter;
mod mistake;
pub mod named_files;
mod names;
mod pattern;
mod point;
mod poll;
mod port;
pub mod profile;
pub mod provision;
mod publish;
mod reach;
pub mod reload;
mod render;
mod scalars;
pub mod schema;
mod secret;
mod section;
mod size;
mod stream;
pub(crate) mod suggest;
mod template;
mod text;
mod upstream;
mod upstream_tls;
mod value;
mod walk;
mod web;

pub use changes::Changes;
pub use discovery::Discovery;
pub(crate) use listener::{ANY_PATH, is_origin};
pub use listener::{Bind, Listener, WebSocket};
pub use listener_access::{OwnAccess, OwnRules, OwnUsers};
pub use listener_tls::{CertificateName, ClientCertificate, CrlExpired, ListenerTls, TlsVersion};
pub use locate::path_of;
pub use log::{Log, LogFile, LogFormat, LogLevel, LogSyslog, LogTime, LogTo};
pub use mistake::Mistake;
pub use publish::Publish;
pub use reach::{Address, BindTo, Proxy, ProxyKind, Reach};
pub use render::render;
pub use stream::Stream;
pub use web::Web;

use mistake::Mistakes;
use section::Section;

/// Everything that the files say, with the defaults filled in.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[time]`
    pub time: Time,
    /// `[log]`
    pub log: Log,
    /// `[health]`
    pub health: Health,
    /// `[web]`
    pub web: Web,
    /// `[discovery]`
    pub discovery: Discovery,
    /// `[buffer]`
    pub buffer: Buffer,
    /// `[[port]]`
    pub ports: Vec<sensor::PortConfig>,
    /// `[[device]]`
    pub devices: Vec<sensor::DeviceConfig>,
    /// `[publish]`, `publish` of each device, `[home_assistant]`
    pub publish: Publish,
    /// `[[gpio]]`
    pub gpio: Vec<crate::gpio::GpioConfig>,
    /// `[[exec]]`
    pub execs: Vec<sensor::ExecConfig>,
    /// `[[file]]`
    pub files: Vec<sensor::FileConfig>,
    /// `[broker]`: limits; its `listeners` and `forward` are filled from the tables below.
    pub broker: crate::broker::Config,
    /// `[[broker.listener]]`, in the order of `broker.listeners`; without any, 127.0.0.1:1883.
    pub listeners: Vec<Listener>,
    /// `[[broker.user]]`
    pub users: Vec<User>,
    /// `broker.password_file`: more users, in Mosquitto's format.
    pub password_file: Option<PathBuf>,
    /// `broker.acl_file`: more rules than those in `broker.acl`, in Mosquitto's format.
    pub acl_file: Option<PathBuf>,
    /// Users and rules of listeners that have their own.
    pub own_access: Vec<OwnAccess>,
    /// `[[upstream]]`
    pub upstreams: Vec<Upstream>,
    /// `[config]`
    pub changes: Changes,
    /// What all of this was made from, key by key.
    pub settings: reload::Settings,
}

impl Config {
    /// The devices on a port, or of a program.
    #[must_use]
    pub fn devices_of(&self, source: &str) -> Vec<sensor::DeviceConfig> {
        self.devices.iter().filter(|device| *device.port == *source).cloned().collect()
    }
}

/// `[gateway]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Stands in topics and client ids. Default: made from the machine's id, so that a cloned card gets its own.
    pub id: String,
    /// Free text for people. Default none.
    pub site: Option<String>,
    /// `base_topic`, default `fieldgate/<id>`.
    pub base_topic: Arc<str>,
    /// Where the store is. Default /var/lib/fieldgate.
    pub data_dir: PathBuf,
    /// The control socket. Default /run/fieldgate/control.sock.
    pub control_socket: PathBuf,
    /// Holds the number of the running process. Default none.
    pub pid_file: Option<PathBuf>,
}

/// `[time]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// `trust = "auto"` (default): the kernel's sync status; `"always"`: the clock is right, whatever the kernel
    /// says (a board with its own good RTC).
    pub trust: TimeTrust,
    /// A satellite receiver that vouches for the time where the kernel doesn't.
    pub gnss: Option<TimeGnss>,
}

/// `[time.gnss]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeGnss {
    /// Its device.
    pub device: Arc<str>,
    /// That device's port.
    pub port: Arc<str>,
    /// From the moment that a sentence tells to its end on the line. Default 0.
    pub latency: Duration,
    /// How long it is believed after its last word. Default 4 h.
    pub hold: Duration,
    /// Its word goes before the kernel's. Default false.
    pub is_preferred: bool,
}

/// Who vouches for the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "see Time::trust")]
pub enum TimeTrust {
    #[default]
    Auto,
    Always,
}

/// `[health]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// How often `<base>/health` is published. Default 30 s.
    pub every: Duration,
}

/// What goes when an outbox is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FullRule {
    /// The oldest messages.
    #[default]
    DropOldest,
    /// The new ones; a publisher with QoS 1 or 2 is told, or gets no acknowledgement.
    Refuse,
}

/// `[buffer]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Bytes that one upstream's outbox may take on disk. Default 256 MiB, or a quarter of the disk that is free when
    /// the outbox is made, if that is less.
    pub max_size: Option<u64>,
    /// Records that were written longer ago are dropped.
    pub max_age: Option<Duration>,
    /// Records that may wait in one outbox.
    pub max_records: Option<u64>,
    /// What goes when an outbox is full.
    pub full: FullRule,
    /// Bytes of the disk that are left free. Default 64 MiB, or a twentieth of a small disk.
    pub reserve: Option<u64>,
    /// Readings are on disk at most this long after they were taken, while nothing waits for an acknowledgement.
    /// Default 1 s; 10 s is kinder to flash.
    pub commit_interval: Duration,
    /// Bytes kept in memory per upstream. Default 4 MiB.
    pub memory: usize,
}

/// `[[broker.user]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The MQTT user name.
    pub name: String,
    /// Where the password is.
    pub password: SecretRef,
}

/// `[[upstream]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Unique. Default: the host.
    pub name: Arc<str>,
    /// Host name or address.
    pub host: String,
    /// Default 1883, with TLS 8883.
    pub port: u16,
    /// More addresses, and the way there.
    pub reach: Reach,
    /// Default automatic.
    pub start: bridge::Start,
    /// TLS, if any.
    pub tls: Option<UpstreamTls>,
    /// Default `<gateway id>`.
    pub client_id: String,
    /// 3.1.1 or 5.0.
    pub version: Version,
    /// MQTT user name.
    pub user_name: Option<String>,
    /// MQTT password.
    pub password: Option<SecretRef>,
    /// Default 30 s.
    pub keep_alive: Duration,
    /// Default 20.
    pub inflight_max: u16,
    /// Default 64.
    pub topic_alias_max: u16,
    /// Default 1 s.
    pub backoff_min: Duration,
    /// Default 60 s.
    pub backoff_max: Duration,
    /// Default 30 s.
    pub ack_timeout: Duration,
    /// Default false.
    pub clean_session: bool,
    /// Default 1 h.
    pub session_expiry: Duration,
    /// Default true.
    pub watch_status: bool,
    /// Default none.
    pub notification_topic: Option<Arc<str>>,
    /// Default true.
    pub receipts: bool,
    /// Default none.
    pub health_every: Option<Duration>,
    /// Default none.
    pub bytes_per_day_max: Option<u64>,
    /// Default oldest first.
    pub drain: bridge::DrainOrder,
    /// Default 50.
    pub live_share: u8,
    /// Default none.
    pub drain_messages_max: Option<u32>,
    /// Default none.
    pub drain_bytes_max: Option<u32>,
    /// `[[upstream.stream]]`, beside the default one.
    pub streams: Vec<Stream>,
    /// `[[upstream.map]]`; without any, `<base>/data/#` as it is, QoS 1.
    pub maps: Vec<bridge::Mapping>,
}

/// `tls` of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM file of the CA that signed the upstream's certificate; without it the system's roots.
    pub ca: Option<PathBuf>,
    /// The name in the certificate, if it isn't `host`.
    pub server_name: Option<String>,
    /// Our certificate chain, PEM.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// TLS 1.3 only.
    pub only_13: bool,
    /// Protocols offered in the handshake.
    pub alpn: Vec<String>,
    /// SHA-256 of the public keys that the upstream may have.
    pub pins: Vec<[u8; 32]>,
}

/// What the shell knows and the text doesn't.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The gateway id if the config names none.
    pub default_id: String,
    /// This machine's name in the network.
    pub host_name: Option<String>,
    /// Tells this machine from others, and stays the same: eight hexadecimal digits.
    pub machine: Option<String>,
}

/// One file's name and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// As the user named it.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// Reads the main file and those of `conf.d`, in order. Lists (`[[port]]`, …) add up; a key that stands in two
/// files is a mistake.
///
/// # Errors
/// All mistakes, in the order of files and lines. Where a file isn't TOML: its syntax errors, and what else can be
/// said for certain.
pub fn parse(sources: &[Source], facts: &Facts) -> Result<Config, Vec<Mistake>> {
    parse_with(sources, &[], facts)
}

/// As [`parse`], with the user's own device profiles: one file each.
///
/// # Errors
/// As `parse`; mistakes in a profile that a device uses stand in that profile's file.
pub fn parse_with(sources: &[Source], profiles: &[Source], facts: &Facts) -> Result<Config, Vec<Mistake>> {
    parse_amended(sources, profiles, facts, |_| {})
}

/// The same, with other values in the places of some that were read.
fn parse_amended(
    sources: &[Source],
    profiles: &[Source],
    facts: &Facts,
    amend: impl FnOnce(&mut Section),
) -> Result<Config, Vec<Mistake>> {
    let library = profile::profiles(profiles);
    let all: Vec<Source> =
        sources.iter().chain(library.iter().map(|profile| &profile.source)).cloned().collect();
    let mut mistakes = Mistakes::new(&all);
    if let Some(mut root) = walk::read(sources, &library, &mut mistakes) {
        amend(&mut root);
        let config = settings(&root, &library, facts, &mut mistakes);
        if mistakes.is_empty() {
            return Ok(config);
        }
    }
    Err(mistakes.into_sorted())
}

/// Where the files say that the control socket is, whatever else is wrong with them: a gateway that runs must be
/// reached with a broken config too.
#[must_use]
pub fn control_socket(sources: &[Source]) -> Option<PathBuf> {
    gateway_path(sources, "control_socket")
}

/// Where the files say that the gateway keeps its things, whatever else is wrong with them.
#[must_use]
pub fn data_dir(sources: &[Source]) -> Option<PathBuf> {
    gateway_path(sources, "data_dir")
}

/// Where the files say that the page is, whatever else is wrong with them.
#[must_use]
pub fn web_address(sources: &[Source]) -> String {
    text_of(sources, "web", "bind").unwrap_or_else(|| web::ANYWHERE.to_string())
}

fn gateway_path(sources: &[Source], key: &str) -> Option<PathBuf> {
    text_of(sources, "gateway", key).map(PathBuf::from)
}

fn text_of(sources: &[Source], section: &str, key: &str) -> Option<String> {
    sources.iter().find_map(|source| {
        let (document, _) = toml::de::DeTable::parse_recoverable(&source.text);
        let section = document.get_ref().get(section)?.get_ref().as_table()?;
        Some(section.get(key)?.get_ref().as_str()?.to_owned())
    })
}

/// What the sections mean. Complete only if no mistake was noted.
fn settings(
    root: &Section,
    library: &[profile::Profile],
    facts: &Facts,
    mistakes: &mut Mistakes<'_>,
) -> Config {
    let absent = Section::new(&schema::ROOT, root.span);
    let table = |key: &str| root.table(key).unwrap_or(&absent);
    let gateway = gateway::gateway(table("gateway"), facts, mistakes);
    // Whoever mistyped the tables of ports isn't told of each device that its port is missing.
    let ports = (!root.is_mistaken("port") && !root.is_mistaken("exec"))
        .then(|| [root.tables("port"), root.tables("exec")].concat());
    let own_access = listener_access::own_access(table("broker"), mistakes);
    let upstreams = {
        let names = template::Names { gateway: &gateway, facts };
        upstream::upstreams(root.tables("upstream"), names, mistakes)
    };
    let (mut broker, listeners, users) = broker::broker(table("broker"), &gateway.base_topic, mistakes);
    broker.forward = upstream::forward(&upstreams);
    broker.own_rules = own_access
        .iter()
        .filter_map(|own| Some((own.listener.clone(), own.rules.as_ref()?.acl.clone())))
        .collect();
    let gpio = gpio::gpio(root.tables("gpio"), root.tables("device"), !upstreams.is_empty(), mistakes);
    let devices = device::devices(root.tables("device"), ports.as_deref(), mistakes);
    let outputs = gpio.iter().filter(|line| line.mode.takes_commands());
    broker.commands = outputs.map(|line| line.name.clone()).chain(command::names(&devices)).collect();
    let changes = changes::changes(table("config"), table("broker"), &upstreams, mistakes);
    broker.config_requests = changes.mqtt;
    broker.acl = Arc::new(acl::acl(table("broker").tables("acl"), mistakes));
    let path = |key: &str| table("broker").text(key).map(PathBuf::from);
    let others = [("[[port]]", root.tables("port")), ("[[exec]]", root.tables("exec"))];
    Config {
        time: gateway::time(table("time"), &devices, root.tables("port"), mistakes),
        log: log::log(table("log"), mistakes),
        health: gateway::health(table("health")),
        web: web::web(table("web"), mistakes),
        discovery: discovery::discovery(table("discovery")),
        buffer: gateway::buffer(table("buffer"), mistakes),
        ports: port::ports(root.tables("port"), mistakes),
        devices,
        execs: exec::execs(root.tables("exec"), root.tables("port"), mistakes),
        files: file::files(root.tables("file"), root.tables("device"), others, mistakes),
        publish: publish::publish(
            table("publish"),
            root.tables("device"),
            root.tables("gpio"),
            table("home_assistant"),
            library,
            mistakes,
        ),
        gpio,
        password_file: path("password_file"),
        acl_file: path("acl_file"),
        own_access,
        gateway,
        broker,
        listeners,
        users,
        upstreams,
        changes,
        settings: reload::Settings(root.clone()),
    }
}
