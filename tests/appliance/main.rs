//! The package as it will run: installed into a Debian that was booted with systemd, watched over, upgraded, purged. A
//! machine that can't boot a container says why, and is let off.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests unwrap freely"
)]
#![allow(clippy::print_stderr, reason = "why nothing was tested belongs to the output")]

mod container;
#[path = "../support/mod.rs"]
mod support;
mod upgrade;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use container::Container;
use serde_json::Value as Json;
use support::{Mosquitto, Process, Pty, Tap, eventually, free_port, within};

/// As the drop-in of the test has it, so that it needn't wait for the package's 30 s.
const WATCHDOG: Duration = Duration::from_secs(6);
/// What the service may take for a restart, beyond that.
const RESTART_MAX: Duration = Duration::from_secs(5);

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Packs the program that is being tested, as a version.
fn package(version: &str, into: &Path) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_fieldgate")).parent().unwrap();
    let profile = match built.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let mut command = Command::new(project().join("systemd/package"));
    command.args(["--no-build", "--profile", profile, "--version", version, "--output"]).arg(into);
    command.env("CARGO_TARGET_DIR", built.parent().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().lines().last().unwrap())
}

#[test]
fn the_units_have_no_mistake_and_leave_little_open() {
    let dir = tempfile::tempdir().unwrap();
    // Their programs aren't installed here.
    let names = ["fieldgate.service", "fieldgate-claim.service", "fieldgate-provision.service"];
    for name in names {
        let text = std::fs::read_to_string(project().join("systemd").join(name)).unwrap();
        let text: String = text
            .lines()
            .map(|line| match line.split_once("=/usr/") {
                Some((key, _)) if key.starts_with("Exec") => format!("{key}=/bin/true\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    std::fs::copy(project().join("systemd/fieldgate-claim.path"), dir.path().join("fieldgate-claim.path"))
        .unwrap();
    for name in names {
        let unit = dir.path().join(name);
        let verify = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&unit)
            .arg(dir.path().join("fieldgate-claim.path"))
            .output();
        let verify = match verify {
            Ok(verify) => verify,
            Err(error) => return eprintln!("appliance: units aren't verified: systemd-analyze: {error}"),
        };
        // It exits with 0 even where it ignores a key that it doesn't know.
        let said = [verify.stdout, verify.stderr].concat();
        assert_eq!(String::from_utf8_lossy(&said), "", "{name}");
        assert!(verify.status.success());
        let mut security = Command::new("systemd-analyze");
        let security = security.args(["security", "--offline=true", "--threshold=20"]).arg(&unit).output();
        let security = security.unwrap();
        assert!(security.status.success(), "{name}: {}", String::from_utf8_lossy(&security.stdout));
    }
}

#[test]
fn the_package_has_no_fault_that_lintian_knows() {
    let dir = tempfile::tempdir().unwrap();
    let file = package("0.1.0-1", dir.path());
    let lintian =
        Command::new("lintian").args(["--fail-on", "error,warning", "--allow-root"]).arg(file).output();
    match lintian {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.is_empty(), "{said}");
        }
        Err(error) => eprintln!("appliance: the package isn't looked through: lintian: {error}"),
    }
}

/// The service in the container, with a sensor and an upstream outside.
struct Appliance {
    container: Container,
    pty: Pty,
    lan_port: u16,
}

impl Appliance {
    /// What a person would write, where a package's upgrade must leave it.
    fn configure(&self, upstream: u16, site: &str) {
        let text = format!(
            "[gateway]\nid = \"box\"\nsite = \"{site}\"\n\n[[broker.listener]]\nbind = \"127.0.0.1:{}\"\n\n\
             [[port]]\nname = \"line\"\npath = \"/dev/gwtty\"\nbaud = 115200\n\n\
             [[device]]\nname = \"probe\"\nport = \"line\"\ndecode = \"json\"\npoints = \"*\"\n\n\
             [[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {upstream}\nbackoff_min = \"100ms\"\n\
             backoff_max = \"500ms\"\n",
            self.lan_port
        );
        self.container.write("/etc/fieldgate/fieldgate.toml", &text);
    }

    fn status(&self) -> Option<Json> {
        let output = self.container.command(&["fieldgate", "status", "--json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).ok()
    }

    fn main_pid(&self) -> u32 {
        self.container.property("fieldgate", "MainPID").parse().unwrap()
    }

    /// Waits until the service runs as another process than `before`, and is ready.
    fn wait_restarted(&self, before: u32, limit: Duration) {
        within(limit, "the service was started again", || {
            let now = self.main_pid();
            (now != 0 && now != before).then_some(())
        });
        within(Duration::from_secs(60), "it is ready", || {
            (self.container.property("fieldgate", "ActiveState") == "active").then_some(())
        });
    }

    /// Sends readings until one arrives that was sent after the call.
    fn wait_reading(&self, tap: &Tap, value: u64) {
        let line = format!("{{\"value\":{value}}}");
        let mut next = Instant::now();
        within(Duration::from_secs(60), "a reading arrives upstream", || {
            if Instant::now() >= next {
                // One that was killed leaves the line taken: a real adapter would forget that.
                self.pty.release();
                self.pty.line(&line);
                next = Instant::now() + Duration::from_millis(500);
            }
            let is_it = |payload: &str| payload.contains(&format!("\"value\":{value}}}"));
            tap.messages().iter().any(|message| is_it(&message.payload)).then_some(())
        });
    }
}

#[test]
fn the_package_is_installed_watched_over_upgraded_and_purged() {
    let dir = tempfile::tempdir().unwrap();
    let prepared = container::base().and_then(|base| Ok((Container::new(&base, dir.path())?, base)));
    let mut container = match prepared {
        Ok((container, _)) => container,
        Err(why) => return eprintln!("{why}; the package was not booted"),
    };
    let (first, second) = (package("0.1.0-1", dir.path()), package("0.1.0-2", dir.path()));
    assert_eq!(first.file_name().unwrap().to_str(), install_lines()[1].split("./").nth(1));
    for (file, name) in [(&first, "first.deb"), (&second, "second.deb")] {
        std::fs::copy(file, container.root.join("root").join(name)).unwrap();
    }
    let mosquitto = Mosquitto::start(dir.path());
    let pty = Pty::open();
    // A group's line, as udev makes it: dialout has the same number in every Debian.
    std::os::unix::fs::chown(pty.path(), Some(0), Some(20)).unwrap();
    Process::run_well("chmod", Command::new("chmod").arg("0660").arg(pty.path()));
    // What only this container has: its line is a pseudo-terminal.
    container.write(
        "/etc/systemd/system/fieldgate.service.d/test.conf",
        &format!("[Service]\nDeviceAllow=char-pts rw\nWatchdogSec={}\n", WATCHDOG.as_secs()),
    );
    if let Err(why) = container.boot(&[(pty.path(), "/dev/gwtty")]) {
        return eprintln!("{why}; the package was not booted");
    }
    let appliance = Appliance { container, pty, lan_port: free_port() };
    is_installed(&appliance);
    has_rules_that_udev_understands(&appliance);
    is_provisioned_and_reset(&appliance);
    is_copied(&appliance);
    appliance.configure(mosquitto.port, "first site");
    has_its_secrets(&appliance);
    let tap = Tap::subscribe(mosquitto.port, "fieldgate/box/#");
    runs_in_its_sandbox(&appliance, &tap);
    is_reloaded(&appliance, mosquitto.port);
    hangs_end_in_a_restart(&appliance, &tap);
    a_kill_ends_in_a_restart(&appliance, &tap);
    stops_cleanly(&appliance, &tap);
    upgrade::is_upgraded(&appliance, &tap);
    upgrade::takes_over_what_the_oldest_layout_has_kept(&appliance, mosquitto.port);
    upgrade::is_purged(&appliance);
}

/// The commands of the README's section on installing, as they stand there.
fn install_lines() -> [String; 3] {
    let readme = std::fs::read_to_string(project().join("README.md")).unwrap();
    let section = readme.split("\n## Install\n").nth(1).expect("a section on installing");
    let block = section.split("```sh\n").nth(1).and_then(|block| block.split("```").next()).unwrap();
    let lines = block.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines.collect::<Vec<_>>().try_into().expect("make it, install it, ask it")
}

/// As the README says it; it runs at once.
fn is_installed(appliance: &Appliance) {
    let container = &appliance.container;
    container.write(
        "/boot/fieldgate-provision.toml",
        "site = \"provisioned site\"\nclaim = \"ABCD-EFGH-IJKL-MNOP\"\n",
    );
    let [make, install, ask] = install_lines();
    // What has made the file, but from the program that is being tested.
    assert_eq!(make, "systemd/package");
    let file = install.split("./").nth(1).expect("a file of this folder");
    std::fs::copy(container.root.join("root/first.deb"), container.root.join("root").join(file)).unwrap();
    let said = container.run_well(&["sh", "-ec", &format!("cd /root; yes | {install}; rm {file}")]);
    assert!(said.contains("It runs: MQTT for this machine alone"), "{said}");
    assert_eq!(container.property("fieldgate", "ActiveState"), "active");
    // The code of the provisioning file, for whoever installs it and above the login prompt.
    assert!(said.contains(".local:8443/ with the code ABCD-EFGH-IJKL-MNOP"), "{said}");
    eventually("the console shows it", || {
        let shown = container.run(&["cat", "/run/issue.d/fieldgate.issue"]).1;
        shown.contains("ABCD-EFGH-IJKL-MNOP").then_some(())
    });
    assert!(container.run_well(&["sh", "-ec", &ask]).starts_with("fg-"));
    let status = appliance.status().expect("it answers");
    assert_eq!(status["listeners"][0]["address"], "127.0.0.1:1883", "{status:#}");
    assert!(status["gateway"].as_str().unwrap().starts_with("fg-"), "{status:#}");
    for shown in ["fieldgate", "fieldgate-run", "fieldgate.toml"] {
        container.run_well(&["man", "--where", shown]);
    }
}

/// What udev says of them when a device appears; their groups exist.
fn has_rules_that_udev_understands(appliance: &Appliance) {
    let said = appliance.container.run(&["udevadm", "test", "--action=add", "/sys/class/tty/console"]).1;
    let about: Vec<&str> = said.lines().filter(|line| line.contains("fieldgate")).collect();
    assert_eq!(about, ["Reading rules file: /usr/lib/udev/rules.d/60-fieldgate.rules"], "{said}");
}

fn is_provisioned_and_reset(appliance: &Appliance) {
    let container = &appliance.container;
    let status = appliance.status().unwrap();
    assert_eq!(status["site"], "provisioned site", "{status:#}");
    let words = status["provisioning"].as_str().unwrap();
    assert!(
        words.starts_with("provisioned 2") && words.ends_with("/boot/fieldgate-provision.toml"),
        "{words}"
    );
    assert!(!container.root.join("boot/fieldgate-provision.toml").exists(), "it is taken over once");
    let owner = container.run_well(&["stat", "-c", "%U %a", "/var/lib/fieldgate/web/claim-code"]);
    assert_eq!(owner, "fieldgate 600\n");
    let (refused, said) = container.run(&["fieldgate", "reset", "--factory", "--yes"]);
    assert!(!refused.success() && said.contains("systemctl stop fieldgate"), "{said}");
    container.run_well(&["systemctl", "stop", "fieldgate"]);
    container.run_well(&["fieldgate", "reset", "--factory", "--yes"]);
    let left = container.run_well(&[
        "find",
        "/var/lib/fieldgate",
        "/etc/fieldgate",
        "/etc/credstore/fieldgate",
        "-type",
        "f",
    ]);
    assert_eq!(left, "/etc/fieldgate/fieldgate.toml\n");
    // Also without the folder of the secrets it starts.
    container.run_well(&["rmdir", "/etc/credstore/fieldgate"]);
    container.run_well(&["systemctl", "start", "fieldgate"]);
    let status = appliance.status().unwrap();
    assert_eq!((status["site"].as_str(), status["run"].as_u64()), (None, Some(1)), "{status:#}");
}

/// The same card in another box: systemd gives that one another machine-id.
fn is_copied(appliance: &Appliance) {
    let container = &appliance.container;
    let before = appliance.status().unwrap()["gateway"].clone();
    let machine = container.run_well(&["cat", "/etc/machine-id"]);
    container.run_well(&["systemctl", "stop", "fieldgate"]);
    container.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    container.run_well(&["systemctl", "start", "fieldgate"]);
    let status = appliance.status().unwrap();
    assert_ne!(status["gateway"], before);
    assert_eq!(status["moved_from"], before, "{status:#}");
    container.write("/etc/machine-id", &machine);
}

/// A secret is root's, and the service has it as a credential.
fn has_its_secrets(appliance: &Appliance) {
    let container = &appliance.container;
    container.run_well(&["systemd-tmpfiles", "--create", "fieldgate.conf"]);
    container.write("/etc/credstore/fieldgate/password", "hunter2\n");
    container.run_well(&["systemctl", "restart", "fieldgate"]);
    let pid = appliance.container.outside(appliance.main_pid());
    // As the service sees it: nobody else does.
    let seen = format!("/proc/{pid}/root/run/credentials/fieldgate.service/secrets_password");
    assert_eq!(std::fs::read_to_string(seen).unwrap(), "hunter2\n");
    let folder = container.run_well(&["stat", "-c", "%U %a", "/etc/credstore/fieldgate"]);
    assert_eq!(folder, "root 700\n");
}

fn runs_in_its_sandbox(appliance: &Appliance, tap: &Tap) {
    appliance.wait_reading(tap, 1);
    let status = appliance.status().unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(status["boot"], boot.trim().replace('-', ""), "the boot is known inside");
    let journal = appliance.container.journal();
    assert!(!journal.contains("doesn't tell whether its clock is right"), "{journal}");
    let sentence = eventually("systemctl status tells in a sentence", || {
        Some(appliance.container.property("fieldgate", "StatusText")).filter(|text| !text.is_empty())
    });
    assert!(sentence.starts_with("ok for ") || sentence.starts_with("degraded: "), "{sentence}");
    let pid = appliance.container.outside(appliance.main_pid());
    let about = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    for capabilities in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(line(capabilities), "0000000000000000", "{capabilities}");
    }
    assert_eq!((line("NoNewPrivs:"), line("Seccomp:")), ("1".to_owned(), "2".to_owned()));
    assert!(!line("Uid:").split_whitespace().any(|id| id == "0"), "not root");
}

fn is_reloaded(appliance: &Appliance, upstream: u16) {
    let container = &appliance.container;
    let before = appliance.main_pid();
    appliance.configure(upstream, "second site");
    container.run_well(&["systemctl", "reload", "fieldgate"]);
    assert_eq!(appliance.status().unwrap()["site"], "second site");
    container.write("/etc/fieldgate/conf.d/wrong.toml", "nonsense = true\n");
    let (status, _) = container.run(&["systemctl", "reload", "fieldgate"]);
    assert!(!status.success(), "a config that was refused is told");
    std::fs::remove_file(container.root.join("etc/fieldgate/conf.d/wrong.toml")).unwrap();
    assert_eq!(container.property("fieldgate", "ActiveState"), "active");
    assert_eq!(appliance.main_pid(), before);
    assert_eq!(appliance.status().unwrap()["site"], "second site");
}

/// Each thread is stopped by the kernel, the others run on: the real watchdog must find it.
fn hangs_end_in_a_restart(appliance: &Appliance, tap: &Tap) {
    for (round, (thread, name)) in
        [("fg-broker", "broker"), ("fieldgate", "service"), ("fg-store", "store"), ("fg-web", "web")]
            .into_iter()
            .enumerate()
    {
        let inside = appliance.main_pid();
        let pid = appliance.container.outside(inside);
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let frozen = tasks
            .map(|task| task.path())
            .find(|task| std::fs::read_to_string(task.join("comm")).unwrap_or_default().trim() == thread)
            .unwrap_or_else(|| panic!("no thread {thread}"));
        let frozen = frozen.file_name().unwrap().to_str().unwrap().to_owned();
        let freeze = project().join("tests/appliance/freeze.py");
        let mut freezer = Process::start("freeze.py", Command::new(freeze).arg(frozen));
        let stands = freezer.wait_line("stands still").at;
        appliance.wait_restarted(inside, WATCHDOG + RESTART_MAX);
        let took = stands.elapsed();
        eprintln!("{thread} stood still: started again after {:.1} s", took.as_secs_f32());
        let journal = appliance.container.journal();
        assert!(
            journal.contains(&format!("thread={name}")) || journal.contains(&format!("thread=\"{name}\"")),
            "{journal}"
        );
        assert!(journal.contains("Watchdog"), "systemd says why: {journal}");
        appliance.wait_reading(tap, 10 + u64::try_from(round).unwrap());
    }
}

fn a_kill_ends_in_a_restart(appliance: &Appliance, tap: &Tap) {
    let before = appliance.main_pid();
    appliance.container.run_well(&["systemctl", "kill", "--kill-who=main", "--signal=KILL", "fieldgate"]);
    appliance.wait_restarted(before, RESTART_MAX + Duration::from_secs(5));
    appliance.wait_reading(tap, 20);
}

fn stops_cleanly(appliance: &Appliance, tap: &Tap) {
    appliance.container.run_well(&["systemctl", "stop", "fieldgate"]);
    let last = tap.wait("the upstream is told that it is offline", |message| {
        message.topic == "fieldgate/box/status"
            && message.payload.contains("\"offline\"")
            && message.payload.contains("stopped")
    });
    assert_eq!(last.json()["state"], "offline");
    assert_eq!(appliance.container.property("fieldgate", "Result"), "success");
    appliance.container.run_well(&["systemctl", "start", "fieldgate"]);
    appliance.wait_reading(tap, 30);
}
