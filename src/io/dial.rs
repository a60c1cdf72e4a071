//! The way to a broker, an upstream or a command's: name lookup, proxy, TCP or a Unix socket, TLS, WebSocket.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::timeout;

use super::certificate_dates::identity;
use super::transport::{Stream, Transport, io_words};
use super::{proxy, tls, websocket_client};
use crate::config::{BindTo, Proxy, UpstreamTls};
use crate::secret::Secret;

/// A name server that doesn't answer within this counts as failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Each address of a host gets this long to answer.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// A proxy must have opened the way within this.
const PROXY_TIMEOUT: Duration = Duration::from_secs(10);

/// The TLS handshake, and that of a WebSocket, must be through within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the peer's kernel doesn't acknowledge for so long end the connection (TCP_USER_TIMEOUT).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Addresses of a name that are told.
const ADDRESSES_SHOWN: usize = 4;

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, if any.
    pub tls: Option<UpstreamTls>,
    /// Why a password is not known: then nothing is connected.
    pub secret_error: Option<String>,
    /// The way there.
    pub way: Way,
}

/// The way to a broker, where that isn't TCP from whichever address of this machine the system chooses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// A proxy and its password.
    pub proxy: Option<(Proxy, Option<Secret>)>,
    /// From where on this machine.
    pub bind: Option<BindTo>,
    /// MQTT within WebSocket, at this path.
    pub websocket: Option<String>,
    /// A Unix socket instead of host, port and TLS.
    pub unix: Option<PathBuf>,
}

/// A part of the way to a broker that is behind us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name has addresses: the broker's, or its proxy's.
    Name,
    /// TCP stands, or the Unix socket is open.
    Connected,
    /// The proxy has opened the way.
    Proxy,
    /// The certificates are right.
    Tls,
    /// It speaks WebSocket.
    WebSocket,
}

/// Who is told of each step, with what there is to say of it.
pub type Watch<'w> = &'w (dyn Fn(Step, String) + Sync);

/// Nobody looks on.
fn unwatched(_: Step, _: String) {}

/// Why a transport could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// For people.
    pub words: String,
    /// Whether only a person can mend it.
    pub permanent: bool,
}

impl ConnectError {
    pub(super) fn passing(words: String) -> Self {
        Self { words, permanent: false }
    }

    pub(super) fn permanent(words: String) -> Self {
        Self { words, permanent: true }
    }
}

/// Opens a transport: every address of the host is tried in turn. `own` is the certificate that is shown there.
///
/// # Errors
/// In words, naming host and port.
pub async fn connect(target: &Target, own: Option<Arc<CertifiedKey>>) -> Result<Transport, ConnectError> {
    connect_watched(target, own, &unwatched).await
}

/// As [`connect`], telling `watch` how far it is.
///
/// # Errors
/// In words, naming host and port.
pub async fn connect_watched(
    target: &Target,
    own: Option<Arc<CertifiedKey>>,
    watch: Watch<'_>,
) -> Result<Transport, ConnectError> {
    if let Some(error) = &target.secret_error {
        return Err(ConnectError::permanent(error.clone()));
    }
    // A CA file that can't be read is told before anything is sent anywhere.
    let tls = match &target.tls {
        Some(settings) => Some(tls::client(settings, &target.host, own).map_err(ConnectError::permanent)?),
        None => None,
    };
    open_with(target, tls, watch).await
}

/// As [`connect`], with TLS settings that were made elsewhere; the target's own only name its files.
///
/// # Errors
/// In words, naming host and port.
pub async fn connect_with(target: &Target, tls: Option<tls::Client>) -> Result<Transport, ConnectError> {
    open_with(target, tls, &unwatched).await
}

async fn open_with(
    target: &Target,
    tls: Option<tls::Client>,
    watch: Watch<'_>,
) -> Result<Transport, ConnectError> {
    if let Some(path) = &target.way.unix {
        let transport = open_unix(path).await?;
        watch(Step::Connected, path.display().to_string());
        return Ok(transport);
    }
    let stream = match &target.way.proxy {
        None => reach(&target.host, target.port, target.way.bind.as_ref(), watch).await?,
        Some((proxy, password)) => through(proxy, password.as_ref(), target, watch).await?,
    };
    match tls {
        Some(tls) => {
            let stream = handshake(stream, tls, target).await?;
            let session = stream.get_ref().1;
            let server = session.peer_certificates().and_then(|chain| identity(chain.first()?));
            watch(Step::Tls, server.as_ref().map(|server| server.subject.clone()).unwrap_or_default());
            let mut transport = dress(stream, target, watch).await?;
            transport.server = server;
            Ok(transport)
        }
        None if target.way.websocket.is_none() => Transport::over_tcp(stream)
            .map_err(|error| ConnectError::passing(format!("can't wait for {}: {error}", target.host))),
        None => dress(stream, target, watch).await,
    }
}

