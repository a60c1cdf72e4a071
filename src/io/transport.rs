//! The byte stream to an upstream: name lookup, TCP, TLS, and one turn of writing and reading.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls;
use crate::config::UpstreamTls;

/// A name server that doesn't answer within this counts as failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Each address of a host gets this long to answer.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(5);

/// The TLS handshake must be through within this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that the peer's kernel doesn't acknowledge for so long end the connection (TCP_USER_TIMEOUT).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Where an upstream is.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// TLS, if any.
    pub tls: Option<UpstreamTls>,
    /// Why the upstream's password is not known: then nothing is connected.
    pub secret_error: Option<String>,
}

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

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// An open transport.
pub struct Transport {
    stream: Box<dyn Stream>,
    unflushed: bool,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").field("unflushed", &self.unflushed).finish_non_exhaustive()
    }
}

/// Bytes on their way out.
#[derive(Debug, Default)]
pub struct OutQueue {
    bytes: Vec<u8>,
    written: usize,
}

impl OutQueue {
    /// Appends.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.written == self.bytes.len() {
            self.clear();
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.written = 0;
        self.bytes.clear();
        // One large message must not keep its memory for ever.
        self.bytes.shrink_to(64 * 1024);
    }

    /// Bytes that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending().len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending().is_empty()
    }

    fn pending(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }
}

/// Opens a transport: every address of the host is tried in turn.
///
/// # Errors
/// In words, naming host and port.
pub async fn connect(target: &Target) -> Result<Transport, ConnectError> {
    if let Some(error) = &target.secret_error {
        return Err(ConnectError::permanent(error.clone()));
    }
    // A CA file that can't be read is told before anything is sent anywhere.
    let tls = match &target.tls {
        Some(settings) => Some(tls::client(settings, &target.host).map_err(ConnectError::permanent)?),
        None => None,
    };
    connect_with(target, tls).await
}

/// As [`connect`], with TLS settings that were made elsewhere; the target's own only name its files.
///
/// # Errors
/// In words, naming host and port.
pub async fn connect_with(target: &Target, tls: Option<tls::Client>) -> Result<Transport, ConnectError> {
    let addresses = lookup(target).await?;
    let mut last = None;
    for address in addresses {
        match open(address).await {
            Ok(stream) => match tls {
                Some(tls) => return handshake(stream, tls, target).await,
                None => return Ok(Transport { stream: Box::new(stream), unflushed: false }),
            },
            Err(error) => last = Some((address, error)),
        }
    }
    let words = match last {
        Some((address, error)) => {
            format!("can't connect to {} ({address}): {}", target.host, io_words(&error))
        }
        None => format!("{} has no address", target.host),
    };
    Err(ConnectError::passing(words))
}

async fn lookup(target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    let lookup = tokio::net::lookup_host((target.host.as_str(), target.port));
    match timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(ConnectError::passing(format!("can't find {}: {error}", target.host))),
        Err(_) => {
            Err(ConnectError::passing(format!("can't find {}: the name server doesn't answer", target.host)))
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = timeout(ADDRESS_TIMEOUT, TcpStream::connect(address))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer within 5 s"))??;
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNACKNOWLEDGED_MAX.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(&stream, millis)?;
    Ok(stream)
}

async fn handshake(stream: TcpStream, tls: tls::Client, target: &Target) -> Result<Transport, ConnectError> {
    let connector = tokio_rustls::TlsConnector::from(tls.config);
    match timeout(HANDSHAKE_TIMEOUT, connector.connect(tls.name, stream)).await {
        Ok(Ok(stream)) => Ok(Transport { stream: Box::new(stream), unflushed: false }),
        Ok(Err(error)) => Err(tls::refused(&error, target, tls.words)),
        Err(_) => Err(ConnectError::passing(format!("{}: no TLS answer within 10 s", target.host))),
    }
}

/// An operating system's error for people.
#[must_use]
pub fn io_words(error: &io::Error) -> String {
    // With TLS 1.3, a server that misses our certificate says so only after the handshake.
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::AlertReceived(alert)) = tls {
        return format!("the other side refused our TLS connection: {alert:?}");
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused: nothing listens there".into(),
        io::ErrorKind::ConnectionReset => "the other side reset the connection".into(),
        io::ErrorKind::TimedOut => "no answer".into(),
        io::ErrorKind::NetworkUnreachable => "no route: the network is down".into(),
        io::ErrorKind::HostUnreachable => "the host can't be reached".into(),
        io::ErrorKind::UnexpectedEof => "the other side closed the connection".into(),
        _ => error.to_string(),
    }
}

impl Transport {
    /// Writes what waits and reads what comes; ends when something was read (0: end of file). Cancel safe: all
    /// progress is in `out` and in the stream.
    ///
    /// # Errors
    /// The transport's.
    pub async fn turn(&mut self, out: &mut OutQueue, scratch: &mut [u8]) -> io::Result<usize> {
        poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_write_out(context, out) {
                return Poll::Ready(Err(error));
            }
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// As [`Transport::turn`], but if more than `mark` bytes waited it also ends, with `None`, as soon as that is
    /// no longer so: whoever makes the bytes can go on.
    ///
    /// # Errors
    /// The transport's.
    pub async fn turn_to(
        &mut self,
        out: &mut OutQueue,
        scratch: &mut [u8],
        mark: usize,
    ) -> io::Result<Option<usize>> {
        let above = out.len() > mark;
        poll_fn(|context| {
            if let Poll::Ready(Err(error)) = self.poll_write_out(context, out) {
                return Poll::Ready(Err(error));
            }
            if above && out.len() <= mark {
                return Poll::Ready(Ok(None));
            }
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(Some(buffer.filled().len())))
        })
        .await
    }

    /// Writes what waits and closes; gives up after `grace`.
    pub async fn finish(mut self, mut out: OutQueue, grace: Duration) {
        let finish = async {
            poll_fn(|context| self.poll_write_out(context, &mut out)).await?;
            poll_fn(|context| Pin::new(&mut self.stream).poll_shutdown(context)).await
        };
        // The connection ends in any case; what could not be written is still in the outbox.
        let _ = timeout(grace, finish).await;
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>, out: &mut OutQueue) -> Poll<io::Result<()>> {
        while !out.pending().is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(context, out.pending()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.written += written;
            self.unflushed = true;
        }
        if self.unflushed {
            out.clear();
            ready!(Pin::new(&mut self.stream).poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
