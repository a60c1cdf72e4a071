//! A fresh box, a copied one, and one that is given away: identity, provisioning, factory reset.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests unwrap freely"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Gateway, Process, fieldgate, free_port};

/// What must never be found again.
const CANARY: &str = "canary-7f3a9c";

fn retained(gateway: &Gateway, topic: &str) -> serde_json::Value {
    support::Tap::subscribe(gateway.lan_port, &Gateway::topic(topic)).wait(topic, |_| true).json()
}

#[test]
fn a_copied_data_directory_gets_an_instance_of_its_own_and_its_numbers_go_on() {
    let mut gateway = Gateway::start("");
    let before = retained(&gateway, "status");
    assert_eq!(gateway.ask("health")["moved_from"], serde_json::Value::Null);
    gateway.stop();
    gateway.start_again();
    let again = retained(&gateway, "status");
    assert_eq!(again["instance"], before["instance"], "the same machine keeps it");
    gateway.stop();
    // As the card's first machine would have noted it: its name, behind its checksum.
    let name = b"fg-0badcafe";
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(name).to_be_bytes();
    std::fs::write(gateway.data_dir().join("note-machine"), [&crc[..], name].concat()).unwrap();
    gateway.start_again();
    let moved = retained(&gateway, "status");
    assert_ne!(moved["instance"], before["instance"]);
    let health = gateway.ask("health");
    assert_eq!((health["moved_from"].as_str(), health["run"].as_u64()), (Some("fg-0badcafe"), Some(3)));
    assert!(gateway.log().contains("another machine's"), "{}", gateway.log());
    gateway.stop();
    gateway.start_again();
    assert_eq!(retained(&gateway, "status")["instance"], moved["instance"], "and keeps it");
    assert_eq!(gateway.ask("health")["moved_from"], serde_json::Value::Null);
}

/// A folder as the package makes it.
struct Box {
    dir: tempfile::TempDir,
    lan_port: u16,
}

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fresh = Self { dir, lan_port: free_port() };
        std::fs::create_dir_all(fresh.path("etc/conf.d")).unwrap();
        std::fs::write(fresh.path("etc/fieldgate.toml"), "# Nothing yet.\n").unwrap();
        fresh
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The main file of a config that runs here.
    fn main(&self) -> String {
        format!(
            "[web]\nenabled = false\n[gateway]\ndata_dir = '{}'\ncontrol_socket = '{}'\nprofiles_dir = '{}'\n[[broker.listener]]\nbind = '127.0.0.1:{}'\n",
            self.path("data").display(),
            self.path("control.sock").display(),
            self.path("etc/profiles").display(),
            self.lan_port
        )
    }

    fn provision(&self, text: &str) -> (i32, String) {
        std::fs::write(self.path("provision.toml"), text).unwrap();
        let mut command = fieldgate();
        command.arg("provision").arg(self.path("provision.toml"));
        command.arg("--config").arg(self.path("etc/fieldgate.toml"));
        command.arg("--secrets").arg(self.path("secrets"));
        let (status, text) = Process::run("fieldgate provision", &mut command);
        (status.code().unwrap(), text)
    }

    fn run(&self) -> Process {
        let mut command = fieldgate();
        let mut process = Process::start(
            "fieldgate",
            command.arg("run").arg("--config").arg(self.path("etc/fieldgate.toml")),
        );
        process.wait_line("started");
        process
    }

    fn status(&self) -> serde_json::Value {
        let socket = self.path("control.sock");
        support::eventually("it answers", || fieldgate::io::control::ask(&socket, "health").ok())
    }
}

#[test]
fn a_fresh_box_takes_all_of_a_provisioning_file_once_and_tells_so() {
    let fresh = Box::new();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
    // The data directory isn't there yet: what came of it must be told all the same.
    std::fs::create_dir(fresh.path("data")).unwrap();
    let text = format!(
        "site = \"North barn\"\nclaim = \"ABCD-EFGH-IJKL-MNOP\"\nconfig = '''\n{}id = \"barn-7\"\n'''\n\
         [[file]]\npath = \"conf.d/10-health.toml\"\ntext = \"[health]\\nevery = '7s'\"\n\
         [[file]]\npath = \"secrets/upstream.key\"\ntext = '''{pem}'''\n",
        fresh.main(),
    );
    // Behind the listener `id` is the listener's, which has none.
    let (code, said) = fresh.provision(&text);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("nothing was written") && said.contains("unknown key \"id\""), "{said}");
    assert_eq!(std::fs::read_to_string(fresh.path("etc/fieldgate.toml")).unwrap(), "# Nothing yet.\n");
    assert!(!fresh.path("secrets").exists() && !fresh.path("etc/conf.d/10-health.toml").exists());

    let right = text.replace("id = \"barn-7\"\n'''", "'''").replace("site = \"North barn\"\n", "");
    let (code, said) = fresh.provision(&right);
    assert_eq!(code, 0, "{said}");
    let secret = fresh.path("secrets/upstream.key");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), pem);
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    let code_file = std::fs::read_to_string(fresh.path("data/web/claim-code")).unwrap();
    assert_eq!(code_file, "ABCD-EFGH-IJKL-MNOP\n");
    assert!(!fresh.path("provision.toml").exists(), "its secrets are wiped, and it is gone");
    // A partition that can't be written still has it: it is known by its hash.
    std::fs::write(fresh.path("etc/conf.d/10-health.toml"), "[health]\nevery = '8s'\n").unwrap();
    let (code, said) = fresh.provision(&right);
    assert!(code == 0 && said.contains("was taken over already"), "{said}");
    let changed = std::fs::read_to_string(fresh.path("etc/conf.d/10-health.toml")).unwrap();
    assert!(changed.contains("8s"), "what was changed since stays");

    let _running = fresh.run();
    let health = fresh.status();
    let words = health["provisioning"].as_str().unwrap();
    assert!(words.starts_with("provisioned 2") && words.ends_with("provision.toml"), "{words}");
    assert_eq!(health["state"], "ok", "{health:#}");
}

