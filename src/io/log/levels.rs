//! Who may say how much: the names that people know, the parts of the program behind them, and levels that hold for a
//! time.

use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

use crate::config::log::EVENTS;
use crate::config::{Log, LogLevel};

/// The name of all that has no name of its own.
const DEFAULT: &str = "default";

/// Each subsystem and the modules it consists of. The same names are the keys of `[log.levels]`.
const SUBSYSTEMS: &[(&str, &[&str])] = &[
    ("broker", &["fieldgate::broker", "fieldgate::io::shard"]),
    (
        "listener",
        &[
            "fieldgate::io::listener",
            "fieldgate::io::guests",
            "fieldgate::io::greet",
            "fieldgate::io::websocket",
            "fieldgate::io::server_tls",
        ],
    ),
    (
        "access",
        &["fieldgate::auth", "fieldgate::io::pump", "fieldgate::io::passwords", "fieldgate::io::access"],
    ),
    ("bridge", &["fieldgate::bridge", "fieldgate::io::upstream", "fieldgate::io::transport"]),
    (
        "sensor",
        &[
            "fieldgate::sensor",
            "fieldgate::gpio",
            "fieldgate::io::serial",
            "fieldgate::io::gpio",
            "fieldgate::io::commands",
        ],
    ),
    ("store", &["fieldgate::store", "fieldgate::io::store_task"]),
];

/// What stands before the name of an event to make its target.
const EVENT_TARGET: &str = "fieldgate::event::";

/// The subsystem that a target belongs to.
pub(super) fn subsystem(target: &str) -> &'static str {
    if event(target).is_some() {
        return "broker";
    }
    let found = SUBSYSTEMS.iter().find(|(_, parts)| parts.iter().any(|part| target.starts_with(part)));
    found.map_or("gateway", |(name, _)| name)
}

/// The event that a target stands for.
pub(super) fn event(target: &str) -> Option<&'static str> {
    let name = target.strip_prefix(EVENT_TARGET)?;
    EVENTS.into_iter().find(|event| *event == name)
}

/// A level that was set at runtime.
#[derive(Clone, Debug)]
struct Set {
    name: &'static str,
    level: LogLevel,
    until: Option<Instant>,
}

/// All levels: those of the config, one of the command line instead of its `level`, and those set since.
#[derive(Clone, Debug)]
pub(super) struct Levels {
    default: LogLevel,
    forced: Option<LogLevel>,
    configured: Vec<(&'static str, LogLevel)>,
    events: Option<Vec<&'static str>>,
    set: Vec<Set>,
}

impl Levels {
    pub(super) fn new(config: &Log, forced: Option<LogLevel>) -> Self {
        let mut levels =
            Self { default: LogLevel::Info, forced, configured: Vec::new(), events: None, set: Vec::new() };
        levels.configure(config);
        levels
    }

    /// What the config says from now on.
    pub(super) fn configure(&mut self, config: &Log) {
        self.default = self.forced.unwrap_or(config.level);
        // Whoever forces a level at the start wants to see all of it.
        self.configured = if self.forced.is_some() { Vec::new() } else { config.levels.clone() };
        self.events.clone_from(&config.events);
    }

    /// Sets levels by name, `default` among them.
    pub(super) fn set(&mut self, wanted: &[(String, String)], until: Option<Instant>) -> Result<(), String> {
        let mut found = Vec::new();
        for (name, level) in wanted {
            let known = names().find(|known| known == name).ok_or_else(|| {
                let known: Vec<&str> = names().collect();
                format!("{name:?} is no subsystem; known: {}", known.join(", "))
            })?;
            let level = LogLevel::named(level).ok_or_else(|| {
                format!("{level:?} is no level; known: off, error, warn, info, debug, trace")
            })?;
            found.push(Set { name: known, level, until });
        }
        self.set.retain(|old| !found.iter().any(|new| new.name == old.name));
        self.set.extend(found);
        Ok(())
    }

    /// Forgets what was set.
    pub(super) fn reset(&mut self) {
        self.set.clear();
    }

    /// Forgets what was set for a time that is over; true if there was any.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.set.len();
        self.set.retain(|set| set.until.is_none_or(|until| now < until));
        self.set.len() != before
    }

    /// The level that holds for a name.
    fn level(&self, name: &str) -> LogLevel {
        if let Some(set) = self.set.iter().find(|set| set.name == name) {
            return set.level;
        }
        if let Some(event) = EVENTS.into_iter().find(|event| *event == name) {
            let told = match &self.events {
                Some(events) => events.contains(&event),
                None => event == "connection" && self.level("broker") >= LogLevel::Info,
            };
            return if told { LogLevel::Info } else { LogLevel::Off };
        }
        let was_set = self.set.iter().find(|set| set.name == DEFAULT).map(|set| set.level);
        let configured = self.configured.iter().find(|(known, _)| *known == name).map(|(_, level)| *level);
        configured.or(was_set).unwrap_or(self.default)
    }

    /// For the filter. It knows at each place of the program whether that place says anything, so that what is off
    /// costs a load and a branch.
    pub(super) fn targets(&self) -> Targets {
        let mut targets = Targets::new().with_default(filter(self.level(DEFAULT)));
        for (name, parts) in SUBSYSTEMS {
            let level = filter(self.level(name));
            targets = targets.with_targets(parts.iter().map(|part| (*part, level)));
        }
        for event in EVENTS {
            targets = targets.with_target(format!("{EVENT_TARGET}{event}"), filter(self.level(event)));
        }
        targets
    }

