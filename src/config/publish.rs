//! `[publish]`, `[device.publish]` and `[home_assistant]`: what of the readings is published when, and in which form.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::mistake::{Mistakes, Span, quoted};
use super::profile::Profile;
use super::schema::Effect::Live;
use super::schema::{Kind, Table, computed, duration, key, optional, required};
use super::section::{Section, Value};
use super::suggest::nearest;
use crate::filter::{Deadband, FilterConfig, SUFFIXES, Statistic};
use crate::ingest::Publishing;
use crate::payload::{Form, Format, Template};

/// What is published of the devices.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Of devices that say nothing else.
    pub defaults: Publishing,
    /// Of each `[[device]]`, in their order.
    pub devices: Vec<Publishing>,
    /// The profile of each, with its maker.
    pub profiles: Vec<Option<(String, String)>>,
    /// Of each `[[gpio]]`, in their order.
    pub lines: Vec<Publishing>,
    /// The topic prefix of Home Assistant's discovery. Default none: devices are not announced.
    pub home_assistant: Option<String>,
}

const PAYLOAD: Kind = Kind::OneOf(&[
    Kind::Words(&["json", "plain", "senml-json", "senml-cbor", "influx"]),
    Kind::Table(&TEMPLATE),
]);
/// How far a number must go to be another one.
pub(super) const DEADBAND: Kind = Kind::OneOf(&[Kind::Number, Kind::Text { bytes_max: 16 }]);
const MODE: Kind = Kind::Words(&["each", "last", "mean", "min", "max", "all"]);
const INTERVAL: Kind = duration(10, 30 * 86_400_000);
const WINDOW: Kind = duration(100, 86_400_000);

const PAYLOAD_DOC: &str = "\"json\", \"plain\" (a topic per point), \"senml-json\", \"senml-cbor\", \"influx\", or { template = \"…\" }.";
const SPLIT_DOC: &str = "A message for each point, on <base>/data/<device>/<point>; \"plain\" always is so.";
const RETAIN_DOC: &str = "Whether the last message stays for whoever subscribes later.";
const CHANGE_DOC: &str = "Only readings in which something has changed; a deadband implies it.";
const DEADBAND_DOC: &str = "How far a number must go to have changed, in its unit or as \"2 %\" of itself.";
const MIN_DOC: &str = "The shortest time between two messages; the newest goes when it is over. 10ms to 30d.";
const MAX_DOC: &str = "With on_change: after this long a reading goes though nothing changed. 10ms to 30d.";
const MODE_DOC: &str = "\"each\" reading, or one for a window: its \"last\", \"mean\", \"min\" or \"max\" values, or \"all\" of them.";
const WINDOW_DOC: &str = "The length of the window; 100ms to 1d.";
const STALE_DOC: &str =
    "A device that goes stale publishes its points without values and with quality stale, once.";

/// `[publish]`
pub static PUBLISH: Table = Table {
    name: "[publish]",
    doc: "What of the readings is published, for all devices that say nothing else.",
    keys: &[
        key("payload", PAYLOAD, "\"json\"", Live, PAYLOAD_DOC),
        key("split", Kind::Bool, "false", Live, SPLIT_DOC),
        key("retain", Kind::Bool, "false", Live, RETAIN_DOC),
        key("on_change", Kind::Bool, "false", Live, CHANGE_DOC),
        optional("deadband", DEADBAND, Live, DEADBAND_DOC),
        optional("min_interval", INTERVAL, Live, MIN_DOC),
        optional("max_interval", INTERVAL, Live, MAX_DOC),
        key("mode", MODE, "\"each\"", Live, MODE_DOC),
        optional("window", WINDOW, Live, WINDOW_DOC),
        key("stale_reading", Kind::Bool, "true", Live, STALE_DOC),
    ],
};

const AS_ALL: &str = "as in [publish]";

