//! The config's part of the API: what a change would do, trying it, making it, and the ways back. Each is an operation of
//! the gateway; who asks is whoever is logged in, whatever the body says.

use serde_json::{Map, Value as Json, json};

use super::call::Call;
use super::reply::{Refusal, Reply, json_reply};
use crate::config::edit;
use crate::events::Event;
use crate::io::operations::{Operation, Request};

/// What a body may have of a proposal.
const PROPOSAL: &[&str] = &["base", "edits", "text", "files"];

/// What it may have besides for a change to be made.
const HOW: &[&str] = &["note", "probe", "force"];

/// A request of an operation about the config.
pub(super) fn ask(op: Operation, config: Json) -> Request {
    Request { config: Some(config), ..Request::new(op) }
}

pub(super) fn state(_: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigGet, json!({})))
}

pub(super) fn schema(_: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigSchema, json!({})))
}

pub(super) fn pending(_: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigPending, json!({})))
}

pub(super) fn history(call: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigHistory, json!({"version": version(call)?})))
}

/// The version behind the question mark, if one stands there.
pub(super) fn version(call: &Call) -> Result<Option<u64>, Refusal> {
    let wrong = |_| Refusal::field("version", "version: expected a whole number");
    call.argument("version").map(|text| text.parse().map_err(wrong)).transpose()
}

pub(super) fn look(call: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigLook, Json::Object(proposal(&call.body)?)))
}

pub(super) fn probe(call: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigProbe, Json::Object(proposal(&call.body)?)))
}

pub(super) async fn apply(call: Call) -> Result<Reply, Refusal> {
    let mut config = proposal(&call.body)?;
    config.extend(taken(&call.body, HOW));
    make(call, Operation::ConfigApply, config).await
}

pub(super) async fn confirm(call: Call) -> Result<Reply, Refusal> {
    make(call, Operation::ConfigConfirm, Map::new()).await
}

pub(super) async fn revert(call: Call) -> Result<Reply, Refusal> {
    let mut config = taken(&call.body, HOW);
    config.extend(taken(&call.body, &["version"]));
    make(call, Operation::ConfigRevert, config).await
}

/// Has it done, and notes what came of it.
async fn make(call: Call, op: Operation, mut config: Map<String, Json>) -> Result<Reply, Refusal> {
    config.insert("who".into(), json!(call.name()));
    let answer = call.web.asker.ask(ask(op, Json::Object(config))).await?;
    if let Some(detail) = done(&answer) {
        let address = Some(call.peer.address.to_string());
        call.web.note(Event { kind: "config", who: Some(call.name()), address, detail });
    }
    Ok(json_reply(&answer))
}

/// What has come of it in words; `None`: nothing has changed.
fn done(answer: &Json) -> Option<String> {
    match answer.get("outcome")?.as_str()? {
        "confirmed" => Some("the change of the config is confirmed".to_owned()),
        "applied" => {
            let version = answer.get("version").and_then(Json::as_u64);
            Some(version.map_or_else(
                || "the config is changed".to_owned(),
                |number| format!("version {number} of the config is in use"),
            ))
        }
        _ => None,
    }
}

/// The proposal of a body. An edit may give its value as a person would write it, in `text`.
fn proposal(body: &Json) -> Result<Map<String, Json>, Refusal> {
    let mut proposal = taken(body, PROPOSAL);
    for edit in proposal.get_mut("edits").and_then(Json::as_array_mut).into_iter().flatten() {
        let text = edit.get("text").map(|text| text.as_str().map(str::to_owned));
        let Some(text) = text else { continue };
        let (Some(text), Some(path)) = (text, edit.get("path").and_then(Json::as_str)) else {
            return Err(Refusal::field("edits", "edits: expected a text for path and text"));
        };
        let written = edit::written(path, &text);
        *edit = json!({"path": written.path, "value": written.value, "toml": written.toml});
    }
    Ok(proposal)
}

fn taken(body: &Json, names: &[&str]) -> Map<String, Json> {
    let given =
        |name: &&str| Some(((*name).to_owned(), body.get(name).filter(|value| !value.is_null())?.clone()));
    names.iter().filter_map(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_what_the_operation_takes_and_nothing_else() {
        let body = json!({
            "base": "x", "who": "somebody else", "text": null,
            "edits": [
                {"path": "health.every", "text": "5s"},
                {"path": "port.p.baud", "text": "9600"},
                {"path": "gateway.site", "value": "5"},
            ],
        });
        let expected = json!({
            "base": "x",
            "edits": [
                {"path": "health.every", "value": "5s", "toml": null},
                {"path": "port.p.baud", "value": null, "toml": "9600"},
                {"path": "gateway.site", "value": "5"},
            ],
        });
        assert_eq!(Json::Object(proposal(&body).unwrap()), expected);
        for wrong in [json!([{"path": "a", "text": 5}]), json!([{"text": "5"}])] {
            assert_eq!(proposal(&json!({ "edits": wrong })).unwrap_err().field, Some("edits"));
        }
        assert_eq!(
            proposal(&json!({"edits": 5})).unwrap().len(),
            1,
            "the operation says what is wrong with it"
        );
    }

    #[test]
    fn only_what_has_changed_something_is_noted() {
        assert_eq!(done(&json!({"outcome": "refused", "error": "x"})), None);
        assert_eq!(done(&json!({"outcome": "probe-failed"})), None);
        assert_eq!(
            done(&json!({"outcome": "applied", "version": 3})).as_deref(),
            Some("version 3 of the config is in use")
        );
        assert!(done(&json!({"outcome": "confirmed"})).is_some());
    }
}
