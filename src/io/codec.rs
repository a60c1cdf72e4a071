//! Between the socket's bytes and MQTT's: TLS, WebSocket, or one in the other. Bytes in, bytes out: it reads and writes
//! no socket, and knows no MQTT.

use std::io::{BufRead, ErrorKind, Write};

use rustls::ServerConnection;

use super::websocket::Framing;

/// Encoded bytes above which nothing more is encoded: what waits beyond is in the connection's out buffer, which has its
/// own bound. Worst memory per connection: this, and one chunk.
const WIRE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are encoded in one go: a TLS record, a WebSocket frame.
pub(super) const CHUNK_BYTES_MAX: usize = 16 * 1024;

/// The connection can't go on: the other side broke the protocol, or has said goodbye. What there is to say to that
/// waits in [`Codec::pending`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended(pub(super) String);

/// The layers of one connection.
#[derive(Debug)]
pub(super) struct Codec {
    tls: Option<Box<ServerConnection>>,
    websocket: Option<Framing>,
    /// Encoded, for the socket; the first `written` bytes are there already.
    wire: Vec<u8>,
    written: usize,
    /// Frames on their way into TLS.
    frames: Vec<u8>,
    finished: bool,
}

impl Codec {
    /// One without WebSocket, for now.
    pub(super) fn new(tls: Option<ServerConnection>) -> Self {
        Self {
            tls: tls.map(Box::new),
            websocket: None,
            wire: Vec::new(),
            written: 0,
            frames: Vec::new(),
            finished: false,
        }
    }

    /// The TLS connection.
    pub(super) fn tls(&self) -> Option<&ServerConnection> {
        self.tls.as_deref()
    }

    /// From now on everything is in WebSocket frames.
    pub(super) fn frame(&mut self) {
        self.websocket = Some(Framing::default());
    }

    /// Whether anything is done to the bytes at all.
    pub(super) const fn is_plain(&self) -> bool {
        self.tls.is_none() && self.websocket.is_none()
    }

    /// Bytes from the socket; what they hold is appended to `plain`, at most as many bytes.
    ///
    /// # Errors
    /// If the connection can't go on. What came before that is in `plain`.
    pub(super) fn incoming(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<(), Ended> {
        #[cfg(test)]
        crate::broker::broken::stub::strike(bytes, crate::broker::broken::stub::IN_CODEC);
        let Some(tls) = &mut self.tls else {
            let result = upward(&mut self.websocket, bytes, plain, &mut self.frames);
            self.send_frames();
            return result;
        };
        let mut rest = bytes;
        let mut result = Ok(());
        while !rest.is_empty() && result.is_ok() {
            // It takes only as much as it has room for.
            if let Err(error) = tls.read_tls(&mut rest) {
                result = Err(Ended(error.to_string()));
                break;
            }
            result = tls.process_new_packets().map(|_| ()).map_err(|error| Ended(error.to_string()));
            let received = received(tls, &mut self.websocket, plain, &mut self.frames);
            result = result.and(received);
        }
        self.send_frames();
        result
    }

    /// Takes frames apart that had come before [`Codec::frame`] was called, and so have been decrypted already.
    ///
    /// # Errors
    /// As [`Codec::incoming`].
    pub(super) fn unframe(&mut self, frames: &[u8], plain: &mut Vec<u8>) -> Result<(), Ended> {
        let result = upward(&mut self.websocket, frames, plain, &mut self.frames);
        self.send_frames();
        result
    }

    /// MQTT's bytes, encoded into [`Codec::pending`]. At most [`CHUNK_BYTES_MAX`] at a time.
    pub(super) fn outgoing(&mut self, plain: &[u8]) {
        if self.websocket.is_some() {
            Framing::data(plain, &mut self.frames);
            self.send_frames();
        } else {
            self.send(plain);
        }
    }

    /// Says goodbye, once.
    pub(super) fn finish(&mut self) {
        if std::mem::replace(&mut self.finished, true) {
            return;
        }
        if let Some(websocket) = &mut self.websocket {
            websocket.close(&mut self.frames);
        }
        self.send_frames();
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.collect();
    }

    /// What waits to be written to the socket.
    pub(super) fn pending(&self) -> &[u8] {
        self.wire.get(self.written..).unwrap_or_default()
    }

    /// Whether more may be encoded.
    pub(super) fn has_room(&self) -> bool {
        self.pending().len() < WIRE_BYTES_MAX
    }

    /// So many bytes of [`Codec::pending`] are on the socket.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.written = self.written.saturating_add(bytes);
        if self.pending().is_empty() {
            // Memory is held only while something waits.
            self.wire = Vec::new();
            self.written = 0;
        } else if self.written > WIRE_BYTES_MAX {
            self.wire.drain(..self.written);
            self.written = 0;
        }
    }

    /// Forgets what waits: the client is gone.
    pub(super) fn give_up(&mut self) {
        self.wire = Vec::new();
        self.written = 0;
    }

    fn send_frames(&mut self) {
        let mut frames = std::mem::take(&mut self.frames);
        self.send(&frames);
        frames.clear();
        frames.shrink_to(CHUNK_BYTES_MAX);
        self.frames = frames;
        self.collect();
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.tls.is_none() {
            self.wire.extend_from_slice(bytes);
            return;
        }
        for chunk in bytes.chunks(CHUNK_BYTES_MAX) {
            if let Some(tls) = &mut self.tls {
                // It has room: what it had is collected after each chunk.
                let _ = tls.writer().write_all(chunk);
            }
            self.collect();
        }
    }

    /// Takes over what TLS has to send.
    fn collect(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        while tls.wants_write() {
            // A Vec takes everything.
            if !matches!(tls.write_tls(&mut self.wire), Ok(1..)) {
                break;
            }
        }
    }
}

/// What TLS has decrypted, handed on.
fn received(
    tls: &mut ServerConnection,
    websocket: &mut Option<Framing>,
    plain: &mut Vec<u8>,
    frames: &mut Vec<u8>,
) -> Result<(), Ended> {
    loop {
        let mut reader = tls.reader();
        let taken = match reader.fill_buf() {
            Ok([]) => return Err(Ended("the client has said goodbye".into())),
            Ok(chunk) => {
                upward(websocket, chunk, plain, frames)?;
                chunk.len()
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(Ended(error.to_string())),
        };
        reader.consume(taken);
    }
}

fn upward(
    websocket: &mut Option<Framing>,
    bytes: &[u8],
    plain: &mut Vec<u8>,
    frames: &mut Vec<u8>,
) -> Result<(), Ended> {
    match websocket {
        Some(websocket) => websocket.incoming(bytes, plain, frames),
        None => {
            plain.extend_from_slice(bytes);
            Ok(())
        }
    }
}
