//! What a supervisor sees of the gateway, and that little memory, a slow processor or no network don't end it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests unwrap freely"
)]
#![allow(clippy::as_conversions, reason = "numbers of the hand-written packets")]
#![allow(clippy::print_stderr, reason = "why nothing was tested belongs to the output")]

mod raw;
mod support;

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use raw::{Connect, Publish, V};
use rustix::process::Signal;
use support::{Cgroup, Gateway, Mosquitto, eventually, upstream, within};

/// A supervisor's socket, and what came over it.
struct Supervisor {
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Supervisor {
    /// The supervisor of the gateway's next start, with a watchdog of this time.
    fn of(gateway: &mut Gateway, watchdog: Duration) -> Self {
        let path = gateway.dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        gateway.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
        gateway.set_env("WATCHDOG_USEC", &watchdog.as_micros().to_string());
        let heard = Arc::<Mutex<Vec<_>>>::default();
        let kept = heard.clone();
        // Ends with the test's process.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read) = socket.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
                kept.lock().unwrap().push((Instant::now(), text));
            }
        });
        Self { heard }
    }

    fn all(&self) -> Vec<(Instant, String)> {
        self.heard.lock().unwrap().clone()
    }

    fn count(&self, word: &str) -> usize {
        self.all().iter().filter(|(_, text)| text.lines().any(|line| line.starts_with(word))).count()
    }

    fn wait(&self, word: &str) {
        eventually(&format!("the supervisor hears {word}"), || (self.count(word) > 0).then_some(()));
    }
}

#[test]
fn a_supervisor_is_told_ready_how_it_is_reloading_and_stopping() {
    let mut gateway = Gateway::new("");
    let supervisor = Supervisor::of(&mut gateway, Duration::from_secs(4));
    gateway.launch();
    supervisor.wait("READY=1");
    // Ready means that a client is let in at once.
    raw::Client::connect(gateway.lan_port, &Connect::new(V::V311, "first"));
    supervisor.wait("STATUS=ok for ");
    let fed = supervisor.count("WATCHDOG=1");
    eventually("the watchdog is fed", || (supervisor.count("WATCHDOG=1") > fed + 2).then_some(()));
    assert_eq!(supervisor.count("RELOADING=1"), 0);
    gateway.signal(Signal::HUP);
    supervisor.wait("RELOADING=1");
    eventually("ready again", || (supervisor.count("READY=1") == 2).then_some(()));
    let reloading = supervisor.all().into_iter().find(|(_, text)| text.starts_with("RELOADING=1")).unwrap().1;
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    // A process that was stopped as a whole for longer than the watchdog's time is no thread that hangs: it goes on.
    gateway.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(5));
    gateway.signal(Signal::CONT);
    let fed = supervisor.count("WATCHDOG=1");
    eventually("the watchdog is fed again", || (supervisor.count("WATCHDOG=1") > fed + 2).then_some(()));
    gateway.stop();
    assert_eq!(supervisor.count("STOPPING=1"), 1);
    assert_eq!(supervisor.count("WATCHDOG=trigger"), 0);
}

#[test]
fn a_twentieth_of_a_processor_is_enough_for_the_watchdog() {
    let group = match Cgroup::new("cpu") {
        Ok(group) => group,
        Err(why) => return eprintln!("supervised: {why}; the slow processor was not tried"),
    };
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let mut gateway = Gateway::new(&upstream(mosquitto.port));
    let limit = Duration::from_secs(30);
    let supervisor = Supervisor::of(&mut gateway, limit);
    gateway.set_wrapper(group.wrapper());
    gateway.launch();
    // A start at this pace takes as long as it takes; it is running that is tried.
    within(Duration::from_secs(120), "it is ready", || (supervisor.count("READY=1") > 0).then_some(()));
    group.bound_processor(5);
    let start = Instant::now();
    let mut client = raw::Client::connect(gateway.lan_port, &Connect::new(V::V311, "busy"));
    let many: Vec<u8> = (0..2_000)
        .flat_map(|n| Publish::new(format!("fieldgate/gw/x/{n}"), "value").bytes(V::V311))
        .collect();
    client.send(&many);
    within(Duration::from_secs(90), "it has run for a while", || {
        (start.elapsed() > Duration::from_secs(40)).then_some(())
    });
    assert!(gateway.is_running());
    assert_eq!(supervisor.count("WATCHDOG=trigger"), 0);
    let fed: Vec<Instant> = supervisor
        .all()
        .into_iter()
        .filter(|(_, text)| text.starts_with("WATCHDOG=1"))
        .map(|(at, _)| at)
        .collect();
    let longest = fed.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    eprintln!(
        "with a twentieth of a processor the watchdog was fed {} times, at most {longest:?} apart",
        fed.len()
    );
    assert!(longest < limit && fed.last().unwrap().elapsed() < limit, "{longest:?}");
    group.bound_processor(100);
}

