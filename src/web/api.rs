//! Answers of the API that are more than an operation's.

use serde_json::{Value as Json, json};

use super::call::Call;
use super::reply::{Refusal, Reply, json_reply};
use crate::io::operations::{Operation, Request};
use crate::said;

/// What waits for each upstream. What was refused is only counted: payloads are for who may see them.
pub(super) async fn backlog(call: Call) -> Result<Reply, Refusal> {
    let mut backlog = call.web.asker.ask(Request::new(Operation::Backlog)).await?;
    for upstream in backlog.as_array_mut().into_iter().flatten() {
        if let Some(refused) = upstream.get_mut("refused") {
            *refused = json!(refused.as_array().map_or(0, Vec::len));
        }
    }
    Ok(json_reply(&backlog))
}

/// The part of health that is about upstreams.
pub(super) async fn upstreams(call: Call) -> Result<Reply, Refusal> {
    let mut health = call.web.asker.ask(Request::new(Operation::Health)).await?;
    Ok(json_reply(&health.get_mut("upstreams").map(Json::take).unwrap_or_default()))
}

pub(super) fn history(call: &Call) -> Result<Request, Refusal> {
    Ok(Request {
        device: call.argument("device").map(str::to_owned),
        point: call.argument("point").map(str::to_owned),
        ..Request::new(Operation::History)
    })
}

pub(super) fn journal(call: &Call) -> Result<Request, Refusal> {
    let after = match call.argument("after") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| {
            Refusal::field(
                "after",
                said!("whole_number", "{field}: expected a whole number", field = "after"),
            )
        })?),
    };
    Ok(Request { after, ..Request::new(Operation::Events) })
}

/// Who asks.
pub(super) async fn session(call: Call) -> Result<Reply, Refusal> {
    // Never without: the route takes a role.
    let who = call.who.ok_or_else(Refusal::not_found)?;
    Ok(json_reply(&json!({"name": who.name, "role": who.role.name(), "csrf": who.csrf})))
}