/// `[device.publish]`
pub static DEVICE_PUBLISH: Table = Table {
    name: "[device.publish]",
    doc: "What of a device's readings is published.",
    keys: &[
        computed("payload", PAYLOAD, AS_ALL, Live, PAYLOAD_DOC),
        computed("split", Kind::Bool, AS_ALL, Live, SPLIT_DOC),
        computed("retain", Kind::Bool, AS_ALL, Live, RETAIN_DOC),
        computed("on_change", Kind::Bool, AS_ALL, Live, CHANGE_DOC),
        computed("deadband", DEADBAND, AS_ALL, Live, DEADBAND_DOC),
        computed("min_interval", INTERVAL, AS_ALL, Live, MIN_DOC),
        computed("max_interval", INTERVAL, AS_ALL, Live, MAX_DOC),
        computed("mode", MODE, AS_ALL, Live, MODE_DOC),
        computed("window", WINDOW, AS_ALL, Live, WINDOW_DOC),
        computed("stale_reading", Kind::Bool, AS_ALL, Live, STALE_DOC),
    ],
};

/// `payload = { template = "…" }`
pub static TEMPLATE: Table = Table {
    name: "[publish.payload]",
    doc: "A payload in words of one's own.",
    keys: &[
        required(
            "template",
            Kind::Raw { bytes_max: 4_096 },
            "'{device} {point}={value}'",
            Live,
            "A text with placeholders; one such as {value} makes a line for each point, {value.NAME} is of one.",
        ),
        key(
            "content_type",
            Kind::Text { bytes_max: 128 },
            "\"text/plain\"",
            Live,
            "What MQTT 5 is told that it is.",
        ),
    ],
};

/// `[home_assistant]`
pub static HOME_ASSISTANT: Table = Table {
    name: "[home_assistant]",
    doc: "Discovery: devices appear in Home Assistant by themselves.",
    keys: &[
        key("enabled", Kind::Bool, "false", Live, "Whether each point is announced, as a retained message."),
        key(
            "prefix",
            Kind::Topic,
            "\"homeassistant\"",
            Live,
            "What the topics of the announcements begin with, as Home Assistant is told it.",
        ),
    ],
};

pub(super) fn publish(
    all: &Section,
    devices: &[Section],
    lines: &[Section],
    home_assistant: &Section,
    library: &[Profile],
    mistakes: &mut Mistakes<'_>,
) -> Publish {
    let nothing = Section::new(&DEVICE_PUBLISH, all.span);
    let defaults = Both { own: &nothing, all, known: None }.publishing(&[], mistakes);
    let profile = |device: &Section| {
        let known = library.iter().find(|profile| Some(&*profile.name) == device.text("profile"))?;
        Some((known.name.clone(), known.about().maker))
    };
    let profiles = devices.iter().map(profile).collect();
    let devices = devices.iter().map(|device| {
        let own = device.table("publish").unwrap_or(&nothing);
        let publishing =
            Both { own, all, known: Some(&defaults) }.publishing(device.tables("points"), mistakes);
        check_points(own, device, &publishing, mistakes);
        publishing
    });
    let devices = devices.collect();
    let lines = lines.iter().map(|line| {
        let own = line.table("publish").unwrap_or(&nothing);
        Both { own, all, known: Some(&defaults) }.publishing(&[], mistakes)
    });
    let lines = lines.collect();
    let is_enabled = home_assistant.bool("enabled").unwrap_or(false);
    Publish {
        defaults,
        devices,
        profiles,
        lines,
        home_assistant: is_enabled.then(|| home_assistant.string("prefix")),
    }
}

/// What a device says, and what all do.
struct Both<'a> {
    own: &'a Section,
    all: &'a Section,
    /// What all do, once that is read: what is wrong with it is told once, not for each device.
    known: Option<&'a Publishing>,
}

