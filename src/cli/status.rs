//! `fieldgate status`: what a running gateway is doing, for people or as JSON.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::Value as Json;

use super::running::Running;
use super::{complain, say};
use crate::health::span;
use crate::io::control;

/// Arguments of `fieldgate status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show.
    #[arg(value_enum, default_value = "status")]
    what: What,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// Everything on one screen.
    Status,
    /// What the health topic says.
    Health,
    /// The last reading of each device.
    Readings,
    /// What waits for each upstream.
    Backlog,
}

/// Exit code 0 if the gateway answered and is well, 1 if it didn't answer, 3 if it is degraded.
pub fn execute(args: &Args) -> ExitCode {
    let op = match args.what {
        What::Status => "status",
        What::Health => "health",
        What::Readings => "readings",
        What::Backlog => "backlog",
    };
    match args.running.control_socket().and_then(|socket| control::ask(&socket, op)) {
        Ok(answer) => {
            let human = matches!(args.what, What::Status) && !args.running.json;
            say(if human { render(&answer) } else { format!("{answer:#}") });
            if answer.get("state").and_then(Json::as_str) == Some("degraded") {
                return ExitCode::from(3);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// The screen: one sentence, problems first, then upstreams, sensors, broker, system.
pub(super) fn render(status: &Json) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    let _ = render_into(&mut out, status);
    out
}

/// Who vouches for the clock, where that isn't plain from the word.
fn clock_source(status: &Json) -> String {
    let source = status.get("clock_source").unwrap_or(&Json::Null);
    let text = word(source, "text");
    if word(source, "kind") == "gnss" { format!(" by {text}") } else { String::new() }
}

fn render_into(out: &mut String, status: &Json) -> std::fmt::Result {
    let text = |key: &str| status.get(key).and_then(Json::as_str).unwrap_or("-").to_owned();
    let uptime = status.get("uptime_s").and_then(Json::as_u64).unwrap_or(0);
    let uptime = span(std::time::Duration::from_secs(uptime));
    writeln!(
        out,
        "{} is {} (fieldgate {}, up {uptime}, clock {}{})",
        text("gateway"),
        text("state"),
        text("version"),
        text("clock"),
        clock_source(status)
    )?;
    for problem in list(status, "problems") {
        writeln!(out, "  ! {}", problem.as_str().unwrap_or_default())?;
    }
    page_lines(out, status.get("web").unwrap_or(&Json::Null))?;
    let config = status.get("config").unwrap_or(&Json::Null);
    let next_start: Vec<&str> = list(config, "next_start").filter_map(Json::as_str).collect();
    if !next_start.is_empty() {
        writeln!(out, "  takes effect at the next start: {}", next_start.join(", "))?;
    }
    for upstream in list(status, "upstreams") {
        upstream_line(out, upstream)?;
    }
    let readings: Vec<&Json> = list(status, "readings").collect();
    if !readings.is_empty() {
        writeln!(out, "\n{:<16} {:>9} {:>9}  values", "device", "readings", "age")?;
    }
    for reading in readings {
        reading_line(out, reading)?;
    }
    for port in list(status, "ports") {
        writeln!(out, "\nport {:<12} {} {}", word(port, "name"), word(port, "state"), word(port, "path"))?;
    }
    for bus in list(status, "buses") {
        bus_lines(out, bus)?;
    }
    for line in list(status, "gpio") {
        let (name, state, mode) = (word(line, "name"), word(line, "state"), word(line, "mode"));
        let lost = match number(line, "lost_edges") {
            0 => String::new(),
            lost => format!(", {lost} changes lost"),
        };
        writeln!(
            out,
            "gpio {name:<12} {state} {} ({mode}, {}{lost})",
            word(line, "line"),
            word(line, "backend")
        )?;
    }
    let broker = status.get("broker").unwrap_or(&Json::Null);
    for listener in list(status, "listeners") {
        writeln!(out, "listener {:<8} {}", word(listener, "name"), word(listener, "address"))?;
    }
    for dated in list(status, "certificates") {
        certificate_line(out, dated)?;
    }
    writeln!(
        out,
        "broker: {} clients, {} in, {} out; memory {}, free disk {}",
        number(broker, "clients"),
        number(broker, "received"),
        number(broker, "sent"),
        bytes(number(status, "rss_bytes")),
        bytes(number(status, "disk_free_bytes")),
    )
}

/// Where the page is; and what to do there, as long as nobody has claimed the gateway.
fn page_lines(out: &mut String, web: &Json) -> std::fmt::Result {
    let address = web.get("address").and_then(Json::as_str).and_then(|text| text.parse::<SocketAddr>().ok());
    let Some(address) = address else { return Ok(()) };
    let place = match web.get("local_name").and_then(Json::as_str) {
        Some(name) => format!("https://{name}:{}", address.port()),
        None if address.ip().is_unspecified() => {
            format!("https://<an address of this machine>:{}", address.port())
        }
        None => format!("https://{address}"),
    };
    if web.get("unclaimed").and_then(Json::as_bool) == Some(true) {
        writeln!(
            out,
            "  > nobody has claimed this gateway yet: open {place} from its network; `fieldgate claim` shows the code"
        )
    } else {
        writeln!(out, "  page {place}")
    }
}

/// How long a certificate is good.
fn certificate_line(out: &mut String, dated: &Json) -> std::fmt::Result {
    let day: String = word(dated, "expires").chars().take(10).collect();
    let days = dated.get("days").and_then(Json::as_i64).unwrap_or(0);
    let what = word(dated, "what");
    match dated.get("upstream").and_then(Json::as_str) {
        Some(upstream) => {
            let (subject, issuer) = (word(dated, "subject"), word(dated, "issuer"));
            writeln!(
                out,
                "upstream {upstream:<8} {what} until {day} ({days} d) {subject}, issued by {issuer}"
            )
        }
        None => {
            let (listener, file) = (word(dated, "listener"), word(dated, "file"));
            writeln!(out, "listener {listener:<8} {what} until {day} ({days} d) {file}")
        }
    }
}

fn upstream_line(out: &mut String, upstream: &Json) -> std::fmt::Result {
    let backlog = upstream.get("backlog").unwrap_or(&Json::Null);
    let oldest = backlog.get("oldest_s").and_then(Json::as_f64).map(|seconds| {
        format!(", oldest {}", span(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    });
    writeln!(
        out,
        "\nupstream {}: {} ({}) since {}; {} delivered, {} waiting ({}{})",
        word(upstream, "name"),
        word(upstream, "state"),
        word(upstream, "address"),
        word(upstream, "since"),
        number(upstream, "delivered"),
        number(backlog, "messages"),
        bytes(number(backlog, "bytes")),
        oldest.unwrap_or_default(),
    )?;
    for stream in list(upstream, "streams") {
        let backlog = stream.get("backlog").unwrap_or(&Json::Null);
        let (name, size) = (word(stream, "name"), bytes(number(backlog, "bytes")));
        writeln!(out, "  stream {name}: {} waiting ({size})", number(backlog, "messages"))?;
    }
    Ok(())
}

/// How busy a polled port is, and how each of its devices answers.
fn bus_lines(out: &mut String, bus: &Json) -> std::fmt::Result {
    writeln!(
        out,
        "bus {:<13} load {} %, {} requests, {} foreign bytes",
        word(bus, "port"),
        number(bus, "load_percent"),
        number(bus, "requests"),
        number(bus, "foreign_bytes"),
    )?;
    let ms = |device: &Json, key: &str| {
        let value = device.get(key).and_then(Json::as_f64);
        value.map_or("-".to_owned(), |value| format!("{value:.0} ms"))
    };
    for device in list(bus, "devices") {
        let is_offline = device.get("offline").and_then(Json::as_bool) == Some(true);
        let refused: Vec<&str> = list(device, "refused").filter_map(Json::as_str).collect();
        let air = device.get("air_time_s").and_then(Json::as_f64).unwrap_or(0.0);
        write!(
            out,
            "  {:<16} unit {:>3} {}; {} answers, {} timeouts, {} CRC errors, {} exceptions; latency {} to {}; air {air:.1} s",
            word(device, "name"),
            device.get("unit_id").and_then(Json::as_u64).map_or("-".to_owned(), |unit| unit.to_string()),
            if is_offline { "offline" } else { "online" },
            number(device, "answers"),
            number(device, "timeouts"),
            number(device, "crc_errors"),
            number(device, "exceptions"),
            ms(device, "latency_p50_ms"),
            ms(device, "latency_max_ms"),
        )?;
        if !refused.is_empty() {
            write!(out, "; refuses {}", refused.join(", "))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn reading_line(out: &mut String, reading: &Json) -> std::fmt::Result {
    let age = reading.get("age_s").and_then(Json::as_f64);
    let age = age
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .map_or("never".into(), span);
    let stale = if reading.get("stale").and_then(Json::as_bool) == Some(true) { " (stale)" } else { "" };
    let values = reading.get("values").and_then(Json::as_object);
    let values: Vec<String> =
        values.into_iter().flatten().map(|(point, value)| format!("{point}={value}")).collect();
    writeln!(
        out,
        "{:<16} {:>9} {:>9}  {}{stale}",
        word(reading, "device"),
        number(reading, "readings"),
        age,
        values.join(" ")
    )
}

pub(super) fn list<'a>(json: &'a Json, key: &str) -> impl Iterator<Item = &'a Json> {
    json.get(key).and_then(Json::as_array).into_iter().flatten()
}

pub(super) fn word<'a>(json: &'a Json, key: &str) -> &'a str {
    json.get(key).and_then(Json::as_str).unwrap_or("-")
}

pub(super) fn number(json: &Json, key: &str) -> u64 {
    json.get(key).and_then(Json::as_u64).unwrap_or(0)
}

/// Bytes for people.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1_000),
        10_000_000..=9_999_999_999 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whoever_looks_is_told_where_the_page_is_and_that_it_waits_to_be_claimed() {
        let said = |web: &Json| {
            let mut out = String::new();
            page_lines(&mut out, web).unwrap();
            out
        };
        assert_eq!(said(&json!({"address": null, "unclaimed": false})), "", "there is no page");
        let web = json!({"address": "[::]:8443", "unclaimed": false, "local_name": "gw-7.local"});
        assert_eq!(said(&web), "  page https://gw-7.local:8443\n");
        let web = json!({"address": "192.168.4.7:443", "unclaimed": false, "local_name": null});
        assert_eq!(said(&web), "  page https://192.168.4.7:443\n");
        let unclaimed = said(&json!({"address": "[::]:8443", "unclaimed": true}));
        assert!(
            unclaimed.contains("nobody has claimed")
                && unclaimed.contains("<an address of this machine>:8443"),
            "{unclaimed}"
        );
    }
}
