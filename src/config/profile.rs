//! Device profiles: what a known device needs, as a file in the config's own words. Those that come with fieldgate, and
//! those of the user's folder, which take the place of one with the same name. A device with `profile` gets whatever
//! it doesn't say itself from there.

use std::path::{Path, PathBuf};

use super::Source;
use super::device::DEVICE;
use super::file;
use super::mistake::{Mistakes, Span, quoted};
use super::names::refers;
use super::port::PORT;
use super::reload::same;
use super::schema::Effect::Reconnect;
use super::schema::{Absent, Key, Kind, Table, optional, required};
use super::section::{Entry, Section, Value};
use super::walk;

/// Where the user's own profiles are, unless `gateway.profiles_dir` says otherwise.
pub const USER_FOLDER: &str = "/etc/fieldgate/profiles";

/// The profiles that come with fieldgate: a row for each file.
const BUILT_IN: &[(&str, &str)] = &[
    ("ds18b20", include_str!("../../config/profiles/ds18b20.toml")),
    ("dsmr-p1", include_str!("../../config/profiles/dsmr-p1.toml")),
    ("eastron-sdm120", include_str!("../../config/profiles/eastron-sdm120.toml")),
    ("eastron-sdm230", include_str!("../../config/profiles/eastron-sdm230.toml")),
    ("eastron-sdm630", include_str!("../../config/profiles/eastron-sdm630.toml")),
    ("eastron-sdm72d", include_str!("../../config/profiles/eastron-sdm72d.toml")),
    ("hwmon-temperature", include_str!("../../config/profiles/hwmon-temperature.toml")),
    ("iec62056-21-meter", include_str!("../../config/profiles/iec62056-21-meter.toml")),
    ("iec62056-21-push", include_str!("../../config/profiles/iec62056-21-push.toml")),
    ("iio-humidity", include_str!("../../config/profiles/iio-humidity.toml")),
    ("iio-pressure", include_str!("../../config/profiles/iio-pressure.toml")),
    ("iio-temperature", include_str!("../../config/profiles/iio-temperature.toml")),
    ("json-lines", include_str!("../../config/profiles/json-lines.toml")),
    ("key-value", include_str!("../../config/profiles/key-value.toml")),
    ("mbus-meter", include_str!("../../config/profiles/mbus-meter.toml")),
    ("mh-z19", include_str!("../../config/profiles/mh-z19.toml")),
    ("nmea-gps", include_str!("../../config/profiles/nmea-gps.toml")),
    ("pms3003", include_str!("../../config/profiles/pms3003.toml")),
    ("pms5003", include_str!("../../config/profiles/pms5003.toml")),
    ("pms7003", include_str!("../../config/profiles/pms7003.toml")),
    ("pzem-004t-v3", include_str!("../../config/profiles/pzem-004t-v3.toml")),
    ("pzem-016", include_str!("../../config/profiles/pzem-016.toml")),
    ("scale-and", include_str!("../../config/profiles/scale-and.toml")),
    ("scale-st-gs", include_str!("../../config/profiles/scale-st-gs.toml")),
    ("sdi12", include_str!("../../config/profiles/sdi12.toml")),
    ("sds011", include_str!("../../config/profiles/sds011.toml")),
    ("senseair-s8", include_str!("../../config/profiles/senseair-s8.toml")),
    ("sml-meter", include_str!("../../config/profiles/sml-meter.toml")),
    ("soil-4in1", include_str!("../../config/profiles/soil-4in1.toml")),
    ("sps30", include_str!("../../config/profiles/sps30.toml")),
    ("thermal-zone", include_str!("../../config/profiles/thermal-zone.toml")),
    ("ve-direct", include_str!("../../config/profiles/ve-direct.toml")),
];

/// Keys of a device that are the config's alone.
const OF_THE_CONFIG: [&str; 4] = ["name", "port", "profile", "only"];

/// `[profile]`
static PROFILE: Table = Table {
    name: "[profile]",
    doc: "What the profile is for.",
    keys: &[
        required(
            "title",
            Kind::Text { bytes_max: 128 },
            "\"A sensor\"",
            Reconnect,
            "What it is, in a few words.",
        ),
        optional("maker", Kind::Text { bytes_max: 128 }, Reconnect, "Who makes it."),
        required(
            "source",
            Kind::Text { bytes_max: 512 },
            "\"Data sheet, page 12\"",
            Reconnect,
            "The document that the values are from.",
        ),
    ],
};

