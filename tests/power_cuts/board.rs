//! An emulated board with the gateway on it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Process, program};

/// What boards are started from.
pub struct Machine {
    emulator: PathBuf,
    kernel: PathBuf,
    memory: PathBuf,
    words: &'static [&'static str],
    console: &'static str,
}

impl Machine {
    /// The program that is tested, on a board of this machine's kind; or the one for 64-bit ARM that the environment names.
    /// `Err` is why there can't be one.
    pub fn new(dir: &Path) -> Result<Self, String> {
        let arm64 = std::env::var_os("FIELDGATE_ARM64");
        let built = PathBuf::from(env!("CARGO_BIN_EXE_fieldgate"));
        let (name, program_there, emulator, words, console): (_, _, _, &[_], _) = match &arm64 {
            Some(built) => {
                let words = &["-M", "virt", "-cpu", "cortex-a53"];
                ("arm64", PathBuf::from(built), "qemu-system-aarch64", words, "ttyAMA0")
            }
            None => ("amd64", built, "qemu-system-x86_64", &["-M", "q35"], "ttyS0"),
        };
        let memory = dir.join("memory");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power_cuts/image");
        let output = Command::new(script).arg(name).arg(program_there).arg(&memory).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(77) => return Err(said),
            _ => panic!("tests/power_cuts/image: {}: {said}", output.status),
        }
        let kernel = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        Ok(Self { emulator: program(emulator), kernel, memory, words, console })
    }

    /// Switches a board on. Its disk is served on `disk`; its broker is `lan_port` of this machine, its upstream is at
    /// `upstream` there.
    pub fn boot(&self, disk: &Path, lan_port: u16, upstream: u16) -> Process {
        let mut command = Command::new(&self.emulator);
        command.args(self.words).args(["-accel", "tcg", "-m", "512", "-nodefaults", "-no-user-config"]);
        command.args(["-display", "none", "-no-reboot", "-serial", "stdio"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.memory);
        let words = format!("console={} quiet panic=-1 mitigations=off upstream={upstream}", self.console);
        command.args(["-append", &words]);
        let disk = format!("driver=nbd,node-name=data,server.type=unix,server.path={}", disk.display());
        command.args([
            "-blockdev",
            &disk,
            "-device",
            "virtio-blk-pci,drive=data,write-cache=on,logical_block_size=4096,physical_block_size=4096",
        ]);
        let network = format!("user,id=lan,hostfwd=tcp:127.0.0.1:{lan_port}-:1883");
        command.args(["-netdev", &network, "-device", "virtio-net-pci,netdev=lan,romfile="]);
        Process::start("the board", &mut command)
    }
}

/// A file system without anything in it.
pub fn formatted(dir: &Path, bytes: u64) -> Vec<u8> {
    let file = dir.join("formatted");
    std::fs::File::create(&file).unwrap().set_len(bytes).unwrap();
    let words =
        ["-q", "-F", "-b", "4096", "-m", "0", "-N", "2048", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
    Process::run_well("mkfs.ext4", Command::new(program("mkfs.ext4")).args(words).arg(&file));
    let content = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    content
}
