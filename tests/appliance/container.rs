//! A small Debian that was booted with systemd in a container, on a throw-away layer above a kept one.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::support::{Process, eventually, program, within};

/// systemd is up, a package is installed, within this on a slow, busy machine.
const SLOW_MAX: Duration = Duration::from_secs(120);

/// A container; ended, and its layer thrown away, when dropped.
pub struct Container {
    /// Its whole file system, seen from outside.
    pub root: PathBuf,
    process: Option<Process>,
    leader: u32,
    dir: PathBuf,
}

/// The kept layer; `Err` is why this machine can't have one.
pub fn base() -> Result<PathBuf, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/appliance/rootfs");
    let output = Command::new(script).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match output.status.code() {
        Some(0) => Ok(PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())),
        Some(77) => Err(said),
        _ => panic!("tests/appliance/rootfs: {}: {said}", output.status),
    }
}

impl Container {
    /// Puts a layer above `base`; not booted. `Err` is why this machine can't.
    pub fn new(base: &Path, dir: &Path) -> Result<Self, String> {
        let [upper, work, root] = ["upper", "work", "root"].map(|name| dir.join(name));
        for folder in [&upper, &work, &root] {
            std::fs::create_dir(folder).unwrap();
        }
        let layers =
            format!("lowerdir={},upperdir={},workdir={}", base.display(), upper.display(), work.display());
        let output =
            Command::new("mount").args(["-t", "overlay", "overlay", "-o", &layers]).arg(&root).output();
        let output = output.unwrap();
        if !output.status.success() {
            return Err(format!(
                "appliance: no overlay can be mounted: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        Ok(Self { root, process: None, leader: 0, dir: dir.to_owned() })
    }

    /// Writes a file in it.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Boots it, with devices of this machine under other names. `Err` is why it can't be booted.
    pub fn boot(&mut self, devices: &[(&Path, &str)]) -> Result<(), String> {
        let mut command = Command::new(program("systemd-nspawn"));
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command.args(["--quiet", "--register=no", "--keep-unit", "--link-journal=no", "--console=pipe"]);
        command.arg("-D").arg(&self.root).arg("--machine=fieldgate-test");
        // A container must not set the clock, so nspawn forbids to ask for it as well; a machine doesn't.
        command.arg("--system-call-filter=adjtimex clock_adjtime");
        for (outside, inside) in devices {
            // A link would lead nowhere inside.
            let outside = outside.canonicalize().unwrap();
            let outside = outside.canonicalize().unwrap();
            command.arg(format!("--bind={}:{inside}", outside.display()));
        }
        command.arg("--boot");
        let mut process = Process::start("systemd-nspawn", &mut command);
        let nspawn = process.pid();
        // The first process inside is a child of nspawn's.
        let leader = within(SLOW_MAX, "systemd starts in the container", || {
            if !process.is_running() {
                return Some(None);
            }
            let children = format!("/proc/{nspawn}/task/{nspawn}/children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            let leader = children.split_whitespace().next()?.parse::<u32>().ok()?;
            let name = std::fs::read_to_string(format!("/proc/{leader}/comm")).unwrap_or_default();
            (name.trim() == "systemd").then_some(Some(leader))
        });
        let Some(leader) = leader else {
            return Err(format!("appliance: systemd-nspawn can't boot here: {}", process.text()));
        };
        (self.leader, self.process) = (leader, Some(process));
        within(SLOW_MAX, "the container has booted", || {
            let (_, state) = self.run(&["systemctl", "is-system-running"]);
            ["running", "degraded"].contains(&state.trim()).then_some(())
        });
        Ok(())
    }

    /// A command that runs inside.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.leader));
        command.args(["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--root", "--wd=/", "--"]);
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive").env_remove("TMPDIR");
        command
    }

    /// Runs a command inside; how it ended and what it said.
    pub fn run(&self, words: &[&str]) -> (ExitStatus, String) {
        let output = self.command(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs a command inside that must succeed; what it said.
    pub fn run_well(&self, words: &[&str]) -> String {
        let (status, text) = self.run(words);
        assert!(status.success(), "{words:?} failed: {status}\n{text}\n{}", self.journal());
        text
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> String {
        self.run_well(&["systemctl", "show", "--value", "-p", name, unit]).trim().to_owned()
    }

    /// What the service has logged.
    pub fn journal(&self) -> String {
        self.run(&["journalctl", "--no-pager", "-u", "fieldgate", "-n", "60"]).1
    }

    /// The number that a process of the container has outside of it.
    pub fn outside(&self, inside: u32) -> u32 {
        let space = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = space(&self.leader.to_string());
        eventually("the process is known outside", || {
            let numbers = std::fs::read_dir("/proc").unwrap().flatten();
            let names = numbers.filter_map(|entry| entry.file_name().into_string().ok());
            names.filter(|name| name.parse::<u32>().is_ok()).find_map(|pid| {
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
                let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
                let is_it = numbers.split_whitespace().next_back() == Some(&inside.to_string());
                (is_it && space(&pid) == ours).then(|| pid.parse().unwrap())
            })
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Ends what runs inside in order.
            process.signal(rustix::process::Signal::TERM);
            let ended = std::time::Instant::now() + Duration::from_secs(20);
            while process.is_running() && std::time::Instant::now() < ended {
                std::thread::sleep(Duration::from_millis(50));
            }
            if process.is_running() {
                // nspawn that is killed would leave it behind.
                let _ = Command::new("kill").args(["-9", &self.leader.to_string()]).status();
                let _ = process.wait_end(Duration::from_secs(20));
            }
        }
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.root).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(),
            "{} stays mounted",
            self.dir.display()
        );
    }
}
