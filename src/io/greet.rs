//! What comes before MQTT on a new connection: the header of a proxy, the TLS handshake, the opening of a WebSocket.
//! Each is bounded in bytes and all together in time; how many are under way is the listener's business.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::{ProtocolVersion, ServerConnection};
use tokio::io::Interest;
use tokio::sync::Semaphore;

use super::certificate_name::user_name;
use super::codec::{Codec, Ended};
use super::proxy_protocol::{self, Header};
use super::server_tls::Keys;
use super::stream::Socket;
use super::websocket::{self, Opening};
use crate::config::{Listener, WebSocket};

/// All of it must be through within this.
pub(super) const GREETING_MAX: Duration = Duration::from_secs(10);

/// Bytes that are read in one go.
const READ_BYTES: usize = 4 * 1024;

/// Who is there, once the greeting is through.
#[derive(Debug)]
pub(super) struct Greeted {
    /// What lies between the socket and MQTT.
    pub(super) codec: Option<Codec>,
    /// MQTT's first bytes, if some have come already.
    pub(super) early: Vec<u8>,
    /// Where the proxy says that the client is.
    pub(super) source: Option<SocketAddr>,
    /// The user name in the client's certificate.
    pub(super) certified: Option<String>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Turned {
    /// For the log.
    pub(super) why: String,
    /// The client has been answered, so it is given time to read that.
    pub(super) answered: bool,
    /// It left by itself, as a probe does: nobody must hear of that.
    pub(super) left: bool,
}

impl Turned {
    fn away(why: impl Into<String>) -> Self {
        Self { why: why.into(), answered: false, left: false }
    }

    fn answered(why: String) -> Self {
        Self { why, answered: true, left: false }
    }
}

/// A greeting under way.
struct Greeting<'a> {
    socket: &'a Socket,
    codec: Codec,
    plain: Vec<u8>,
}

/// Whether clients of this listener must be greeted at all.
pub(super) fn is_needed(listener: &Listener) -> bool {
    listener.tls.is_some() || listener.websocket.is_some() || listener.proxy_protocol
}

/// Greets one client. `turns` is what all TLS handshakes share: each step of one, which may take milliseconds of
/// computing, waits for a turn, and a turn ends when everybody else has been served. So a storm of handshakes slows down
/// handshakes, and nothing else.
///
/// # Errors
/// If it isn't let in, or gone.
pub(super) async fn greet(
    socket: &Socket,
    listener: &Listener,
    keys: Option<&Keys>,
    turns: &Semaphore,
) -> Result<Greeted, Turned> {
    let mut greeting = Greeting { socket, codec: Codec::new(None), plain: Vec::new() };
    let mut source = None;
    if listener.proxy_protocol {
        source = greeting.proxied().await?;
    }
    let mut certified = None;
    if let Some(keys) = keys {
        let tls = ServerConnection::new(keys.current())
            .map_err(|error| Turned::away(format!("TLS can't be set up: {error}")))?;
        greeting.codec = Codec::new(Some(tls));
        greeting.shake_hands(turns).await?;
        certified = greeting.certified(listener)?;
    }
    if let Some(settings) = &listener.websocket {
        greeting.upgrade(settings).await?;
        greeting.write_out().await?;
    }
    let Greeting { codec, plain, .. } = greeting;
    let codec = if codec.is_plain() { None } else { Some(codec) };
    Ok(Greeted { codec, early: plain, source, certified })
}

