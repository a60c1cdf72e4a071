//! What storms and rudeness do to a TLS listener: many handshakes at once, and handshakes that are broken off.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use crate::raw::{Connect, Lan, Publish, V};
use crate::support::{Certificates, free_port, within};

/// A gateway with a TLS listener, and what its clients need.
struct Secure {
    lan: Lan,
    port: u16,
    client: Arc<ClientConfig>,
    _dir: TempDir,
}

fn secure(broker: &str) -> Secure {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ca");
    let issued = authority.issue("listener", "IP:127.0.0.1");
    let port = free_port();
    let lan = Lan::start(&format!(
        "{broker}\n[[broker.listener]]\nname = \"tls\"\nbind = \"127.0.0.1:{port}\"\n\
         tls = {{ cert = {:?}, key = {:?} }}\n",
        issued.certificate, issued.key
    ));
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority.authority()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Secure { lan, port, client: Arc::new(client), _dir: dir }
}

fn name() -> ServerName<'static> {
    ServerName::try_from("127.0.0.1").unwrap()
}

/// One client: dials until it has its CONNACK, as clients do, with a pause between 0.2 and 1.2 s. Gives its connection,
/// and how often it dialled.
async fn comes_back(
    port: u16,
    client: TlsConnector,
    number: usize,
) -> (tokio_rustls::client::TlsStream<tokio::net::TcpStream>, usize) {
    for tries in 1.. {
        let attempt = async {
            let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
            let mut stream = client.connect(name(), stream).await?;
            stream.write_all(&Connect::new(V::V311, format!("client {number}")).bytes()).await?;
            let mut connack = [0; 4];
            stream.read_exact(&mut connack).await?;
            assert_eq!(connack, [0x20, 2, 0, 0]);
            Ok::<_, std::io::Error>(stream)
        };
        if let Ok(stream) = attempt.await {
            return (stream, tries);
        }
        tokio::time::sleep(Duration::from_millis(fastrand::u64(200..1_200))).await;
    }
    unreachable!("it dials until it is let in")
}

/// So many come back at once; all must be served within the time, and nobody on the plain listener is kept waiting.
fn storm(clients: usize, limit: Duration) {
    let secure = secure(&format!("connections_max = {}", clients + 10));
    let connector = TlsConnector::from(secure.client.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (start, over) = (Instant::now(), &AtomicBool::new(false));
    let beside = std::thread::scope(|scope| {
        let lan = &secure.lan;
        let beside = scope.spawn(move || {
            let mut client = lan.join(V::V311, "beside");
            client.subscribe("trip", 0);
            let mut trips = Vec::new();
            while !over.load(Ordering::Relaxed) && start.elapsed() < limit {
                let sent = Instant::now();
                client.send(&Publish::new("trip", "x").bytes(V::V311));
                client.take_text("x");
                trips.push(sent.elapsed());
            }
            trips.sort();
            trips
        });
        let mut tries = runtime.block_on(async {
            let storm = (0..clients).map(|n| tokio::spawn(comes_back(secure.port, connector.clone(), n)));
            let storm: Vec<_> = storm.collect();
            let mut served = Vec::new();
            for client in storm {
                served.push(client.await.unwrap());
            }
            let took = start.elapsed();
            println!("{clients} TLS clients served in {took:?}");
            assert!(took < limit, "{took:?}");
            // All of them at once, not one after the other in the place of those before.
            within(Duration::from_secs(20), "all are connected", || {
                (lan.count("clients") == u64::try_from(clients).unwrap() + 1).then_some(())
            });
            served.into_iter().map(|(_, tries)| tries).collect::<Vec<_>>()
        });
        over.store(true, Ordering::Relaxed);
        tries.sort_unstable();
        println!("dialled {} times in the middle, {} at most", tries[clients / 2], tries[clients - 1]);
        beside.join().unwrap()
    });
    let p99 = beside[beside.len() * 99 / 100];
    println!("{} round trips beside them: p99 {p99:?}, worst {:?}", beside.len(), beside.last().unwrap());
    assert!(*beside.last().unwrap() < Duration::from_secs(5), "{beside:?}");
}

#[test]
fn fault_14_a_storm_of_tls_handshakes_is_served() {
    // More than are greeted at once.
    storm(300, Duration::from_secs(60));
}

#[test]
#[ignore = "takes both processors for half a minute: tests/heavy/run runs it"]
fn two_thousand_tls_clients_that_come_back_at_once_are_served_within_a_minute() {
    storm(2_000, Duration::from_secs(60));
}

/// The alert "close_notify", in clear.
const CLOSE_NOTIFY: [u8; 7] = [0x15, 3, 3, 0, 2, 1, 0];

/// Where a handshake is broken off, as seen from the ClientHello.
#[derive(Clone, Copy)]
enum BrokenOff {
    Before,
    Within,
    After,
}

/// Says goodbye in the middle of a handshake, and stays.
fn breaks_off(secure: &Secure, at: BrokenOff) -> TcpStream {
    let mut hello = Vec::new();
    let mut tls = ClientConnection::new(secure.client.clone(), name()).unwrap();
    tls.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", secure.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let sent = match at {
        BrokenOff::Before => &[],
        // A record ends where its header says, so the rest of it comes as another one, which the alert is in the way of.
        BrokenOff::Within => &hello[..hello.len() / 2],
        BrokenOff::After => &hello[..],
    };
    stream.write_all(sent).unwrap();
    if let BrokenOff::After = at {
        // The answer has come, so the handshake is under way.
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], 0x16, "{answer:?}");
    }
    stream.write_all(&CLOSE_NOTIFY).unwrap();
    stream
}

#[test]
fn fault_15_a_goodbye_in_the_middle_of_a_handshake_burns_no_time() {
    let secure = secure("");
    let ways = [BrokenOff::Before, BrokenOff::Within, BrokenOff::After];
    let start = Instant::now();
    let broken_off: Vec<TcpStream> = (0..10).flat_map(|_| ways).map(|at| breaks_off(&secure, at)).collect();
    // Sooner than the gateway gives handshakes up, so that they would still be at it.
    let left = Duration::from_secs(8).saturating_sub(start.elapsed());
    let share = within(left, "it does nothing", || {
        let (before, from) = (secure.lan.ticks(), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        let share = (secure.lan.ticks() - before) as f64 / (from.elapsed().as_secs_f64() * 100.0);
        (share < 0.05).then_some(share)
    });
    println!("{:.1} % of a processor beside {} broken handshakes", share * 100.0, broken_off.len());
    for mut stream in broken_off {
        let mut rest = [0; 4096];
        loop {
            match stream.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("it is not closed: {error}"),
            }
        }
    }
    secure.lan.join(V::V5, "after").nothing();
}
