//! Scans of lines, and the stream of what passes over one: what the API takes, as what the operations take.

use std::time::Duration;

use axum::body::Bytes;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep};

use super::call::Call;
use super::events::{self, HEARTBEAT};
use super::reply::{Refusal, Reply};
use crate::io::operations::{Looking, Operation, Request};
use crate::said;

/// Pieces are told together that come within this: a line in pieces of some bytes is no stream of events.
const GATHER: Duration = Duration::from_millis(100);

/// Pieces in one event, each of some hundred bytes, and of 8 KB at worst.
const PIECES_AT_ONCE_MAX: usize = 64;

/// Events that wait for a slow reader; then pieces are left out, which he is told.
const WAITING_MAX: usize = 2;

/// The scan that a form or a program asks for.
pub(super) fn scan(call: &Call) -> Result<Request, Refusal> {
    let kind = call.text("kind")?;
    let mut scan = json!({"kind": kind});
    let mut set =
        |key: &str, value: Json| scan.as_object_mut().and_then(|scan| scan.insert(key.into(), value));
    set("baud", rates(call)?.into());
    set("frames", words(call, "frames")?.into());
    if let Some((first, last)) = span(call, "units")? {
        set("units", json!([first, last]));
    }
    if let Some((first, last)) = span(call, "registers")? {
        set("registers", json!([first, last]));
    }
    if let Some(seconds) = call.body.get("listen_s").filter(|value| !value.is_null()) {
        let seconds = seconds.as_u64().filter(|seconds| (1..=60).contains(seconds)).ok_or_else(|| {
            Refusal::field(
                "listen_s",
                said!("listen_s", "listen_s: expected a whole number of seconds from 1 to 60"),
            )
        })?;
        set("span_ms", json!(seconds * 1_000));
    }
    set("ask", json!(flag(call, "ask")?));
    set("all", json!(flag(call, "all")?));
    let scan = serde_json::from_value(scan)
        .map_err(|error| Refusal::field("kind", format!("{error}; a scan is for serial, modbus or mbus")))?;
    Ok(Request { port: port(call), scan: Some(scan), ..Request::new(Operation::ScanStart) })
}

pub(super) fn scanned(call: &Call) -> Result<Request, Refusal> {
    Ok(Request { port: port(call), ..Request::new(Operation::ScanLook) })
}

pub(super) fn end_scan(call: &Call) -> Result<Request, Refusal> {
    Ok(Request { port: port(call), ..Request::new(Operation::ScanStop) })
}

fn port(call: &Call) -> Option<String> {
    call.argument("name").map(str::to_owned)
}

fn flag(call: &Call, field: &'static str) -> Result<bool, Refusal> {
    match call.body.get(field) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Refusal::field(
            field,
            said!("true_or_false", "{field}: expected true or false", field = field),
        )),
    }
}

/// `9600, 19200` as people write it.
fn words(call: &Call, field: &'static str) -> Result<Vec<String>, Refusal> {
    let text = call.optional_text(field)?.unwrap_or_default();
    Ok(text.split([',', ' ', ';']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

fn rates(call: &Call) -> Result<Vec<u32>, Refusal> {
    let rate = |word: String| {
        word.parse::<u32>().map_err(|_| {
            Refusal::field(
                "baud",
                said!("rates", "baud: expected rates such as 9600, 19200; \"{word}\" is none", word = word),
            )
        })
    };
    words(call, "baud")?.into_iter().map(rate).collect()
}

/// `1-32`, `1 – 32` or `5`.
fn span(call: &Call, field: &'static str) -> Result<Option<(u16, u16)>, Refusal> {
    let Some(text) = call.optional_text(field)?.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let (first, last) = text.split_once(['-', '–']).unwrap_or((text, text));
    let max = if field == "units" { u16::from(u8::MAX) } else { u16::MAX };
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if first <= last && last <= max => Ok(Some((first, last))),
        _ => Err(Refusal::field(
            field,
            said!(
                "first_and_last",
                "{field}: expected the first and the last, such as 1-32, up to {max}",
                field = field,
                max = max
            ),
        )),
    }
}

/// What passes over a line, as it passes.
pub(super) async fn trace(call: Call) -> Result<Reply, Refusal> {
    let looking = call.web.asker.look_on(call.argument("name").unwrap_or_default()).await?;
    events::seated(call, WAITING_MAX, move |call, sender| async move { feed(&call, looking, &sender).await })
}

/// Until the reader has gone, his session has ended, or the gateway stops.
async fn feed(call: &Call, looking: Looking, to: &mpsc::Sender<Bytes>) {
    let Looking { about, mut pieces } = looking;
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut event = format!("retry: 2000\nevent: about\ndata: {about}\n\n");
    loop {
        if to.send(Bytes::from(event)).await.is_err() {
            return;
        }
        event = tokio::select! {
            biased;
            _ = heartbeat.tick() => {
                if !events::is_still_let_in(call) {
                    return;
                }
                ": still here\n\n".to_owned()
            }
            () = to.closed() => return,
            piece = pieces.recv() => {
                let Some(piece) = piece else { return };
                sleep(GATHER).await;
                let mut together = vec![piece];
                while together.len() < PIECES_AT_ONCE_MAX
                    && let Ok(piece) = pieces.try_recv()
                {
                    together.push(piece);
                }
                format!("event: pieces\ndata: {}\n\n", Json::Array(together))
            }
        };
    }
}
