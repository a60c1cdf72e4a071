//! Sensors: a table of all points, those with problems first; and one sensor with its last day and what came over its line.

use std::cmp::Reverse;
use std::time::Duration;

use askama::Template;
use serde_json::{Value as Json, json};

use super::status::{last, list, text};
use super::{Frame, config, in_address, rendered};
use crate::health::span;
use crate::history::Bucket;
use crate::io::operations::{Operation, Request};
use crate::unit;
use crate::web::call::Call;
use crate::web::chart;
use crate::web::config_api::ask;
use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

/// Sensors on one page of the table; links lead to the others.
const ON_A_PAGE: usize = 100;

#[derive(Template)]
#[template(path = "sensors.html", config = "src/web/askama.toml")]
struct Sensors {
    frame: Frame,
    all: usize,
    found: String,
    wanted: String,
    sort: String,
    sensors: Vec<Sensor>,
    earlier: Option<String>,
    later: Option<String>,
}

#[derive(Template)]
#[template(path = "sensor.html", config = "src/web/askama.toml")]
struct One {
    frame: Frame,
    sensor: Sensor,
    days: Vec<Day>,
    poll: Vec<(String, String)>,
    raw_text: String,
    raw_hex: String,
    raw_time: String,
    may_try: bool,
    /// Whether it is asked, and whoever looks may ask it out of turn.
    may_poll: bool,
    /// Whether it sends by itself.
    pushes: bool,
    /// Where its form is; empty: nowhere, or not for whoever looks.
    edit: String,
}

struct Sensor {
    name: String,
    /// The name as it stands in an address.
    address: String,
    port: String,
    state: String,
    word: String,
    age: String,
    time: String,
    readings: String,
    bad_lines: String,
    error: String,
    points: Vec<Point>,
}

struct Point {
    key: String,
    name: String,
    value: String,
    unit: String,
    /// In words; empty where the value is good.
    quality: String,
    chart: String,
    /// Where its form is; empty: it has none of its own.
    edit: String,
}

/// A point's last day.
struct Day {
    name: String,
    unit: String,
    chart: String,
    low: String,
    high: String,
}

/// The table.
pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let known = call.web.asker.ask(Request::new(Operation::Sensors)).await?;
    let history = call.web.asker.ask(Request::new(Operation::History)).await?;
    let t = &call.texts;
    let wanted = call.argument("q").unwrap_or_default().trim().to_owned();
    let sort = call.argument("sort").unwrap_or("problems").to_owned();
    let known = known.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found: Vec<&Json> = known.iter().filter(|sensor| is_found(sensor, &wanted)).collect();
    sorted(&mut found, &sort);
    let count = found.len();
    let pages = count.div_ceil(ON_A_PAGE).max(1);
    let page = call.argument("page").and_then(|page| page.parse().ok()).unwrap_or(1_usize).clamp(1, pages);
    let to =
        |page: usize| format!("/sensors?q={}&sort={}&page={page}", in_address(&wanted), in_address(&sort));
    let sensors = found.into_iter().skip((page - 1) * ON_A_PAGE).take(ON_A_PAGE);
    let shown = Sensors {
        frame: Frame::of(&call, "sensors.title"),
        all: known.len(),
        found: t.fill(
            "sensors.found",
            &[
                ("count", &count.to_string()),
                ("all", &known.len().to_string()),
                ("page", &page.to_string()),
                ("pages", &pages.to_string()),
            ],
        ),
        sensors: sensors.map(|json| sensor(json, &history, t)).collect(),
        earlier: (page > 1).then(|| to(page - 1)),
        later: (page < pages).then(|| to(page + 1)),
        wanted,
        sort,
    };
    rendered(&call, &shown)
}

/// One sensor.
pub(in crate::web) async fn one(call: Call) -> Result<Reply, Refusal> {
    let name = call.argument("name").map(str::to_owned);
    let known = Request { device: name.clone(), ..Request::new(Operation::Sensors) };
    let known = call.web.asker.ask(known).await?;
    let known = known.as_array().and_then(|all| all.first()).ok_or_else(Refusal::not_found)?;
    let history = Request { device: name.clone(), ..Request::new(Operation::History) };
    // A sensor that has sent nothing yet has none.
    let history = call.web.asker.ask(history).await.unwrap_or_default();
    let t = &call.texts;
    let mut sensor = sensor(known, &history, t);
    let raw = known.pointer("/raw/bytes").and_then(Json::as_str).unwrap_or_default();
    let mut frame = Frame::of(&call, "sensors.title");
    frame.title.clone_from(&sensor.name);
    let is_asked = known.get("poll").is_some_and(|poll| !poll.is_null());
    let edit = if frame.may("admin") { forms(&call, &mut sensor).await } else { String::new() };
    let shown = One {
        may_try: frame.may("operator") && !is_asked,
        may_poll: frame.may("operator") && is_asked,
        pushes: !is_asked,
        edit,
        days: sensor.points.iter().filter_map(|point| day(point, &sensor.name, &history, t)).collect(),
        poll: known.get("poll").map(|poll| poll_words(poll, t)).unwrap_or_default(),
        raw_text: readable(raw),
        raw_hex: spaced(raw),
        raw_time: known.pointer("/raw/time").and_then(Json::as_str).unwrap_or_default().to_owned(),
        frame,
        sensor,
    };
    rendered(&call, &shown)
}

