//! Pseudo-terminals as sensors.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr};
use tempfile::TempDir;

use super::PATIENCE;

/// A pseudo-terminal whose own end is held open, so that bytes wait while no gateway reads. Dropping it hangs up,
/// as unplugging an adapter does.
#[derive(Clone)]
pub struct Pty {
    /// Holds the link, and goes first: the kernel gives the number of a terminal that is closed to the next one, and a
    /// gateway that looks for what was unplugged must not find another test's.
    _place: Arc<TempDir>,
    master: Arc<File>,
    slave: Arc<OwnedFd>,
    path: PathBuf,
}

impl Pty {
    /// Opens one, raw.
    pub fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let terminal = Path::new(OsStr::from_bytes(name.as_bytes()));
        let slave =
            rustix::fs::open(terminal, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty());
        let slave = slave.unwrap();
        let mut termios = tcgetattr(&slave).unwrap();
        termios.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &termios).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("tty");
        std::os::unix::fs::symlink(terminal, &path).unwrap();
        let master = Arc::new(File::from(master));
        let pty = Self { _place: Arc::new(place), master, slave: Arc::new(slave), path };
        // The rest of a line that began before anybody listened, as sensors that never pause have it. A gateway
        // must not take it, nor hold it against the sensor.
        pty.write(b"~\r\n");
        pty
    }

    /// What the gateway opens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it, waiting while the line's buffer is full.
    pub fn write(&self, bytes: &[u8]) {
        let deadline = Instant::now() + PATIENCE;
        let mut rest = bytes;
        while !rest.is_empty() {
            match (&*self.master).write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&*self.master, PollFlags::OUT)];
                    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 20_000_000 })).unwrap();
                }
                Err(error) => panic!("can't write to the pseudo-terminal: {error}"),
            }
            assert!(Instant::now() < deadline, "nobody reads {} any more", self.path.display());
        }
    }

    /// The terminal's modes.
    pub fn modes(&self) -> String {
        let modes = tcgetattr(&*self.slave).unwrap();
        format!("{:?} {:?} {:?}", modes.local_modes, modes.input_modes, modes.output_modes)
    }

    /// The rate that whoever has it open has set.
    pub fn baud(&self) -> u32 {
        tcgetattr(&*self.slave).unwrap().output_speed()
    }

    /// What was written to it, or echoed, since the last time.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.taken()).into_owned()
    }

    /// The same, as bytes.
    pub fn taken(&self) -> Vec<u8> {
        let mut bytes = [0; 4096];
        let mut all = Vec::new();
        while let Ok(read) = (&*self.master).read(&mut bytes) {
            all.extend_from_slice(&bytes[..read]);
        }
        all
    }

    /// Throws away what was written and nobody has read.
    pub fn forget(&self) {
        tcflush(&*self.slave, QueueSelector::IFlush).unwrap();
    }

    /// Writes a line.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    /// A gateway that was killed can't give up its exclusive use of the line. A real adapter forgets it when the
    /// last user is gone; here the test is still one.
    pub fn release(&self) {
        ioctl_tiocnxcl(&*self.slave).unwrap();
    }

    /// Plays lines at a steady rate from a thread of its own.
    pub fn play(
        &self,
        count: usize,
        per_second: u32,
        line: impl Fn(usize) -> String + Send + 'static,
    ) -> Player {
        let pty = self.clone();
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            let interval = Duration::from_secs(1) / per_second;
            let mut written = Vec::with_capacity(count);
            for number in 0..count {
                let due = start + interval * u32::try_from(number).unwrap();
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                pty.line(&line(number));
                written.push(Instant::now());
            }
            written
        });
        Player { thread }
    }
}

/// Lines being played.
pub struct Player {
    thread: JoinHandle<Vec<Instant>>,
}

impl Player {
    /// Waits for the last line; returns when each had been written.
    pub fn finish(self) -> Vec<Instant> {
        self.thread.join().expect("the player plays to the end")
    }
}