/// Fills whatever there is: retained messages, the queue of one who is away, the buffers of those who don't read.
fn flood(port: u16, until: Instant) -> u64 {
    let mut away = raw::Client::connect(port, &Connect::new(V::V311, "away").resume());
    away.subscribe("flood/#", 1);
    away.disconnect();
    let lazy: Vec<raw::Client> = (0..20)
        .map(|n| {
            let mut client = raw::Client::connect(port, &Connect::new(V::V311, format!("lazy {n}")));
            client.subscribe("flood/#", 0);
            client
        })
        .collect();
    let text = "x".repeat(16_000);
    let mut sent = 0;
    while Instant::now() < until {
        // It may be closed, or kept out, at any time: that is how memory is kept.
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { continue };
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        let _ = stream.write_all(&Connect::new(V::V311, format!("flood {}", sent % 7)).bytes());
        for n in 0..500_u16 {
            let publish = Publish::new(format!("flood/{}", (sent + u64::from(n)) % 5_000), &text)
                .qos(1, n + 1)
                .retain();
            if stream.write_all(&publish.bytes(V::V311)).is_err() {
                break;
            }
            sent += 1;
        }
    }
    drop(lazy);
    sent
}

/// `seconds` of it with 64 MiB.
fn survives_a_flood(seconds: u64) {
    let group = match Cgroup::new("memory") {
        Ok(group) => group,
        Err(why) => return eprintln!("supervised: {why}; little memory was not tried"),
    };
    group.bound_memory(64 * 1024 * 1024);
    let mut gateway = Gateway::new("");
    gateway.set_wrapper(group.wrapper());
    gateway.start_again();
    let sent = flood(gateway.lan_port, Instant::now() + Duration::from_secs(seconds));
    let (refused, killed) = group.memory_events();
    assert!(gateway.is_running(), "it was killed");
    assert_eq!(killed, 0);
    let status = gateway.ask("health");
    eprintln!(
        "64 MiB: {sent} messages of 16 kB in {seconds} s, {} bytes resident, the bound was met {refused} times",
        status["rss_bytes"]
    );
    assert!(sent * 16_000 > 64 * 1024 * 1024, "it was flooded: {sent}");
    let shed = &gateway.ask("status")["broker"]["limits"];
    assert!(shed.as_object().unwrap().values().any(|count| count.as_u64() > Some(0)), "{shed:#}");
    // And it serves whoever comes.
    eventually("a client is served", || {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.lan_port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        stream.write_all(&Connect::new(V::V311, "later").bytes()).ok()?;
        let mut answer = [0; 4];
        std::io::Read::read_exact(&mut stream, &mut answer).ok()?;
        (answer == [0x20, 2, 0, 0]).then_some(())
    });
}

#[test]
fn a_flood_within_64_mib_ends_nothing() {
    survives_a_flood(8);
}

#[test]
#[ignore = "takes ten minutes"]
fn ten_minutes_of_flood_within_64_mib_end_nothing() {
    survives_a_flood(600);
}

#[test]
fn without_any_network_it_runs_answers_and_tells_what_it_lacks() {
    let mut gateway = Gateway::new(&upstream(9));
    let root = rustix::process::geteuid().is_root();
    let words: &[&str] =
        if root { &["unshare", "--net"] } else { &["unshare", "--net", "--user", "--map-root-user"] };
    gateway.set_wrapper(words.iter().map(|word| (*word).to_owned()).collect());
    gateway.launch();
    let status = gateway.wait("it answers and knows that it is alone", |status| {
        status["problems"].to_string().contains("upstream up is offline")
    });
    assert_eq!(status["listeners"][0]["error"], serde_json::Value::Null, "{status:#}");
    gateway.stop();
}
