//! An open byte stream to a broker, and one turn of writing and reading. How it comes about is told in `dial`.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::certificate_dates::Identity;
use super::plain::PlainTcp;

/// What a transport can be made of.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// An open transport.
pub struct Transport {
    stream: Way,
    unflushed: bool,
    /// Whose certificate the server showed.
    pub(super) server: Option<Identity>,
}

/// What carries the bytes.
enum Way {
    /// TCP and nothing else.
    Plain(PlainTcp),
    /// Anything around it.
    Other(Box<dyn Stream>),
}

impl Way {
    fn stream(&mut self) -> Pin<&mut dyn Stream> {
        match self {
            Self::Plain(stream) => Pin::new(stream),
            Self::Other(stream) => Pin::new(&mut **stream),
        }
    }
}

impl Transport {
    pub(super) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Way::Other(Box::new(stream)), unflushed: false, server: None }
    }

    /// Over a TCP connection itself: its reading can rest.
    ///
    /// # Errors
    /// The kernel's: no descriptor is left.
    pub(super) fn over_tcp(stream: TcpStream) -> io::Result<Self> {
        Ok(Self { stream: Way::Plain(PlainTcp::new(stream)?), unflushed: false, server: None })
    }

    /// Whether reading can rest: only that of a TCP connection with nothing around it.
    pub(super) const fn can_rest(&self) -> bool {
        matches!(self.stream, Way::Plain(_))
    }

    /// Leaves unread what comes, or takes it again. Where it can't rest, reading goes on.
    ///
    /// # Errors
    /// The kernel's: no descriptor is left.
    pub(super) fn rest(&mut self, rests: bool) -> io::Result<()> {
        match &mut self.stream {
            Way::Plain(stream) => stream.rest(rests),
            Way::Other(_) => Ok(()),
        }
    }
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
            ready!(self.stream.stream().poll_read(context, &mut buffer))?;
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
            ready!(self.stream.stream().poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(Some(buffer.filled().len())))
        })
        .await
    }

    /// Writes what waits and closes; gives up after `grace`.
    pub async fn finish(mut self, mut out: OutQueue, grace: Duration) {
        let finish = async {
            poll_fn(|context| self.poll_write_out(context, &mut out)).await?;
            poll_fn(|context| self.stream.stream().poll_shutdown(context)).await?;
            // Closed with bytes that nobody has read, the kernel would reset the connection, and the other side might
            // never see what was written last.
            let mut scratch = [0; 4 * 1024];
            loop {
                let mut buffer = ReadBuf::new(&mut scratch);
                poll_fn(|context| self.stream.stream().poll_read(context, &mut buffer)).await?;
                if buffer.filled().is_empty() {
                    return Ok::<(), io::Error>(());
                }
            }
        };
        // The connection ends in any case; what could not be written is still in the outbox.
        let _ = timeout(grace, finish).await;
    }

    fn poll_write_out(&mut self, context: &mut Context<'_>, out: &mut OutQueue) -> Poll<io::Result<()>> {
        while !out.pending().is_empty() {
            let written = ready!(self.stream.stream().poll_write(context, out.pending()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.written += written;
            self.unflushed = true;
        }
        if self.unflushed {
            out.clear();
            ready!(self.stream.stream().poll_flush(context))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
