//! Which operations change something, and what the ring of events says of them: who asked, and for what.

use serde_json::Value as Json;

use super::{Failure, LetterAction, Operation, Request};
use crate::events::Event;
use crate::io::reporter::Reporter;

/// Who asks, where that isn't whoever has the control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct By {
    /// The account or token.
    pub name: String,
    /// From where.
    pub address: String,
}

/// Who has the control socket: the system decides who that is.
pub(in crate::io) const CONTROL_SOCKET: &str = "control socket";

/// What an event about a request says: its kind if it is done, its kind if it isn't, and its details.
pub(super) type Note = (&'static str, &'static str, String);

/// What is to be noted of a request; nothing where it only looks. Changes of the config are noted where they are made.
pub(super) fn of(request: &Request) -> Option<Note> {
    let whose = || request.upstream.clone().unwrap_or_else(|| "all upstreams".to_owned());
    let note = match request.op {
        Operation::Write => {
            let write = request.write.as_ref()?;
            ("command", "command_failed", write.words())
        }
        Operation::GpioSet | Operation::GpioPulse => {
            ("command", "command_failed", request.gpio.as_ref()?.words())
        }
        Operation::Deadletters => match request.action? {
            LetterAction::Retry => ("letters_retried", "failed", format!("{}: refused messages", whose())),
            LetterAction::Purge => ("letters_purged", "failed", format!("{}: refused messages", whose())),
        },
        Operation::Log => {
            let levels = request.levels.as_ref()?;
            let levels: Vec<String> = levels.iter().map(|(name, level)| format!("{name}={level}")).collect();
            let time = request.for_s.map(|seconds| format!(" for {seconds} s")).unwrap_or_default();
            ("log_levels", "failed", format!("{}{time}", levels.join(" ")))
        }
        Operation::BrokerKick => {
            ("client_kicked", "failed", request.broker.as_ref()?.client.clone().unwrap_or_default())
        }
        Operation::BrokerPublish => {
            ("published", "failed", request.broker.as_ref()?.topic.clone().unwrap_or_default())
        }
        Operation::BrokerForget => {
            ("retained_deleted", "failed", request.broker.as_ref()?.topic.clone().unwrap_or_default())
        }
        Operation::StorePurge => ("purged", "failed", whose()),
        Operation::UpstreamConnect => ("connect", "failed", whose()),
        Operation::UpstreamPause => ("upstream_paused", "failed", whose()),
        Operation::UpstreamResume => ("upstream_resumed", "failed", whose()),
        Operation::ScanStart => {
            let kind = request.scan.as_ref().map(|scan| format!("{:?}", scan.kind).to_lowercase());
            let port = request.port.clone().unwrap_or_default();
            ("scan", "failed", format!("{port}: scan for {}", kind.unwrap_or_default()))
        }
        Operation::ScanStop => ("scan_stopped", "failed", request.port.clone().unwrap_or_default()),
        Operation::UpstreamPassword => ("upstream_password", "failed", whose()),
        Operation::Claim => ("claim_opened", "failed", String::new()),
        Operation::Restart => ("restart", "failed", String::new()),
        _ => return None,
    };
    Some(note)
}

/// Writes the event.
pub(super) fn note(reporter: &Reporter, note: Note, by: Option<By>, answer: &Result<Json, Failure>) {
    let (done, failed, detail) = note;
    let why = match answer {
        Ok(answer) => match answer.get("result").and_then(Json::as_str).unwrap_or("done") {
            // What was accepted only is as good as done here.
            "done" | "ok" => None,
            other => Some(answer.get("error").and_then(Json::as_str).unwrap_or(other).to_owned()),
        },
        Err(failure) => Some(failure.message.to_string()),
    };
    let (who, address) = match by {
        Some(By { name, address }) => (name, Some(address).filter(|address| !address.is_empty())),
        None => (CONTROL_SOCKET.to_owned(), None),
    };
    let (kind, detail) = match why {
        None => (done, detail),
        Some(why) => (failed, format!("{detail}: {why}")),
    };
    reporter.journal().add(Event { kind, who: Some(who), address, detail });
}
