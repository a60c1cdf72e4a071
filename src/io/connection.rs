//! One client's task: waits until its socket can be read or written, and lets the shard do it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;

use super::shard::{Read, Shard};
use super::stream::{Link, Socket, Turn};
use crate::broker::ConnId;

/// A client that is being closed gets this long to take its last packets.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// A client that isn't read is looked at so often, since its end is not told: a login that must wait, say, is not
/// held for a client that has gone.
const PAUSED_LOOK: Duration = Duration::from_secs(1);

/// After our last byte, the client's own bytes are read away for this long, so that the system doesn't answer
/// them with a reset that would destroy the last packet on its way (a CONNACK that says why, say).
const LINGER: Duration = Duration::from_millis(500);

/// The task of one client. A thousand of them may be idle, so it is no larger than what it waits with; what is seldom waited
/// for is on the heap meanwhile.
pub(super) struct Serving {
    shard: Rc<Shard>,
    link: Rc<Link>,
    conn: ConnId,
    aside: Option<Aside>,
}

/// What is waited for instead of the socket. True: that was the connection's end.
type Aside = Pin<Box<dyn Future<Output = bool>>>;

impl Serving {
    pub(super) fn new(shard: Rc<Shard>, conn: ConnId, link: Rc<Link>) -> Self {
        Self { shard, link, conn, aside: None }
    }

    /// Reads and writes until the client is gone.
    fn work(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(aside) = &mut self.aside {
                let ended = ready!(aside.as_mut().poll(context));
                self.aside = None;
                if ended {
                    return Poll::Ready(());
                }
            }
            let wants = self.shard.wants(self.conn);
            if wants.broken {
                return Poll::Ready(());
            }
            if wants.close {
                self.let_go();
                continue;
            }
            if !wants.read && !wants.write {
                self.aside = Some(Box::pin(is_gone_while_paused(self.link.clone())));
                continue;
            }
            // Readiness stays until it is used, and a bell that is rung too early is seen in `wants`.
            match ready!(self.link.poll_turn(context, wants.read, wants.write)) {
                Turn::Rung => {}
                Turn::Gone => return Poll::Ready(()),
                Turn::Ready { read, write } => {
                    if write && !self.shard.flush(self.conn) {
                        return Poll::Ready(());
                    }
                    match read.then(|| self.shard.read(self.conn, &self.link)) {
                        Some(Read::Gone) => return Poll::Ready(()),
                        Some(Read::Ended) => self.let_go(),
                        Some(Read::Full) => self.aside = Some(Box::pin(others_turn())),
                        Some(Read::Short) | None => {}
                    }
                }
            }
        }
    }

    fn let_go(&mut self) {
        self.aside = Some(Box::pin(let_go(self.shard.clone(), self.conn, self.link.clone())));
    }
}

impl Future for Serving {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let shard = this.shard.clone();
        match shard.panics().catch("connection", || this.work(context)) {
            Some(Poll::Pending) => Poll::Pending,
            // Whatever happens here, the machine hears that the connection is gone.
            Some(Poll::Ready(())) | None => {
                shard.closed(this.conn);
                Poll::Ready(())
            }
        }
    }
}

/// Everybody else first.
async fn others_turn() -> bool {
    tokio::task::yield_now().await;
    false
}

/// Waits for the bell, or for a while; tells whether the client has gone meanwhile.
async fn is_gone_while_paused(link: Rc<Link>) -> bool {
    let rung = poll_fn(|context| link.bell.poll(context));
    tokio::time::timeout(PAUSED_LOOK, rung).await.is_err() && link.socket.is_gone()
}

/// Lets the client take its last packets, and us what it still sends.
async fn let_go(shard: Rc<Shard>, conn: ConnId, link: Rc<Link>) -> bool {
    let flushed = tokio::time::timeout(CLOSE_GRACE, say_goodbye(&shard, conn, &link)).await;
    if flushed == Ok(true) {
        linger(&link.socket).await;
    }
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_task_of_an_idle_client_is_small() {
        assert!(size_of::<Serving>() <= 48, "{}", size_of::<Serving>());
    }
}
