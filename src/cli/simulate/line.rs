//! The pseudo-terminal of a simulated device.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, ioctl_tiocnxcl, tcflush, tcgetattr, tcsetattr};

/// Bytes of the gateway that are read at once; a request has at most 256.
const HEARD_BYTES: usize = 1_024;

/// The pseudo-terminal.
pub(super) struct Line {
    path: String,
    link: Option<PathBuf>,
    device: OwnedFd,
    /// Held, or writing would fail while no gateway has it open.
    gateway: OwnedFd,
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(link) = &self.link {
            // Whoever has put something else there keeps it.
            if std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == self.path.as_str()) {
                let _ = std::fs::remove_file(link);
            }
        }
    }
}

impl Line {
    /// Opens one, and makes the link to it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn open(link: Option<PathBuf>) -> Result<Self, String> {
        let wrong = |error: Errno| format!("can't open a pseudo-terminal: {error}");
        let device = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(wrong)?;
        grantpt(&device).map_err(wrong)?;
        unlockpt(&device).map_err(wrong)?;
        fcntl_setfl(&device, OFlags::RDWR | OFlags::NONBLOCK).map_err(wrong)?;
        let path = ptsname(&device, Vec::new()).map_err(wrong)?.to_string_lossy().into_owned();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let gateway = rustix::fs::open(path.as_str(), flags, Mode::empty()).map_err(wrong)?;
        let mut settings = tcgetattr(&gateway).map_err(wrong)?;
        settings.make_raw();
        tcsetattr(&gateway, OptionalActions::Now, &settings).map_err(wrong)?;
        if let Some(link) = &link {
            // A link of before that leads nowhere any more, or by chance to us, is no loss.
            let leads_to = std::fs::read_link(link).ok();
            if leads_to.is_some_and(|target| target.as_os_str() == path.as_str() || !link.exists()) {
                let _ = std::fs::remove_file(link);
            }
            std::os::unix::fs::symlink(&path, link)
                .map_err(|error| format!("can't make the link {}: {error}", link.display()))?;
        }
        Ok(Self { path, link, device, gateway })
    }

    /// Sends bytes as a device does, whether anybody reads them or not: what nobody has read is gone.
    pub(super) fn send(&self, mut bytes: &[u8]) -> Result<(), String> {
        // A gateway that was killed couldn't give up its exclusive use; a real line forgets it.
        let _ = ioctl_tiocnxcl(&self.gateway);
        while !bytes.is_empty() {
            match rustix::io::write(&self.device, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let _ = tcflush(&self.gateway, QueueSelector::IFlush);
                }
                Err(error) => return Err(format!("can't send to {}: {error}", self.path)),
            }
        }
        Ok(())
    }

    /// Waits until the last frame has been read, for a second at most: with the line its bytes would go.
    pub(super) fn read_out(&self) -> Result<(), String> {
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            match rustix::io::ioctl_fionread(&self.gateway) {
                Ok(0) => return Ok(()),
                Ok(_) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("{}: {error}", self.path)),
            }
        }
        Ok(())
    }

    /// The rate that the gateway has set.
    ///
    /// # Errors
    /// In words.
    pub(super) fn baud(&self) -> Result<u32, String> {
        let settings = tcgetattr(&self.gateway).map_err(|error| format!("{}: {error}", self.path))?;
        Ok(settings.output_speed())
    }

    /// What the gateway has sent, once there is something or this much time has passed.
    ///
    /// # Errors
    /// In words.
    pub(super) fn heard(&self, patience: Duration) -> Result<Vec<u8>, String> {
        let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 });
        let wrong = |error: Errno| format!("can't read from {}: {error}", self.path);
        match poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&patience)) {
            Ok(0) | Err(Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(error) => return Err(wrong(error)),
        }
        let mut bytes = vec![0; HEARD_BYTES];
        match rustix::io::read(&self.device, &mut bytes) {
            Ok(read) => {
                bytes.truncate(read);
                Ok(bytes)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(wrong(error)),
        }
    }

    /// What a config calls it.
    pub(super) fn name(&self) -> String {
        self.link.as_ref().map_or_else(|| self.path.clone(), |link| link.display().to_string())
    }
}
