//! The API of log, machine, support bundle and restart.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, header};

use super::call::Call;
use super::reply::{Refusal, Reply, json_reply};
use crate::io::log::Wanted;
use crate::io::operations::{Operation, Request};
use crate::said;

/// For how long a level is set unless it is said, and at most: debugging wears flash and is forgotten.
const LEVEL_MINUTES: u64 = 15;
const LEVEL_MINUTES_MAX: u64 = 24 * 60;

/// The part that stands for the whole gateway.
const ALL: &str = "default";

pub(super) fn log_lines(call: &Call) -> Result<Request, Refusal> {
    let given = |name: &str| call.argument(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let after = match given("after") {
        None => 0,
        Some(text) => text.parse().map_err(|_| {
            Refusal::field(
                "after",
                said!("whole_number", "{field}: expected a whole number", field = "after"),
            )
        })?,
    };
    let lines =
        Wanted { after, level: given("level"), subsystem: given("subsystem"), contains: given("text") };
    Ok(Request { lines: Some(lines), ..Request::new(Operation::LogLines) })
}

pub(super) fn log_level(call: &Call) -> Result<Request, Refusal> {
    let name = call.optional_text("name")?.unwrap_or(ALL).to_owned();
    let levels = call.optional_text("level")?.map(|level| (name, level.to_owned()));
    let minutes = match call.body.get("minutes") {
        None | Some(serde_json::Value::Null) => LEVEL_MINUTES,
        Some(minutes) => {
            minutes.as_u64().filter(|minutes| (1..=LEVEL_MINUTES_MAX).contains(minutes)).ok_or_else(|| {
                Refusal::field(
                    "minutes",
                    said!(
                        "minutes",
                        "minutes: expected a whole number from 1 to {max}",
                        max = LEVEL_MINUTES_MAX
                    ),
                )
            })?
        }
    };
    let for_s = levels.is_some().then_some(minutes * 60);
    let levels: BTreeMap<String, String> = levels.into_iter().collect();
    Ok(Request { levels: Some(levels), for_s, ..Request::new(Operation::Log) })
}

/// Asked back by the page: whoever types the gateway's id knows which one it is.
pub(super) fn restart(call: &Call) -> Result<Request, Refusal> {
    if call.text("confirm")? != call.web.gateway {
        return Err(Refusal::field("confirm", said!("type_id", "confirm: expected the gateway's id")));
    }
    Ok(Request::new(Operation::Restart))
}

/// The bundle as a file to save.
pub(super) async fn support(call: Call) -> Result<Reply, Refusal> {
    let bundle = call.ask(Request::new(Operation::Support)).await?;
    let mut reply = json_reply(&bundle);
    let name: String =
        call.web.gateway.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    if let Ok(value) =
        HeaderValue::from_str(&format!("attachment; filename=\"fieldgate-{name}-support.json\""))
    {
        reply.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(reply)
}