/// Where the form of a sensor is, and those of its points that have one.
async fn forms(call: &Call, sensor: &mut Sensor) -> String {
    let state = call.ask(ask(Operation::ConfigGet, json!({}))).await.unwrap_or_default();
    let Some(settings) = state.get("settings") else { return String::new() };
    let place = ["device", "gpio", "file"].map(|kind| format!("{kind}.{}", sensor.name));
    let Some((place, link)) = place.into_iter().find_map(|place| {
        let link = config::form_of(settings, &place)?;
        Some((place, link))
    }) else {
        return String::new();
    };
    // Those of a profile stand in no file of the config: they have no form.
    let devices = settings.get("device").and_then(Json::as_array).into_iter().flatten();
    let mut own = devices.filter(|device| text(device, "name") == sensor.name);
    if own.any(|device| !text(device, "profile").is_empty()) {
        return link;
    }
    for point in &mut sensor.points {
        point.edit = config::form_of(settings, &format!("{place}.points.{}", point.name)).unwrap_or_default();
    }
    link
}

/// Whether the sensor, its port or one of its points has these letters.
fn is_found(sensor: &Json, wanted: &str) -> bool {
    let wanted = wanted.to_lowercase();
    let has = |text: &str| text.to_lowercase().contains(&wanted);
    wanted.is_empty()
        || has(&text(sensor, "name"))
        || has(&text(sensor, "port"))
        || list(sensor, "points").iter().any(|point| has(&text(point, "point")))
}

fn sorted(sensors: &mut [&Json], by: &str) {
    let age = |sensor: &Json| sensor.get("last_reading_s").and_then(Json::as_f64).unwrap_or(f64::MAX);
    match by {
        "name" => sensors.sort_by_key(|sensor| text(sensor, "name")),
        "port" => sensors.sort_by_key(|sensor| (text(sensor, "port"), text(sensor, "name"))),
        "age" => sensors.sort_by(|one, other| age(other).total_cmp(&age(one))),
        // What needs somebody first; otherwise as in the config.
        _ => sensors.sort_by_key(|sensor| Reverse(trouble(sensor))),
    }
}

/// How much a sensor needs somebody.
fn trouble(sensor: &Json) -> u8 {
    let is_doubtful = list(sensor, "points").iter().any(|point| text(point, "quality") != "good");
    match text(sensor, "state").as_str() {
        "stale" => 3,
        _ if is_doubtful => 2,
        "waiting" => 1,
        _ => 0,
    }
}

fn sensor(json: &Json, history: &Json, t: &Catalogue) -> Sensor {
    let name = text(json, "name");
    let state = text(json, "state");
    let age_s = json.get("last_reading_s").and_then(Json::as_f64);
    let count = |key: &str| json.get(key).and_then(Json::as_u64).unwrap_or_default().to_string();
    Sensor {
        word: match state.as_str() {
            "ok" => t.say("sensors.ok"),
            "waiting" => t.say("sensors.waiting"),
            _ => t.say("sensors.stale"),
        }
        .to_owned(),
        port: text(json, "port"),
        age: age_s.map(|age| span(Duration::from_secs_f64(age.clamp(0.0, 1e9)))).unwrap_or_default(),
        time: text(json, "time"),
        readings: count("readings"),
        bad_lines: count("bad_lines"),
        error: text(json, "last_error"),
        points: list(json, "points").iter().map(|point| point_of(point, &name, history, t)).collect(),
        address: in_address(&name),
        name,
        state,
    }
}

fn point_of(json: &Json, device: &str, history: &Json, t: &Catalogue) -> Point {
    let name = text(json, "point");
    let quality = match text(json, "quality").as_str() {
        "good" => "",
        "invalid" => t.say("sensors.invalid"),
        "out_of_range" => t.say("sensors.out_of_range"),
        "overrun" => t.say("sensors.overrun"),
        _ => t.say("sensors.stale"),
    };
    Point {
        key: format!("{device}/{name}"),
        value: value(json.get("value")),
        unit: unit_word(&text(json, "unit")),
        quality: quality.to_owned(),
        chart: chart::sparkline(&last(history, device, &name), &format!("{device} {name}")),
        edit: String::new(),
        name,
    }
}

