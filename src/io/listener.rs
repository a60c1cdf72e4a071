//! One listening address: binds it, again and again if it must, has each new client greeted where that is needed,
//! and takes it in.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::connection::Serving;
use super::descriptors;
use super::greet;
use super::guests::Guests;
use super::server_tls::{Keys, LOOK_INTERVAL};
use super::shard::{Shard, update};
use super::stream::{Link, Socket};
use crate::broker::ListenerId;
use crate::broker::doorman::Knock;
use crate::config::{Bind, Listener};
use crate::expiry::Dated;

/// An address that can't be bound is tried again after this.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// After an accept that failed (out of file descriptors, mostly) the next waits this long, so that it doesn't spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// That file descriptors run short is told so often at most.
const SAY_INTERVAL: Duration = Duration::from_secs(10);

/// Connections that the system holds for us until they are accepted.
const BACKLOG: u32 = 1024;

/// Whoever is in the socket's group may connect, nobody else.
const SOCKET_MODE: u32 = 0o660;

/// A snapshot of one listener for health and status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// The address as configured or, where the config says port 0, as it was given.
    pub address: Bind,
    /// What carries MQTT there, as people call it.
    pub transport: &'static str,
    /// Why it doesn't listen, or what else is wrong: new certificates that can't be used.
    pub error: Option<String>,
    /// When its certificate and its revocation list end.
    pub dates: Vec<Dated>,
}

/// A listener's place among the others, which changes with the config; `None` once it is closed.
pub(super) type Place = Rc<Cell<Option<ListenerId>>>;

/// What all clients of a listener share.
pub(super) struct Door {
    pub(super) shard: Rc<Shard>,
    pub(super) place: Place,
    pub(super) config: Listener,
    pub(super) keys: Option<Rc<Keys>>,
}

