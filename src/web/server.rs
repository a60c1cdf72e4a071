//! Sockets: binds, accepts within bounds, greets with TLS, and gives each connection to HTTP/1.1 with time limits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
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
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;
use tracing::{error, info, warn};

use super::call::Peer;
use super::patient::Patient;
use super::{Web, accounts, certificate, routes};
use crate::io::listener::bind_tcp;
use crate::io::lock::Locked;
use crate::io::server_tls::Keys;

/// Connections at once, each of up to some 100 KB with TLS, so 6.5 MB at worst. One that is beyond is closed.
const CONNECTIONS_MAX: usize = 64;
/// Of these, of one address (one /64 of IPv6): a browser opens six.
const OF_ONE_ADDRESS_MAX: usize = 16;
/// TLS must be agreed on within this.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The head of a request must be there within this; a connection that asks nothing is closed after it too.
const HEAD_MAX: Duration = Duration::from_secs(10);
/// The head of a request in bytes; a longer one is refused with 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Lines in it.
const HEADERS_MAX: usize = 64;
/// An address that is taken is tried again after this.
const BIND_AGAIN: Duration = Duration::from_secs(5);

/// Serves until `stop`.
pub(super) async fn serve(web: Arc<Web>, stop: watch::Receiver<bool>) {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let router = routes::router(&web);
            let room = Arc::new(Room::default());
            if let Some(plain) = web.config.plain {
                let (web, router, room) = (web.clone(), router.clone(), room.clone());
                spawn_local(async move { listen(&web, plain, None, router, room).await });
            }
            spawn_local(accounts::watch(web.clone()));
            spawn_local(with_tls(web.clone(), router, room));
            let mut stop = stop;
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await;
}

async fn with_tls(web: Arc<Web>, router: Router, room: Arc<Room>) {
    let keys = loop {
        let opened = match certificate::settings(&web.config, &web.folder) {
            Ok(settings) => Keys::open(&settings).await.map(|keys| (keys, settings)),
            Err(error) => Err(error),
        };
        match opened {
            Ok((keys, settings)) => {
                let fingerprint = certificate::fingerprint_of(&settings.cert).unwrap_or_default();
                info!(fingerprint, "the page's certificate (SHA-256)");
                break Rc::new(keys);
            }
            Err(error) => {
                told(&web, Some(error));
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    };
    web.page.locked().dates = keys.dates();
    let watching = {
        let (web, keys, read) = (web.clone(), keys.clone(), keys.clone());
        let clock = web.clock.clone();
        let changed = move |error| {
            web.page.locked().dates = read.dates();
            told(&web, error);
        };
        async move { keys.watch("web", move || clock.now().wall, changed).await }
    };
    spawn_local(watching);
    listen(&web, web.config.bind, Some(keys), router, room).await;
}

/// Says what is wrong with the page, once, or that it is all right again.
fn told(web: &Web, error: Option<String>) {
    let mut page = web.page.locked();
    if let Some(error) = &error
        && page.error.as_ref() != Some(error)
    {
        error!(error, "the page");
    }
    page.error = error;
}

async fn listen(
    web: &Arc<Web>,
    address: SocketAddr,
    keys: Option<Rc<Keys>>,
    router: Router,
    room: Arc<Room>,
) {
    let listener = loop {
        match bind(address) {
            Ok(listener) => break listener,
            Err(error) => {
                told(web, Some(format!("can't listen on {address}: {error}; it is tried again")));
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    };
    let bound = listener.local_addr().unwrap_or(address);
    info!(address = %bound, tls = keys.is_some(), "the page can be opened");
    if keys.is_some() {
        let mut page = web.page.locked();
        (page.address, page.error) = (Some(bound.to_string()), None);
    }
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
        let Some(seat) = room.take(peer.ip()) else { continue };
        let (web, keys, router) = (web.clone(), keys.clone(), router.clone());
        spawn_local(async move {
            let panics = web.panics.clone();
            // Whatever goes wrong with it, the connection is over, and nobody else's business.
            let _ = panics.catch_async("page", pin!(greet(stream, peer.ip(), keys, router))).await;
            drop(seat);
        });
    }
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    match bind_tcp(address, false) {
        // A kernel without IPv6 has no [::]; every interface is meant.
        Err(error) if error.raw_os_error() == Some(97) && address.ip().is_unspecified() => {
            bind_tcp(SocketAddr::from(([0, 0, 0, 0], address.port())), false)
        }
        bound => bound,
    }
}

async fn greet(stream: TcpStream, address: IpAddr, keys: Option<Rc<Keys>>, router: Router) {
    let _ = stream.set_nodelay(true);
    let address = address.to_canonical();
    let Some(keys) = keys else {
        return converse(stream, Peer { address, is_secure: false }, router).await;
    };
    let accept = TlsAcceptor::from(keys.current()).accept(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_MAX, accept).await {
        converse(stream, Peer { address, is_secure: true }, router).await;
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, peer: Peer, router: Router) {
    let service = Served { inner: TowerToHyperService::new(router), peer };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    // The other end has gone, or sent what is no HTTP: it was told if it could be.
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
struct Room(Mutex<HashMap<IpAddr, usize>>);

impl Room {
    /// A place for a connection, if there is one.
    fn take(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
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
struct Seat {
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
