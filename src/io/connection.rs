//! One client's task: waits until its socket can be read or written, and lets the shard do it.

use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::sync::Notify;

use super::shard::{Read, Shard};
use super::stream::{Link, Socket};
use crate::broker::ConnId;

/// A client that is being closed gets this long to take its last packets.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// A client that isn't read is looked at so often, since its end is not told: a login that must wait, say, is not
/// held for a client that has gone.
const PAUSED_LOOK: Duration = Duration::from_secs(1);

/// After our last byte, the client's own bytes are read away for this long, so that the system doesn't answer
/// them with a reset that would destroy the last packet on its way (a CONNACK that says why, say).
const LINGER: Duration = Duration::from_millis(500);

/// Serves one client until it is gone.
pub(super) async fn serve(shard: Rc<Shard>, conn: ConnId, link: Rc<Link>, wake: Rc<Notify>) {
    let to_the_end = pin!(async {
        let gone = exchange(&shard, conn, &link, &wake).await;
        if !gone {
            let flushed = tokio::time::timeout(CLOSE_GRACE, say_goodbye(&shard, conn, &link)).await;
            if flushed == Ok(true) {
                linger(&link.socket).await;
            }
        }
    });
    // Whatever happens here, the machine hears that the connection is gone.
    shard.panics().catch_async("connection", to_the_end).await;
    shard.closed(conn);
}

/// Reads and writes until the client is gone (true) or shall be closed (false).
async fn exchange(shard: &Shard, conn: ConnId, link: &Link, wake: &Notify) -> bool {
    loop {
        let wants = shard.wants(conn);
        if wants.broken {
            return true;
        }
        if wants.close {
            return false;
        }
        let interest = match (wants.read, wants.write) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => {
                tokio::select! {
                    () = wake.notified() => {}
                    () = tokio::time::sleep(PAUSED_LOOK) => if link.socket.is_gone() {
                        return true;
                    },
                }
                continue;
            }
        };
        // Both are cancel safe: readiness stays, and a lost wake-up is seen in `wants`.
        let ready = tokio::select! {
            biased;
            () = wake.notified() => continue,
            ready = link.socket.ready(interest) => ready,
        };
        let Ok(ready) = ready else { return true };
        if wants.write && ready.is_writable() && !shard.flush(conn) {
            return true;
        }
        if wants.read && (ready.is_readable() || ready.is_read_closed()) {
            match shard.read(conn, link) {
                Read::Gone => return true,
                Read::Ended => return false,
                Read::Full => tokio::task::yield_now().await,
                Read::Short => {}
            }
        }
    }
}

/// Writes what is left, and the goodbye of what lies between; false if the client is gone.
async fn say_goodbye(shard: &Shard, conn: ConnId, link: &Link) -> bool {
    if !flush_all(shard, conn, link).await {
        return false;
    }
    let Some(codec) = &link.codec else { return true };
    codec.borrow_mut().finish();
    flush_all(shard, conn, link).await
}

async fn flush_all(shard: &Shard, conn: ConnId, link: &Link) -> bool {
    loop {
        if !shard.flush(conn) {
            return false;
        }
        if shard.is_flushed(conn, link) {
            return true;
        }
        if link.socket.ready(Interest::WRITABLE).await.is_err() {
            return false;
        }
    }
}

/// Ends our half, and reads away what still comes for a while.
pub(super) async fn linger(socket: &Socket) {
    if socket.shutdown_write().is_err() {
        return;
    }
    let read_away = async {
        let mut scratch = [0; 1024];
        while matches!(socket.read(&mut scratch).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(LINGER, read_away).await;
}