impl Greeting<'_> {
    async fn proxied(&mut self) -> Result<Option<SocketAddr>, Turned> {
        loop {
            match proxy_protocol::parse(&self.plain).map_err(Turned::away)? {
                Header::Whole { used, source } => {
                    self.plain.drain(..used.min(self.plain.len()));
                    return Ok(source);
                }
                Header::Incomplete => self.read().await?,
            }
        }
    }

    /// What TLS 1.3 has to say after the handshake, tickets for the next one, is left waiting: nobody needs it at once, and
    /// it goes with the answer to CONNECT.
    async fn shake_hands(&mut self, turns: &Semaphore) -> Result<(), Turned> {
        // What came behind the proxy's header.
        let mut bytes = std::mem::take(&mut self.plain);
        loop {
            let result = self.step(&bytes, turns).await;
            if result.is_ok() && self.has_shaken_hands() && self.is_newest_tls() {
                return Ok(());
            }
            // An alert that says why is sent as well.
            let written = self.write_out().await;
            if let Err(Ended(why)) = result {
                return Err(Turned::answered(format!("TLS handshake: {why}")));
            }
            written?;
            if self.has_shaken_hands() {
                return Ok(());
            }
            bytes = self.receive().await?;
        }
    }

    fn has_shaken_hands(&self) -> bool {
        !self.codec.tls().is_some_and(|tls| tls.is_handshaking())
    }

    /// In older ones the server has the last word, for which the client waits.
    fn is_newest_tls(&self) -> bool {
        let version = self.codec.tls().and_then(|tls| tls.protocol_version());
        version == Some(ProtocolVersion::TLSv1_3)
    }

    async fn step(&mut self, bytes: &[u8], turns: &Semaphore) -> Result<(), Ended> {
        if bytes.is_empty() {
            return Ok(());
        }
        let turn = turns.acquire().await;
        let result = self.codec.incoming(bytes, &mut self.plain);
        tokio::task::yield_now().await;
        drop(turn);
        result
    }

    fn certified(&self, listener: &Listener) -> Result<Option<String>, Turned> {
        let wanted = listener.tls.as_ref().and_then(|tls| tls.user_from_cert);
        let chain = self.codec.tls().and_then(|tls| tls.peer_certificates());
        match (wanted, chain.and_then(|chain| chain.first())) {
            (Some(wanted), Some(certificate)) => {
                user_name(certificate, wanted).map(Some).map_err(Turned::away)
            }
            _ => Ok(None),
        }
    }

    async fn upgrade(&mut self, settings: &WebSocket) -> Result<(), Turned> {
        let own_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        loop {
            match websocket::open(&self.plain, settings, &own_name) {
                Opening::Incomplete => self.read().await?,
                Opening::Accepted { used, response } => {
                    self.codec.outgoing(&response);
                    self.codec.frame();
                    // Frames that came with the request.
                    let rest = self.plain.split_off(used.min(self.plain.len()));
                    self.plain.clear();
                    return self.unframe(&rest).await;
                }
                Opening::Refused { response, why } => {
                    self.codec.outgoing(&response);
                    self.codec.finish();
                    self.write_out().await?;
                    return Err(Turned::answered(why));
                }
            }
        }
    }

    async fn unframe(&mut self, frames: &[u8]) -> Result<(), Turned> {
        if let Err(Ended(why)) = self.codec.unframe(frames, &mut self.plain) {
            self.write_out().await?;
            return Err(Turned::answered(why));
        }
        Ok(())
    }

    /// Reads more plain bytes.
    async fn read(&mut self) -> Result<(), Turned> {
        let bytes = self.receive().await?;
        let result = self.codec.incoming(&bytes, &mut self.plain);
        result.map_err(|Ended(why)| Turned::away(why))
    }

    async fn receive(&self) -> Result<Vec<u8>, Turned> {
        let mut bytes = vec![0; READ_BYTES];
        match self.socket.read(&mut bytes).await {
            Ok(0) => Err(Turned { left: true, ..Turned::away("the client has gone") }),
            Ok(count) => {
                bytes.truncate(count);
                Ok(bytes)
            }
            Err(error) => Err(Turned::away(error.to_string())),
        }
    }

    /// Writes what waits, all of it.
    async fn write_out(&mut self) -> Result<(), Turned> {
        while !self.codec.pending().is_empty() {
            match self.socket.try_write(self.codec.pending()) {
                Ok(bytes) => self.codec.advance(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let ready = self.socket.ready(Interest::WRITABLE).await;
                    ready.map_err(|error| Turned::away(error.to_string()))?;
                }
                Err(error) => return Err(Turned::away(error.to_string())),
            }
        }
        Ok(())
    }
}