async fn through(
    proxy: &Proxy,
    password: Option<&Secret>,
    target: &Target,
    watch: Watch<'_>,
) -> Result<TcpStream, ConnectError> {
    let stream = reach(&proxy.host, proxy.port, target.way.bind.as_ref(), watch)
        .await
        .map_err(|error| ConnectError { words: format!("proxy: {}", error.words), ..error })?;
    let opened = timeout(PROXY_TIMEOUT, proxy::through(stream, proxy, password, target)).await;
    let opened = opened.unwrap_or_else(|_| {
        Err(ConnectError::passing(format!("proxy {}: no answer within 10 s", proxy.host)))
    })?;
    watch(Step::Proxy, format!("{}:{}", proxy.host, proxy.port));
    Ok(opened)
}

/// Opens TCP to the first of a host's addresses that answers.
async fn reach(
    host: &str,
    port: u16,
    bind: Option<&BindTo>,
    watch: Watch<'_>,
) -> Result<TcpStream, ConnectError> {
    let addresses = lookup(host, port).await?;
    if !addresses.is_empty() {
        let shown = addresses.iter().take(ADDRESSES_SHOWN).map(|address| address.ip().to_string());
        watch(Step::Name, shown.collect::<Vec<_>>().join(", "));
    }
    let mut last = None;
    for address in addresses {
        match open(address, bind).await {
            Ok(stream) => {
                watch(Step::Connected, address.to_string());
                return Ok(stream);
            }
            Err(error) => last = Some((address, error)),
        }
    }
    let words = match last {
        Some((address, error)) => {
            format!("can't connect to {host} ({address}): {}", io_words(&error))
        }
        None => format!("{host} has no address"),
    };
    Err(ConnectError::passing(words))
}

async fn lookup(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let lookup = tokio::net::lookup_host((host, port));
    match timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(ConnectError::passing(format!("can't find {host}: {error}"))),
        Err(_) => Err(ConnectError::passing(format!("can't find {host}: the name server doesn't answer"))),
    }
}

async fn open(address: SocketAddr, bind: Option<&BindTo>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let bound = match bind {
        None => Ok(()),
        Some(BindTo::Address(from)) if from.is_ipv4() != address.is_ipv4() => {
            return Err(io::Error::other(format!("can't be reached from {from}: one is IPv4, one IPv6")));
        }
        Some(BindTo::Address(from)) => socket.bind(SocketAddr::new(*from, 0)),
        Some(BindTo::Interface(name)) => socket.bind_device(Some(name.as_bytes())),
    };
    if let (Err(error), Some(bind)) = (bound, bind) {
        return Err(io::Error::other(format!("{bind} can't be bound to: {}", io_words(&error))));
    }
    let stream = timeout(ADDRESS_TIMEOUT, socket.connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"))??;
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, millis)?;
    Ok(stream)
}

async fn open_unix(path: &Path) -> Result<Transport, ConnectError> {
    let stream = UnixStream::connect(path).await;
    let stream = stream.map_err(|error| {
        ConnectError::passing(format!("can't connect to {}: {}", path.display(), io_words(&error)))
    })?;
    Ok(Transport::over(stream))
}

async fn handshake(
    stream: TcpStream,
    tls: tls::Client,
    target: &Target,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ConnectError> {
    let connector = tokio_rustls::TlsConnector::from(tls.config);
    match timeout(HANDSHAKE_TIMEOUT, connector.connect(tls.name, stream)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(tls::refused(&error, target, tls.words)),
        Err(_) => Err(ConnectError::passing(format!("{}: no TLS answer within 10 s", target.host))),
    }
}

/// Puts a WebSocket around the stream, if one is wanted.
async fn dress(
    stream: impl Stream + 'static,
    target: &Target,
    watch: Watch<'_>,
) -> Result<Transport, ConnectError> {
    let Some(path) = &target.way.websocket else { return Ok(Transport::over(stream)) };
    let host = match target.host.contains(':') {
        true => format!("[{}]:{}", target.host, target.port),
        false => format!("{}:{}", target.host, target.port),
    };
    match timeout(HANDSHAKE_TIMEOUT, websocket_client::open(stream, &host, path)).await {
        Ok(opened) => {
            let transport = Transport::over(opened?);
            watch(Step::WebSocket, path.clone());
            Ok(transport)
        }
        Err(_) => Err(ConnectError::passing(format!("{host}: no WebSocket answer within 10 s"))),
    }
}
