//! What was measured, for people (a table, for the terminal or as Markdown) and for programs (JSON).

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use super::figure::{Figure, Sample, merged};
use super::scenario::Scenario;
use super::target::Target;

/// A process that is busy for this share of a core is what holds the rest up.
const BUSY: f64 = 0.9;

/// All rounds of a scenario against one broker.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) scenario: &'static Scenario,
    /// Its place among the targets.
    pub(super) target: usize,
    pub(super) rounds: Vec<Sample>,
    /// Why there are no more.
    pub(super) error: Option<String>,
}

impl Measured {
    /// One figure of all rounds.
    pub(super) fn figure(&self, wanted: Figure) -> Option<f64> {
        merged(&self.rounds).into_iter().find(|(figure, ..)| *figure == wanted).map(|(.., value)| value)
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Terminal,
    Markdown,
}

const HEADINGS: [&str; 9] =
    ["scenario", "broker", "per second", "×", "CPU s per million", "×", "p50 µs", "p99 µs", "remarks"];

/// The table. What stands behind a × is the first target's figure divided by this one's.
pub(super) fn table(all: &[Measured], targets: &[&Target], form: Form) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    for measured in all {
        let first =
            all.iter().find(|other| other.scenario.name == measured.scenario.name && other.target == 0);
        rows.push(row(measured, first, targets));
    }
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..HEADINGS.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells =
            row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| match (form, column) {
                (Form::Markdown, _) => format!("| {cell} "),
                (Form::Terminal, 0 | 1) => format!("{cell:width$}  "),
                (Form::Terminal, 8) => cell.clone(),
                (Form::Terminal, _) => format!("{cell:>width$}  "),
            });
        let line: String = cells.collect();
        let end = if form == Form::Markdown { "|" } else { "" };
        let _ =
            writeln!(text, "{}{end}", line.trim_end_matches(if form == Form::Terminal { ' ' } else { '\n' }));
        if number == 0 && form == Form::Markdown {
            let _ = writeln!(text, "|---|---|--:|--:|--:|--:|--:|--:|---|");
        }
    }
    text
}

fn row(measured: &Measured, first: Option<&Measured>, targets: &[&Target]) -> [String; 9] {
    let figure = |wanted| measured.figure(wanted);
    let ratio = |wanted| {
        let base = first.filter(|first| first.target != measured.target)?.figure(wanted)?;
        let own = figure(wanted).filter(|own| *own > 0.0)?;
        Some(format!("{:.2}", base / own))
    };
    let shown = |value: Option<f64>| value.map(short).unwrap_or_default();
    [
        measured.scenario.about.to_owned(),
        targets.get(measured.target).map(|target| target.name.clone()).unwrap_or_default(),
        shown(figure(Figure::PerSecond)),
        ratio(Figure::PerSecond).unwrap_or_default(),
        shown(figure(Figure::CpuPerMillion)),
        ratio(Figure::CpuPerMillion).unwrap_or_default(),
        shown(figure(Figure::LatencyP50)),
        shown(figure(Figure::LatencyP99)),
        remarks(measured),
    ]
}

/// What doesn't fit into a column: what went wrong, who was the limit, and figures that few scenarios have.
fn remarks(measured: &Measured) -> String {
    let figure = |wanted| measured.figure(wanted);
    let mut words: Vec<String> = measured.error.iter().map(|error| format!("failed: {error}")).collect();
    let wrong = [
        (Figure::Lost, "lost"),
        (Figure::Duplicates, "twice"),
        (Figure::Disordered, "out of order"),
        (Figure::Refused, "refused"),
        (Figure::Stalls, "times at a standstill"),
    ];
    for (wanted, word) in wrong {
        if let Some(count) = figure(wanted).filter(|count| *count > 0.0) {
            words.push(format!("{count:.0} {word}"));
        }
    }
    let special = [
        (Figure::DrainedPerSecond, "drained per second", 1.0),
        (Figure::NeighbourRounds, "times the neighbour did it", 1.0),
        (Figure::ResidentPerClient, "bytes a client", 1.0),
        (Figure::ResidentAfter, "MB resident", 1e6),
    ];
    for (wanted, word, unit) in special {
        if let Some(value) = figure(wanted) {
            words.push(format!("{} {word}", short(value / unit)));
        }
    }
    let is_busy = |wanted| figure(wanted).is_some_and(|share| share >= BUSY);
    match (is_busy(Figure::BrokerCpu), is_busy(Figure::GeneratorCpu)) {
        (true, _) => words.push("limit: broker".to_owned()),
        (false, true) => words.push("limit: generator".to_owned()),
        (false, false) => {}
    }
    words.join(", ")
}

/// A number with three digits that matter; thousands apart.
pub(super) fn short(value: f64) -> String {
    if value < 100.0 {
        let digits = if value < 1.0 {
            3
        } else if value < 10.0 {
            2
        } else {
            1
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The whole, for programs.
pub(super) fn json(all: &[Measured], targets: &[&Target]) -> Json {
    let figures = |rounds: &[Sample]| -> Map<String, Json> {
        merged(rounds).into_iter().map(|(_, name, value)| (name.to_owned(), json!(value))).collect()
    };
    let measured = all.iter().map(|measured| {
        json!({
            "scenario": measured.scenario.name,
            "about": measured.scenario.about,
            "target": targets.get(measured.target).map(|target| target.name.as_str()),
            "error": measured.error,
            "all": figures(&measured.rounds),
            "rounds": measured.rounds.iter().map(|round| figures(std::slice::from_ref(round))).collect::<Vec<_>>(),
        })
    });
    json!({ "version": env!("CARGO_PKG_VERSION"), "measured": measured.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        for (value, expected) in
            [(0.1234, "0.123"), (1.234, "1.23"), (45.67, "45.7"), (999.4, "999"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(short(value), expected);
        }
    }

    #[test]
    fn a_table_tells_ratios_and_what_went_wrong() {
        let scenario = &super::super::scenario::SCENARIOS[0];
        let measured = |target, speed: f64, lost: f64, busy: f64| Measured {
            scenario,
            target,
            rounds: vec![Sample::from([
                (Figure::PerSecond, speed),
                (Figure::Lost, lost),
                (Figure::GeneratorCpu, busy),
            ])],
            error: None,
        };
        let target = |name: &str| Target {
            name: name.to_owned(),
            address: "127.0.0.1:1883".parse().unwrap(),
            tls: None,
            login: None,
            version: crate::mqtt::Version::V311,
            pid: None,
        };
        let (one, other) = (target("one"), target("other"));
        let all = [measured(0, 3_000.0, 0.0, 0.95), measured(1, 1_000.0, 7.0, 0.2)];
        let text = table(&all, &[&one, &other], Form::Terminal);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("3,000") && lines[1].ends_with("limit: generator"), "{text}");
        assert!(lines[2].contains("3.00") && lines[2].ends_with("7 lost"), "{text}");
        let text = table(&all, &[&one, &other], Form::Markdown);
        assert_eq!(text.lines().count(), 4);
        assert!(text.lines().all(|line| line.matches('|').count() == 10), "{text}");
        let json = json(&all, &[&one, &other]);
        assert_eq!(json["measured"][1]["all"]["lost"], 7.0);
        assert_eq!(json["measured"][1]["target"], "other");
    }
}
