//! One listening address: binds it, again and again if it must, has each new client greeted where that is needed,
//! and takes it in.

use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};
use tracing::{error, info, warn};

use super::connection;
use super::greet;
use super::guests::Guests;
use super::server_tls::{Keys, LOOK_INTERVAL};
use super::shard::{Shard, update};
use super::stream::{Link, Socket};
use crate::broker::ListenerId;
use crate::config::{Bind, Listener};

/// An address that can't be bound is tried again after this.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// After an accept that failed (out of file descriptors, mostly) the next waits this long, so that it doesn't spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

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
    /// Why it doesn't listen, or what else is wrong: new certificates that can't be used.
    pub error: Option<String>,
}

/// What all clients of a listener share.
pub(super) struct Door {
    pub(super) shard: Rc<Shard>,
    pub(super) id: ListenerId,
    pub(super) config: Listener,
    pub(super) keys: Option<Rc<Keys>>,
}

/// A bound socket.
enum Bound {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Removed with it.
        _file: SocketFile,
    },
}

/// A Unix socket's file, removed when dropped.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // It may have been replaced or removed by hand: then there is nothing to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Listens until the task is aborted.
pub(super) async fn serve(
    shard: Rc<Shard>,
    id: ListenerId,
    config: Listener,
    status: Arc<Mutex<Vec<ListenerStatus>>>,
) {
    let name = config.name.clone();
    let tell = |address: Bind, error: Option<String>| {
        update(&status, |all| {
            if let Some(slot) = all.get_mut(usize::from(id.0)) {
                *slot = ListenerStatus { name: name.clone(), address, error };
            }
        });
    };
    let keys = match &config.tls {
        Some(_) => Some(Rc::new(keys(&config, &tell).await)),
        None => None,
    };
    let bound = bound(&config, &tell).await;
    let address = bound.address(&config.bind);
    info!(listener = %config.name, %address, "listening for MQTT clients");
    tell(address.clone(), None);
    let door = Rc::new(Door { shard, id, config, keys });
    let watch = async {
        match &door.keys {
            Some(keys) => keys.clone().watch(&name, |error| tell(address.clone(), error)).await,
            None => std::future::pending().await,
        }
    };
    tokio::join!(accept(&door, &bound), watch);
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
        match bind(&config.bind) {
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

fn bind(bind: &Bind) -> Result<Bound, String> {
    match bind {
        Bind::Tcp(address) => bind_tcp(*address).map(Bound::Tcp).map_err(|error| error.to_string()),
        Bind::Unix(path) => bind_unix(path),
    }
}

fn bind_tcp(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    if address.ip().is_unspecified() && address.is_ipv6() {
        // IPv4 as well, whatever this system's default is.
        rustix::net::sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
    fn address(&self, configured: &Bind) -> Bind {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| configured.clone(), Bind::Tcp),
            Self::Unix { .. } => configured.clone(),
        }
    }

    async fn accept(&self) -> std::io::Result<(Socket, String)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| tcp(stream, peer)),
            Self::Unix { listener, .. } => listener.accept().await.map(|(stream, _)| unix(stream)),
        }
    }
}

fn tcp(stream: TcpStream, peer: SocketAddr) -> (Socket, String) {
    // We coalesce writes ourselves. A socket that refuses this is as good as gone; the read will tell.
    let _ = stream.set_nodelay(true);
    (Socket::Tcp(stream), shown(peer))
}

/// An address as people know it: IPv4 also where it came through `::`.
pub(super) fn shown(peer: SocketAddr) -> String {
    SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string()
}

fn unix(stream: UnixStream) -> (Socket, String) {
    let peer = stream.peer_cred().map_or_else(|_| "unix".to_owned(), |who| format!("unix:uid={}", who.uid()));
    (Socket::Unix(stream), peer)
}

async fn accept(door: &Rc<Door>, bound: &Bound) {
    let greets = greet::is_needed(&door.config);
    let mut guests = Guests::new(door.clone());
    let mut failing = false;
    loop {
        match bound.accept().await {
            Ok((socket, peer)) => {
                failing = false;
                if greets {
                    guests.greet(socket, peer);
                } else {
                    take_in(door, Link { socket, codec: None }, &peer, None, &[]);
                }
            }
            Err(error) => {
                if !failing {
                    warn!(listener = %door.config.name, %error, "can't accept clients");
                    failing = true;
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Hands a client to the machine, with its first bytes.
pub(super) fn take_in(door: &Door, link: Link, peer: &str, certified: Option<&str>, early: &[u8]) {
    let link = Rc::new(link);
    if let Some((conn, wake)) = door.shard.open(door.id, link.clone(), peer, certified) {
        door.shard.early(conn, early);
        tokio::task::spawn_local(connection::serve(door.shard.clone(), conn, link, wake));
    }
}
