//! What the control socket does with GPIO lines: a command to an output or a counter, and the levels of simulated lines.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::reporter::Reporter;
use crate::command::{Outcome, scalar, value_json};
use crate::reading::Value;

/// Pulses of one request; with their period at most [`PULSES_SPAN_MAX`] in all.
const PULSES_MAX: u32 = 1_000_000;
/// The longest train of pulses: whoever asks waits for its end.
const PULSES_SPAN_MAX: Duration = Duration::from_secs(50);

/// Which line, and what of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arguments {
    /// The name of its `[[gpio]]`.
    name: String,
    /// Of `gpio-set`: true or false, on or off; the total of a counter.
    value: Option<Json>,
    /// Of `gpio-pulse`: how many.
    count: Option<u32>,
    /// Of `gpio-pulse`: from one to the next; 0: as fast as they are taken.
    period_us: Option<u64>,
    /// Of `gpio-pulse`: changes that are lost before.
    lose: Option<u32>,
    /// Of `gpio-pulse`: from now on an output doesn't follow what it is set to, or does.
    stuck: Option<bool>,
}

impl Arguments {
    /// In words.
    pub(super) fn words(&self) -> String {
        match (&self.value, self.count) {
            (Some(value), _) => format!("{} = {value}", self.name),
            (None, Some(count)) => format!("{}: {count} pulses", self.name),
            (None, None) => self.name.clone(),
        }
    }
}

/// Sets an output or a counter as a command would, or a simulated input.
pub(super) async fn set(arguments: Option<Arguments>, reporter: &Reporter) -> Json {
    let Some(Arguments { name, value: Some(value), count: None, period_us: None, lose: None, stuck: None }) =
        arguments
    else {
        return json!({"error": "gpio-set wants gpio = {name, value}"});
    };
    let status = reporter.gpio.borrow().status(reporter.clock.now().mono);
    let Some(line) = status.iter().find(|line| *line.name == *name) else { return unknown(&name) };
    if matches!(line.mode, "output" | "counter") {
        let Some(value) = scalar(&value) else {
            return json!({"error": "value: expected true, false, a word or a number"});
        };
        let outcome = reporter.desk.ask(&name, None, value).await;
        return outcome_json(
            &name,
            &outcome.unwrap_or_else(|_| Outcome::Failed("the gateway is stopping".to_owned())),
        );
    }
    let level = match &value {
        Json::Bool(level) => Some(*level),
        Json::String(word) if word == "on" => Some(true),
        Json::String(word) if word == "off" => Some(false),
        _ => value.as_u64().filter(|number| *number < 2).map(|number| number == 1),
    };
    match level {
        _ if !reporter.sim.has(&name) => {
            json!({"error": format!("{name} is an {}: only a simulated one can be set", line.mode)})
        }
        None => json!({"error": "value: expected true, false, \"on\", \"off\", 1 or 0"}),
        Some(level) => {
            reporter.sim.set(&name, level).await;
            outcome_json(&name, &Outcome::Done(Some(Value::Bool(level))))
        }
    }
}

/// Moves a simulated line up and down.
pub(super) async fn pulse(arguments: Option<Arguments>, reporter: &Reporter) -> Json {
    let Some(Arguments { name, value: None, count, period_us, lose, stuck }) = arguments else {
        return json!({"error": "gpio-pulse wants gpio = {name, count, period_us, lose, stuck}"});
    };
    if !reporter.sim.has(&name) {
        return json!({"error": format!("there is no simulated [[gpio]] {name:?}; write backend = \"sim\"")});
    }
    let (count, period) = (count.unwrap_or(0), Duration::from_micros(period_us.unwrap_or(0)));
    if count > PULSES_MAX || period.saturating_mul(count) > PULSES_SPAN_MAX {
        return json!({"error": format!("at most {PULSES_MAX} pulses within {} s", PULSES_SPAN_MAX.as_secs())});
    }
    if let Some(stuck) = stuck {
        reporter.sim.stick(&name, stuck);
    }
    if let Some(lost) = lose {
        reporter.sim.lose(&name, lost);
    }
    let mut next = tokio::time::Instant::now();
    for _ in 0..count {
        // On a busy machine pulses come later, never closer to each other.
        next = next.max(tokio::time::Instant::now());
        reporter.sim.set(&name, true).await;
        if !period.is_zero() {
            tokio::time::sleep_until(next + period / 2).await;
        }
        reporter.sim.set(&name, false).await;
        next += period;
        if period.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep_until(next).await;
        }
    }
    json!({"name": name, "pulses": count, "result": "done"})
}

fn unknown(name: &str) -> Json {
    json!({"error": format!("there is no [[gpio]] with the name {name:?}")})
}

fn outcome_json(name: &str, outcome: &Outcome) -> Json {
    match outcome {
        Outcome::Done(value) => {
            json!({"name": name, "result": "done", "value": value.as_ref().map(value_json)})
        }
        Outcome::Refused(why) | Outcome::Failed(why) | Outcome::Unknown(why) => {
            json!({"name": name, "result": outcome.as_str(), "error": format!("{name}: {why}")})
        }
    }
}
