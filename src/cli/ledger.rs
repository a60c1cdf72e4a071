//! `fieldgate ledger verify`: checks what a subscriber captured against the sequence numbers of the readings.

mod account;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::{complain, say};
use account::{Account, Gap, Verdict};

/// The longest line that is looked at: the largest MQTT message with its topic would be longer, a reading never is.
/// A longer one is counted as no reading.
const LINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Arguments of `fieldgate ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check a capture for gaps, duplicates and order, per device and run of the gateway.
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// Lines of `mosquitto_sub -v`, or JSON lines of `fieldgate sub -F %j`; - is standard input.
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// Take the receipts in the capture into account: what they say was dropped is explained.
    #[arg(long)]
    receipts: bool,
    /// Readings may come in any order, as they do with drain = "interleave" or "newest-first".
    #[arg(long)]
    any_order: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Exit code 0 if every number is there or explained, and in order; 1 if the capture can't be read or holds no reading;
/// 3 if numbers are missing or out of order. Duplicates are told: at least once is what MQTT promises.
pub fn execute(args: &Args) -> ExitCode {
    let Command::Verify(args) = &args.command;
    let account = match read(args) {
        Ok(account) => account,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    let verdict = account.verdict(args.receipts);
    if verdict.lines.is_empty() {
        complain(format_args!(
            "the capture holds no reading with a sequence number ({} other lines)",
            account.others
        ));
        return ExitCode::FAILURE;
    }
    let bad = verdict.unexplained > 0 || (verdict.late > 0 && !args.any_order);
    if args.json {
        say(format_args!("{:#}", in_json(&verdict, account.others, !bad)));
    } else {
        tell(&verdict, bad);
    }
    if bad { ExitCode::from(3) } else { ExitCode::SUCCESS }
}

fn read(args: &Verify) -> Result<Account, String> {
    let wrong = |error: std::io::Error| format!("{}: {error}", args.file.display());
    let source: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(&args.file).map_err(wrong)?)
    };
    let mut lines = BufReader::new(source);
    let mut account = Account::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(wrong)? == 0 {
            return Ok(account);
        }
        match message(&line) {
            Some((topic, Json::Array(readings))) => {
                readings.iter().for_each(|reading| account.message(&topic, reading));
            }
            Some((topic, payload)) => account.message(&topic, &payload),
            None => account.others += 1,
        }
    }
}

/// Topic and payload of a line; `None` if the payload is no JSON.
fn message(line: &[u8]) -> Option<(String, Json)> {
    let line = std::str::from_utf8(line).ok()?.trim_end();
    if line.starts_with('{') {
        let whole: Json = serde_json::from_str(line).ok()?;
        let topic = whole.get("topic")?.as_str()?.to_owned();
        let payload = match whole.get("payload")? {
            Json::String(text) => serde_json::from_str(text).ok()?,
            other => other.clone(),
        };
        return Some((topic, payload));
    }
    // A topic may hold spaces, a reading's payload begins with a brace, that of several with a bracket.
    let begin = [" {", " [{"].into_iter().filter_map(|begin| line.find(begin)).min()?;
    let (topic, payload) = line.split_at_checked(begin)?;
    Some((topic.to_owned(), serde_json::from_str(payload).ok()?))
}

fn tell(verdict: &Verdict, bad: bool) {
    for line in &verdict.lines {
        say(format_args!(
            "{}: {} readings of {} {}, {} missing, {} twice, {} late",
            line.topic,
            line.readings,
            line.runs,
            if line.runs == 1 { "run" } else { "runs" },
            line.missing,
            line.duplicates,
            line.late
        ));
    }
    for gap in &verdict.gaps {
        let explained = if gap.explained { ", dropped as a receipt says" } else { "" };
        say(format_args!("{}: {} missing{explained}", gap.topic, numbers(gap)));
    }
    let outcome = if bad { "not whole" } else { "whole" };
    say(format_args!(
        "{outcome}: {} missing without a receipt, {} dropped as receipts say, {} twice, {} late",
        verdict.unexplained, verdict.explained, verdict.duplicates, verdict.late
    ));
}

/// `17-5`, or `17-5 to 17-9`.
fn numbers(gap: &Gap) -> String {
    let run = gap.run.0;
    if gap.first == gap.last {
        format!("{run}-{}", gap.first)
    } else {
        format!("{run}-{} to {run}-{}", gap.first, gap.last)
    }
}

fn in_json(verdict: &Verdict, others: u64, whole: bool) -> Json {
    json!({
        "whole": whole,
        "missing": verdict.unexplained,
        "explained": verdict.explained,
        "duplicates": verdict.duplicates,
        "late": verdict.late,
        "receipts": verdict.receipts,
        "other_lines": others,
        "topics": verdict.lines.iter().map(|line| json!({
            "topic": line.topic,
            "runs": line.runs,
            "readings": line.readings,
            "missing": line.missing,
            "duplicates": line.duplicates,
            "late": line.late,
        })).collect::<Vec<_>>(),
        "gaps": verdict.gaps.iter().map(|gap| json!({
            "topic": gap.topic,
            "run": gap.run.0,
            "first": gap.first,
            "last": gap.last,
            "explained": gap.explained,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_mosquitto_and_json_lines_give_the_same_message() {
        let reading = json!({"seq": "1-2", "values": {"n": 2}});
        for payload in [reading.clone(), json!([reading.clone(), reading])] {
            let lines = [
                format!("a b/c {payload}\n"),
                format!("{}\n", json!({"topic": "a b/c", "payload": payload.to_string()})),
                json!({"topic": "a b/c", "payload": payload}).to_string(),
            ];
            for line in lines {
                assert_eq!(message(line.as_bytes()), Some(("a b/c".to_owned(), payload.clone())), "{line}");
            }
        }
        for line in ["", "topic", "topic 5", "topic {", "{\"topic\":5}", "{\"payload\":{}}"] {
            assert_eq!(message(line.as_bytes()), None, "{line}");
        }
        assert_eq!(message(&[0xFF, b' ', b'{', b'}']), None);
    }
}
