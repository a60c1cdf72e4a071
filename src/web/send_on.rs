//! Whoever asks without TLS where TLS is spoken is told the address with it, as someone does who types an address without
//! `https://`.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::Web;
use super::guard::is_meant_for_us;
use super::patient::Patient;
use super::server::{HANDSHAKE_MAX, HEAD_BYTES_MAX, HEAD_MAX, HEADERS_MAX};

/// Whether it begins with a letter, as a request without TLS does: whoever types an address without `https://` sends that.
/// None where nothing comes.
pub(super) async fn is_plain(stream: &TcpStream) -> Option<bool> {
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE_MAX, stream.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))).then(|| first.iter().all(u8::is_ascii_uppercase))
}

/// Answers one request without TLS by the address with it; nothing else is said, and nothing of the request is used but
/// a name of this gateway.
pub(super) async fn answer(stream: TcpStream, web: Arc<Web>) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let answer = secure_place(&web, &request);
        async move {
            let (status, place) = match answer {
                Some(place) => (StatusCode::TEMPORARY_REDIRECT, place),
                None => (StatusCode::MISDIRECTED_REQUEST, String::new()),
            };
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            if let Ok(place) = HeaderValue::try_from(place)
                && !place.is_empty()
            {
                response.headers_mut().insert(header::LOCATION, place);
            }
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    let _ = connection.await;
}

/// Where the page is with TLS, if a page was asked for under a name of this gateway.
fn secure_place(web: &Web, request: &Request<Incoming>) -> Option<String> {
    is_meant_for_us(web, request.headers(), request.uri()).ok()?;
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    let path = request.uri().path_and_query()?.as_str();
    let is_page = matches!(*request.method(), Method::GET | Method::HEAD) && path.starts_with('/');
    is_page.then(|| format!("https://{host}{path}"))
}
