//! A WebSocket to a broker as a stream of bytes: the request, and what MQTT sends and gets in frames of
//! [`websocket`](super::websocket).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tungstenite::handshake::client::{Response, generate_key};
use tungstenite::handshake::derive_accept_key;
use tungstenite::handshake::machine::TryParse;

use super::dial::ConnectError;
use super::websocket::Framing;
use crate::limits::READ_SCRATCH_BYTES;

/// The longest answer to our request.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// What is written becomes frames of at most this many bytes; no more is held back here.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// A WebSocket that a broker has opened for us.
pub(super) struct WebSocketStream<S> {
    stream: S,
    framing: Framing,
    /// Payload that came and was not read yet; the part before `taken` was.
    plain: Vec<u8>,
    taken: usize,
    /// Frames to be written; the part before `written` was.
    out: Vec<u8>,
    written: usize,
    /// The broker has closed, or broken the protocol: the reason, told once.
    ended: Option<io::Error>,
    is_over: bool,
}

/// Asks for a WebSocket at `path`; `host` is host and port, as the request names them.
///
/// # Errors
/// In words.
pub(super) async fn open<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    host: &str,
    path: &str,
) -> Result<WebSocketStream<S>, ConnectError> {
    let broken = |error: io::Error| ConnectError::passing(format!("{host}: no WebSocket: {error}"));
    let key = generate_key();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut answer = Vec::new();
    loop {
        if stream.read_buf(&mut answer).await.map_err(broken)? == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match Response::try_parse(&answer) {
            Ok(Some((used, response))) => {
                judge(&response, &key)
                    .map_err(|why| ConnectError::permanent(format!("{host}{path}: {why}")))?;
                let mut opened = WebSocketStream {
                    stream,
                    framing: Framing::client(),
                    plain: Vec::new(),
                    taken: 0,
                    out: Vec::new(),
                    written: 0,
                    ended: None,
                    is_over: false,
                };
                opened.take_in(answer.get(used..).unwrap_or_default());
                return Ok(opened);
            }
            Ok(None) if answer.len() < RESPONSE_BYTES_MAX => {}
            Ok(None) => return Err(ConnectError::permanent(format!("{host}: its answer has no end"))),
            Err(error) => {
                return Err(ConnectError::permanent(format!("{host}: this is no WebSocket: {error}")));
            }
        }
    }
}

/// RFC 6455, 4.1: what a client must check.
fn judge(response: &Response, key: &str) -> Result<(), String> {
    let header =
        |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let status = response.status();
    if status.as_u16() != 101 {
        return Err(format!("the server opens no WebSocket there: {status}"));
    }
    if header("Sec-WebSocket-Accept") != derive_accept_key(key.as_bytes()) {
        return Err("the server has not understood the request for a WebSocket".into());
    }
    match header("Sec-WebSocket-Protocol") {
        "mqtt" => Ok(()),
        "" => Err("the server has a WebSocket there, but not one for MQTT".into()),
        other => Err(format!("the server speaks {other:?} there, not MQTT")),
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocketStream<S> {
    /// Takes frames apart.
    fn take_in(&mut self, bytes: &[u8]) {
        if let Err(ended) = self.framing.incoming(bytes, &mut self.plain, &mut self.out) {
            self.is_over = true;
            self.ended = Some(io::Error::other(ended.0));
        }
    }

    /// Writes what is left of the frames.
    fn poll_write_out(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(context, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(count);
        }
        self.out.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Hands out what came, as much as there is room for.
    fn hand_out(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let rest = self.plain.get(self.taken..).unwrap_or_default();
        let (now, later) = rest.split_at(rest.len().min(buffer.remaining()));
        buffer.put_slice(now);
        let (count, is_all) = (now.len(), later.is_empty());
        self.taken = self.taken.saturating_add(count);
        if is_all {
            self.plain.clear();
            self.taken = 0;
        }
        count > 0
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.hand_out(buffer) {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.ended.take() {
                return Poll::Ready(Err(error));
            }
            if this.is_over {
                return Poll::Ready(Ok(()));
            }
            let mut scratch = [0; READ_SCRATCH_BYTES];
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut this.stream).poll_read(context, &mut read))?;
            if read.filled().is_empty() {
                this.is_over = true;
                continue;
            }
            this.take_in(read.filled());
            // Answers to pings and to a close; what can't leave now leaves with the next frame.
            if let Poll::Ready(written) = this.poll_write_out(context) {
                written?;
                let _ = Pin::new(&mut this.stream).poll_flush(context)?;
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_write_out(context))?;
        let count = bytes.len().min(FRAME_BYTES_MAX);
        Framing::masked_data(bytes.get(..count).unwrap_or_default(), &mut this.out);
        // The frame is ours from here on: what can't be written now is written by the next call.
        if let Poll::Ready(Err(error)) = this.poll_write_out(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_write_out(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut close = Vec::new();
        this.framing.close(&mut close);
        this.out.extend_from_slice(&close);
        ready!(this.poll_write_out(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
