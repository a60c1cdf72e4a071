//! `[log]`: what is logged, where to and how it looks.

use std::path::PathBuf;

use super::mistake::{Mistakes, quoted};
use super::schema::Effect::Live;
use super::schema::{Absent, Key, Kind, Table, computed, key, optional};
use super::section::Section;
use super::value::alternatives;

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much is logged of all that `levels` doesn't name. Default info.
    pub level: LogLevel,
    /// By subsystem: the keys of [`LEVELS`].
    pub levels: Vec<(&'static str, LogLevel)>,
    /// What clients do, told whatever the levels are. `None`: [`EVENTS`]' `connection` where the level is info or
    /// finer.
    pub events: Option<Vec<&'static str>>,
    /// Where it goes; empty: nowhere. Default stderr.
    pub to: Vec<LogTo>,
    /// How a line looks on stderr, stdout, in the file and as a message.
    pub format: LogFormat,
    /// The time that stands before it there.
    pub timestamp: LogTime,
    /// `[log.file]`
    pub file: LogFile,
    /// `[log.syslog]`
    pub syslog: LogSyslog,
    /// `[log.journald]`: its socket.
    pub journal_socket: PathBuf,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the usual names")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As the config writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }

    /// The level of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Off, Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        all.into_iter().find(|level| level.name() == name)
    }
}

/// A destination of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "see LogTo::WORDS")]
pub enum LogTo {
    Stderr,
    Stdout,
    Journald,
    Syslog,
    File,
    Topic,
}

impl LogTo {
    const ALL: [Self; 6] =
        [Self::Stderr, Self::Stdout, Self::Journald, Self::Syslog, Self::File, Self::Topic];

    /// As the config writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stderr => "stderr",
            Self::Stdout => "stdout",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
            Self::File => "file",
            Self::Topic => "topic",
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Words, then `field=value`.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The time before a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTime {
    /// RFC 3339 in UTC.
    #[default]
    Utc,
    /// RFC 3339 in the machine's time zone.
    Local,
    /// Seconds since 1970.
    Epoch,
    /// None.
    None,
    /// As strftime writes it, in the machine's time zone.
    Pattern(String),
}

/// `[log.file]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Default /var/log/fieldgate/fieldgate.log.
    pub path: PathBuf,
    /// Bytes after which it is put aside; 0: never. Default 10 MiB.
    pub max_size: u64,
    /// Files put aside that are kept. Default 5.
    pub keep: usize,
    /// Whether it is put aside at midnight (the machine's time zone) too. Default no.
    pub daily: bool,
}

/// `[log.syslog]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSyslog {
    /// Default /dev/log.
    pub socket: PathBuf,
    /// The facility's number (RFC 3164, 4.1.1). Default daemon, 3.
    pub facility: u8,
}

