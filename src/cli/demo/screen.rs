//! What a person sees: what to try, then a table that is drawn again in place, or printed now and then where the
//! output is no terminal. Everything about the gateway comes from its control socket.

use std::io::{IsTerminal, Write, stdout};
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;
use serde_json::Value as Json;

use super::outage::Outages;
use crate::cli::status::{bytes, list, number, word};
use crate::health::span;

/// The table is drawn at most this often on a terminal, and elsewhere.
const REDRAW_EVERY: Duration = Duration::from_millis(500);
const PRINT_EVERY: Duration = Duration::from_secs(5);

/// The width of a terminal that doesn't tell its own.
const COLUMNS_DEFAULT: usize = 80;

/// Where the table goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Silent,
    Plain,
    Terminal,
}

/// The output.
#[derive(Debug)]
pub(super) struct Screen {
    kind: Kind,
    drawn: Option<Instant>,
    /// Lines of the last table, which the next one replaces.
    lines: usize,
}

/// All that the table shows.
#[derive(Debug)]
pub(super) struct View<'a> {
    /// When.
    pub(super) now: Instant,
    /// What the control socket answered last.
    pub(super) status: &'a Result<Json, String>,
    /// The outages.
    pub(super) outages: &'a Outages,
    /// What the demo is doing: how long it has been playing, or what it waits for.
    pub(super) doing: String,
    /// Lines that were played.
    pub(super) readings: u64,
    /// Of these, how many the subscriber has seen.
    pub(super) delivered: u64,
    /// Deliveries beyond the first.
    pub(super) duplicates: u64,
    /// What can be pressed.
    pub(super) keys: &'static str,
}

impl Screen {
    /// `silent`: nothing is ever printed.
    pub(super) fn new(silent: bool) -> Self {
        let kind = match stdout().is_terminal() {
            _ if silent => Kind::Silent,
            true => Kind::Terminal,
            false => Kind::Plain,
        };
        Self { kind, drawn: (kind == Kind::Plain).then(Instant::now), lines: 0 }
    }

    /// Prints text that stays.
    pub(super) fn say(&mut self, text: &str) {
        if self.kind != Kind::Silent {
            self.lines = 0;
            crate::cli::say(text);
        }
    }

    /// Whether a table is due. The first one at once on a terminal, elsewhere when there is something to tell.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let every = match self.kind {
            Kind::Silent => return false,
            Kind::Plain => PRINT_EVERY,
            Kind::Terminal => REDRAW_EVERY,
        };
        self.drawn.is_none_or(|drawn| now.saturating_duration_since(drawn) >= every)
    }

    /// Draws the table, over the last one if that is still in place.
    pub(super) fn draw(&mut self, view: &View<'_>) {
        if self.kind == Kind::Silent {
            return;
        }
        self.drawn = Some(view.now);
        let table = render(view);
        let mut text = String::new();
        if self.kind == Kind::Terminal {
            let columns = columns();
            if self.lines > 0 {
                // Up to the first line of the table, and clear from there on.
                text.push_str(&format!("\x1b[{}A\x1b[J", self.lines));
            }
            for line in table.lines() {
                // A line that wrapped would take two, and the next table would start too low.
                text.extend(line.chars().take(columns));
                text.push('\n');
            }
            self.lines = table.lines().count();
        } else {
            text.push_str(&table);
        }
        // A reader that went away is no error.
        let mut out = stdout().lock();
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }
}

fn columns() -> usize {
    match tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 1 => usize::from(size.ws_col - 1),
        _ => COLUMNS_DEFAULT - 1,
    }
}

fn render(view: &View<'_>) -> String {
    let mut text = format!("\n{}\n", view.doing);
    match view.status {
        Ok(status) => render_status(&mut text, status),
        Err(error) => text.push_str(&format!("  {error}\n")),
    }
    let outage = match view.outages.lasting(view.now) {
        Some(lasting) => format!("upstream taken down {} ago", tenths(lasting)),
        None if view.outages.count() == 0 => "none yet".into(),
        None => format!("none now; {} so far, {} in all", view.outages.count(), tenths(view.outages.total())),
    };
    text.push_str(&format!("  outage     {outage}\n"));
    text.push_str(&format!(
        "  delivered  {} of {} played, {} duplicates (subscriber at the upstream)\n",
        view.delivered, view.readings, view.duplicates
    ));
    if !view.keys.is_empty() {
        text.push_str(&format!("  {}\n", view.keys));
    }
    text
}

