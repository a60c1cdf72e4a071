//! One client's task: waits until its socket can be read or written, and lets the shard do it.

use std::rc::Rc;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::shard::{Read, Shard};
use crate::broker::ConnId;

/// A client that is being closed gets this long to take its last packets.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// After our last byte, the client's own bytes are read away for this long, so that the system doesn't answer
/// them with a reset that would destroy the last packet on its way (a CONNACK that says why, say).
const LINGER: Duration = Duration::from_millis(500);

/// Serves one client until it is gone.
pub(super) async fn serve(shard: Rc<Shard>, conn: ConnId, stream: Rc<TcpStream>, wake: Rc<Notify>) {
    let gone = exchange(&shard, conn, &stream, &wake).await;
    if !gone {
        let flushed = tokio::time::timeout(CLOSE_GRACE, flush_all(&shard, conn, &stream)).await;
        if flushed == Ok(true) {
            linger(&stream).await;
        }
    }
    shard.closed(conn);
}

/// Reads and writes until the client is gone (true) or shall be closed (false).
async fn exchange(shard: &Shard, conn: ConnId, stream: &TcpStream, wake: &Notify) -> bool {
    loop {
        let wants = shard.wants(conn);
        if wants.close {
            return false;
        }
        let interest = match (wants.read, wants.write) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (true, false) => Interest::READABLE,
            (false, true) => Interest::WRITABLE,
            (false, false) => {
                wake.notified().await;
                continue;
            }
        };
        // Both are cancel safe: readiness stays, and a lost wake-up is seen in `wants`.
        let ready = tokio::select! {
            biased;
            () = wake.notified() => continue,
            ready = stream.ready(interest) => ready,
        };
        let Ok(ready) = ready else { return true };
        if wants.write && ready.is_writable() && !shard.flush(conn) {
            return true;
        }
        if wants.read && (ready.is_readable() || ready.is_read_closed()) {
            match shard.read(conn, stream) {
                Read::Gone => return true,
                Read::Full => tokio::task::yield_now().await,
                Read::Short => {}
            }
        }
    }
}

/// Writes what is left; false if the client is gone.
async fn flush_all(shard: &Shard, conn: ConnId, stream: &TcpStream) -> bool {
    loop {
        if !shard.flush(conn) {
            return false;
        }
        if shard.is_flushed(conn) {
            return true;
        }
        if stream.writable().await.is_err() {
            return false;
        }
    }
}

async fn linger(stream: &TcpStream) {
    if rustix::net::shutdown(stream, rustix::net::Shutdown::Write).is_err() {
        return;
    }
    let read_away = async {
        let mut scratch = [0; 1024];
        loop {
            if stream.readable().await.is_err() {
                return;
            }
            match stream.try_read(&mut scratch) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, read_away).await;
}
