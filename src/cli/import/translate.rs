//! From Mosquitto's config to fieldgate's: what all parts of the translation share, and the sections for the whole
//! broker. Pure: what the machine knows comes as [`Facts`].

use std::net::IpAddr;

use super::conf::{Conf, Entry};
use super::options::{Fate, Weight};
use super::output::{self, Section};
use super::report::{Kind, Place, Remark};
use super::values::{self, quoted};
use super::{access, bridges, listeners, logging};
use crate::secret::Secret;

/// What only this machine knows.
pub(super) struct Facts<'a> {
    /// Its name.
    pub(super) host_name: String,
    /// Whether it speaks IPv6.
    pub(super) has_ipv6: bool,
    /// Where relative paths begin; absolute.
    pub(super) folder: String,
    /// The beginning of the names of files for passwords; absolute.
    pub(super) secrets: String,
    /// The addresses of a host.
    pub(super) resolve: &'a dyn Fn(&str) -> Vec<IpAddr>,
}

/// A password that stood in the file, and the file of its own that it is to stand in.
#[derive(Debug)]
pub(super) struct SecretFile {
    pub(super) path: String,
    pub(super) secret: Secret,
    /// Where it stood.
    pub(super) from: Place,
}

/// What comes out.
#[derive(Debug)]
pub(super) struct Imported {
    /// The config.
    pub(super) text: String,
    pub(super) secrets: Vec<SecretFile>,
    pub(super) remarks: Vec<Remark>,
    /// How many options are in it.
    pub(super) carried: usize,
}

/// The translation as it goes.
pub(super) struct Translation<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) secrets: Vec<SecretFile>,
    remarks: Vec<Remark>,
}

impl Translation<'_> {
    /// Tells what became of an option.
    pub(super) fn tell(&mut self, entry: &Entry, kind: Kind, text: impl Into<String>) {
        let place = Some(entry.place.clone());
        self.remarks.push(Remark { place, option: entry.name.clone(), kind, text: text.into() });
    }

    /// Tells of something that stands nowhere.
    pub(super) fn tell_at(
        &mut self,
        place: Option<Place>,
        option: &str,
        kind: Kind,
        text: impl Into<String>,
    ) {
        self.remarks.push(Remark { place, option: option.to_owned(), kind, text: text.into() });
    }

    /// Tells that an option isn't carried over.
    pub(super) fn refuse(&mut self, entry: &Entry, weight: Weight, text: impl Into<String>) {
        self.tell(entry, Kind::Refused(weight), text);
    }

    /// A path, which must be absolute in the config.
    pub(super) fn path(&mut self, entry: &Entry) -> String {
        let path = self.absolute(&entry.value);
        if path != entry.value {
            let text = format!("a relative path begins where Mosquitto is started; taken as {path}");
            self.tell(entry, Kind::Differs, text);
        }
        path
    }

    /// A path as it is to stand in the config.
    pub(super) fn absolute(&self, path: &str) -> String {
        match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", self.facts.folder.trim_end_matches('/')),
        }
    }

    /// Sets a key to the path that an option names.
    pub(super) fn set_path(&mut self, section: &mut Section, key: &'static str, entry: Option<&Entry>) {
        if let Some(entry) = entry {
            let path = self.path(entry);
            section.set(key, quoted(&path), Some(&entry.place));
        }
    }
}

/// Bounds that Mosquitto hasn't, or has larger ones, and that a device may have relied on.
const UNBOUNDED: &[(&str, &str)] = &[
    ("queue_max", "\"32 MiB\""),
    ("queues_max", "\"64 MiB\""),
    ("connections_max", "10000"),
    ("sessions_max", "100000"),
    ("subscriptions_max", "100000"),
    ("client_id_max", "\"8 KiB\""),
    ("topic_max", "\"65535 B\""),
    ("topic_levels_max", "200"),
    ("retained_messages_max", "1000000"),
    ("retained_max", "\"256 MiB\""),
    ("retained_message_max", "\"256 MiB\""),
    ("retained_per_user_max", "1000000"),
    ("subscriptions_total_max", "1000000"),
    ("connections_per_address_max", "10000"),
    ("user_properties_max", "1000"),
    ("properties_max", "\"64 KiB\""),
];

