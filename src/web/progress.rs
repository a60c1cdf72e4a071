//! Answers that take a while: whoever wants `application/x-ndjson` hears how it goes on, a line each as
//! `{"progress": …}`, and in the last line the `answer` or the `error`; everybody else gets the answer as any other.

use axum::body::{Body, Bytes};
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::call::Call;
use super::events::Feed;
use super::reply::{Refusal, Reply, answered, json_reply, typed};
use crate::io::operations::Request;

/// Pieces of progress that wait for the network; who is slower is told less.
const STEPS_MAX: usize = 64;
/// Lines that wait for a slow reader: then nothing more is read of the operation's.
const LINES_MAX: usize = 4;

/// What it is answered with as lines.
const LINES: &str = "application/x-ndjson";

/// Has the gateway do it. When a reader of lines goes away, what only looks is called off.
pub(super) async fn told(call: Call, request: Request) -> Result<Reply, Refusal> {
    if !call.header("accept").is_some_and(|kinds| kinds.contains(LINES)) {
        let answer = call.ask(request).await?;
        return Ok(json_reply(&answered(answer, &call.texts)));
    }
    let (progress, told) = mpsc::channel(STEPS_MAX);
    let (to, pieces) = mpsc::channel(LINES_MAX);
    let request = Request { progress: Some(progress), ..request };
    tokio::spawn(async move { pass_on(&call, request, told, to).await });
    Ok(typed(LINES, Body::new(Feed::new(pieces))))
}

async fn pass_on(call: &Call, request: Request, mut told: mpsc::Receiver<Json>, to: mpsc::Sender<Bytes>) {
    let line = async |json: Json| to.send(Bytes::from(format!("{json}\n"))).await.is_ok();
    let mut answer = std::pin::pin!(call.ask(request));
    let answer = loop {
        tokio::select! {
            biased;
            Some(step) = told.recv() => {
                if !line(json!({ "progress": step })).await {
                    return;
                }
            }
            answer = &mut answer => break answer,
            () = to.closed() => return,
        }
    };
    while let Ok(step) = told.try_recv() {
        if !line(json!({ "progress": step })).await {
            return;
        }
    }
    let last = match answer {
        Ok(answer) => json!({ "answer": answered(answer, &call.texts) }),
        Err(failure) => {
            json!({"error": Refusal::from(failure).json(&call.texts)})
        }
    };
    line(last).await;
}
