//! Python scripts with paho-mqtt, the client library that most people at the other end use, and with pymodbus; and programs
//! that Python's packages bring.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Process;

/// A program that checks what is shipped: of the environment that has them.
pub fn checker(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let program = target.join("venv-yocto/bin").join(name);
    assert!(program.exists(), "{} is missing; tests/install-peers makes it", program.display());
    program
}

/// A Python with one generation of paho-mqtt, or with pymodbus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Python {
    /// paho-mqtt 1.6.1: the old `Client(client_id)`.
    Paho1,
    /// paho-mqtt 2.
    Paho2,
    /// pymodbus 3: Modbus slaves.
    Pymodbus,
    /// Readers of what readings are written in: CBOR, InfluxDB's line protocol, templates of Home Assistant.
    Formats,
    /// What tries the page's API by its description, looks for services by mDNS, and has the passwords that people use.
    Web,
}

impl Python {
    /// The folder of its scripts under tests/py, and of its environment under the build folder.
    fn folders(self) -> (&'static str, &'static str) {
        match self {
            Self::Paho1 => ("paho1", "venv-paho1"),
            Self::Paho2 => ("paho2", "venv-paho2"),
            Self::Pymodbus => ("pymodbus", "venv-pymodbus"),
            Self::Formats => ("formats", "venv-formats"),
            Self::Web => ("web", "venv-web"),
        }
    }

    /// The interpreter of its environment.
    pub fn interpreter(self) -> PathBuf {
        // The build folder's `tmp`, whatever the build folder is called.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let python = target.join(self.folders().1).join("bin/python");
        assert!(
            python.exists(),
            "{} is missing; ./tests/run (or tests/install-peers) makes it",
            python.display()
        );
        python
    }

    /// A program that its packages bring.
    pub fn program(self, name: &str) -> PathBuf {
        self.interpreter().with_file_name(name)
    }

    /// A script of tests/py.
    pub fn script(self, name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py").join(self.folders().0).join(name)
    }

    /// Starts a script of tests/py.
    pub fn start(self, script: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new(self.interpreter());
        command.arg("-u").arg(self.script(script)).args(arguments);
        Process::start(script, &mut command)
    }
}