/// As people write it.
pub(super) fn value(json: Option<&Json>) -> String {
    match json {
        None | Some(Json::Null) => "–".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A unit as people write it.
pub(super) fn unit_word(written: &str) -> String {
    unit::known(written).map_or(written, |known| known.symbol).to_owned()
}

fn day(point: &Point, device: &str, history: &Json, t: &Catalogue) -> Option<Day> {
    let is_it = |entry: &&Json| text(entry, "point") == point.name;
    let entry = list(history, "points").iter().find(is_it)?;
    let buckets: Vec<(Duration, Bucket)> = list(entry, "buckets").iter().filter_map(bucket).collect();
    let low = buckets.iter().map(|(_, bucket)| bucket.min).reduce(f64::min)?;
    let high = buckets.iter().map(|(_, bucket)| bucket.max).reduce(f64::max)?;
    let digits = |number: f64| format!("{}", (number * 1e3).round() / 1e3);
    let (low, high) = (digits(low), digits(high));
    let label = t.fill(
        "sensors.day_label",
        &[("device", device), ("point", &point.name), ("low", &low), ("high", &high), ("unit", &point.unit)],
    );
    Some(Day {
        name: point.name.clone(),
        unit: point.unit.clone(),
        chart: chart::day(&buckets, &label),
        low,
        high,
    })
}

/// A bucket of the history's answer, with its age.
pub(super) fn bucket(json: &Json) -> Option<(Duration, Bucket)> {
    let number = |key: &str| json.get(key).and_then(Json::as_f64);
    let bucket = Bucket {
        min: number("min")?,
        mean: number("mean")?,
        max: number("max")?,
        last: number("last")?,
        count: json.get("count").and_then(Json::as_u64).and_then(|count| u32::try_from(count).ok())?,
    };
    Some((Duration::from_secs(json.get("age_s").and_then(Json::as_u64)?), bucket))
}

/// How a polled device is asked and answers: names and values.
fn poll_words(poll: &Json, t: &Catalogue) -> Vec<(String, String)> {
    if poll.is_null() {
        return Vec::new();
    }
    let seconds = |key: &str| {
        let span_of = |seconds: f64| span(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)));
        poll.get(key).and_then(Json::as_f64).map(span_of).unwrap_or_default()
    };
    let ms =
        |key: &str| poll.get(key).and_then(Json::as_f64).map_or("–".to_owned(), |ms| format!("{ms:.1} ms"));
    let count = |key: &str| poll.get(key).and_then(Json::as_u64).unwrap_or_default().to_string();
    [
        ("sensors.every", seconds("every_s")),
        ("sensors.next", seconds("next_in_s")),
        ("sensors.latency", format!("{} / {}", ms("latency_p50_ms"), ms("latency_max_ms"))),
        ("sensors.requests", count("requests")),
        ("sensors.timeouts", count("timeouts")),
        ("sensors.crc_errors", count("crc_errors")),
        ("sensors.exceptions", count("exceptions")),
    ]
    .into_iter()
    .map(|(key, value)| (t.say(key).to_owned(), value))
    .collect()
}

/// Bytes, written as digits, as text; empty where they are none.
fn readable(hex: &str) -> String {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| pair.iter().try_fold(0_u8, |byte, one| Some(byte << 4 | digit(one)?));
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks_exact(2).map(byte).collect();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let is_plain = |letter: char| !letter.is_control() || matches!(letter, '\r' | '\n' | '\t');
    if text.chars().all(is_plain) { text.replace('\r', "") } else { String::new() }
}

/// `00ff7b` as `00 ff 7b`.
fn spaced(hex: &str) -> String {
    let pairs = hex.as_bytes().chunks(2).map(String::from_utf8_lossy);
    pairs.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_somebody_stands_first_and_letters_find_sensor_port_and_point() {
        let one = |name: &str, state: &str, quality: &str, age: f64| {
            json!({"name": name, "port": "usb", "state": state, "last_reading_s": age,
                   "points": [{"point": "Temp", "quality": quality}]})
        };
        let all =
            [one("b", "ok", "good", 1.0), one("a", "stale", "good", 9.0), one("c", "ok", "invalid", 2.0)];
        let names = |by: &str| {
            let mut sensors: Vec<&Json> = all.iter().collect();
            sorted(&mut sensors, by);
            sensors.into_iter().map(|sensor| text(sensor, "name")).collect::<String>()
        };
        assert_eq!([names("problems"), names("name"), names("age")], ["acb", "abc", "acb"]);
        for (wanted, expected) in [("", true), ("TEMP", true), ("us", true), ("B", true), ("x", false)] {
            assert_eq!(is_found(&all[0], wanted), expected, "{wanted}");
        }
    }

    #[test]
    fn bytes_are_shown_as_text_only_where_they_are_text() {
        assert_eq!(readable("7b7d0d0a"), "{}\n");
        for none in ["00ff", "1b5b", ""] {
            assert_eq!(readable(none), "");
        }
        assert_eq!(spaced("00ff7b"), "00 ff 7b");
    }
}
