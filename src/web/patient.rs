//! A connection whose other end must take what is written within a time: whoever reads nothing is closed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What is written must be on its way by then.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// A stream with that rule.
#[derive(Debug)]
pub(super) struct Patient<S> {
    stream: S,
    write_max: Duration,
    /// Runs while something waits to be written.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, write_max: WRITE_MAX, limit: None }
    }

    /// Judges what came of a write.
    fn judge<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.limit = None;
            return result;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(self.write_max)));
        ready!(limit.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.judge(cx, result)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.judge(cx, result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_shutdown(cx);
        this.judge(cx, result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    #[tokio::test]
    async fn who_takes_nothing_for_too_long_is_closed_and_who_is_slow_is_not() {
        let write_max = Duration::from_millis(600);
        let (ours, mut theirs) = tokio::io::duplex(16);
        let mut patient = Patient { write_max, ..Patient::new(ours) };
        // Slowly, but it moves.
        let slow = tokio::spawn(async move {
            let mut taken = [0; 8];
            for _ in 0..8 {
                sleep(Duration::from_millis(100)).await;
                theirs.read_exact(&mut taken).await.unwrap();
            }
            theirs
        });
        patient.write_all(&[7; 80]).await.unwrap();
        let before = Instant::now();
        let stuck = patient.write_all(&[7; 64]).await.unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
        assert!(before.elapsed() >= write_max);
        drop(slow.await.unwrap());
    }
}