/// Translates a whole config.
pub(super) fn translate(mut conf: Conf, facts: &Facts<'_>, main: &str) -> Imported {
    let mut remarks = std::mem::take(&mut conf.remarks);
    remarks.extend(conf.tell_fates());
    let mut translation = Translation { facts, secrets: Vec::new(), remarks };
    let access = access::plan(&mut translation, &conf);
    let mut broker = broker(&mut translation, &conf);
    access.set_files(&mut broker);
    let mut sections = logging::sections(&mut translation, &conf);
    sections.push(broker);
    sections.extend(listeners::sections(&mut translation, &conf, &access));
    sections.extend(access.rules());
    for bridge in &conf.bridges {
        sections.extend(bridges::sections(&mut translation, &conf, bridge));
    }
    let main: String = main.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    let heading = [
        format!("Made by `fieldgate import` from {main}; behind each key, the line that it comes from."),
        "`fieldgate check` says whether it is right, config/fieldgate.toml explains every key.".to_owned(),
    ];
    let Translation { secrets, mut remarks, .. } = translation;
    let carried = carried(&conf, &remarks);
    let at = |remark: &Remark| remark.place.as_ref().map(|place| (place.file.clone(), place.line));
    remarks.sort_by_key(|remark| (std::cmp::Reverse(remark.kind), at(remark)));
    Imported { text: output::render(&heading, &sections), secrets, remarks, carried }
}

/// How many options are in the result: those that the table carries over, but for what was refused of them.
fn carried(conf: &Conf, remarks: &[Remark]) -> usize {
    let is_refused = |entry: &&Entry| {
        let about = remarks.iter().filter(|remark| remark.place.as_ref() == Some(&entry.place));
        about.into_iter().any(|remark| matches!(remark.kind, Kind::Refused(_) | Kind::Mistake))
    };
    let carries = |entry: &&Entry| matches!(entry.row.fate, Fate::Key(..) | Fate::Carried(_));
    conf.entries().filter(carries).filter(|entry| !is_refused(entry)).count()
}

/// `[broker]`, without its files.
fn broker(translation: &mut Translation<'_>, conf: &Conf) -> Section {
    let mut section = Section::new("[broker]");
    for entry in &conf.globals.entries {
        let Fate::Key(key, convert) = entry.row.fate else { continue };
        set_key(translation, &mut section, entry, key, convert(&entry.value));
    }
    if let Some(entry) = conf.globals.get("message_size_limit") {
        let text = "a larger message closes its sender's connection; Mosquitto drops it without a word";
        translation.tell(entry, Kind::Differs, text);
        if !section.has("packet_max") {
            set_key(translation, &mut section, entry, "packet_max", values::packet_of_payload(&entry.value));
        }
    }
    topic_aliases(translation, conf, &mut section);
    section.set_because("queue_full", "\"drop-newest\"", "as Mosquitto does");
    if !section.has("persistence") {
        let why = "Mosquitto's default; true: sessions and retained messages survive a restart";
        section.set_because("persistence", "false", why);
    }
    if !section.has("packet_max") {
        section.set_because("packet_max", "\"2000000 B\"", "Mosquitto's default since 2.1");
    }
    for (key, value) in UNBOUNDED {
        if !section.has(key) {
            section.set_because(key, *value, "Mosquitto has no such limit, or a larger one");
        }
    }
    section
}

fn set_key(
    translation: &mut Translation<'_>,
    section: &mut Section,
    entry: &Entry,
    key: &'static str,
    converted: Result<values::Converted, String>,
) {
    match converted {
        Ok(converted) => {
            if let Some(value) = converted.value {
                section.set(key, value, Some(&entry.place));
            }
            if let Some(differs) = converted.differs {
                translation.tell(entry, Kind::Differs, differs);
            }
        }
        Err(wrong) => translation.tell(entry, Kind::Mistake, wrong),
    }
}

