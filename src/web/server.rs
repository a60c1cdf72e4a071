//! Connections: accepted within bounds, greeted with TLS, and given to HTTP/1.1 with time limits. Where they come in is
//! [`super::doors`]' business.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use tracing::warn;

use super::call::Peer;
use super::doors::{DoorId, Doors};
use super::patient::Patient;
use super::{Web, accounts, send_on};
use crate::io::lock::Locked;
use crate::io::page_orders::PageOrder;
use crate::io::server_tls::Keys;

/// Connections at once, each of up to some 100 KB with TLS, so 6.5 MB at worst. One that is beyond is closed.
const CONNECTIONS_MAX: usize = 64;
/// Of these, of one address (one /64 of IPv6): a browser opens six.
const OF_ONE_ADDRESS_MAX: usize = 16;
/// TLS must be agreed on within this.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The head of a request must be there within this; a connection that asks nothing is closed after it too.
pub(super) const HEAD_MAX: Duration = Duration::from_secs(10);
/// The head of a request in bytes; a longer one is refused with 431.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines in it.
pub(super) const HEADERS_MAX: usize = 64;

/// Serves until `stop`.
pub(super) async fn serve(
    web: Arc<Web>,
    orders: mpsc::UnboundedReceiver<PageOrder>,
    mut stop: watch::Receiver<bool>,
) {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            spawn_local(accounts::watch(web.clone()));
            spawn_local(Doors::open(web).obey(orders));
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await;
}

/// What the connections of one address share.
pub(super) struct Doorway {
    pub(super) web: Arc<Web>,
    pub(super) router: Router,
    pub(super) room: Arc<Room>,
    pub(super) door: DoorId,
    pub(super) keys: Option<Rc<Keys>>,
    /// Says that connections are to end.
    pub(super) shed: watch::Receiver<()>,
}

/// Lets people in. Never ends.
pub(super) async fn accept(doorway: &Doorway, listener: &TcpListener) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // No descriptors, or a connection that is gone already: others must not wait for it in a busy loop.
            Err(error) => {
                warn!(%error, "the page can't accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = doorway.room.take(peer.ip()) else { continue };
        let peer =
            Peer { address: peer.ip().to_canonical(), is_secure: doorway.keys.is_some(), door: doorway.door };
        let (keys, router, mut shed) = (doorway.keys.clone(), doorway.router.clone(), doorway.shed.clone());
        let web = doorway.web.clone();
        shed.mark_unchanged();
        let panics = doorway.web.panics.clone();
        spawn_local(async move {
            // Whatever goes wrong with it, the connection is over, and nobody else's business.
            let greeting = pin!(greet(stream, peer, keys, web, router, shed));
            let _ = panics.catch_async("page", greeting).await;
            drop(seat);
        });
    }
}

async fn greet(
    stream: TcpStream,
    peer: Peer,
    keys: Option<Rc<Keys>>,
    web: Arc<Web>,
    router: Router,
    shed: watch::Receiver<()>,
) {
    let _ = stream.set_nodelay(true);
    let Some(keys) = keys else {
        return converse(stream, peer, router, shed).await;
    };
    match send_on::is_plain(&stream).await {
        Some(false) => {}
        Some(true) => return send_on::answer(stream, web).await,
        None => return,
    }
    let accept = TlsAcceptor::from(keys.current()).accept(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, accept).await {
        converse(stream, peer, router, shed).await;
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    peer: Peer,
    router: Router,
    mut shed: watch::Receiver<()>,
) {
    let service = Served { inner: TowerToHyperService::new(router), peer };
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .serve_connection(TokioIo::new(Patient::new(stream)), service)
    );
    tokio::select! {
        // The other end has gone, or sent what is no HTTP: it was told if it could be.
        _ = connection.as_mut() => return,
        _ = shed.changed() => {}
    }
    // What is being answered is; the next request comes by another door.
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// The router, told where the connection comes from.
struct Served {
    inner: TowerToHyperService<Router>,
    peer: Peer,
}

impl Service<Request<Incoming>> for Served {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.inner.call(request)
    }
}

/// Who is connected.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<HashMap<IpAddr, usize>>);

impl Room {
    /// A place for a connection, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let address = network(address);
        let mut connected = self.0.locked();
        let (all, own) =
            (connected.values().sum::<usize>(), connected.get(&address).copied().unwrap_or_default());
        if all >= CONNECTIONS_MAX || own >= OF_ONE_ADDRESS_MAX {
            return None;
        }
        connected.insert(address, own + 1);
        Some(Seat { room: self.clone(), address })
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() => IpAddr::V6((six.to_bits() >> 64 << 64).into()),
        other => other,
    }
}

/// A connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    room: Arc<Room>,
    address: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connected = self.room.0.locked();
        if let Some(count) = connected.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connected.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_a_quarter_of_the_places_and_gives_them_back() {
        let room = Arc::new(Room::default());
        let address = |last: u8| IpAddr::from([10, 0, 0, last]);
        let of_one: Vec<_> = (0..20).map_while(|_| room.take(address(1))).collect();
        assert_eq!(of_one.len(), OF_ONE_ADDRESS_MAX);
        let of_others: Vec<_> = (0..100_u8).filter_map(|last| room.take(address(100 + last))).collect();
        assert_eq!(of_one.len() + of_others.len(), CONNECTIONS_MAX);
        drop(of_one);
        assert!(room.take(address(1)).is_some());
        drop(of_others);
        assert!(room.0.locked().is_empty(), "nothing is left behind");
    }
}
