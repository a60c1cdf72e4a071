//! The machine of one `file` source: which files there are, when each is read, and the devices that they are. Reading
//! them is the shell's business; a read that hangs costs the others its time limit once, and then nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::config::{DecodeConfig, DeviceConfig, FramingConfig, LineEnd, Pattern, PointConfig, Points};
use super::device::{Beginning, Device};
use super::fault::{Faults, LineError};
use super::port::{Notice, PortState, PortStatus};
use crate::limits::{FILE_BYTES_MAX, FILES_OF_SOURCE_MAX};
use crate::reading::{Reading, Run};
use crate::time::{BootId, Mono, Now};

/// A `[[file]]`: files of the kernel's drivers, each a device of one value.
#[derive(Clone, Debug, PartialEq)]
pub struct FileConfig {
    /// Unique among the sources.
    pub name: Arc<str>,
    /// The files: an absolute path, in which `*` and `?` match within a level.
    pub path: String,
    /// What the device of a file is called: `{1}` is what the first `*` of the path matches.
    pub device: String,
    /// How often each file is read.
    pub every: Duration,
    /// A read that takes longer is left alone.
    pub timeout: Duration,
    /// Finds the value in the file's text, in the group `value`.
    pub pattern: Pattern,
    /// What the value is.
    pub point: PointConfig,
    /// Without a good value for this long a device is stale.
    pub stale_after: Duration,
}

/// A file that matches, and what the wildcards of the path stand for in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path.
    pub path: String,
    /// What each run of wildcards matches, in order.
    pub matches: Vec<String>,
}

/// What the shell tells the machine.
#[derive(Clone, Copy, Debug)]
pub enum FileInput<'a> {
    /// The answer to [`FileOutput::Scan`]; in words where a folder can't be read.
    Found(Result<&'a [FoundFile], &'a str>),
    /// The answer to [`FileOutput::Read`]: the file's first bytes, or why there are none.
    Read {
        /// Which.
        path: &'a str,
        /// Its bytes.
        bytes: Result<&'a [u8], &'a str>,
    },
    /// The deadline has passed.
    Tick,
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq)]
pub enum FileOutput {
    /// Look which files there are, and answer however long it takes.
    Scan,
    /// Read this file, and answer however long it takes.
    Read {
        /// Which.
        path: String,
    },
    /// Pass it on.
    Reading(Reading),
    /// Log it, and publish health soon.
    Notice(Notice),
}

/// The machine of one `[[file]]`.
///
/// ```text
/// Idle ── every ──> Scanning ── Found, timeout ──> Reading a file, the next … ── all read ──> Idle
///                                                    └── timeout: it is left to hang ──┘
/// ```
#[derive(Debug)]
pub struct FileSource {
    config: FileConfig,
    run: Run,
    boot: BootId,
    files: Vec<File>,
    step: Step,
    /// When the round began that is under way, or the last one.
    round: Mono,
    /// A scan has not answered.
    scan_hangs: bool,
    /// Files of this round that are still to be read, by their places.
    waiting: VecDeque<usize>,
    /// What stands in the way of a whole file, such as a name that is taken.
    faults: Faults,
    error: Option<String>,
    since: Mono,
    bytes: u64,
    lost: u64,
    outputs: VecDeque<FileOutput>,
}

#[derive(Debug)]
struct File {
    path: String,
    device: Device,
    name: Arc<str>,
    is_there: bool,
    /// A read has not answered within its time.
    hangs: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Idle { until: Mono },
    Scanning { until: Mono },
    Reading { file: usize, until: Mono },
}

impl FileSource {
    /// A source that looks for its files at once.
    #[must_use]
    pub fn new(config: FileConfig, run: Run, boot: BootId, now: Now) -> Self {
        Self {
            faults: Faults::new(config.name.clone()),
            config,
            run,
            boot,
            files: Vec::new(),
            step: Step::Idle { until: now.mono },
            round: now.mono,
            scan_hangs: false,
            waiting: VecDeque::new(),
            error: None,
            since: now.mono,
            bytes: 0,
            lost: 0,
            outputs: VecDeque::new(),
        }
    }