    /// Each name with its level, and how long it stays where it was set for a time.
    pub(super) fn describe(&self, now: Instant) -> Json {
        let entry = |name: &'static str| {
            let until = self.set.iter().find(|set| set.name == name).and_then(|set| set.until);
            let mut entry = json!({ "level": self.level(name).name() });
            if let (Some(until), Json::Object(entry)) = (until, &mut entry) {
                let left = until.saturating_duration_since(now).as_secs_f64().ceil();
                entry.insert("for_s".into(), json!(left));
            }
            (name.to_owned(), entry)
        };
        Json::Object(names().map(entry).collect::<Map<_, _>>())
    }
}

/// Every name that has a level.
fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(DEFAULT).chain(SUBSYSTEMS.iter().map(|(name, _)| *name)).chain(EVENTS)
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::Level;

    use super::*;
    use crate::config::log::LEVELS;
    use crate::config::{Facts, Source, parse};

    fn config(text: &str) -> Log {
        let source = Source { file: "test".into(), text: text.into() };
        parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() }).unwrap().log
    }

    fn set(levels: &mut Levels, name: &str, level: &str, until: Option<Instant>) {
        levels.set(&[(name.to_owned(), level.to_owned())], until).unwrap();
    }

    #[test]
    fn every_subsystem_of_the_config_has_its_modules_and_no_other_has() {
        let keys: Vec<&str> = LEVELS.keys.iter().map(|key| key.name).collect();
        let known: Vec<&str> = SUBSYSTEMS.iter().map(|(name, _)| *name).collect();
        assert_eq!(keys, known);
    }

    #[test]
    fn a_subsystem_has_its_own_level_and_the_rest_the_common_one() {
        let levels = Levels::new(&config("[log]\nlevel = \"warn\"\nlevels = { bridge = \"debug\" }"), None);
        let targets = levels.targets();
        assert!(targets.would_enable("fieldgate::io::upstream", &Level::DEBUG));
        assert!(!targets.would_enable("fieldgate::broker::connect", &Level::INFO));
        assert!(targets.would_enable("fieldgate::app", &Level::WARN));
        assert!(!targets.would_enable("fieldgate::event::connection", &Level::INFO), "the level is warn");
    }

    #[test]
    fn events_that_are_named_are_told_whatever_the_level_is() {
        let levels = Levels::new(&config("[log]\nlevel = \"error\"\nevents = [\"subscribe\"]"), None);
        let targets = levels.targets();
        assert!(targets.would_enable("fieldgate::event::subscribe", &Level::INFO));
        assert!(!targets.would_enable("fieldgate::event::connection", &Level::INFO));
        assert!(!targets.would_enable("fieldgate::broker::connect", &Level::INFO));
    }

    #[test]
    fn what_is_off_is_off_at_its_place_in_the_program_and_costs_nothing() {
        use tracing_subscriber::{Layer, Registry};
        let hint = |levels: &Levels| Layer::<Registry>::max_level_hint(&levels.targets());
        let mut levels = Levels::new(&config("log.level = \"warn\""), None);
        assert_eq!(hint(&levels), Some(LevelFilter::WARN));
        set(&mut levels, "bridge", "debug", None);
        assert_eq!(hint(&levels), Some(LevelFilter::DEBUG));
        levels.reset();
        assert_eq!(hint(&levels), Some(LevelFilter::WARN));
    }

    #[test]
    fn a_level_set_for_a_time_holds_for_that_time_and_over_a_new_config() {
        let start = Instant::now();
        let mut levels = Levels::new(&config(""), None);
        set(&mut levels, "broker", "debug", Some(start + Duration::from_secs(60)));
        levels.configure(&config("[log.levels]\nbroker = \"error\""));
        assert_eq!(levels.level("broker"), LogLevel::Debug);
        assert!(!levels.expire(start + Duration::from_secs(59)));
        assert!(levels.expire(start + Duration::from_secs(60)));
        assert_eq!(levels.level("broker"), LogLevel::Error);
        assert_eq!(levels.level("connection"), LogLevel::Off, "the broker is silent");
    }

    #[test]
    fn what_is_not_known_is_named_and_changes_nothing() {
        let mut levels = Levels::new(&config(""), None);
        let wanted = [("broker".to_owned(), "debug".to_owned()), ("brokr".to_owned(), "debug".to_owned())];
        assert!(
            levels
                .set(&wanted, None)
                .unwrap_err()
                .contains("\"brokr\" is no subsystem; known: default, broker")
        );
        let wanted = [("broker".to_owned(), "loud".to_owned())];
        assert!(levels.set(&wanted, None).unwrap_err().contains("\"loud\" is no level"));
        assert_eq!(levels.level("broker"), LogLevel::Info);
    }

    #[test]
    fn a_level_of_the_command_line_holds_instead_of_all_in_the_config() {
        let text = "[log]\nlevel = \"error\"\nlevels = { broker = \"off\" }";
        let levels = Levels::new(&config(text), Some(LogLevel::Debug));
        assert_eq!((levels.level("broker"), levels.level("connection")), (LogLevel::Debug, LogLevel::Info));
    }
}