impl<'a> Both<'a> {
    /// The table that counts for a key.
    fn place(&self, key: &str) -> &'a Section {
        if self.own.is_given(key) { self.own } else { self.all }
    }

    fn bool(&self, key: &str) -> bool {
        self.place(key).bool(key).unwrap_or(false)
    }

    fn span(&self, key: &str) -> Option<Duration> {
        self.place(key).optional_duration(key)
    }

    fn publishing(&self, points: &[Section], mistakes: &mut Mistakes<'_>) -> Publishing {
        let form = match self.known {
            Some(known) if !self.own.is_given("payload") => known.form.clone(),
            _ => form(self.place("payload"), "payload", mistakes).unwrap_or_default(),
        };
        let split = self.bool("split") || *form.format() == Format::Plain;
        Publishing { split, retain: self.bool("retain"), filter: self.filter(points, mistakes), form }
    }

    fn filter(&self, points: &[Section], mistakes: &mut Mistakes<'_>) -> FilterConfig {
        let mut deadbands = HashMap::new();
        for point in points {
            if let (Some(deadband), Some(name)) = (deadband(point, mistakes), point.text("name")) {
                deadbands.insert(Arc::from(name), deadband);
            }
        }
        let config = FilterConfig {
            on_change: self.on_change(!deadbands.is_empty(), mistakes),
            deadband: match self.known {
                Some(known) if !self.own.is_given("deadband") => known.filter.deadband,
                _ => deadband(self.place("deadband"), mistakes),
            },
            deadbands,
            min_interval: self.span("min_interval"),
            max_interval: self.span("max_interval"),
            window: self.window(mistakes),
            tell_stale: self.bool("stale_reading"),
        };
        let is_own = |key| self.own.is_given(key);
        if is_own("max_interval") && !config.on_change {
            let message = "max_interval: without on_change every reading is published anyway";
            mistakes.add_with_help(
                self.own.key_span("max_interval"),
                message,
                "add on_change = true, or a deadband",
            );
        }
        if let (Some(min), Some(max)) = (config.min_interval, config.max_interval)
            && min > max
            && (is_own("min_interval") || is_own("max_interval"))
        {
            let key = if is_own("max_interval") { "max_interval" } else { "min_interval" };
            mistakes.add(self.own.span(key), format!("{key}: min_interval is longer than max_interval"));
        }
        config
    }

    /// A deadband says that only changes count, where nothing nearer says otherwise.
    fn on_change(&self, points_have: bool, mistakes: &mut Mistakes<'_>) -> bool {
        let own_deadband = points_have || self.own.is_given("deadband");
        if self.own.is_given("on_change") {
            let on_change = self.own.bool("on_change").unwrap_or(true);
            if !on_change && own_deadband {
                let message = "on_change: a deadband has no meaning where every reading is published";
                mistakes.add(self.own.span("on_change"), message);
            }
            return on_change;
        }
        let all_deadband = self.all.is_given("deadband") && !self.all.is_given("on_change");
        own_deadband || all_deadband || self.all.bool("on_change").unwrap_or(false)
    }

    fn window(&self, mistakes: &mut Mistakes<'_>) -> Option<(Duration, Statistic)> {
        let statistic = match self.place("mode").word("mode") {
            "last" => Statistic::Last,
            "mean" => Statistic::Mean,
            "min" => Statistic::Min,
            "max" => Statistic::Max,
            "all" => Statistic::All,
            _ => {
                if self.own.is_given("window") {
                    let message = "window has no meaning with mode = \"each\"";
                    mistakes.add_with_help(
                        self.own.key_span("window"),
                        message,
                        "write mode = \"mean\", for instance",
                    );
                }
                return None;
            }
        };
        let span = self.span("window");
        let is_new = self.known.is_none() || self.own.is_given("mode");
        if span.is_none() && is_new && !self.place("window").is_mistaken("window") {
            let message = "mode: a window is needed for it";
            mistakes.add_with_help(
                self.place("mode").span("mode"),
                message,
                "add window = \"1min\", for instance",
            );
        }
        Some((span?, statistic))
    }
}

