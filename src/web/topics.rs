//! The stream of topics: what has changed below what somebody has open, four times a second at most and bounded each
//! time, for as long as he looks. Whoever reads slowly is asked for less often: what passes meanwhile is told by its last
//! message.

use std::time::Duration;

use axum::body::Bytes;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::broker::request;
use super::call::Call;
use super::events;
use super::reply::{Refusal, Reply};
use crate::io::operations::Operation;
use crate::io::operations::broker::Arguments;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

/// Pieces that wait for a slow reader, each some 200 KB at worst.
const WAITING_MAX: usize = 1;

/// Answers with the stream.
pub(super) async fn stream(call: Call) -> Result<Reply, Refusal> {
    events::seated(call, WAITING_MAX, move |call, sender| async move { feed(&call, &sender).await })
}

/// Until the reader has gone or his session has ended.
async fn feed(call: &Call, to: &mpsc::Sender<Bytes>) {
    let prefix = call.argument("prefix").unwrap_or_default().to_owned();
    let mut turns = interval(LOOK);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut change, mut heartbeat) = (0, Instant::now());
    if to.send(Bytes::from_static(b"retry: 2000\n\n")).await.is_err() {
        return;
    }
    loop {
        turns.tick().await;
        if to.is_closed() {
            return;
        }
        let arguments =
            Arguments { prefix: Some(prefix.clone()), change: Some(change), ..Arguments::default() };
        let asked = call.web.asker.ask(request(Operation::BrokerTopics, arguments)).await;
        let mut piece = String::new();
        // A gateway that is busy is asked again.
        if let Ok(found) = asked {
            change = found.get("change").and_then(Json::as_u64).unwrap_or(change);
            let is_news = found.get("topics").and_then(Json::as_array).is_some_and(|all| !all.is_empty());
            if is_news {
                piece = format!("event: topics\ndata: {found}\n\n");
            }
        }
        if heartbeat.elapsed() >= events::HEARTBEAT {
            heartbeat = Instant::now();
            if !events::is_still_let_in(call) {
                return;
            }
            piece.push_str(": still here\n\n");
        }
        if !piece.is_empty() && to.send(Bytes::from(piece)).await.is_err() {
            return;
        }
    }
}
