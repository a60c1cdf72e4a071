//! A TCP connection whose reading can rest: what comes meanwhile lies in the kernel and wakes nobody.
//!
//! Each wake-up of a sleeping thread costs the sender's system call more than the few bytes of an acknowledgement do, and
//! an upstream pays it for each. Tokio's own TCP stream is woken by whatever comes, read or not. So each direction is
//! registered by itself here, by what tokio has for the ends of pipes: they read and write any descriptor.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::unix::pipe::{Receiver, Sender};

/// An open connection.
#[derive(Debug)]
pub(super) struct PlainTcp {
    writing: Sender,
    /// `None` while reading rests.
    reading: Option<Receiver>,
}

impl PlainTcp {
    /// # Errors
    /// The kernel's: no descriptor is left.
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        let stream = OwnedFd::from(stream.into_std()?);
        let reading = Some(Receiver::from_owned_fd_unchecked(stream.try_clone()?)?);
        Ok(Self { writing: Sender::from_owned_fd_unchecked(stream)?, reading })
    }

    /// Has what comes lie, or takes it again.
    ///
    /// # Errors
    /// The kernel's; reading goes on as it was.
    pub(super) fn rest(&mut self, rests: bool) -> io::Result<()> {
        if rests {
            self.reading = None;
        } else if self.reading.is_none() {
            let stream = self.writing.as_fd().try_clone_to_owned()?;
            self.reading = Some(Receiver::from_owned_fd_unchecked(stream)?);
        }
        Ok(())
    }
}

impl AsyncRead for PlainTcp {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.reading {
            Some(reading) => Pin::new(reading).poll_read(context, buffer),
            // Whoever lets it rest takes it up again by a timer.
            None => Poll::Pending,
        }
    }
}

impl AsyncWrite for PlainTcp {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writing).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writing).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.writing).poll_shutdown(context))?;
        Poll::Ready(Ok(rustix::net::shutdown(self.writing.as_fd(), Shutdown::Write)?))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn pair() -> (PlainTcp, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(address), listener.accept());
        (PlainTcp::new(ours.unwrap()).unwrap(), theirs.unwrap().0)
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_comes_while_reading_rests_is_there_afterwards() {
        let (mut ours, mut theirs) = pair().await;
        let mut buffer = [0; 16];
        theirs.write_all(b"one").await.unwrap();
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 3);

        ours.rest(true).unwrap();
        theirs.write_all(b"two").await.unwrap();
        let resting = tokio::time::timeout(Duration::from_millis(20), ours.read(&mut buffer)).await;
        assert!(resting.is_err(), "it rests");
        ours.write_all(b"still written").await.unwrap();
        let mut got = [0; 13];
        theirs.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"still written");

        ours.rest(false).unwrap();
        ours.rest(false).unwrap();
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer[..3], b"two");
        drop(theirs);
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_read_of_all_that_is_there_is_followed_by_the_next() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(&[7; 1_000]).await.unwrap();
        let (mut all, mut buffer) = (Vec::new(), [0; 300]);
        while all.len() < 1_000 {
            let read = ours.read(&mut buffer).await.unwrap();
            all.extend_from_slice(&buffer[..read]);
        }
        assert!(all.iter().all(|byte| *byte == 7));
        theirs.write_all(b"more").await.unwrap();
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 4);
        drop(theirs);
        assert_eq!(ours.read(&mut buffer).await.unwrap(), 0);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_that_does_not_read_is_waited_for() {
        let (mut ours, mut theirs) = pair().await;
        let written = tokio::task::LocalSet::new();
        written
            .run_until(async {
                let writing = tokio::task::spawn_local(async move {
                    ours.write_all(&vec![1; 8 << 20]).await.unwrap();
                    poll_fn(|context| Pin::new(&mut ours).poll_shutdown(context)).await.unwrap();
                });
                let mut all = Vec::new();
                theirs.read_to_end(&mut all).await.unwrap();
                assert_eq!(all.len(), 8 << 20);
                writing.await.unwrap();
            })
            .await;
    }
}
