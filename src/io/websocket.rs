//! WebSocket as a byte codec: a server's opening handshake as text in and text out, and the frames of either end. What is
//! inside the frames is one stream of bytes (MQTT 5, 6.0.0-2); who may open one (path, origin, subprotocol) is decided
//! here from config.

use std::io::Cursor;
use std::net::IpAddr;

use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::http::header::{HOST, HeaderMap, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::codec::Ended;
use crate::config::{ANY_PATH, WebSocket};

/// The longest request; a longer one is refused.
pub(super) const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// The longest header of a frame (RFC 6455, 5.2).
const HEADER_BYTES_MAX: usize = 14;

/// The longest payload of a control frame (RFC 6455, 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// Answers to pings that wait at most; further pings in one read get none (RFC 6455, 5.5.3 allows that).
const PONG_BYTES_MAX: usize = 4 * 1024;

/// Subprotocols, the better first (MQTT 5, 6.0.0-3; 3.1 came before the registration of "mqtt").
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Close codes (RFC 6455, 7.4.1).
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED_DATA: u16 = 1003;

/// What a request gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It isn't whole yet.
    Incomplete,
    /// It is let in.
    Accepted {
        /// Bytes of the request; frames follow.
        used: usize,
        /// To be sent.
        response: Vec<u8>,
    },
    /// It isn't.
    Refused {
        /// To be sent.
        response: Vec<u8>,
        /// For the log.
        why: String,
    },
}

/// Judges the beginning of a connection.
///
/// `own_name` is what this machine is called.
pub(super) fn open(bytes: &[u8], settings: &WebSocket, own_name: &str) -> Opening {
    match Request::try_parse(bytes) {
        Ok(Some((used, request))) => match answer(&request, settings, own_name) {
            Ok(response) => Opening::Accepted { used, response },
            Err((status, why)) => refused(status, why),
        },
        Ok(None) if bytes.len() < REQUEST_BYTES_MAX => Opening::Incomplete,
        Ok(None) | Err(tungstenite::Error::Capacity(_)) => {
            refused("431 Request Header Fields Too Large", "the request is too long".to_owned())
        }
        Err(error) => refused("400 Bad Request", format!("not a WebSocket request: {error}")),
    }
}

fn refused(status: &str, why: String) -> Opening {
    let upgrade =
        if status.starts_with("426") { "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n" } else { "" };
    let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{upgrade}Content-Type: text/plain\r\n");
    let response =
        format!("{head}Content-Length: {}\r\n\r\n{why}\n", why.len().saturating_add(1)).into_bytes();
    Opening::Refused { response, why }
}

fn answer(
    request: &Request,
    settings: &WebSocket,
    own_name: &str,
) -> Result<Vec<u8>, (&'static str, String)> {
    let path = request.uri().path();
    if settings.path != ANY_PATH && path != settings.path {
        return Err(("404 Not Found", format!("nothing is served at {path:?}")));
    }
    let headers = request.headers();
    if headers.get("Upgrade").is_none() {
        return Err(("426 Upgrade Required", "this is a WebSocket for MQTT".to_owned()));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        judge(origin, headers, settings, own_name).map_err(|why| ("403 Forbidden", why))?;
    }
    let Some(subprotocol) = subprotocol(headers) else {
        return Err(("400 Bad Request", "the client doesn't offer the subprotocol \"mqtt\"".to_owned()));
    };
    let mut response = create_response(request)
        .map_err(|error| ("400 Bad Request", format!("not a WebSocket request: {error}")))?;
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    let mut bytes = Vec::new();
    write_response(&mut bytes, &response)
        .map_err(|error| ("500 Internal Server Error", format!("no answer: {error}")))?;
    Ok(bytes)
}

/// The first of ours that the client offers. The header may stand several times (RFC 6455, 11.3.4).
fn subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    SUBPROTOCOLS.into_iter().find(|ours| offered.contains(ours))
}