impl Door {
    /// Disconnects whoever is connected with a certificate that is revoked by now, or whose authority is gone.
    /// `looked` tells when it was looked the last time.
    fn turn_out_revoked(&self, keys: &Keys, looked: &Cell<u64>) {
        let then = looked.replace(keys.losses());
        if !keys.may_shut_out(then) {
            return;
        }
        let Some(place) = self.place.get() else { return };
        let clients = self.shard.turn_out(place, |chain| keys.shut_out(chain, then));
        if clients > 0 {
            warn!(
                listener = %self.config.name, clients,
                "clients disconnected: their certificates were revoked, or the authorities behind them taken away"
            );
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removed with it.
        _file: SocketFile,
    },
}

/// A Unix socket's file, removed when dropped.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been replaced or removed by hand: then there is nothing to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// What a listener is started with.
pub(super) struct Setup {
    pub(super) shard: Rc<Shard>,
    pub(super) place: Place,
    pub(super) config: Listener,
    pub(super) status: Arc<Mutex<Vec<ListenerStatus>>>,
    /// Its socket, once it is bound; it may be already.
    pub(super) socket: Rc<RefCell<Option<Rc<Bound>>>>,
    /// Its certificates, where they were read already.
    pub(super) keys: Option<Keys>,
}

/// Listens until the task is aborted.
pub(super) async fn serve(setup: Setup) {
    let Setup { shard, place, config, status, socket, keys } = setup;
    let name = config.name.clone();
    let transport = config.transport();
    let here = place.clone();
    let tell = |address: Bind, error: Option<String>| {
        update(&status, |all| {
            if let Some(slot) = here.get().and_then(|place| all.get_mut(usize::from(place.0))) {
                let dates = std::mem::take(&mut slot.dates);
                *slot = ListenerStatus { name: name.clone(), address, transport, error, dates };
            }
        });
    };
    let keys = match (&config.tls, keys) {
        (Some(_), None) => Some(Rc::new(self::keys(&config, &tell).await)),
        (_, keys) => keys.map(Rc::new),
    };
    let ready = socket.borrow().clone();
    let bound = match ready {
        Some(bound) => bound,
        None => Rc::new(bound(&config, &tell).await),
    };
    socket.replace(Some(bound.clone()));
    let address = bound.address(&config.bind);
    info!(listener = %config.name, %address, "listening for MQTT clients");
    tell(address.clone(), None);
    let door = Rc::new(Door { shard, place, config, keys });
    let tell_dates = |dates: Vec<Dated>| {
        update(&status, |all| {
            if let Some(slot) = here.get().and_then(|place| all.get_mut(usize::from(place.0))) {
                slot.dates = dates;
            }
        });
    };
    let looked = Cell::new(0);
    let changed = |error| {
        let Some(keys) = &door.keys else { return };
        tell(address.clone(), error);
        tell_dates(keys.dates());
        door.turn_out_revoked(keys, &looked);
    };
    let watch = || async {
        let Some(keys) = &door.keys else { return std::future::pending().await };
        tell_dates(keys.dates());
        keys.clone().watch(&name, || door.shard.now().wall, &changed).await;
    };
    let when_asked = || async {
        let Some(keys) = &door.keys else { return std::future::pending().await };
        loop {
            door.shard.read_certificates.notified().await;
            keys.read_now(&name, &changed).await;
        }
    };
    let tell_of_accepting = |error| tell(address.clone(), error);
    let panics = door.shard.panics();
    tokio::join!(
        panics.keep("listener", || accept(&door, &bound, &tell_of_accepting)),
        panics.keep("certificates", watch),
        panics.keep("certificates", when_asked),
    );
}

/// The certificates. Without good ones the listener stays closed: it is never open in clear.
async fn keys(config: &Listener, tell: &impl Fn(Bind, Option<String>)) -> Keys {
    let mut told = None;
    loop {
        let Some(tls) = &config.tls else { return std::future::pending().await };
        match Keys::open(tls).await {
            Ok(keys) => return keys,
            Err(error) => {
                if told.as_ref() != Some(&error) {
                    error!(
                        listener = %config.name, error,
                        "the certificates can't be used; this listener stays closed until the files are right"
                    );
                    tell(config.bind.clone(), Some(format!("closed: {error}")));
                    told = Some(error);
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

async fn bound(config: &Listener, tell: &impl Fn(Bind, Option<String>)) -> Bound {
    let mut told = false;
    loop {
        match bind(&config.bind, false) {
            Ok(bound) => return bound,
            Err(error) => {
                if !told {
                    error!(
                        listener = %config.name, address = %config.bind, error,
                        "can't listen; another program may have the address; trying again every 5 s"
                    );
                    told = true;
                }
                tell(config.bind.clone(), Some(format!("can't listen on {}: {error}", config.bind)));
                tokio::time::sleep(BIND_RETRY).await;
            }
        }
    }
}

/// Binds. `shared`: together with a socket that allows it as well.
pub(super) fn bind(bind: &Bind, shared: bool) -> Result<Bound, String> {
    match bind {
        Bind::Tcp(address) => bind_tcp(*address, shared).map(Bound::Tcp).map_err(|error| error.to_string()),
        Bind::Unix(path) => bind_unix(path),
    }
}

/// A socket on an address; `shared`: beside another of ours.
pub(crate) fn bind_tcp(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    if address.ip().is_unspecified() && address.is_ipv6() {
        // IPv4 as well, whatever this system's default is.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    if shared {
        // From now on it is ours alone.
        rustix::net::sockopt::set_socket_reuseport(&listener, false)?;
    }
    Ok(listener)
}

/// Lets another socket of ours be bound to an address that covers this one's, or is covered by it.
pub(crate) fn share(listener: &TcpListener, shared: bool) {
    // If it can't be, the other bind fails, and that is told.
    let _ = rustix::net::sockopt::set_socket_reuseport(listener, shared);
}

/// A socket that nobody listens on any more is replaced.
fn bind_unix(path: &Path) -> Result<Bound, String> {
    let words = |error: std::io::Error| error.to_string();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(words)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err("another program answers there".into());
            }
            std::fs::remove_file(path).map_err(words)?;
        }
        Ok(_) => return Err("a file is in the way that is no socket".into()),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(words)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(words)?;
    Ok(Bound::Unix { listener, _file: file })
}

impl Bound {
    /// Lets another socket of ours be bound to an address that covers this one's, or is covered by it.
    pub(super) fn share(&self, shared: bool) {
        if let Self::Tcp(listener) = self {
            share(listener, shared);
        }
    }

    fn address(&self, configured: &Bind) -> Bind {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| configured.clone(), Bind::Tcp),
            Self::Unix { .. } => configured.clone(),
        }
    }

    async fn accept(&self) -> std::io::Result<(Socket, String, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| tcp(stream, peer)),
            Self::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| unix(stream)),
        }
    }
}

fn tcp(stream: TcpStream, peer: SocketAddr) -> (Socket, String, Option<IpAddr>) {
    // We coalesce writes ourselves. A socket that refuses this is as good as gone; the read will tell.
    let _ = stream.set_nodelay(true);
    (Socket::Tcp(stream), shown(peer), Some(peer.ip()))
}

