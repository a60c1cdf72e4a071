//! A small HTTP/1.1 client for the gateway's page: one connection for each request, plain or TLS, and what a browser adds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value as Json, json};

use super::{Gateway, PATIENCE, eventually, free_port};

/// The password of every account that tests make.
pub const PASSWORD: &str = "correct horse battery";

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A header; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a refusal; empty if it is none.
    pub fn code(&self) -> String {
        let json: Json = serde_json::from_str(&self.body).unwrap_or_default();
        json["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The session's cookie that it sets, `name=value`.
    pub fn cookie(&self) -> String {
        self.header("set-cookie").split(';').next().unwrap_or_default().to_owned()
    }
}

/// Somebody who asks the page.
#[derive(Clone, Debug)]
pub struct Http {
    pub port: u16,
    /// The certificate that is trusted; without one it is plain.
    pub certificate: Option<PathBuf>,
    pub cookie: String,
    pub csrf: String,
    pub token: String,
}

/// `[web]` on a port without TLS, and one with.
pub fn web_config(plain: u16, tls: u16, more: &str) -> String {
    format!("[web]\nbind = \"127.0.0.1:{tls}\"\nplain = \"127.0.0.1:{plain}\"\n{more}\n")
}

/// A gateway with a page: the gateway, and who asks it without TLS and with.
pub fn with_page(more: &str, rest: &str) -> (Gateway, Http, Http) {
    let (plain, tls) = (free_port(), free_port());
    let gateway = Gateway::start(&(web_config(plain, tls, more) + rest));
    let certificate = gateway.data_dir().join("web/certificate.pem");
    (gateway, Http::new(plain, None), Http::new(tls, Some(certificate)))
}

/// The claim code of a gateway, as root finds it.
pub fn claim_code(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.dir.path().join("claim")).unwrap().trim().to_owned()
}

impl Http {
    pub fn new(port: u16, certificate: Option<PathBuf>) -> Self {
        Self { port, certificate, cookie: String::new(), csrf: "none".into(), token: String::new() }
    }

    /// As the page's own script would say where it comes from.
    pub fn origin(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What a browser sends along with a request of the own page, but for those headers that `other` has.
    pub fn send(&self, method: &str, path: &str, other: &[(&str, &str)], body: &str) -> Answer {
        let mut headers = vec![("host", format!("127.0.0.1:{}", self.port)), ("connection", "close".into())];
        if !self.cookie.is_empty() {
            headers.push(("cookie", self.cookie.clone()));
        }
        if !self.token.is_empty() {
            headers.push(("authorization", format!("Bearer {}", self.token)));
        }
        if method != "GET" && method != "HEAD" {
            headers.push(("content-type", "application/json".into()));
            headers.push(("content-length", body.len().to_string()));
            if self.token.is_empty() {
                headers.push(("origin", self.origin()));
                headers.push(("sec-fetch-site", "same-origin".into()));
                headers.push(("x-fg-csrf", self.csrf.clone()));
            }
        }
        headers.retain(|(name, _)| !other.iter().any(|(changed, _)| changed.eq_ignore_ascii_case(name)));
        let mut text = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in
            headers.iter().map(|(name, value)| (*name, value.as_str())).chain(other.iter().copied())
        {
            // An empty value stands for a header that is left out.
            if !value.is_empty() {
                text += &format!("{name}: {value}\r\n");
            }
        }
        text += "\r\n";
        text += body;
        read_answer(&mut *self.connect(), text.as_bytes())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, &[], &body.to_string())
    }

    /// Claims the gateway, and keeps the session.
    pub fn claim(&mut self, gateway: &Gateway) {
        let answer = self.post(
            "/api/v1/claim",
            &json!({"code": claim_code(gateway), "name": "anna", "password": PASSWORD}),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        self.keep(&answer);
    }

    /// Logs in, and keeps the session.
    pub fn log_in(&mut self, name: &str) {
        let answer = self.post("/api/v1/login", &json!({"name": name, "password": PASSWORD}));
        assert_eq!(answer.status, 200, "{answer:?}");
        self.keep(&answer);
    }

    fn keep(&mut self, answer: &Answer) {
        self.cookie = answer.cookie();
        self.csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
    }

    /// A connection.
    pub fn connect(&self) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_write_timeout(Some(PATIENCE)).unwrap();
        match &self.certificate {
            None => Box::new(tcp),
            Some(certificate) => Box::new(StreamOwned::new(trusting(certificate, "127.0.0.1"), tcp)),
        }
    }

    /// Whether what is shown there is a certificate for that name, by the one that is trusted.
    pub fn is_shown_for(&self, name: &str) -> bool {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = StreamOwned::new(trusting(self.certificate.as_ref().unwrap(), name), tcp);
        stream.flush().is_ok()
    }
}

/// Something to write to and read from.
pub trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

fn trusting(certificate: &Path, name: &str) -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
}

/// Sends a request, and reads the answer; of a stream of events only its head.
pub fn read_answer(stream: &mut (impl Stream + ?Sized), request: &[u8]) -> Answer {
    // Whoever refuses a body that is too large may not take all of it.
    let _ = stream.write_all(request);
    let _ = stream.flush();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return Answer { status: 0, headers: Vec::new(), body: String::new() },
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let pair = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut answer = Answer { status, headers: lines.filter_map(pair).collect(), body: String::new() };
    let length: usize = answer.header("content-length").parse().unwrap_or(0);
    while bytes.len() < head_end + 4 + length {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
    // Lines of which nobody knows how many come end with the connection.
    while answer.header("content-type") == "application/x-ndjson" {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
        }
    }
    answer.body = String::from_utf8_lossy(&bytes[head_end + 4..]).into_owned();
    answer
}
