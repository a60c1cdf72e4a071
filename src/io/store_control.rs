//! The control socket's words about the store: asks the store thread, and for a purge the bridge machine, which counts
//! what goes. Every answer is bounded: an export and a verification are asked for piece by piece.

use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::reporter::Reporter;
use super::store_json;
use super::store_task::Job;
use super::upstream::SharedBridge;
use crate::bridge::{Input, StreamNo};
use crate::message::OutboxId;
use crate::record::RecordNo;
use crate::time::Timestamp;

/// About how many bytes of records an answer holds; as JSON they are several times as many.
const PAGE_BYTES: usize = 64 * 1024;

/// What can be asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// What it holds.
    Stat,
    /// The next generation after `from`.
    Verify,
    /// The next records from `from` on.
    Export,
    /// Give up records.
    Purge,
}

/// With what.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The upstream's name.
    pub upstream: Option<String>,
    /// The record, or the generation, to go on from.
    pub from: u64,
    /// Milliseconds since 1970: only what was committed before.
    pub before: Option<i64>,
    /// Everything.
    pub all: bool,
}

/// The answer.
pub async fn answer(ask: Ask, arguments: Arguments, reporter: &Reporter) -> Json {
    let result = match ask {
        Ask::Stat => stat(reporter).await,
        Ask::Verify | Ask::Export | Ask::Purge => of_one(ask, arguments, reporter).await,
    };
    result.unwrap_or_else(|error| json!({ "error": error }))
}

/// An outbox as people name it: by its upstream, one beside the default one with its stream behind a slash.
struct Outbox {
    name: String,
    id: OutboxId,
    /// Whose it is.
    bridge: SharedBridge,
    stream: StreamNo,
}

/// First each upstream's own, then those of further streams.
fn outboxes(reporter: &Reporter) -> Vec<Outbox> {
    let now = reporter.clock.now();
    let mut all = Vec::new();
    for bridge in &*reporter.links.all() {
        let status = bridge.machine.borrow().status(now);
        for ((stream, one), id) in (0..).zip(&status.streams).zip(&*bridge.outboxes.borrow()) {
            let name = match stream {
                0 => status.name.to_string(),
                _ => format!("{}/{}", status.name, one.name),
            };
            all.push(Outbox { name, id: *id, bridge: bridge.clone(), stream });
        }
    }
    all.sort_by_key(|outbox| outbox.stream > 0);
    all
}

async fn stat(reporter: &Reporter) -> Result<Json, String> {
    let mut reports = Vec::new();
    for Outbox { name, id: outbox, .. } in outboxes(reporter) {
        let report = ask_store(reporter, |answer| Job::Report { outbox, name, answer }).await??;
        reports.push(store_json::report(&report));
    }
    let state_bytes = ask_store(reporter, Job::StateBytes).await?;
    Ok(json!({ "running": true, "outboxes": reports, "state": { "disk_bytes": state_bytes } }))
}

async fn of_one(ask: Ask, arguments: Arguments, reporter: &Reporter) -> Result<Json, String> {
    let Arguments { upstream, from, before, all } = arguments;
    let upstream = upstream.ok_or("name an upstream")?;
    let found = outboxes(reporter).into_iter().find(|one| one.name == upstream);
    let found = found.ok_or_else(|| format!("there is no upstream {upstream}"))?;
    let outbox = found.id;
    match ask {
        Ask::Verify => {
            let next = ask_store(reporter, |answer| Job::Verify { outbox, after: from, answer }).await??;
            Ok(match next {
                Some((generation, checked)) => {
                    json!({ "generation": generation, "checked": store_json::checked(&checked) })
                }
                None => json!({ "generation": null }),
            })
        }
        Ask::Export => {
            let from = RecordNo(from);
            let records =
                ask_store(reporter, |answer| Job::Export { outbox, from, bytes_max: PAGE_BYTES, answer })
                    .await??;
            let next = records.last().map(|last| last.no.next().0);
            let lines: Vec<Json> =
                records.iter().map(|stored| store_json::record(&upstream, stored)).collect();
            Ok(json!({ "records": lines, "next": next }))
        }
        _ => {
            if all == before.is_some() {
                return Err("say either \"before\" or \"all\"".to_owned());
            }
            let bridge = found.bridge;
            let (answer, dropped) = oneshot::channel();
            bridge.purges.borrow_mut().push_back(answer);
            let before = before.map(Timestamp::from_millis);
            let input = Input::Purge { before };
            bridge.machine.borrow_mut().handle_of(reporter.clock.now(), found.stream, input);
            bridge.bell.notify_one();
            let dropped = dropped.await.map_err(|_| GONE)??;
            Ok(json!({ "upstream": upstream, "purged": dropped.purged, "bytes": dropped.bytes }))
        }
    }
}

const GONE: &str = "the store doesn't answer";

async fn ask_store<T>(
    reporter: &Reporter,
    job: impl FnOnce(oneshot::Sender<T>) -> Job,
) -> Result<T, &'static str> {
    let (answer, answered) = oneshot::channel();
    reporter.jobs.send(job(answer)).map_err(|_| GONE)?;
    answered.await.map_err(|_| GONE)
}