/// An address as people know it: IPv4 also where it came through `::`.
pub(super) fn shown(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

fn unix(stream: UnixStream) -> (Socket, String, Option<IpAddr>) {
    let peer = stream.peer_cred().map_or_else(|_| "unix".to_owned(), |who| format!("unix:uid={}", who.uid()));
    (Socket::Unix(stream), peer, None)
}

async fn accept(door: &Rc<Door>, bound: &Bound, tell: impl Fn(Option<String>)) {
    let greets = greet::is_needed(&door.config);
    let mut guests = Guests::new(door.clone());
    let mut failing = false;
    let mut pause = Pause::default();
    let mut delayed = JoinSet::new();
    loop {
        match bound.accept().await {
            Ok((socket, peer, from)) => {
                failing = false;
                pause.wait(door, &socket, &tell).await;
                // Behind a proxy, where a client comes from is known later.
                let from = from.filter(|_| !door.config.proxy_protocol);
                let Some((pass, wait)) = Pass::ask(&door.shard, from) else { continue };
                if greets {
                    guests.greet(socket, peer, pass, wait);
                } else if wait.is_zero() {
                    take_in(door, Link::new(socket, None), &peer, pass, None, &[]);
                } else {
                    let door = door.clone();
                    // They are few: whoever would wait for long was refused. They end with this value.
                    while delayed.try_join_next().is_some() {}
                    delayed.spawn_local(async move {
                        tokio::time::sleep(wait).await;
                        take_in(&door, Link::new(socket, None), &peer, pass, None, &[]);
                    });
                }
            }
            Err(error) => {
                if !failing {
                    warn!(listener = %door.config.name, %error, "can't accept clients");
                    door.shard.accepts_paused.set(door.shard.accepts_paused.get() + 1);
                    failing = true;
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Nobody else is accepted while only those file descriptors are left that are kept for the store and for files.
#[derive(Debug, Default)]
struct Pause {
    /// People have been told, and not yet that it is over.
    told: bool,
    last: Option<Instant>,
}

impl Pause {
    async fn wait(&mut self, door: &Door, last: &Socket, tell: &impl Fn(Option<String>)) {
        if !descriptors::are_short(last) {
            return self.end(door, last, tell);
        }
        door.shard.accepts_paused.set(door.shard.accepts_paused.get() + 1);
        let now = Instant::now();
        let is_due = self.last.is_none_or(|last| now.duration_since(last) >= SAY_INTERVAL);
        if !self.told && is_due {
            (self.told, self.last) = (true, Some(now));
            warn!(listener = %door.config.name, "file descriptors run short; clients have to wait");
            tell(Some("clients have to wait: file descriptors run short".into()));
        }
        // Until there are some more than that, so that it doesn't stop and go with each client.
        while !descriptors::are_plenty(last) {
            tokio::time::sleep(descriptors::LOOK_INTERVAL).await;
        }
        self.end(door, last, tell);
    }

    fn end(&mut self, door: &Door, last: &Socket, tell: &impl Fn(Option<String>)) {
        if self.told && descriptors::are_plenty(last) {
            self.told = false;
            info!(listener = %door.config.name, "there are file descriptors enough again");
            tell(None);
        }
    }
}

/// A place at the door, given back when dropped unless the client was taken in.
pub(super) struct Pass {
    shard: Rc<Shard>,
    from: Option<IpAddr>,
    used: bool,
}

impl Pass {
    /// A place for a client of this address, and how long it must wait with it; `None` if it must be closed.
    pub(super) fn ask(shard: &Rc<Shard>, from: Option<IpAddr>) -> Option<(Self, Duration)> {
        let wait = match shard.knock(from) {
            Knock::Enter => Duration::ZERO,
            Knock::Wait(wait) => wait,
            Knock::TooManyHalfOpen | Knock::TooFast => return None,
        };
        Some((Self { shard: shard.clone(), from, used: false }, wait))
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.used {
            self.shard.gone_before_open(self.from);
        }
    }
}

/// Hands a client to the machine, with its first bytes.
pub(super) fn take_in(
    door: &Door,
    link: Link,
    peer: &str,
    mut pass: Pass,
    certified: Option<&str>,
    early: &[u8],
) {
    // Closed meanwhile: whoever is still being greeted goes with it.
    let Some(place) = door.place.get() else { return };
    let link = Rc::new(link);
    if let Some(conn) = door.shard.open(place, link.clone(), peer, certified, pass.from) {
        pass.used = true;
        door.shard.early(conn, early);
        tokio::task::spawn_local(Serving::new(door.shard.clone(), conn, link));
    }
}
