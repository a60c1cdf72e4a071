//! One line: a port, a program, or what is plugged in and no port means. How it does, who has it open, what is scanned for
//! on it, what passes over it, and who of a bus answers how fast.

use std::time::Duration;

use askama::Template;
use serde_json::{Value as Json, json};

use super::findings::{Finding, Line, findings};
use super::ports::{self, Bus};
use super::sensors::bucket;
use super::status::{bytes, list, text};
use super::upstreams::number;
use super::{Frame, in_address, rendered};
use crate::health::span;
use crate::io::operations::{Operation, Request};
use crate::web::call::Call;
use crate::web::chart::{self, Stretch};

use crate::web::reply::{Refusal, Reply};
use crate::web::texts::Catalogue;

/// Events of the line that are shown, the newest.
const EVENTS_MAX: usize = 8;
/// Devices of a bus that are drawn; the table has all.
const DRAWN_MAX: usize = 16;

#[derive(Template)]
#[template(path = "port.html", config = "src/web/askama.toml")]
struct Page {
    frame: Frame,
    name: String,
    link: String,
    /// Whether it is a port or a program of the config.
    is_named: bool,
    word: String,
    is_good: bool,
    error: String,
    figures: Vec<(String, String)>,
    about: String,
    /// Who has it open; `None` where whoever looks may not know.
    holders: Option<Vec<Holder>>,
    /// What may be scanned for.
    kinds: Vec<(&'static str, String)>,
    is_tcp: bool,
    scan: Option<Scan>,
    bus: Option<Bus>,
    latency: String,
    load: String,
    events: Vec<(String, String, String, bool)>,
}

struct Holder {
    words: String,
    is_own: bool,
}

/// The last scan.
struct Scan {
    title: String,
    is_running: bool,
    error: String,
    /// Of 100, and in words.
    done: u64,
    progress: String,
    started: String,
    found: Vec<Finding>,
    heard: Vec<String>,
    more: u64,
    nothing: String,
}

pub(in crate::web) async fn page(call: Call) -> Result<Reply, Refusal> {
    let name = call.argument("name").unwrap_or_default().to_owned();
    let frame = Frame::of(&call, "ports.title");
    let status = call.web.asker.ask(Request::new(Operation::Status)).await?;
    let plugged = call.web.asker.ask(Request::new(Operation::Plugged)).await?;
    let t = call.texts.clone();
    let port = list(&status, "ports").iter().find(|port| text(port, "name") == name).cloned();
    let path = port.as_ref().map_or_else(|| name.clone(), |port| text(port, "path"));
    let adapters = plugged.as_array().map(Vec::as_slice).unwrap_or_default();
    let users = |adapter: &Json| list(adapter, "used_by").iter().any(|user| user.as_str() == Some(&*name));
    let adapter = adapters.iter().find(|one| text(one, "path") == path || users(one));
    if port.is_none() && adapter.is_none() {
        return Err(Refusal::not_found());
    }
    let mut page = Page {
        link: in_address(&name),
        is_named: port.is_some(),
        word: String::new(),
        is_good: true,
        error: String::new(),
        figures: Vec::new(),
        about: adapter.map(about).unwrap_or_default(),
        holders: None,
        kinds: Vec::new(),
        is_tcp: false,
        scan: None,
        bus: None,
        latency: String::new(),
        load: String::new(),
        events: Vec::new(),
        frame,
        name,
    };
    page.tell_state(port.as_ref(), &path, &t);
    if let Some(bus) = list(&status, "buses").iter().find(|bus| text(bus, "port") == page.name) {
        let links = call.web.asker.ask(Request::new(Operation::Links)).await?;
        page.tell_bus(bus, &links, &t);
    }
    if page.frame.may("operator") {
        let unused = adapter.filter(|_| port.is_none()).map(|adapter| text(adapter, "config"));
        page.ask_more(&call, &path, unused.as_deref(), &t).await?;
    }
    page.frame.title.clone_from(&page.name);
    rendered(&call, &page)
}

/// What the kernel knows of it.
fn about(adapter: &Json) -> String {
    let words = ["maker", "product", "serial", "vid_pid", "driver"].map(|key| text(adapter, key));
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ")
}

impl Page {
    fn tell_state(&mut self, port: Option<&Json>, path: &str, t: &Catalogue) {
        let mut figures = vec![(t.say("ports.path").to_owned(), path.to_owned())];
        if let Some(json) = port {
            (self.word, self.is_good) = ports::state(json, t);
            self.error = text(json, "error");
            let count = |key: &str| number(json, key).to_string();
            figures.extend(
                [
                    ("ports.bytes", bytes(Some(number(json, "/bytes")))),
                    ("ports.bad_lines", count("/bad_lines")),
                    ("ports.lost", count("/lost")),
                ]
                .map(|(key, value)| (t.say(key).to_owned(), value)),
            );
        } else {
            t.say("ports.unused").clone_into(&mut self.word);
        }
        self.figures = figures;
    }

