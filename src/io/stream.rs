//! A client's socket, TCP or Unix, and what lies between its bytes and MQTT's, if anything.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, Waker};

use rustls::pki_types::CertificateDer;
use tokio::io::{Interest, Ready};
use tokio::net::{TcpStream, UnixStream};

use super::codec::Codec;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// Over IP.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

/// Hands a socket to whoever receives from it.
fn receive_from<'s, S: AsFd, T>(
    socket: &'s S,
    receive: impl FnOnce(BorrowedFd<'s>) -> T,
) -> impl FnOnce() -> T {
    move || receive(socket.as_fd())
}

/// A socket and its codec.
#[derive(Debug)]
pub(super) struct Link {
    /// The socket.
    pub(super) socket: Socket,
    /// Absent where MQTT's bytes go as they are, so that plain TCP pays nothing.
    pub(super) codec: Option<Box<RefCell<Codec>>>,
    /// Rung when its task has something else to wait for.
    pub(super) bell: Bell,
}

/// Wakes one task of the same thread. Smaller than what wakes any number of tasks of any thread, and there is one for each
/// client.
#[derive(Default)]
pub(super) struct Bell {
    rung: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").field("rung", &self.rung.get()).finish_non_exhaustive()
    }
}

impl Bell {
    /// Wakes who waits, or lets the next wait be none.
    pub(super) fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Ready once after it was rung, however often that was.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        if self.rung.replace(false) {
            return Poll::Ready(());
        }
        let known = self.waiting.take().filter(|waker| waker.will_wake(context.waker()));
        self.waiting.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        Poll::Pending
    }
}

/// What a connection's task was woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The bell was rung: it may have to wait for something else.
    Rung,
    /// There is something to be read, or room to write, or both.
    Ready { read: bool, write: bool },
    /// Nothing more will come of this socket.
    Gone,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Link {
    pub(super) fn new(socket: Socket, codec: Option<Codec>) -> Self {
        Self { socket, codec: codec.map(|codec| Box::new(RefCell::new(codec))), bell: Bell::default() }
    }

    /// What is there of what is wanted. Who waits is remembered beside the socket, not in a place of its own.
    pub(super) fn poll_turn(&self, context: &mut Context<'_>, read: bool, write: bool) -> Poll<Turn> {
        if self.bell.poll(context).is_ready() {
            return Poll::Ready(Turn::Rung);
        }
        let written = if write { self.socket.poll_write_ready(context) } else { Poll::Pending };
        let come = if read { self.socket.poll_read_ready(context) } else { Poll::Pending };
        match (come, written) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => Poll::Ready(Turn::Gone),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
            (come, written) => Poll::Ready(Turn::Ready { read: come.is_ready(), write: written.is_ready() }),
        }
    }

    /// Whether the client has shown certificates, its own first, that are as wanted.
    pub(super) fn has_certificates(&self, are_wanted: impl Fn(&[CertificateDer<'_>]) -> bool) -> bool {
        let Some(codec) = &self.codec else { return false };
        let codec = codec.borrow();
        let chain = codec.tls().and_then(|tls| tls.peer_certificates());
        chain.is_some_and(are_wanted)
    }
}

impl Socket {
    /// Reads what is there. What doesn't fill the buffer has emptied the socket, which is then not taken for readable until
    /// the system says so again: a second call that finds nothing would cost as much as the first.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` if there is nothing.
    pub(super) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let mut taken = None;
        let receive = |socket: BorrowedFd<'_>| {
            let (bytes, _) = rustix::net::recv(socket, &mut *into, rustix::net::RecvFlags::empty())?;
            taken = Some(bytes);
            // Said to the runtime alone: it forgets that there was something to read. An end is remembered all the same.
            if bytes < into.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let result = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, receive_from(stream, receive)),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, receive_from(stream, receive)),
        };
        taken.map_or_else(|| result.map(|()| 0), Ok)
    }

    /// Writes as much as fits.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` if nothing fits.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        }
    }

    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
        }
    }

    fn poll_write_ready(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_write_ready(context),
            Self::Unix(stream) => stream.poll_write_ready(context),
        }
    }

    /// Waits until it can be read or written. Cancel safe.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Tcp(stream) => stream.ready(interest).await,
            Self::Unix(stream) => stream.ready(interest).await,
        }
    }

    /// Reads what comes next; 0 at the end. Cancel safe.
    ///
    /// # Errors
    /// The socket's.
    pub(super) async fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.ready(Interest::READABLE).await?;
            match self.try_read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// Whether the client is gone and has left nothing to be read.
    pub(super) fn is_gone(&self) -> bool {
        let mut byte = [0];
        let flags = rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT;
        let peeked = match self {
            Self::Tcp(stream) => rustix::net::recv(stream, &mut byte[..], flags),
            Self::Unix(stream) => rustix::net::recv(stream, &mut byte[..], flags),
        };
        match peeked {
            Ok((bytes, _)) => bytes == 0,
            Err(error) => error != rustix::io::Errno::WOULDBLOCK && error != rustix::io::Errno::INTR,
        }
    }

    /// Says that nothing more will be written.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn shutdown_write(&self) -> io::Result<()> {
        let how = rustix::net::Shutdown::Write;
        match self {
            Self::Tcp(stream) => rustix::net::shutdown(stream, how)?,
            Self::Unix(stream) => rustix::net::shutdown(stream, how)?,
        }
        Ok(())
    }
}
