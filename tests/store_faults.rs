//! A disk that fails under a running gateway and under one that starts: full, broken, read-only, hanging. A library of
//! our own, preloaded, stands between the gateway and its files. The gateway never dies of it, acknowledges nothing that
//! isn't kept, says what is wrong, and goes on by itself; only a hang ends it, for its supervisor to start it again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Gateway, Process, eventually, fieldgate, free_port, upstream, within};

fn away() -> String {
    upstream(free_port()) + "[[upstream.map]]\nfilter = \"d/#\"\n\n"
}

/// A gateway whose files below its data directory can be made to fail.
struct Faulty {
    gateway: Gateway,
    fault: PathBuf,
}

impl Faulty {
    fn new() -> Self {
        let mut gateway = Gateway::new(&away());
        let library = gateway.dir.path().join("fault.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/shim/fault.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl");
        Process::run_well("cc", &mut cc);
        let fault = gateway.dir.path().join("fault");
        gateway.set_env("LD_PRELOAD", library.to_str().unwrap());
        gateway.set_env("FIELDGATE_FAULT", fault.to_str().unwrap());
        gateway.set_env("FIELDGATE_FAULT_PATH", gateway.data_dir().to_str().unwrap());
        Self { gateway, fault }
    }

    fn begin(&self, fault: &str) {
        std::fs::write(&self.fault, fault).unwrap();
    }

    fn end(&self) {
        std::fs::remove_file(&self.fault).unwrap();
    }