/// Whether a page of that origin may connect: it is listed, or of this host, whatever its port. A page's own host can be
/// any name that its owner has pointed at this address meanwhile (DNS rebinding), so the name must be one of ours.
fn judge(origin: &str, headers: &HeaderMap, settings: &WebSocket, own_name: &str) -> Result<(), String> {
    let origin = origin.to_lowercase();
    if settings.origins.iter().any(|listed| listed == "*" || *listed == origin) {
        return Ok(());
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default().to_lowercase();
    let host = without_port(&host);
    let page = origin.split_once("://").map_or("", |(_, authority)| without_port(authority));
    if page.is_empty() || page != host {
        return Err(format!("pages of {origin:?} may not connect; websocket.origins says who may"));
    }
    if is_ours(host, settings, own_name) {
        return Ok(());
    }
    Err(format!("{host:?} is not known as a name of this gateway; websocket.hosts says which are"))
}

/// An address, this machine's name, a name that is only known on the local network, or a name that is listed.
fn is_ours(host: &str, settings: &WebSocket, own_name: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || host == "localhost"
        || host.ends_with(".local")
        || host.eq_ignore_ascii_case(own_name)
        || settings.hosts.iter().any(|listed| listed == host)
}

/// `gw.local` of `gw.local:8080`, `[::1]` of `[::1]:8080`.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// Which end of a WebSocket we are: clients mask what they send, servers don't (RFC 6455, 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Server,
    Client,
}

/// The frames of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    end: End,
    /// The beginning of a header that is not whole yet.
    header: Vec<u8>,
    frame: Option<Frame>,
    /// A message has begun that is not final yet.
    in_message: bool,
    /// The payload of a control frame.
    control: Vec<u8>,
    close_sent: bool,
}

/// A frame whose payload is being taken in.
#[derive(Debug)]
struct Frame {
    control: Option<Control>,
    left: u64,
    /// Turned with each byte.
    mask: [u8; 4],
}

impl Framing {
    /// The frames that a client sends and gets.
    pub(super) fn client() -> Self {
        Self { end: End::Client, ..Self::default() }
    }

    /// One binary frame of a server.
    pub(super) fn data(payload: &[u8], out: &mut Vec<u8>) {
        put(End::Server, OpCode::Data(Data::Binary), payload, out);
    }

    /// One binary frame of a client.
    pub(super) fn masked_data(payload: &[u8], out: &mut Vec<u8>) {
        put(End::Client, OpCode::Data(Data::Binary), payload, out);
    }

    /// The closing handshake, unless it was begun before.
    pub(super) fn close(&mut self, out: &mut Vec<u8>) {
        self.close_with(NORMAL, out);
    }