/// A profile file.
static FILE: Table = Table {
    name: "",
    doc: "A profile.",
    keys: &[
        part("profile", &PROFILE),
        part("port", &PORT),
        part("device", &DEVICE),
        part("file", &file::FILE),
    ],
};

const fn part(name: &'static str, table: &'static Table) -> Key {
    Key {
        name,
        kind: Kind::Table(table),
        absent: Absent::None,
        effect: Reconnect,
        doc: table.doc,
        cuts_off: false,
    }
}

/// One profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// What a device calls it: the file's name without `.toml`.
    pub name: String,
    /// Its text, and where it is from.
    pub source: Source,
    /// It comes with fieldgate.
    pub is_built_in: bool,
}

/// What a profile says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// What it is.
    pub title: String,
    /// Who makes it.
    pub maker: String,
    /// The document that its values are from.
    pub source: String,
}

impl Profile {
    /// What it says about itself; empty where that is a mistake.
    #[must_use]
    pub fn about(&self) -> About {
        let (document, _) = toml::de::DeTable::parse_recoverable(&self.source.text);
        let text = |key: &str| {
            let profile = document.get_ref().get("profile")?.get_ref().as_table()?;
            Some(profile.get(key)?.get_ref().as_str()?.to_owned())
        };
        About {
            title: text("title").unwrap_or_default(),
            maker: text("maker").unwrap_or_default(),
            source: text("source").unwrap_or_default(),
        }
    }
}

