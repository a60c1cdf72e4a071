//! `fieldgate gpio`: the lines of this machine, and the outputs, totals and simulated lines of a running gateway.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::running::Running;
use super::{asked, complain, tell};
use crate::config::duration;
use crate::io::gpio::{ChipInfo, list};

/// Arguments of `fieldgate gpio`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the chips of this machine and their lines: names, directions, who uses them. Needs no running gateway.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Lines without a name and without a user too.
        #[arg(long)]
        all: bool,
    },
    /// Set an output (on, off), the total of a counter (1234.5), or the level of a simulated line (on, off).
    Set {
        /// The name of its [[gpio]].
        name: String,
        /// on, off, or a number.
        value: String,
        /// Which gateway.
        #[command(flatten)]
        running: Running,
    },
    /// Give pulses to a simulated line.
    Pulse {
        /// The name of its [[gpio]].
        name: String,
        /// How many.
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// From one to the next, such as 20ms.
        #[arg(long, default_value = "20ms", value_name = "TIME")]
        period: String,
        /// Which gateway.
        #[command(flatten)]
        running: Running,
    },
}

/// Exit code 0 if it is done, 1 if not, 2 for what can't be meant.
pub fn execute(args: &Args) -> ExitCode {
    let answer = match &args.action {
        Action::List { json, all } => list().map(|chips| show(&chips, *json, *all)),
        Action::Set { name, value, running } => {
            let value = value
                .parse::<f64>()
                .ok()
                .and_then(|_| value.parse::<Json>().ok())
                .unwrap_or_else(|| json!(value));
            ask(running, &json!({ "op": "gpio-set", "gpio": { "name": name, "value": value } }))
        }
        Action::Pulse { name, count, period, running } => {
            let Some(period) = duration::parse(period) else {
                complain(format_args!(
                    "--period {period}: expected a whole number and a unit, such as 20ms or 1s"
                ));
                return ExitCode::from(2);
            };
            let period_us = u64::try_from(period.as_micros()).unwrap_or(u64::MAX);
            let arguments = json!({ "name": name, "count": count, "period_us": period_us });
            ask(running, &json!({ "op": "gpio-pulse", "gpio": arguments }))
        }
    };
    tell(answer)
}

fn ask(running: &Running, request: &Json) -> Result<String, String> {
    let answer = asked(running, request)?;
    if running.json {
        return Ok(format!("{answer:#}"));
    }
    let name = answer.get("name").and_then(Json::as_str).unwrap_or_default();
    Ok(match (answer.get("value"), answer.get("pulses")) {
        (Some(value), _) => format!("{name}: {value}"),
        (_, Some(pulses)) => format!("{name}: {pulses} pulses"),
        _ => format!("{name}: done"),
    })
}

fn show(chips: &[ChipInfo], as_json: bool, all: bool) -> String {
    if as_json {
        let chips: Vec<Json> = chips.iter().map(ChipInfo::json).collect();
        return format!("{:#}", Json::from(chips));
    }
    if chips.is_empty() {
        return "this machine has no GPIO chip (/dev/gpiochip0)".to_owned();
    }
    let mut lines = Vec::new();
    for chip in chips {
        match &chip.error {
            Some(error) => lines.push(format!("{}: {error}", chip.name)),
            None => lines.push(format!("{} [{}], {} lines", chip.name, chip.label, chip.lines.len())),
        }
        for line in chip.lines.iter().filter(|line| all || !line.name.is_empty() || line.user.is_some()) {
            let user = line
                .user
                .as_ref()
                .map(|user| format!("  used by {}", if user.is_empty() { "the kernel" } else { user }));
            let name = if line.name.is_empty() { "-" } else { &line.name };
            let text =
                format!("  {:>4}  {name:<24} {:<6}{}", line.offset, line.direction, user.unwrap_or_default());
            lines.push(text.trim_end().to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::gpio::LineInfo;

    #[test]
    fn a_list_shows_names_and_users_and_leaves_out_what_says_nothing() {
        let line = |offset, name: &str, user: Option<&str>| LineInfo {
            offset,
            name: name.into(),
            direction: "input",
            user: user.map(str::to_owned),
        };
        let chips = [
            ChipInfo {
                name: "gpiochip0".into(),
                label: "pl061".into(),
                lines: vec![
                    line(0, "GPIO17", None),
                    line(1, "", None),
                    line(2, "", Some("")),
                    line(3, "LED", Some("led0")),
                ],
                error: None,
            },
            ChipInfo {
                name: "gpiochip1".into(),
                label: String::new(),
                lines: Vec::new(),
                error: Some("permission denied".into()),
            },
        ];
        let expected = "\
gpiochip0 [pl061], 4 lines
     0  GPIO17                   input
     2  -                        input   used by the kernel
     3  LED                      input   used by led0
gpiochip1: permission denied";
        assert_eq!(show(&chips, false, false), expected);
        assert_eq!(show(&chips, false, true).lines().count(), 6);
        let json: Json = show(&chips, true, false).parse().unwrap();
        assert_eq!(
            json[0]["lines"][3],
            json!({"offset": 3, "name": "LED", "direction": "input", "user": "led0"})
        );
        assert_eq!(show(&[], false, false), "this machine has no GPIO chip (/dev/gpiochip0)");
    }
}
