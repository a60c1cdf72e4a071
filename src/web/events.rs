//! The stream of events (server-sent events): values and state as they change, for as long as somebody looks on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderValue, header};
use hyper::body::Frame;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, interval_at};

use super::Web;
use super::call::{Call, cookie_name};
use super::reply::{Refusal, Reply, typed};
use crate::io::lock::Locked;
use crate::people::roll::digest;
use crate::said;

/// Streams at once. One that is beyond is refused with 429.
const STREAMS_MAX: usize = 24;
/// Of these, of one account: a page in each of a few tabs.
const OF_ONE_MAX: usize = 8;

/// A line that says nothing, so that either end notices when the other is gone; and how often it is asked whether the
/// session still is.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(10);

/// Pieces that wait for a slow reader besides those that wait for all; what he is too slow for he is told.
const WAITING_MAX: usize = 4;

/// What a stream says last is taken within this, or not at all.
const LAST_WORD_MAX: Duration = Duration::from_secs(2);

/// Answers with the stream.
pub(super) async fn stream(call: Call) -> Result<Reply, Refusal> {
    let events = call.web.live.subscribe();
    seated(call, WAITING_MAX, move |call, sender| async move { feed(&call, events, &sender).await })
}

/// Answers with a stream that `feed` fills, if there is a seat for who looks on. It ends when the address is closed that it
/// was asked for at, and says last where the page is now.
pub(super) fn seated<F: Future<Output = ()> + Send + 'static>(
    call: Call,
    waiting_max: usize,
    feed: impl FnOnce(Call, mpsc::Sender<Bytes>) -> F,
) -> Result<Reply, Refusal> {
    let (sender, receiver) = mpsc::channel(waiting_max);
    let (web, door, last) = (call.web.clone(), call.peer.door, sender.clone());

    let seat = Seat::take(&call.web, &call.name()).ok_or_else(|| {
        Refusal::too_many(
            said!("too_many_windows", "too many look on already; close another window"),
            Duration::from_secs(10),
        )
    })?;
    let feed = feed(call, sender);
    tokio::spawn(async move {
        let _seat = seat;
        let there = tokio::select! {
            () = feed => return,
            () = last.closed() => return,
            there = web.closes(door) => there,
        };
        let said = format!("event: moved\ndata: {}\n\n", crate::web::place(there));
        // Whoever takes nothing finds out by himself.
        let _ = tokio::time::timeout(LAST_WORD_MAX, last.send(Bytes::from(said))).await;
    });
    let mut reply = typed("text/event-stream", Body::new(Feed(receiver)));
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    Ok(reply)
}

/// Until the reader has gone or his session has ended.
async fn feed(
    call: &Call,
    mut events: broadcast::Receiver<crate::io::live::Event>,
    to: &mpsc::Sender<Bytes>,
) {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    // A browser that loses the stream comes back after this.
    let mut piece = "retry: 2000\n\n".to_owned();
    loop {
        if to.send(Bytes::from(piece)).await.is_err() {
            return;
        }
        piece = tokio::select! {
            // Also where there is always something to tell.
            biased;
            _ = heartbeat.tick() => {
                if !is_still_let_in(call) {
                    return;
                }
                ": still here\n\n".to_owned()
            }
            event = events.recv() => match event {
                Ok(event) => format!("event: {}\ndata: {}\n\n", event.kind, event.data),
                Err(broadcast::error::RecvError::Lagged(skipped)) => {
                    format!("event: skipped\ndata: {{\"events\":{skipped}}}\n\n")
                }
                Err(broadcast::error::RecvError::Closed) => return,
            },
        };
    }
}

/// Looking on is no use of the session: a page that is left open doesn't keep it alive for ever, but it doesn't end before
/// it would have.
pub(super) fn is_still_let_in(call: &Call) -> bool {
    let people = call.web.people.locked();
    let Some(id) = call.cookie(cookie_name(call.peer.is_secure)).and_then(digest) else {
        // A token: as long as there is one of that name.
        let name = call.name();
        return people.roll().tokens.iter().any(|token| token.name == name);
    };
    people.has_session(call.web.clock.now().mono, &id)
}

/// A place, given back when dropped.
#[derive(Debug)]
struct Seat {
    web: Arc<Web>,
    name: String,
}

impl Seat {
    fn take(web: &Arc<Web>, name: &str) -> Option<Self> {
        let mut streams = web.streams.locked();
        let (all, own) = (streams.values().sum::<usize>(), streams.get(name).copied().unwrap_or_default());
        if all >= STREAMS_MAX || own >= OF_ONE_MAX {
            return None;
        }
        streams.insert(name.to_owned(), own + 1);
        Some(Self { web: web.clone(), name: name.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut streams = self.web.streams.locked();
        if let Some(count) = streams.get_mut(&self.name) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.name);
            }
        }
    }
}

/// A body of pieces that come in time.
pub(super) struct Feed(mpsc::Receiver<Bytes>);

impl Feed {
    pub(super) const fn new(pieces: mpsc::Receiver<Bytes>) -> Self {
        Self(pieces)
    }
}

impl HttpBody for Feed {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