/// All profiles in the order of their names: those that come with fieldgate, and the user's in their place.
#[must_use]
pub fn profiles(user: &[Source]) -> Vec<Profile> {
    let own = user.iter().filter_map(|source| {
        let name = Path::new(&source.file).file_stem()?.to_str()?.to_owned();
        Some(Profile { name, source: source.clone(), is_built_in: false })
    });
    let mut all: Vec<Profile> = own.collect();
    for (name, text) in BUILT_IN {
        if !all.iter().any(|profile| profile.name == *name) {
            let source = Source { file: format!("profile {name}"), text: (*text).to_owned() };
            all.push(Profile { name: (*name).to_owned(), source, is_built_in: true });
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

/// Where the files say that the user's profiles are, whatever else is wrong with them.
#[must_use]
pub fn folder(sources: &[Source]) -> PathBuf {
    let named = sources.iter().find_map(|source| {
        let (document, _) = toml::de::DeTable::parse_recoverable(&source.text);
        let gateway = document.get_ref().get("gateway")?.get_ref().as_table()?;
        Some(PathBuf::from(gateway.get("profiles_dir")?.get_ref().as_str()?))
    });
    named.unwrap_or_else(|| PathBuf::from(USER_FOLDER))
}

/// What a profile wants of the port of a device.
struct Wish {
    port: String,
    device: String,
    profile: Span,
    keys: Section,
}

/// Fills in what the devices' profiles say and the devices don't, and the same for their ports. `first` is the place
/// of the first profile among the sources.
pub(super) fn apply(root: &mut Section, library: &[Profile], first: usize, mistakes: &mut Mistakes<'_>) {
    let mut wishes = Vec::new();
    if let Some(Entry { value: Value::Tables(devices), .. }) = root.entries.get_mut("device") {
        for device in devices {
            wishes.extend(fill(device, library, first, mistakes));
        }
    }
    if let Some(Entry { value: Value::Tables(files), .. }) = root.entries.get_mut("file") {
        for section in files {
            fill_file(section, library, first, mistakes);
        }
    }
    let Some(Entry { value: Value::Tables(ports), .. }) = root.entries.get_mut("port") else { return };
    for port in ports {
        let name = port.string("name");
        let mine: Vec<&Wish> = wishes.iter().filter(|wish| wish.port == name).collect();
        tune(port, &mine, mistakes);
    }
}

fn fill(
    device: &mut Section,
    library: &[Profile],
    first: usize,
    mistakes: &mut Mistakes<'_>,
) -> Option<Wish> {
    let Some(name) = device.text("profile").map(str::to_owned) else {
        if device.is_given("only") && !device.is_given("profile") {
            let help = "name the points that you want under points";
            mistakes.add_with_help(device.key_span("only"), "only has no meaning without profile", help);
        }
        if device.is_mistaken("profile") {
            forgive(device, &["decode", "points"]);
        }
        return None;
    };
    let span = device.span("profile");
    let Some(file) = look_up(&name, span, library, first, mistakes) else {
        forgive(device, &["decode", "points"]);
        return None;
    };
    if file.table("device").is_none() && file.table("file").is_some() {
        let message = format!("profile: {} is for a [[file]]", quoted(&name));
        mistakes.add_with_help(span, message, "write [[file]] instead of [[device]], without port");
        forgive(device, &["decode", "points"]);
        return None;
    }
    let absent = Section::new(&DEVICE, span);
    let profile = file.table("device").unwrap_or(&absent);
    for key in OF_THE_CONFIG.iter().filter(|key| profile.is_given(key)) {
        mistakes.add(profile.key_span(key), format!("{key} is for a config, not for a profile"));
    }
    keep_decode(device, profile, &name, mistakes);
    merge(device, profile, mistakes);
    Some(Wish {
        port: device.string("port"),
        device: device.string("name"),
        profile: span,
        keys: file.table("port").cloned().unwrap_or_else(|| Section::new(&PORT, span)),
    })
}

/// The file of a profile, read. `None` after a mistake.
fn look_up(
    name: &str,
    span: Span,
    library: &[Profile],
    first: usize,
    mistakes: &mut Mistakes<'_>,
) -> Option<Section> {
    let Some(place) = library.iter().position(|profile| profile.name == name) else {
        let known: Vec<&str> = library.iter().map(|profile| profile.name.as_str()).collect();
        let message = format!("profile: there is no profile {}", quoted(name));
        if super::suggest::nearest(name, known.iter().copied()).is_some() {
            refers(mistakes, span, message, name, &known);
        } else {
            mistakes.add_with_help(span, message, "`fieldgate profile list` shows those that there are");
        }
        return None;
    };
    let known = library.get(place);
    let text = known.map(|profile| profile.source.text.as_str()).unwrap_or_default();
    // In one of ours nothing is wrong: what doesn't go together is told where the config names it.
    let pinned = known.is_some_and(|profile| profile.is_built_in).then_some(span);
    walk::document(first.saturating_add(place), text, &FILE, pinned, mistakes)
}

/// Fills in what the profile of a `[[file]]` says and the table doesn't.
fn fill_file(section: &mut Section, library: &[Profile], first: usize, mistakes: &mut Mistakes<'_>) {
    let Some(name) = section.text("profile").map(str::to_owned) else {
        if section.is_mistaken("profile") {
            forgive(section, &["path"]);
        }
        return;
    };
    let span = section.span("profile");
    let Some(document) = look_up(&name, span, library, first, mistakes) else {
        forgive(section, &["path"]);
        return;
    };
    let Some(profile) = document.table("file") else {
        let message = format!("profile: {} is not for a [[file]]", quoted(&name));
        mistakes.add_with_help(
            span,
            message,
            "write [[port]] and [[device]] for what hangs on a serial line",
        );
        forgive(section, &["path"]);
        return;
    };
    for (key, entry) in &profile.entries {
        if OF_THE_CONFIG.contains(key) {
            mistakes.add(entry.key, format!("{key} is for a config, not for a profile"));
        } else {
            section.entries.entry(key).or_insert_with(|| entry.clone());
        }
    }
}

/// Nobody can say what a table lacks whose profile can't be had.
fn forgive(section: &mut Section, keys: &[&'static str]) {
    let span = section.span("profile");
    for key in keys {
        let entry = Entry { key: span, span, value: Value::Mistaken, given: true };
        section.entries.entry(key).or_insert(entry);
    }
}

/// A profile's points are those of its decoder: with another one, each of them would be a mistake.
fn keep_decode(device: &mut Section, profile: &Section, name: &str, mistakes: &mut Mistakes<'_>) {
    let (Some((own, _)), Some((theirs, _))) = (device.tagged("decode"), profile.tagged("decode")) else {
        return;
    };
    let has_points = matches!(profile.value("points"), Some(Value::Tables(_)));
    if own == theirs || !has_points || matches!(device.value("points"), Some(Value::Word(_))) {
        return;
    }
    let message =
        format!("decode: the points of the profile {} are those of {}", quoted(name), quoted(theirs));
    let help = "leave decode out; or write points of your own, without a profile";
    mistakes.add_with_help(device.span("decode"), message, help);
    device.entries.remove("decode");
}

fn merge(device: &mut Section, profile: &Section, mistakes: &mut Mistakes<'_>) {
    for (key, entry) in &profile.entries {
        if *key != "points" && !OF_THE_CONFIG.contains(key) {
            device.entries.entry(key).or_insert_with(|| entry.clone());
        }
    }
    let Some(Value::Tables(known)) = profile.value("points") else {
        if let Some(points) = profile.entries.get("points") {
            device.entries.entry("points").or_insert_with(|| points.clone());
        }
        return;
    };
    let mut points = only(device, known, mistakes);
    let mut changed = vec![false; points.len()];
    let given = device.entries.get("points").cloned();
    match given.map(|entry| entry.value) {
        // Whoever says "*" has points of his own.
        Some(Value::Word(_) | Value::Mistaken) => return,
        Some(Value::Tables(own)) => own.into_iter().for_each(|point| join(&mut points, &mut changed, point)),
        _ => {}
    }
    let span = device.span("points");
    let entry = Entry { key: span, span, value: Value::Tables(points), given: true };
    device.entries.insert("points", entry);
}

/// The profile's points, or those of them that `only` names, in its order.
fn only(device: &Section, known: &[Section], mistakes: &mut Mistakes<'_>) -> Vec<Section> {
    if !device.is_given("only") || device.is_mistaken("only") {
        return known.to_vec();
    }
    let names: Vec<&str> = known.iter().filter_map(|point| point.text("name")).collect();
    let mut points = Vec::new();
    for (name, span) in device.texts("only") {
        match known.iter().find(|point| point.text("name") == Some(name)) {
            Some(point) => points.push(point.clone()),
            None => {
                let message = format!("only: the profile has no point {}", quoted(name));
                refers(mistakes, *span, message, name, &names);
            }
        }
    }
    points
}

/// A point of the config changes the one of the profile that has its name, key by key, or is one more. A second one of
/// that name is a mistake, which is found where names are compared.
fn join(points: &mut Vec<Section>, changed: &mut [bool], own: Section) {
    let name = own.text("name").map(str::to_owned);
    let of_that_name = |point: &Section| name.is_some() && point.text("name") == name.as_deref();
    let known = points.iter_mut().zip(changed).find(|(point, changed)| !**changed && of_that_name(point));
    match known {
        Some((point, changed)) => {
            *changed = true;
            point.span = own.span;
            point.entries.extend(own.entries);
        }
        None => points.push(own),
    }
}

/// Sets a port to what its devices' profiles say, where the config doesn't say it.
fn tune(port: &mut Section, wishes: &[&Wish], mistakes: &mut Mistakes<'_>) {
    // The rate and the rest are those of a serial line.
    if port.word("kind") == "tcp" {
        return;
    }
    let mut set: Vec<(&str, &Wish, Value)> = Vec::new();
    for wish in wishes {
        for (key, entry) in wish.keys.entries.iter().filter(|(key, _)| !["name", "path", "usb"].contains(key))
        {
            match set.iter().find(|(known, ..)| known == key) {
                Some((_, first, value)) if !same(value, &entry.value) => {
                    let other = quoted(&first.device);
                    let message =
                        format!("profile: it wants another {key} than the profile of {other} on this port");
                    let help = format!("write {key} in the [[port]] if both can do with one");
                    mistakes.add_with_help(wish.profile, message, help);
                }
                Some(_) => {}
                None if port.is_given(key) => {}
                None => {
                    set.push((key, wish, entry.value.clone()));
                    port.entries.insert(key, entry.clone());
                }
            }
        }
    }
}
