//! The way through a proxy to an upstream: HTTP CONNECT (RFC 9110, 9.3.6) or SOCKS 5 (RFC 1928, 1929). The proxy looks
//! up the name, since in networks with a proxy often nobody else can. What is said through it is not its business: with
//! TLS it can't read it.

use base64ct::{Base64, Encoding};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_socks::tcp::Socks5Stream;

use super::dial::{ConnectError, Target};
use super::transport::io_words;
use crate::config::{Proxy, ProxyKind};
use crate::secret::Secret;

/// The longest answer of an HTTP proxy, in bytes; a longer one is no proxy's.
const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// Header lines in it.
const HEADERS_MAX: usize = 64;
/// The longest user name and password that SOCKS 5 can carry (RFC 1929, 2).
const SOCKS_LOGIN_BYTES_MAX: usize = 255;

/// Asks the proxy at the other end of `stream` for a connection to the target.
///
/// # Errors
/// In words, naming the proxy.
pub(super) async fn through(
    mut stream: TcpStream,
    proxy: &Proxy,
    password: Option<&Secret>,
    target: &Target,
) -> Result<TcpStream, ConnectError> {
    match proxy.kind {
        ProxyKind::Http => {
            http(&mut stream, proxy, password, target).await?;
            Ok(stream)
        }
        ProxyKind::Socks5 => socks(stream, proxy, password, target).await,
    }
}

fn said(proxy: &Proxy, words: impl std::fmt::Display) -> String {
    format!("proxy {}:{}: {words}", proxy.host, proxy.port)
}

async fn http(
    stream: &mut TcpStream,
    proxy: &Proxy,
    password: Option<&Secret>,
    target: &Target,
) -> Result<(), ConnectError> {
    let lost = |error: std::io::Error| ConnectError::passing(said(proxy, io_words(&error)));
    let request = request(proxy, password, target);
    stream.write_all(&request).await.map_err(lost)?;
    let mut answer = Vec::new();
    loop {
        // One byte at a time past the last line would be the other side's already. Nobody speaks there before we do,
        // but a buffer's worth read too far would be lost, so the end is looked for byte by byte.
        let byte = stream.read_u8().await.map_err(lost)?;
        answer.push(byte);
        if answer.ends_with(b"\r\n\r\n") {
            return judge(proxy, &answer);
        }
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(ConnectError::permanent(said(
                proxy,
                "its answer has no end; is that an HTTP proxy?",
            )));
        }
        if !b"HTTP/1.".starts_with(answer.get(..answer.len().min(7)).unwrap_or_default()) {
            return Err(ConnectError::permanent(said(proxy, "it doesn't speak HTTP")));
        }
    }
}

fn request(proxy: &Proxy, password: Option<&Secret>, target: &Target) -> Vec<u8> {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    let place = format!("{host}:{}", target.port);
    let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    if let Some(user) = &proxy.user_name {
        // RFC 7617, 2: the name has no colon, which the config sees to.
        let mut login = format!("{user}:").into_bytes();
        login.extend_from_slice(password.map(Secret::expose).unwrap_or_default());
        let login = Base64::encode_string(&login);
        request.extend_from_slice(format!("Proxy-Authorization: Basic {login}\r\n").as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    request
}

fn judge(proxy: &Proxy, answer: &[u8]) -> Result<(), ConnectError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let code = match response.parse(answer) {
        Ok(httparse::Status::Complete(_)) => response.code.unwrap_or_default(),
        _ => return Err(ConnectError::permanent(said(proxy, "its answer is no HTTP"))),
    };
    match code {
        200..=299 => Ok(()),
        407 => Err(ConnectError::permanent(said(
            proxy,
            "it wants another login; check proxy.user_name and proxy.password",
        ))),
        403 => Err(ConnectError::permanent(said(proxy, "it doesn't let us through to there (403)"))),
        code => Err(ConnectError::passing(said(proxy, format_args!("it answers with {code}")))),
    }
}

async fn socks(
    stream: TcpStream,
    proxy: &Proxy,
    password: Option<&Secret>,
    target: &Target,
) -> Result<TcpStream, ConnectError> {
    let place = (target.host.as_str(), target.port);
    let result = match &proxy.user_name {
        None => Socks5Stream::connect_with_socket(stream, place).await,
        Some(user) => {
            let password = std::str::from_utf8(password.map(Secret::expose).unwrap_or_default());
            let password = password.ok().filter(|text| (1..=SOCKS_LOGIN_BYTES_MAX).contains(&text.len()));
            let Some(password) = password else {
                let words = "proxy.password must be text of 1 to 255 bytes for SOCKS 5";
                return Err(ConnectError::permanent(said(proxy, words)));
            };
            Socks5Stream::connect_with_password_and_socket(stream, place, user, password).await
        }
    };
    result.map(Socks5Stream::into_inner).map_err(|error| {
        use tokio_socks::Error;
        let words = said(proxy, &error);
        match error {
            Error::PasswordAuthFailure(_)
            | Error::NoAcceptableAuthMethods
            | Error::InvalidResponseVersion
            | Error::ConnectionNotAllowedByRuleset => ConnectError::permanent(words),
            _ => ConnectError::passing(words),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::dial::Way;

    fn proxy() -> Proxy {
        Proxy { kind: ProxyKind::Http, host: "px".into(), port: 3128, user_name: None, password: None }
    }

    #[test]
    fn a_request_names_the_target_and_carries_the_login() {
        let target =
            Target { host: "::1".into(), port: 8883, tls: None, secret_error: None, way: Way::default() };
        let proxy = Proxy { user_name: Some("ann".into()), ..proxy() };
        let request = request(&proxy, Some(&Secret::new(b"s:1".to_vec())), &target);
        assert_eq!(
            String::from_utf8(request).unwrap(),
            "CONNECT [::1]:8883 HTTP/1.1\r\nHost: [::1]:8883\r\nProxy-Authorization: Basic YW5uOnM6MQ==\r\n\r\n"
        );
    }

    #[test]
    fn answers_are_judged() {
        let cases: [(&str, Result<(), bool>); 6] = [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 200 OK\r\nVia: x\r\n\r\n", Ok(())),
            ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Err(true)),
            ("HTTP/1.1 403 Forbidden\r\n\r\n", Err(true)),
            ("HTTP/1.1 503 Busy\r\n\r\n", Err(false)),
            ("HTTP/1.1 nonsense\r\n\r\n", Err(true)),
        ];
        for (answer, expected) in cases {
            let judged = judge(&proxy(), answer.as_bytes()).map_err(|error| error.permanent);
            assert_eq!(judged, expected, "{answer}");
        }
    }
}