/// One number for all listeners: the largest.
fn topic_aliases(translation: &mut Translation<'_>, conf: &Conf, section: &mut Section) {
    let listeners = conf.listeners.iter().chain([&conf.default_listener]);
    let given: Vec<(i64, &Entry)> = listeners
        .filter_map(|listener| listener.get("max_topic_alias"))
        .filter_map(|entry| Some((values::number(&entry.value).ok()?, entry)))
        .collect();
    let Some((largest, from)) = given.iter().max_by_key(|(number, _)| *number) else { return };
    set_key(translation, section, from, "topic_alias_max", values::topic_alias(&from.value));
    for (_, entry) in given.iter().filter(|(number, _)| number != largest) {
        translation.tell(entry, Kind::Differs, format!("it is one number for all listeners: {largest}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::import::{conf, options};
    use crate::config::{self, Source};

    /// What a person might write behind an option, right and wrong.
    const VALUES: [&str; 33] = [
        "true",
        "false",
        "0",
        "1",
        "2",
        "-1",
        "7",
        "10",
        "65536",
        "4294967296",
        "/a/b",
        "c.d",
        "mqtt",
        "websockets",
        "%F %Q",
        "ipv4",
        "ipv6",
        "tlsv1.3",
        "mqttv50",
        "all",
        "none",
        "file /l",
        "14d",
        "5 30",
        "a/# both 2 l/ r/",
        "# in 1",
        "x out 1 \"\" r/",
        "h:1",
        "[::1]:9",
        "127.0.0.1",
        "a\"b\\",
        "ä \u{7}",
        "{x} both",
    ];

    /// What `config` says against a result that is as it should be: it can't know better than the file.
    const DUE: [&str; 4] = [
        "no [[broker.user]]",
        "is taken by",
        "is covered by",
        "without a [[broker.user]] nobody could get in",
    ];

    fn imported(text: &str) -> Imported {
        let facts = Facts {
            host_name: "box".into(),
            has_ipv6: true,
            folder: "/here".into(),
            secrets: "/secrets/".into(),
            resolve: &|_| vec![[127, 0, 0, 1].into()],
        };
        let main = Source { file: "m.conf".into(), text: text.to_owned() };
        let conf = conf::read(&main, &|_| Ok(Vec::new()));
        translate(conf, &facts, "m.conf")
    }

    #[test]
    fn what_is_no_origin_of_a_page_is_told_and_left_out() {
        let imported = imported(
            "listener 9001\nprotocol websockets\nwebsockets_origin mqtt\nwebsockets_origin https://a.b\n",
        );
        assert!(imported.text.contains("origins = [\"https://a.b\"]"), "{}", imported.text);
        let told: Vec<String> = imported.remarks.iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|line| line.contains("\"mqtt\" is no origin")), "{told:?}");
    }

    #[test]
    fn whatever_options_stand_together_the_result_is_a_config_and_holds_no_password() {
        let rows: Vec<_> = options::rows().collect();
        let mut rng = fastrand::Rng::with_seed(7);
        let mut clean = 0;
        let mut wrong: Vec<String> = Vec::new();
        for round in 0..3_000 {
            let mut text = String::new();
            for _ in 0..rng.usize(1..25) {
                let row = rows[rng.usize(..rows.len())];
                let value = if row.name.ends_with("password") {
                    "hush hush"
                } else {
                    VALUES[rng.usize(..VALUES.len())]
                };
                match rng.u8(..6) {
                    0 => {
                        text.push_str(&format!("listener {} 127.0.0.1\nallow_anonymous true\n", rng.u16(1..)))
                    }
                    1 => text.push_str(&format!("connection c{}\naddress h\ntopic t{round}\n", rng.u16(..))),
                    _ => text.push_str(&format!("{} {value}\n", row.name.replace('*', "x"))),
                }
            }
            let imported = imported(&text);
            let told: String = imported.remarks.iter().map(|remark| format!("{remark}\n")).collect();
            for words in [&imported.text, &told] {
                assert!(!words.contains("hush hush"), "{text}\n{words}");
            }
            let source = [Source { file: "c.toml".into(), text: imported.text.clone() }];
            match config::parse(
                &source,
                &config::Facts { default_id: "gw".into(), ..config::Facts::default() },
            ) {
                Ok(_) => clean += 1,
                Err(mistakes) => {
                    let messages = mistakes.iter().map(|mistake| mistake.message.as_str());
                    let undue: Vec<_> =
                        messages.filter(|line| !DUE.iter().any(|due| line.contains(due))).collect();
                    wrong.extend(undue.iter().map(|message| format!("{message}\n{text}")));
                }
            }
        }
        assert!(wrong.is_empty(), "{} mistakes, the first: {}", wrong.len(), wrong[0]);
        assert!(clean > 1_000, "only {clean} of 3000 are right");
    }
}