    /// What it is told.
    #[must_use]
    pub const fn config(&self) -> &FileConfig {
        &self.config
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: FileInput<'_>) {
        for file in &mut self.files {
            self.outputs.extend(file.device.tick(now.mono).map(FileOutput::Notice));
        }
        match input {
            FileInput::Found(found) => self.found(now, found),
            FileInput::Read { path, bytes } => self.read(now, path, bytes),
            FileInput::Tick => self.tick(now),
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<FileOutput> {
        self.outputs.pop_front()
    }

    /// When `Tick` is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        let (Step::Idle { until } | Step::Scanning { until } | Step::Reading { until, .. }) = self.step;
        self.files.iter().filter_map(|file| file.device.deadline()).chain([until]).min()
    }

    /// The source's name and the unit of its values, where the config says one.
    #[must_use]
    pub fn unit(&self) -> Option<(Arc<str>, Arc<str>)> {
        Some((self.config.name.clone(), self.config.point.unit.clone()?))
    }

    /// A snapshot, in the words of a port.
    #[must_use]
    pub fn status(&self, now: Now) -> PortStatus {
        let is_there = self.files.iter().any(|file| file.is_there);
        PortStatus {
            name: self.config.name.clone(),
            path: self.config.path.clone(),
            state: match (is_there, &self.error) {
                (true, _) => PortState::Open,
                (false, None) => PortState::Opening,
                (false, Some(_)) => PortState::Down,
            },
            since: now.wall.minus(now.mono.since(self.since)),
            error: self.error.clone(),
            bytes: self.bytes,
            bad_lines: self.faults.total(),
            lost: self.lost,
            devices: self.files.iter().map(|file| file.device.status(now.mono)).collect(),
        }
    }

    fn tick(&mut self, now: Now) {
        match self.step {
            Step::Idle { until } if until <= now.mono => {
                self.round = now.mono;
                if self.scan_hangs {
                    self.begin(now);
                } else {
                    self.step = Step::Scanning { until: now.mono + self.config.timeout };
                    self.outputs.push_back(FileOutput::Scan);
                }
            }
            Step::Scanning { until } if until <= now.mono => {
                // The files that are known are read all the same.
                self.scan_hangs = true;
                self.begin(now);
            }
            Step::Reading { file, until } if until <= now.mono => {
                if let Some(file) = self.files.get_mut(file) {
                    file.hangs = true;
                    let limit = self.config.timeout.as_secs_f64();
                    let error = LineError::Unread { why: format!("no answer within {limit} s") };
                    let notice = file.device.faults.bad(now.mono, &error, file.path.as_bytes());
                    self.outputs.extend(notice.map(FileOutput::Notice));
                }
                self.next(now);
            }
            _ => {}
        }
    }

    fn found(&mut self, now: Now, found: Result<&[FoundFile], &str>) {
        let in_time = matches!(self.step, Step::Scanning { .. });
        self.scan_hangs = false;
        match found {
            Ok(found) => {
                self.compare(now, found);
                let error =
                    format!("no file is {}; is the sensor connected, its driver loaded?", self.config.path);
                self.is_well(now, if found.is_empty() { Some(error) } else { None });
            }
            Err(error) => self.is_well(now, Some(error.to_owned())),
        }
        if in_time {
            self.begin(now);
        }
    }

    /// Notes which files are there now.
    fn compare(&mut self, now: Now, found: &[FoundFile]) {
        for file in self.files.iter_mut().filter(|file| file.is_there) {
            if !found.iter().any(|found| found.path == file.path) {
                file.is_there = false;
                self.lost = self.lost.saturating_add(1);
                self.outputs.extend(file.device.port_down().map(FileOutput::Notice));
            }
        }
        for found in found {
            let known = self.files.iter().position(|file| file.path == found.path);
            let error = match known.and_then(|known| self.files.get_mut(known)) {
                Some(file) if file.is_there => None,
                Some(file) => {
                    file.is_there = true;
                    file.device.opened(now.mono);
                    None
                }
                None => self.take_in(now, found).err(),
            };
            if let Some(error) = error {
                let notice = self.faults.bad(now.mono, &error, found.path.as_bytes());
                self.outputs.extend(notice.map(FileOutput::Notice));
            }
        }
    }

    /// A file that was never seen before. One that has gone may have been the same sensor under another number.
    fn take_in(&mut self, now: Now, found: &FoundFile) -> Result<(), LineError> {
        let name: Arc<str> = Arc::from(device_name(&self.config.device, &found.matches));
        if let Some(file) = self.files.iter_mut().find(|file| file.name == name) {
            if file.is_there {
                let why = format!("its device would be {name}, as that of {}", file.path);
                return Err(LineError::Unread { why });
            }
            file.path.clone_from(&found.path);
            (file.is_there, file.hangs) = (true, false);
            file.device.opened(now.mono);
            return Ok(());
        }
        if self.files.len() >= FILES_OF_SOURCE_MAX {
            let why = format!("there are more than {FILES_OF_SOURCE_MAX} files");
            return Err(LineError::Unread { why });
        }
        let config = DeviceConfig {
            poll: None,
            commands: Vec::new(),
            name: name.clone(),
            port: self.config.name.clone(),
            framing: FramingConfig::Line { end: LineEnd::Any, bytes_max: FILE_BYTES_MAX },
            check: None,
            decode: DecodeConfig::Regex(self.config.pattern.clone()),
            points: Points::List(vec![self.config.point.clone()]),
            stale_after: self.config.stale_after,
        };
        let mut device = Device::new(config, 0, self.run, self.boot);
        device.opened(now.mono);
        self.files.push(File { path: found.path.clone(), device, name, is_there: true, hangs: false });
        Ok(())
    }

    fn is_well(&mut self, now: Now, error: Option<String>) {
        if self.error.is_some() != error.is_some() {
            self.since = now.mono;
        }
        let was = std::mem::replace(&mut self.error, error.clone());
        let notice = match (was, error) {
            (None, Some(error)) => Some(Notice::PortDown { error }),
            (Some(_), None) => Some(Notice::PortOpened),
            _ => None,
        };
        self.outputs.extend(notice.map(FileOutput::Notice));
    }

    /// Reads what there is, one file after the other: on a 1-Wire bus only one can be at it anyway.
    fn begin(&mut self, now: Now) {
        let there = self.files.iter().enumerate().filter(|(_, file)| file.is_there && !file.hangs);
        self.waiting = there.map(|(place, _)| place).collect();
        self.next(now);
    }

    fn next(&mut self, now: Now) {
        let next = self.waiting.pop_front().and_then(|place| Some((place, self.files.get(place)?)));
        self.step = match next {
            Some((file, File { path, .. })) => {
                self.outputs.push_back(FileOutput::Read { path: path.clone() });
                Step::Reading { file, until: now.mono + self.config.timeout }
            }
            None => Step::Idle { until: (self.round + self.config.every).max(now.mono) },
        };
    }

    fn read(&mut self, now: Now, path: &str, bytes: Result<&[u8], &str>) {
        let Some(place) = self.files.iter().position(|file| file.path == path) else { return };
        let Some(file) = self.files.get_mut(place) else { return };
        if std::mem::take(&mut file.hangs) {
            // Too late: when the value was measured nobody knows.
            return;
        }
        let done = match bytes {
            Ok(bytes) => {
                self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                let text = bytes.trim_ascii();
                file.device.offer(now, text, Beginning::Seen).map_err(|error| (error, text))
            }
            Err(why) => Err((LineError::Unread { why: why.to_owned() }, path.as_bytes())),
        };
        match done {
            Ok(reading) => {
                let notices = [file.device.faults.good(now.mono), file.device.freshen(now.mono)];
                self.outputs.extend(notices.into_iter().flatten().map(FileOutput::Notice));
                self.outputs.extend(reading.map(FileOutput::Reading));
            }
            Err((error, sample)) => {
                let notice = file.device.faults.bad(now.mono, &error, sample);
                self.outputs.extend(notice.map(FileOutput::Notice));
            }
        }
        if matches!(self.step, Step::Reading { file, .. } if file == place) {
            self.next(now);
        }
    }
}

/// The name of a file's device: `{1}` and so on stand for what the wildcards match. What can't be in a topic's level
/// becomes `_`.
fn device_name(template: &str, matches: &[String]) -> String {
    let filled = matches.iter().enumerate().fold(template.to_owned(), |text, (index, found)| {
        text.replace(&format!("{{{}}}", index.saturating_add(1)), found)
    });
    let odd = |character: char| character.is_control() || matches!(character, '/' | '+' | '#' | '"' | '\\');
    filled.chars().map(|character| if odd(character) { '_' } else { character }).collect()
}

#[cfg(test)]
mod tests;