    /// Takes frames apart: payload of binary messages to `plain`, answers to `out`.
    ///
    /// # Errors
    /// If the client closes, or breaks the protocol; the close frame is in `out` then.
    pub(super) fn incoming(
        &mut self,
        mut bytes: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), Ended> {
        while !bytes.is_empty() || self.frame.as_ref().is_some_and(|frame| frame.left == 0) {
            match self.frame.take() {
                None => match self.begin(&mut bytes) {
                    Ok(frame) => self.frame = frame,
                    Err((code, why)) => {
                        self.close_with(code, out);
                        return Err(Ended(why.into()));
                    }
                },
                Some(mut frame) => {
                    let into = if frame.control.is_some() { &mut self.control } else { &mut *plain };
                    bytes = frame.take(bytes, into);
                    if frame.left > 0 {
                        self.frame = Some(frame);
                    } else if let Some(control) = frame.control {
                        self.controlled(control, out)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a header off the front of `bytes`; `None` if it isn't whole.
    fn begin(&mut self, bytes: &mut &[u8]) -> Result<Option<Frame>, (u16, &'static str)> {
        let before = self.header.len();
        let room = HEADER_BYTES_MAX.saturating_sub(before).min(bytes.len());
        let (head, _) = bytes.split_at(room);
        self.header.extend_from_slice(head);
        let mut cursor = Cursor::new(&self.header);
        let parsed = FrameHeader::parse(&mut cursor);
        let end = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
        match parsed {
            Ok(None) => {
                *bytes = bytes.get(room..).unwrap_or_default();
                Ok(None)
            }
            Ok(Some((header, length))) => {
                *bytes = bytes.get(end.saturating_sub(before)..).unwrap_or_default();
                self.header.clear();
                self.judge(&header, length).map(Some)
            }
            Err(_) => Err((PROTOCOL_ERROR, "a WebSocket frame of no known kind")),
        }
    }

    fn judge(&mut self, header: &FrameHeader, length: u64) -> Result<Frame, (u16, &'static str)> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err((PROTOCOL_ERROR, "a WebSocket extension that was not agreed on"));
        }
        // RFC 6455, 5.1: an unmasked frame from a client ends the connection, and a masked one from a server does.
        let mask = match (self.end, header.mask) {
            (End::Server, Some(mask)) => mask,
            (End::Server, None) => return Err((PROTOCOL_ERROR, "an unmasked WebSocket frame")),
            (End::Client, None) => [0; 4],
            (End::Client, Some(_)) => return Err((PROTOCOL_ERROR, "a masked WebSocket frame")),
        };
        let control = match header.opcode {
            OpCode::Control(_) if !header.is_final || length > CONTROL_BYTES_MAX => {
                return Err((PROTOCOL_ERROR, "a WebSocket control frame that is cut or too long"));
            }
            OpCode::Control(control) => {
                self.control.clear();
                Some(control)
            }
            // MQTT 5, 6.0.0-1: MQTT comes in binary frames.
            OpCode::Data(Data::Text) => return Err((UNSUPPORTED_DATA, "a WebSocket text frame")),
            OpCode::Data(Data::Binary) if self.in_message => {
                return Err((PROTOCOL_ERROR, "a WebSocket message within another"));
            }
            OpCode::Data(Data::Continue) if !self.in_message => {
                return Err((PROTOCOL_ERROR, "a WebSocket continuation of nothing"));
            }
            OpCode::Data(_) => {
                self.in_message = !header.is_final;
                None
            }
        };
        Ok(Frame { control, left: length, mask })
    }

    /// A whole control frame.
    fn controlled(&mut self, control: Control, out: &mut Vec<u8>) -> Result<(), Ended> {
        match control {
            Control::Ping if out.len() < PONG_BYTES_MAX => {
                put(self.end, OpCode::Control(Control::Pong), &self.control, out);
                Ok(())
            }
            Control::Close => {
                self.close_with(NORMAL, out);
                Err(Ended(match self.end {
                    End::Server => "the client has closed the WebSocket".into(),
                    End::Client => "the broker has closed the WebSocket".into(),
                }))
            }
            Control::Ping | Control::Pong | Control::Reserved(_) => Ok(()),
        }
    }

    fn close_with(&mut self, code: u16, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.close_sent, true) {
            put(self.end, OpCode::Control(Control::Close), &code.to_be_bytes(), out);
        }
    }
}

impl Frame {
    /// Moves payload from the front of `bytes`, unmasked; gives back the rest.
    fn take<'b>(&mut self, bytes: &'b [u8], into: &mut Vec<u8>) -> &'b [u8] {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(count);
        into.extend(payload.iter().zip(self.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        let turn = count % self.mask.len();
        self.mask.rotate_left(turn);
        self.left = self.left.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        rest
    }
}

/// A final frame.
fn put(end: End, opcode: OpCode, payload: &[u8], out: &mut Vec<u8>) {
    // It protects proxies from pages that choose the bytes on the wire; there is no page here.
    let mask = (end == End::Client).then(|| fastrand::u32(..).to_be_bytes());
    let header = FrameHeader { opcode, mask, ..FrameHeader::default() };
    // A Vec takes everything.
    let _ = header.format(u64::try_from(payload.len()).unwrap_or(u64::MAX), out);
    match mask {
        None => out.extend_from_slice(payload),
        Some(mask) => out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask)),
    }
}

#[cfg(test)]
#[path = "websocket_tests.rs"]
mod tests;
