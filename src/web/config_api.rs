//! The config's part of the API: what a change would do, trying it, making it, and the ways back. Each is an operation of
//! the gateway; who asks is whoever is logged in, whatever the body says.

use std::net::SocketAddr;

use axum::http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::call::Call;
use super::progress;
use super::reply::{Refusal, Reply, json_reply};
use crate::config::edit;
use crate::io::operations::{Operation, Request};
use crate::said;
use crate::secret::Secret;

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

/// What waits to be confirmed, and where the page has to be opened for that: `"confirm_at": {"port", "address"}`, an address
/// that is every interface being null; null itself where it can be confirmed from here.
pub(super) async fn pending(call: Call) -> Result<Reply, Refusal> {
    let mut answer = call.web.asker.ask(ask(Operation::ConfigPending, json!({}))).await?;
    if let Some(pending) = answer.get_mut("pending").and_then(Json::as_object_mut) {
        let elsewhere = may_confirm(&call).err();
        pending.insert("can_confirm".into(), json!(elsewhere.is_none()));
        pending.insert("confirm_at".into(), json!(elsewhere.flatten().map(super::place)));
    }
    Ok(json_reply(&answer))
}

/// Whoever keeps a change must still reach the page with it.
fn may_confirm(call: &Call) -> Result<(), Option<SocketAddr>> {
    call.web.may_confirm(call.peer.door, call.header("host").unwrap_or_default())
}

pub(super) fn history(call: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigHistory, json!({"version": version(call)?})))
}

/// The version behind the question mark, if one stands there.
pub(super) fn version(call: &Call) -> Result<Option<u64>, Refusal> {
    let wrong = |_| {
        Refusal::field(
            "version",
            said!("whole_number", "{field}: expected a whole number", field = "version"),
        )
    };
    call.argument("version").map(|text| text.parse().map_err(wrong)).transpose()
}

pub(super) fn look(call: &Call) -> Result<Request, Refusal> {
    Ok(ask(Operation::ConfigLook, Json::Object(proposal(&call.body)?)))
}

pub(super) async fn probe(call: Call) -> Result<Reply, Refusal> {
    let request = ask(Operation::ConfigProbe, Json::Object(proposal(&call.body)?));
    progress::told(call, request).await
}

pub(super) async fn apply(call: Call) -> Result<Reply, Refusal> {
    let mut config = proposal(&call.body)?;
    config.extend(taken(&call.body, HOW));
    make(call, Operation::ConfigApply, |_| config).await
}

pub(super) async fn confirm(call: Call) -> Result<Reply, Refusal> {
    if let Err(there) = may_confirm(&call) {
        let words = match there {
            Some(at) if at.ip().is_unspecified() => {
                said!(
                    "confirm_port",
                    "open the page at port {port}, and keep the change there",
                    port = at.port()
                )
            }
            Some(at) => {
                said!("confirm_at", "open the page at https://{at}, and keep the change there", at = at)
            }
            None => {
                said!("confirm_way", "this way to the page goes with the change; open it by one that stays")
            }
        };
        return Err(Refusal::new(StatusCode::CONFLICT, "new_address", words));
    }
    make(call, Operation::ConfigConfirm, |_| Map::new()).await
}

pub(super) async fn revert(call: Call) -> Result<Reply, Refusal> {
    let mut config = taken(&call.body, HOW);
    config.extend(taken(&call.body, &["version"]));
    make(call, Operation::ConfigRevert, |_| config).await
}

pub(super) async fn backup(call: Call) -> Result<Reply, Refusal> {
    make(call, Operation::ConfigBackup, |_| Map::new()).await
}

pub(super) async fn restore(call: Call) -> Result<Reply, Refusal> {
    call.text("backup")?;
    make(call, Operation::ConfigRestore, |body| taken(body, &["backup", "apply", "note"])).await
}

fn passphrase(call: &Call) -> Result<Option<Secret>, Refusal> {
    let given = call.optional_text("passphrase")?.filter(|given| !given.is_empty());
    Ok(given.map(|given| Secret::new(given.as_bytes().to_vec())))
}

/// Has it done on behalf of whoever is logged in; the gateway notes what came of it.
async fn make(
    call: Call,
    op: Operation,
    config: impl FnOnce(&Json) -> Map<String, Json>,
) -> Result<Reply, Refusal> {
    let mut config = config(&call.body);
    config.insert("who".into(), json!(call.name()));
    let request = Request { passphrase: passphrase(&call)?, ..ask(op, Json::Object(config)) };
    progress::told(call, request).await
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

/// A test of an upstream: what the config has of it, with the keys of the body and its edits.
pub(super) async fn test_upstream(call: Call) -> Result<Reply, Refusal> {
    let name = call.text("name")?.to_owned();
    let mut edits = Vec::new();
    match call.body.get("keys") {
        None | Some(Json::Null) => {}
        Some(Json::Object(keys)) => edits.extend(
            keys.iter()
                .map(|(key, value)| json!({"path": format!("upstream.\"{name}\".{key}"), "value": value})),
        ),
        Some(_) => return Err(Refusal::field("keys", "keys: expected a table of keys and values")),
    }
    match proposal(&call.body)?.remove("edits") {
        None => {}
        Some(Json::Array(more)) => edits.extend(more),
        Some(_) => return Err(Refusal::field("edits", "edits: expected a list")),
    }
    let secret = call.optional_text("password")?.map(|text| Secret::new(text.as_bytes().to_vec()));
    let request =
        Request { upstream: Some(name), secret, ..ask(Operation::UpstreamTest, json!({ "edits": edits })) };
    progress::told(call, request).await
}

/// A password is kept in a file of the gateway's own; the answer is what the config says of it then.
pub(super) fn keep_password(call: &Call) -> Result<Request, Refusal> {
    let secret = Some(Secret::new(call.text("password")?.as_bytes().to_vec()));
    Ok(Request {
        upstream: Some(call.text("name")?.to_owned()),
        secret,
        ..Request::new(Operation::UpstreamPassword)
    })
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
}