/// What a `deadband` says.
fn deadband(section: &Section, mistakes: &mut Mistakes<'_>) -> Option<Deadband> {
    let deadband = match section.value("deadband")? {
        Value::Number(number) => Deadband::Absolute(*number),
        Value::Text(text) => match percent(text) {
            Some(percent) => Deadband::Percent(percent),
            None => {
                let message = format!("deadband: {} is neither a number nor a percentage", quoted(text));
                let help = "write 0.5 for half a unit, or \"2 %\"";
                mistakes.add_with_help(section.span("deadband"), message, help);
                return None;
            }
        },
        _ => return None,
    };
    let (Deadband::Absolute(size) | Deadband::Percent(size)) = deadband;
    if size <= 0.0 {
        let message = format!("deadband: {size} is not above 0");
        mistakes.add_with_help(section.span("deadband"), message, "without a deadband any change counts");
        return None;
    }
    Some(deadband)
}

fn percent(text: &str) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// How a reading is to be written. `None`: nothing is said, or it is a mistake.
pub(super) fn form(section: &Section, key: &str, mistakes: &mut Mistakes<'_>) -> Option<Form> {
    if let Some(table) = section.table(key) {
        let text = table.text("template")?;
        let content_type = table.text("content_type").unwrap_or("text/plain");
        return match Template::parse(text, content_type) {
            Ok(template) => Some(Form::new(Format::Template(Arc::new(template)))),
            Err(error) => {
                unknown_placeholder(table.span("template"), &error.written, mistakes);
                None
            }
        };
    }
    match section.word(key) {
        "json" => Some(Form::new(Format::Json)),
        "plain" => Some(Form::new(Format::Plain)),
        "senml-json" => Some(Form::new(Format::SenmlJson)),
        "senml-cbor" => Some(Form::new(Format::SenmlCbor)),
        "influx" => Some(Form::new(Format::Influx)),
        _ => None,
    }
}

fn unknown_placeholder(span: Span, written: &str, mistakes: &mut Mistakes<'_>) {
    let words = Template::words();
    let message = format!("template: {} stands for nothing", quoted(&format!("{{{written}}}")));
    let word = written.split('.').next().unwrap_or_default();
    let help = match nearest(word, words.iter().copied()).filter(|near| *near != word) {
        Some(near) => format!("did you mean {}?", quoted(&format!("{{{near}}}"))),
        None => format!("known are {}; of one point: {{value.NAME}}", words.join(", ")),
    };
    mistakes.add_with_help(span, message, help);
}

/// Notes names that the device's own points make impossible.
fn check_points(own: &Section, device: &Section, publishing: &Publishing, mistakes: &mut Mistakes<'_>) {
    let points: Vec<&str> = device.tables("points").iter().filter_map(|point| point.text("name")).collect();
    if points.is_empty() {
        return;
    }
    if matches!(publishing.filter.window, Some((_, Statistic::All))) {
        let made = |point: &&str| {
            let base = SUFFIXES.iter().find_map(|suffix| point.strip_suffix(suffix));
            base.is_some_and(|base| points.contains(&base))
        };
        if let Some(point) = points.iter().copied().find(made) {
            let message =
                format!("mode: \"all\" makes a point {}, which the device has already", quoted(point));
            mistakes.add(own.span("mode"), message);
        }
    }
    if let (Format::Template(template), true) = (publishing.form.format(), own.is_given("payload"))
        && let Some(unknown) = template.points().find(|name| !is_point(name, &points))
    {
        let message = format!("payload: the device has no point {}", quoted(unknown));
        super::names::refers(mistakes, own.span("payload"), message, unknown, &points);
    }
}

/// Whether a reading may have a point of this name: one of the device's, or one that a window makes of it.
fn is_point(name: &str, points: &[&str]) -> bool {
    let base = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
    points.contains(&name) || base.is_some_and(|base| points.contains(&base))
}