    fn publisher(&self, payload: &str) -> Command {
        let port = self.gateway.lan_port.to_string();
        let mut command = fieldgate();
        command.args(["pub", "-p", &port, "-q", "1", "-t", "d/x", "-m", payload]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn publish(&self, payload: &str) {
        assert!(self.publisher(payload).status().unwrap().success(), "{payload}");
    }

    fn publish_waiting(&self, payload: &str) -> Child {
        self.publisher(payload).spawn().unwrap()
    }

    fn waits(&mut self, count: u64) {
        self.gateway.wait(&format!("{count} wait on disk"), |status| {
            let backlog = &status["upstreams"][0]["backlog"];
            backlog["messages"] == count && backlog["in_memory_only"] == 0
        });
    }
}

#[test]
fn a_disk_that_fails_for_a_while_delays_acknowledgements_and_loses_nothing() {
    let mut faulty = Faulty::new();
    faulty.gateway.start_again();
    let mut count = 0;
    for (fault, words) in
        [("full", "No space left on device"), ("broken", ""), ("read-only", "Read-only file system")]
    {
        faulty.publish(&format!("before {fault}"));
        faulty.begin(fault);
        let mut waiting = faulty.publish_waiting(&format!("in {fault}"));
        faulty.gateway.wait("the fault is told", |status| {
            let problems = status["problems"].to_string();
            problems.contains("kept in memory only") && problems.contains(words)
        });
        assert_eq!(waiting.try_wait().unwrap(), None, "acknowledged though it is not on disk");
        faulty.end();
        assert!(waiting.wait().unwrap().success(), "{fault}");
        count += 2;
        faulty.waits(count);
    }
    faulty.gateway.kill9();
    faulty.gateway.start_again();
    faulty.waits(count);
    assert!(!faulty.gateway.log().contains("set aside"), "{}", faulty.gateway.log());
    faulty.gateway.stop();
}

#[test]
fn a_gateway_starts_and_serves_whatever_is_wrong_with_its_disk() {
    for fault in ["full", "broken", "read-only"] {
        let mut faulty = Faulty::new();
        for known in [false, true] {
            faulty.begin(fault);
            faulty.gateway.start_again();
            let status = faulty.gateway.wait("it says what is wrong", |status| {
                status["problems"].to_string().contains("kept in memory only")
            });
            assert_eq!(status["state"], "degraded", "{fault}, {known}: {status}");
            faulty.gateway.stop();
            faulty.end();
            faulty.gateway.start_again();
            faulty.publish("kept");
            faulty.gateway.kill9();
        }
        faulty.gateway.start_again();
        faulty.waits(2);
        faulty.gateway.stop();
    }
}

#[test]
fn a_store_that_hangs_ends_the_gateway_with_a_code_of_its_own_and_nothing_acknowledged_is_lost() {
    let mut faulty = Faulty::new();
    faulty.gateway.start_again();
    faulty.publish("before");
    faulty.begin("hang");
    let begun = Instant::now();
    let mut waiting = faulty.publish_waiting("never acknowledged");
    while faulty.gateway.is_running() {
        assert!(begun.elapsed() < Duration::from_secs(120), "it hangs with its store");
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = begun.elapsed();
    let (status, log) = faulty.gateway.wait_end();
    assert_eq!(status.code(), Some(74), "{log}");
    assert!(took >= Duration::from_secs(29), "{took:?}");
    assert!(!waiting.wait().unwrap().success());
    faulty.end();
    faulty.gateway.start_again();
    // The one that nobody was told of had reached the system when the gateway ended.
    faulty.waits(2);
    let log = faulty.gateway.log();
    for part in
        ["the store hangs though the disk doesn't", "the store has hung in the last run", "is checked"]
    {
        assert!(log.contains(part), "{part} in {log}");
    }
    faulty.publish("after");
    faulty.waits(3);
    faulty.gateway.stop();
    faulty.gateway.start_again();
    assert_eq!(faulty.gateway.log().matches("is checked").count(), 1, "a clean stop needs no look");
    faulty.gateway.stop();
}

#[test]
fn what_a_crash_has_spoilt_is_copied_as_far_as_it_can_be_read_and_counted() {
    let mut gateway = Gateway::start(&away());
    let port = gateway.lan_port.to_string();
    for number in 0..20 {
        let payload = number.to_string();
        Process::run_well(
            "pub",
            fieldgate().args(["pub", "-p", &port, "-q", "1", "-t", "d/x", "-m", &payload]),
        );
    }
    gateway.kill9();
    let newest = gateway.data_dir().join("outbox-up/gen-000000000001");
    std::fs::write(newest.join("conf"), "version: nonsense").unwrap();
    gateway.start_again();
    let status = gateway.ask("status");
    let upstream = &status["upstreams"][0];
    let left = upstream["backlog"]["messages"].as_u64().unwrap();
    assert_eq!(upstream["outbox"]["quarantined"], 1, "{status}");
    assert_eq!(left, 0, "sled opens nothing without its conf");
    assert!(status["problems"].to_string().contains("was set aside"), "{status}");
    assert!(
        gateway.log().contains("it was set aside, and what could be read of it is used"),
        "{}",
        gateway.log()
    );
    // What comes goes to a fresh place, under numbers of its own.
    Process::run_well("pub", fieldgate().args(["pub", "-p", &port, "-q", "1", "-t", "d/x", "-m", "new"]));
    gateway.stop();
    gateway.start_again();
    assert_eq!(gateway.ask("status")["upstreams"][0]["backlog"]["messages"], 1);
    gateway.stop();
}

/// Processes that look at a part of this gateway's store.
fn checks(faulty: &Faulty) -> Vec<String> {
    let place = faulty.gateway.data_dir().display().to_string();
    let commands = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    commands.filter(|line| line.contains("--generation") && line.contains(&place)).collect()
}

#[test]
fn a_check_that_hangs_is_ended_at_its_deadline_and_what_it_looked_at_is_copied_and_used() {
    let mut faulty = Faulty::new();
    faulty.gateway.start_again();
    for n in 0..20 {
        faulty.publish(&format!("{n}"));
    }
    faulty.waits(20);
    faulty.gateway.kill9();
    faulty.begin("hang-check");
    let begun = Instant::now();
    faulty.gateway.launch();
    eventually("the check hangs", || (!checks(&faulty).is_empty()).then_some(()));
    within(Duration::from_secs(90), "the check is ended", || checks(&faulty).is_empty().then_some(()));
    assert!(begun.elapsed() >= Duration::from_secs(30), "after {:?}", begun.elapsed());
    faulty.waits(20);
    let log = faulty.gateway.log();
    assert!(log.contains("it took longer than 30 s to look at it"), "{log}");
    assert!(log.contains("it was set aside, and what could be read of it is used"), "{log}");
    faulty.end();
    faulty.gateway.stop();
}