#[test]
fn a_provisioning_file_that_is_wrong_is_told_by_the_gateway_and_changes_nothing() {
    let fresh = Box::new();
    std::fs::write(fresh.path("etc/fieldgate.toml"), fresh.main()).unwrap();
    std::fs::create_dir(fresh.path("data")).unwrap();
    let (code, said) = fresh.provision(&format!("claim = \"{CANARY}\"\nnonsense = true\n"));
    assert_eq!(code, 2);
    assert!(said.contains("nonsense") && !said.contains(CANARY), "{said}");
    let running = fresh.run();
    let health = fresh.status();
    assert_eq!(health["state"], "degraded");
    let problem = health["problems"][0].as_str().unwrap();
    assert!(problem.starts_with("provisioning from ") && problem.contains("failed: "), "{problem}");
    let tap = support::Tap::subscribe(fresh.lan_port, "+/+/status");
    let status = tap.wait("status", |_| true).json();
    assert_eq!(status["provisioning"].as_str(), Some(problem));
    assert!(!running.text().contains(CANARY));
    assert!(std::fs::read_to_string(fresh.path("provision.toml")).unwrap().contains(CANARY), "to be mended");
}

fn reset(config: &Path, more: &[&str]) -> (i32, String) {
    let mut command = fieldgate();
    let (status, text) =
        Process::run("fieldgate reset", command.arg("reset").args(more).arg("--config").arg(config));
    (status.code().unwrap(), text)
}

#[test]
fn a_factory_reset_leaves_nothing_and_never_touches_what_is_not_ours() {
    let mut gateway = Gateway::start("");
    support::publish_with(gateway.lan_port, "kept", CANARY, &["-q", "1", "-r"]);
    let instance = retained(&gateway, "status")["instance"].clone();
    let config = gateway.config();
    let (code, said) = reset(&config, &["--factory", "--yes"]);
    assert!(code == 1 && said.contains("the gateway runs"), "{said}");
    gateway.stop();
    std::fs::create_dir(gateway.data_dir().join("web")).unwrap();
    std::fs::write(gateway.data_dir().join("web/accounts.json"), CANARY).unwrap();
    // A link in it is removed, and where it leads is left alone.
    let outside = gateway.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "theirs").unwrap();
    std::os::unix::fs::symlink(&outside, gateway.data_dir().join("link")).unwrap();
    let found = Command::new("grep").args(["-rl", CANARY]).arg(gateway.data_dir()).output().unwrap();
    assert!(found.stdout.iter().filter(|byte| **byte == b'\n').count() >= 2, "the canary is in it");

    let (code, said) = reset(&config, &["--factory"]);
    assert!(code == 2 && said.contains("nothing was removed"), "{said}");
    assert!(gateway.data_dir().join("meta").exists());
    let (code, said) = reset(&config, &["--factory", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(std::fs::read_dir(gateway.data_dir()).unwrap().count(), 0);
    assert_eq!(std::fs::read_to_string(outside.join("file")).unwrap(), "theirs");
    assert!(config.exists(), "a config that isn't the package's is left alone");

    gateway.start_again();
    assert_ne!(retained(&gateway, "status")["instance"], instance);
    gateway.stop();
    // A folder that was named by mistake.
    std::fs::remove_dir_all(gateway.data_dir()).unwrap();
    std::fs::create_dir(gateway.data_dir()).unwrap();
    std::fs::write(gateway.data_dir().join("thesis.doc"), "years").unwrap();
    let (code, said) = reset(&config, &["--factory", "--yes"]);
    assert!(code == 1 && said.contains("thesis.doc"), "{said}");
    assert!(gateway.data_dir().join("thesis.doc").exists());
}

#[test]
fn an_administrator_who_was_provisioned_has_the_account_of_the_page() {
    let fresh = Box::new();
    let file = fresh.path("passwd");
    let mut command = fieldgate();
    Process::run_well(
        "fieldgate passwd",
        command.args(["passwd", "-c", "-b"]).arg(&file).args(["ann", "a long password"]),
    );
    let line = std::fs::read_to_string(&file).unwrap();
    let hash = line.trim().split_once(':').unwrap().1;
    std::fs::create_dir(fresh.path("data")).unwrap();
    std::fs::write(fresh.path("etc/fieldgate.toml"), fresh.main()).unwrap();
    let (code, said) = fresh.provision(&format!("[admin]\nname = \"ann\"\npassword_hash = \"{hash}\"\n"));
    assert_eq!(code, 0, "{said}");
    let accounts = std::fs::read(fresh.path("data/web/accounts.json")).unwrap();
    let roll = fieldgate::people::Roll::parse(&accounts).expect("as the page reads it");
    assert_eq!((roll.accounts.len(), roll.accounts[0].name.as_str()), (1, "ann"));
    assert_eq!(roll.accounts[0].role, fieldgate::people::Role::Admin);
    assert_eq!(roll.accounts[0].hash.to_string(), hash);
}
