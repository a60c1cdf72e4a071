//! The store of a running gateway, over its control socket.

use std::io::Write;
use std::path::Path;

use serde_json::{Value as Json, json};

use super::super::status::{list, number, word};
use super::{tell_checked, written};
use crate::io::control;
use crate::time::Timestamp;

fn ask(socket: &Path, op: &str, mut request: Json) -> Result<Json, String> {
    if let Json::Object(request) = &mut request {
        request.insert("op".into(), json!(op));
    }
    let answer = control::request(socket, &request)?;
    match answer.get("error").and_then(Json::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

pub(super) fn stat(socket: &Path) -> Result<Json, String> {
    ask(socket, "store-stat", json!({}))
}

fn upstreams(socket: &Path) -> Result<Vec<String>, String> {
    let stat = stat(socket)?;
    Ok(list(&stat, "outboxes").map(|outbox| word(outbox, "upstream").to_owned()).collect())
}

/// Generation by generation: each is one request, and one short piece of work for the store.
pub(super) fn verify(socket: &Path) -> Result<bool, String> {
    let mut whole = true;
    for upstream in upstreams(socket)? {
        let mut after = 0;
        loop {
            let answer = ask(socket, "store-verify", json!({ "upstream": upstream, "from": after }))?;
            let Some(generation) = answer.get("generation").and_then(Json::as_u64) else { break };
            after = generation;
            let checked = answer.get("checked").unwrap_or(&Json::Null);
            whole &= checked.get("whole").and_then(Json::as_bool) == Some(true);
            tell_checked(&format!("{upstream}, generation {generation}"), checked);
        }
    }
    Ok(whole)
}

pub(super) fn export(socket: &Path, upstream: Option<&str>, out: &mut dyn Write) -> Result<(), String> {
    let names = match upstream {
        Some(name) => vec![name.to_owned()],
        None => upstreams(socket)?,
    };
    for upstream in names {
        let mut next = Some(0);
        while let Some(from) = next {
            let page = ask(socket, "store-export", json!({ "upstream": upstream, "from": from }))?;
            for line in list(&page, "records") {
                written(writeln!(out, "{line}"))?;
            }
            next = page.get("next").and_then(Json::as_u64);
        }
    }
    Ok(())
}

pub(super) fn purge(socket: &Path, upstream: &str, before: Option<Timestamp>) -> Result<(u64, u64), String> {
    let request = json!({
        "upstream": upstream,
        "before": before.map(Timestamp::as_millis),
        "all": before.is_none(),
    });
    let answer = ask(socket, "store-purge", request)?;
    Ok((number(&answer, "purged"), number(&answer, "bytes")))
}