fn render_status(text: &mut String, status: &Json) {
    text.push_str(&format!("  {:<10} {:>8} {:>8}  {}\n", "device", "readings", "age", "values"));
    for reading in list(status, "readings") {
        let age = reading.get("age_s").and_then(Json::as_f64).and_then(seconds).map_or("-".into(), tenths);
        let values = reading.get("values").and_then(Json::as_object).into_iter().flatten();
        let values: Vec<String> = values.map(|(point, value)| format!("{point}={}", plain(value))).collect();
        let stale = if reading.get("stale").and_then(Json::as_bool) == Some(true) { "stale  " } else { "" };
        text.push_str(&format!(
            "  {:<10} {:>8} {:>8}  {stale}{}\n",
            word(reading, "device"),
            number(reading, "readings"),
            age,
            values.join(" ")
        ));
    }
    for upstream in list(status, "upstreams") {
        let error = upstream.get("error").and_then(Json::as_str);
        let error = error.map(|error| format!(": {error}")).unwrap_or_default();
        let retry = upstream.get("retry_in_s").and_then(Json::as_f64).and_then(seconds);
        let retry = retry.map(|retry| format!(", next attempt in {}", tenths(retry))).unwrap_or_default();
        text.push_str(&format!("  link       {}{retry}{error}\n", word(upstream, "state")));
        let backlog = upstream.get("backlog").unwrap_or(&Json::Null);
        let oldest = backlog.get("oldest_s").and_then(Json::as_f64).and_then(seconds);
        let oldest = oldest.map(|oldest| format!(", oldest {}", tenths(oldest))).unwrap_or_default();
        text.push_str(&format!(
            "  backlog    {} messages, {}{oldest}\n",
            number(backlog, "messages"),
            bytes(number(backlog, "bytes"))
        ));
    }
}

/// A value without the quotes of JSON.
fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

/// Tenths of a second where they matter, so that a short outage is seen to grow.
pub(super) fn tenths(duration: Duration) -> String {
    if duration < Duration::from_secs(60) {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        span(duration)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(status: Result<Json, String>, outage: bool) -> String {
        let now = Instant::now();
        let mut outages = Outages::new(now, None);
        if outage {
            outages.toggle(now);
        }
        let view = View {
            now: now + Duration::from_millis(3_200),
            status: &status,
            outages: &outages,
            doing: "playing for 12 s".into(),
            readings: 96,
            delivered: 62,
            duplicates: 1,
            keys: "o  outage   q  end",
        };
        render(&view)
    }

    #[test]
    fn the_table_shows_devices_link_backlog_outage_and_what_arrived() {
        let status = json!({
            "readings": [
                {"device": "scale", "readings": 60, "age_s": 0.12, "values": {"weight": 0.812, "state": "ST"}},
                {"device": "weather", "readings": 0, "age_s": null, "values": {}, "stale": true},
            ],
            "upstreams": [{
                "state": "offline", "error": "connection refused", "retry_in_s": 1.2,
                "backlog": {"messages": 34, "bytes": 12_345, "oldest_s": 3.04},
            }],
        });
        let text = shown(Ok(status), true);
        for expected in [
            "playing for 12 s\n",
            "  scale            60    0.1 s  state=ST weight=0.812\n",
            "  weather           0        -  stale  \n",
            "  link       offline, next attempt in 1.2 s: connection refused\n",
            "  backlog    34 messages, 12 kB, oldest 3.0 s\n",
            "  outage     upstream taken down 3.2 s ago\n",
            "  delivered  62 of 96 played, 1 duplicates",
            "  o  outage   q  end\n",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_gateway_that_does_not_answer_is_told_and_the_rest_still_shown() {
        let text = shown(Err("no gateway answers".into()), false);
        assert!(text.contains("  no gateway answers\n"), "{text}");
        assert!(text.contains("  outage     none yet\n"), "{text}");
    }

    #[test]
    fn a_status_of_another_shape_shows_nothing_and_harms_nothing() {
        for status in [json!(null), json!([]), json!({"readings": 1, "upstreams": [3]})] {
            assert!(shown(Ok(status), false).contains("delivered  62 of 96"));
        }
    }
}