    fn tell_bus(&mut self, json: &Json, links: &Json, t: &Catalogue) {
        self.latency = latency(json, t);
        let is_it = |entry: &&Json| text(entry, "device") == self.name && text(entry, "point") == "load";
        let load = list(links, "points").iter().find(is_it);
        let buckets: Vec<_> =
            load.map(|load| list(load, "buckets")).unwrap_or_default().iter().filter_map(bucket).collect();
        self.load = chart::day(&buckets, t.say("port.load_chart"));
        self.bus = Some(ports::bus(json, t));
    }

    /// What operators may see and do.
    async fn ask_more(
        &mut self,
        call: &Call,
        path: &str,
        unused: Option<&str>,
        t: &Catalogue,
    ) -> Result<(), Refusal> {
        let holders = call.ask(Request::new(Operation::Holders)).await?;
        let is_its = |one: &&Json| {
            text(one, "path") == path
                || list(one, "ports").iter().any(|port| port.as_str() == Some(&*self.name))
        };
        let its = holders.as_array().into_iter().flatten().find(is_its);
        self.holders = its.map(|its| list(its, "open_in").iter().map(|one| holder(one, t)).collect());
        let look = Request { port: Some(self.name.clone()), ..Request::new(Operation::ScanLook) };
        let looked = call.ask(look).await?;
        let kinds = list(&looked, "kinds");
        self.is_tcp = kinds.len() == 1;
        self.kinds = [("serial", "port.serial"), ("modbus", "port.modbus"), ("mbus", "port.mbus")]
            .into_iter()
            .filter(|(kind, _)| kinds.contains(&json!(kind)))
            .map(|(kind, key)| (kind, t.say(key).to_owned()))
            .collect();
        let scan = looked.get("scan").filter(|scan| !scan.is_null());
        self.scan = scan.map(|json| scanned(&self.name, unused, json, t));
        let events = call.ask(Request::new(Operation::Events)).await?;
        self.events = happened(&self.name, &events, t);
        Ok(())
    }
}

/// Who of a bus answers how fast.
fn latency(json: &Json, t: &Catalogue) -> String {
    let ms = |slave: &Json, key: &str| slave.get(key).and_then(Json::as_f64);
    let devices = list(json, "devices");
    let names: Vec<String> = devices.iter().map(|slave| text(slave, "name")).collect();
    let stretches: Vec<Stretch<'_>> = devices
        .iter()
        .zip(&names)
        .take(DRAWN_MAX)
        .map(|(slave, name)| {
            let (usual, longest) = (ms(slave, "latency_p50_ms"), ms(slave, "latency_max_ms"));
            let words = match (usual, longest) {
                (Some(usual), Some(longest)) => format!("{usual:.0} … {longest:.0} ms"),
                _ => t.say("port.no_answer").to_owned(),
            };
            let timeouts = number(slave, "/timeouts");
            let words = if timeouts > 0 { format!("{words}, {timeouts} ✗") } else { words };
            Stretch {
                name,
                usual: usual.unwrap_or_default(),
                longest: longest.unwrap_or_default(),
                words,
                is_bad: timeouts > 0 || usual.is_none(),
            }
        })
        .collect();
    chart::stretches(&stretches, t.say("port.latency_chart"))
}

fn holder(json: &Json, t: &Catalogue) -> Holder {
    let is_own = json.get("own").and_then(Json::as_bool).unwrap_or_default();
    let program = text(json, "name");
    let pid = number(json, "/pid").to_string();
    let words = if is_own {
        t.fill("port.held_by_us", &[("pid", &pid)])
    } else {
        t.fill("port.held_by", &[("name", &program), ("pid", &pid)])
    };
    Holder { words, is_own }
}

fn scanned(name: &str, unused: Option<&str>, json: &Json, t: &Catalogue) -> Scan {
    let kind = text(json, "kind");
    let state = text(json, "state");
    let (found, heard) = findings(Line { name, unused, kind: &kind }, list(json, "findings"), t);
    let kind_word = match kind.as_str() {
        "serial" => t.say("port.serial"),
        "mbus" => t.say("port.mbus"),
        _ => t.say("port.modbus"),
    };
    let progress = json.get("progress").unwrap_or(&Json::Null);
    let (done, total) = (number(progress, "/done"), number(progress, "/total").max(1));
    let left = progress.get("left_s").and_then(Json::as_f64).unwrap_or_default();
    let left = span(Duration::try_from_secs_f64(left).unwrap_or_default());
    let is_running = state == "running";
    let nothing = match (found.is_empty(), kind.as_str()) {
        (false, _) => "",
        (true, "serial") => t.say("port.nothing_heard"),
        (true, _) => t.say("port.nobody_answers"),
    };
    Scan {
        title: match state.as_str() {
            "running" => t.fill("port.scanning", &[("kind", kind_word)]),
            "stopped" => t.fill("port.stopped", &[("kind", kind_word)]),
            "failed" => t.fill("port.failed", &[("kind", kind_word)]),
            _ => t.fill("port.done", &[("kind", kind_word)]),
        },
        is_running,
        error: text(json, "error"),
        done: done.saturating_mul(100) / total,
        progress: t.fill(
            "port.progress",
            &[
                ("done", &done.to_string()),
                ("total", &total.to_string()),
                ("what", &text(progress, "what")),
                ("left", &left),
            ],
        ),
        started: text(json, "started"),
        found,
        heard,
        more: number(json, "/more"),
        nothing: if is_running { String::new() } else { nothing.to_owned() },
    }
}

/// When the line went and came, and who scanned it; the newest first: when, what, who, whether it is bad.
fn happened(name: &str, events: &Json, t: &Catalogue) -> Vec<(String, String, String, bool)> {
    let one = |event: &Json| {
        let (kind, detail) = (text(event, "kind"), text(event, "detail"));
        let rest = detail.strip_prefix(name)?;
        let rest = rest.strip_prefix(": ").or_else(|| rest.is_empty().then_some(""))?;
        let words = match kind.as_str() {
            "port_down" => t.fill("port.went", &[("why", rest)]),
            "port_open" => t.say("port.came").to_owned(),
            "scan" => t.say("port.was_scanned").to_owned(),
            _ => return None,
        };
        Some((text(event, "time"), words, text(event, "who"), kind == "port_down"))
    };
    list(events, "events").iter().rev().filter_map(one).take(EVENTS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::texts::Texts;

    fn english() -> std::sync::Arc<Catalogue> {
        Texts::load(std::path::Path::new("/nonexistent")).liked("en")
    }

    #[test]
    fn what_happened_to_a_line_is_its_own_and_the_newest_comes_first() {
        let event =
            |kind: &str, detail: &str| json!({"kind": kind, "detail": detail, "time": "t", "who": null});
        let events = json!({"events": [
            event("port_down", "usb0: the port is gone"),
            event("port_down", "usb01: the port is gone"),
            event("port_open", "usb0"),
            event("command", "usb0: x"),
        ]});
        let told = happened("usb0", &events, &english());
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(!told[0].3 && told[1].3 && told[1].1.contains("the port is gone"), "{told:?}");
    }

    #[test]
    fn a_scan_is_told_by_how_far_it_is_and_what_it_found() {
        let mut json = json!({
            "kind": "modbus", "state": "running", "started": "t", "more": 0, "findings": [],
            "progress": {"done": 30, "total": 120, "what": "unit 30", "left_s": 90.0},
        });
        let told = scanned("usb0", None, &json, &english());
        assert!(told.is_running && told.nothing.is_empty() && told.done == 25, "{}", told.progress);
        assert!(
            told.progress.contains("30 of 120") && told.progress.contains("unit 30"),
            "{}",
            told.progress
        );
        json["state"] = json!("done");
        let told = scanned("usb0", None, &json, &english());
        assert!(!told.is_running && told.nothing.contains("Nobody"), "{}", told.nothing);
    }

    #[test]
    fn who_of_a_bus_does_not_answer_is_marked() {
        let json = json!({"devices": [
            {"name": "a", "latency_p50_ms": 10.0, "latency_max_ms": 40.0, "timeouts": 0},
            {"name": "b", "latency_p50_ms": null, "timeouts": 7},
        ]});
        let svg = latency(&json, &english());
        assert!(svg.contains("10 … 40 ms") && svg.contains("no answer, 7 ✗"), "{svg}");
        assert_eq!(latency(&json!({}), &english()), "");
    }
}
