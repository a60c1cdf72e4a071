//! A TLS server that would take anybody in, and keeps what it is told once the handshake is done.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificates::Issued;
use super::free_port;

/// The server. It gives the same answer to whatever it is told first, or none.
pub struct TlsServer {
    pub port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    over: AtomicUsize,
    told: Mutex<Vec<u8>>,
    answer: Vec<u8>,
}

impl TlsServer {
    /// Starts one with a certificate, that never answers.
    pub fn start(issued: &Issued) -> Self {
        Self::start_saying(issued, Vec::new())
    }

    /// Starts one that says this to each client.
    pub fn start_saying(issued: &Issued, answer: Vec<u8>) -> Self {
        let certificates = CertificateDer::pem_file_iter(&issued.certificate).unwrap();
        let certificates = certificates.collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(certificates, key)
            .unwrap();
        let config = Arc::new(config);
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let shared = Arc::new(Shared { answer, ..Shared::default() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                serving.listen(stream.unwrap(), config.clone());
            }
        });
        Self { port, shared }
    }

    /// Connections that have come to their end, with or without a handshake.
    pub fn connections_over(&self) -> usize {
        self.shared.over.load(Ordering::SeqCst)
    }

    /// All that was told after handshakes.
    pub fn told(&self) -> Vec<u8> {
        self.shared.told.lock().unwrap().clone()
    }
}

impl Shared {
    fn listen(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        // A client that neither speaks nor goes away must not hold up the test.
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
        let (mut buffer, mut answer) = ([0; 1024], &self.answer[..]);
        while let Ok(read @ 1..) = tls.read(&mut buffer) {
            self.told.lock().unwrap().extend_from_slice(&buffer[..read]);
            // A client that has gone meanwhile needs none.
            let _ = tls.write_all(answer);
            answer = &[];
        }
        self.over.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}