/// Facilities by the names that syslog.conf knows, each at the place of its number; those between have none.
const FACILITIES: &[(&str, u8)] = &[
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("cron", 9),
    ("authpriv", 10),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// What of the clients' doings may be told.
pub const EVENTS: [&str; 4] = ["connection", "subscribe", "unsubscribe", "websockets"];

/// The longest strftime pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 64;

/// `[log]`
pub static LOG: Table = Table {
    name: "[log]",
    doc: "What is logged, where to and how it looks.",
    keys: &[
        key(
            "level",
            Kind::Words(LEVEL_WORDS),
            "\"info\"",
            Live,
            "error: someone must act; warn: data lost or refused; info: changes of state; debug: each packet.",
        ),
        Key {
            name: "levels",
            kind: Kind::Table(&LEVELS),
            absent: Absent::Default("{}"),
            effect: Live,
            doc: "Levels of single subsystems; [log.levels].",
            cuts_off: false,
        },
        computed(
            "events",
            Kind::Texts { count_max: EVENTS.len() },
            "[\"connection\"] where level is info or finer, else []",
            Live,
            "What clients do, told whatever the levels: connection, subscribe, unsubscribe, websockets.",
        ),
        key(
            "to",
            Kind::Texts { count_max: LogTo::ALL.len() },
            "[\"stderr\"]",
            Live,
            "Where it goes, all of: stderr, stdout, journald, syslog, file, topic; [] is nowhere.",
        ),
        key(
            "format",
            Kind::Words(&["text", "json"]),
            "\"text\"",
            Live,
            "How a line looks on stderr and stdout, in the file and as a message.",
        ),
        key(
            "timestamp",
            Kind::Text { bytes_max: PATTERN_BYTES_MAX },
            "\"utc\"",
            Live,
            "The time before a line: utc, local, epoch, none, or a strftime pattern in local time.",
        ),
        nested("file", &FILE),
        nested("syslog", &SYSLOG),
        nested("journald", &JOURNALD),
    ],
};

const LEVEL_WORDS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

const fn nested(name: &'static str, table: &'static Table) -> Key {
    Key {
        name,
        kind: Kind::Table(table),
        absent: Absent::Default("{}"),
        effect: Live,
        doc: table.doc,
        cuts_off: false,
    }
}

const fn level(name: &'static str, doc: &'static str) -> Key {
    optional(name, Kind::Words(LEVEL_WORDS), Live, doc)
}

/// `[log.levels]`
pub static LEVELS: Table = Table {
    name: "[log.levels]",
    doc: "Levels of single subsystems, where they differ from level.",
    keys: &[
        level("broker", "Clients, subscriptions, messages; debug: each packet."),
        level("listener", "Where clients come in: sockets, TLS, WebSocket, PROXY headers."),
        level("access", "Who may do what: users, passwords, rules."),
        level("bridge", "Upstreams."),
        level("sensor", "Ports and devices."),
        level("store", "What is kept on disk."),
    ],
};

/// `[log.file]`
pub static FILE: Table = Table {
    name: "[log.file]",
    doc: "The file of to = [\"file\"].",
    keys: &[
        key("path", Kind::Path, "\"/var/log/fieldgate/fieldgate.log\"", Live, "Made with mode 0640."),
        key(
            "max_size",
            Kind::Size { min: 0, max: 1 << 40 },
            "\"10 MiB\"",
            Live,
            "Above this it is put aside as <path>.1, and that as <path>.2; 0 B is never.",
        ),
        key(
            "keep",
            Kind::Integer { min: 0, max: 100 },
            "5",
            Live,
            "Files put aside that are kept; 0 to 100.",
        ),
        key("daily", Kind::Bool, "false", Live, "Whether it is put aside at midnight too."),
    ],
};

/// `[log.syslog]`
pub static SYSLOG: Table = Table {
    name: "[log.syslog]",
    doc: "The system's log of to = [\"syslog\"].",
    keys: &[
        key("socket", Kind::Path, "\"/dev/log\"", Live, "Where it listens."),
        key(
            "facility",
            Kind::Words(&[
                "user", "mail", "daemon", "auth", "cron", "authpriv", "local0", "local1", "local2", "local3",
                "local4", "local5", "local6", "local7",
            ]),
            "\"daemon\"",
            Live,
            "What it sorts the lines by.",
        ),
    ],
};

/// `[log.journald]`
pub static JOURNALD: Table = Table {
    name: "[log.journald]",
    doc: "The journal of to = [\"journald\"], which gets the fields of a line one by one.",
    keys: &[key("socket", Kind::Path, "\"/run/systemd/journal/socket\"", Live, "Where it listens.")],
};

/// What the table means.
pub(super) fn log(section: &Section, mistakes: &mut Mistakes<'_>) -> Log {
    let absent = Section::new(&LOG, section.span);
    let table = |key: &str| section.table(key).unwrap_or(&absent);
    let levels = table("levels");
    let named = LEVELS.keys.iter().filter_map(|key| {
        let word = levels.word(key.name);
        LogLevel::named(word).map(|level| (key.name, level))
    });
    let facility = FACILITIES.iter().find(|(name, _)| *name == table("syslog").word("facility"));
    Log {
        level: LogLevel::named(section.word("level")).unwrap_or_default(),
        levels: named.collect(),
        events: section
            .is_given("events")
            .then(|| words(section, "events", &EVENTS.map(|name| (name, name)), mistakes)),
        to: words(section, "to", &LogTo::ALL.map(|to| (to.name(), to)), mistakes),
        format: if section.word("format") == "json" { LogFormat::Json } else { LogFormat::Text },
        timestamp: timestamp(section, mistakes),
        file: LogFile {
            path: table("file").path("path").unwrap_or_default(),
            max_size: table("file").size("max_size"),
            keep: table("file").integer("keep"),
            daily: table("file").bool("daily").unwrap_or(false),
        },
        syslog: LogSyslog {
            socket: table("syslog").path("socket").unwrap_or_default(),
            facility: facility.map_or(3, |(_, number)| *number),
        },
        journal_socket: table("journald").path("socket").unwrap_or_default(),
    }
}

/// The values of a list of words, each once and in the order of `known`.
fn words<T: Copy>(section: &Section, key: &str, known: &[(&str, T)], mistakes: &mut Mistakes<'_>) -> Vec<T> {
    let written = section.texts(key);
    for (word, span) in written {
        if !known.iter().any(|(name, _)| name == word) {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            super::value::not_one_of(mistakes, *span, key, word, &names);
        }
    }
    known
        .iter()
        .filter(|(name, _)| written.iter().any(|(word, _)| word == name))
        .map(|(_, value)| *value)
        .collect()
}

fn timestamp(section: &Section, mistakes: &mut Mistakes<'_>) -> LogTime {
    const WORDS: [&str; 4] = ["utc", "local", "epoch", "none"];
    match section.text("timestamp") {
        Some("local") => LogTime::Local,
        Some("epoch") => LogTime::Epoch,
        Some("none") => LogTime::None,
        Some("utc") | None => LogTime::Utc,
        Some(pattern) => {
            let sample = jiff::Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
            if !pattern.contains('%') {
                super::value::not_one_of(mistakes, section.span("timestamp"), "timestamp", pattern, &WORDS);
            } else if jiff::fmt::strtime::format(pattern, &sample).is_err() {
                mistakes.add_with_help(
                    section.span("timestamp"),
                    format!("timestamp: {} is no pattern of strftime", quoted(pattern)),
                    format!("write {}, or a pattern such as \"%Y-%m-%dT%H:%M:%S\"", alternatives(&WORDS)),
                );
            }
            LogTime::Pattern(pattern.to_owned())
        }
    }
}
