//! `fieldgate deadletters`: the messages that an upstream refused for good, of a running gateway.

use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value as Json, json};

use super::running::Running;
use super::status::{list, number, word};
use super::{asked, say};

/// Arguments of `fieldgate deadletters`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do with them.
    #[arg(value_enum, default_value = "list")]
    what: What,
    /// Those of this upstream only.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// One line each: when, where to, why.
    List,
    /// One JSON object a line, with the payload; what is no text also as payload_hex.
    Export,
    /// Send them once more, behind all that waits.
    Retry,
    /// Forget them; they stay counted.
    Purge,
}

/// Exit code 0 if it was done, also if there are none; 1 if no gateway answered, or there is no such upstream.
pub fn execute(args: &Args) -> ExitCode {
    let mut request = json!({"op": "deadletters"});
    let action = match args.what {
        What::List | What::Export => None,
        What::Retry => Some("retry"),
        What::Purge => Some("purge"),
    };
    if let Json::Object(request) = &mut request {
        request.extend(action.map(|action| ("action".to_owned(), json!(action))));
        request.extend(args.upstream.as_ref().map(|name| ("upstream".to_owned(), json!(name))));
    }
    let answer = match asked(&args.running, &request) {
        Ok(answer) => answer,
        error => return super::tell(error),
    };
    if args.running.json && args.what != What::Export {
        say(format_args!("{answer:#}"));
        return ExitCode::SUCCESS;
    }
    let mut count = 0_u64;
    for upstream in answer.as_array().into_iter().flatten() {
        for letter in list(upstream, "refused") {
            // What is only known by its topic can't be sent again, and stays.
            let kept = letter.get("kept").and_then(Json::as_bool) == Some(true);
            count += u64::from(args.what != What::Retry || kept);
            tell(args.what, word(upstream, "upstream"), letter);
        }
    }
    match args.what {
        What::List if count == 0 => say("no message was refused for good"),
        What::Retry => say(format_args!("{count} to be sent again")),
        What::Purge => say(format_args!("{count} forgotten")),
        What::List | What::Export => {}
    }
    ExitCode::SUCCESS
}

fn tell(what: What, upstream: &str, letter: &Json) {
    match what {
        What::List => say(format_args!(
            "{} {upstream}: {} ({} bytes): {}",
            word(letter, "time"),
            word(letter, "topic"),
            number(letter, "bytes"),
            word(letter, "reason")
        )),
        What::Export => {
            let mut line = letter.clone();
            if let Json::Object(line) = &mut line {
                line.insert("upstream".to_owned(), json!(upstream));
            }
            say(line);
        }
        What::Retry | What::Purge => {}
    }
}
