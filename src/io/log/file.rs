//! A file as destination, put aside when it is large or a day old, or by another program (logrotate) that then sends
//! SIGHUP.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::line::{Line, Style};
use super::worker::Destination;
use crate::config::LogFile;

/// The service's group may read what clients do; nobody else.
const MODE: u32 = 0o640;

/// The file.
#[derive(Debug)]
pub(super) struct File {
    config: LogFile,
    style: Style,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: std::fs::File,
    bytes: u64,
    day: Date,
    /// A part of a line may stand at the end.
    torn: bool,
    /// A pipe or device is not ours to move.
    is_plain: bool,
}

impl File {
    pub(super) fn new(config: &LogFile, style: Style) -> Self {
        Self { config: config.clone(), style, open: None }
    }

    fn opened(&self, line: &Line) -> std::io::Result<Open> {
        if let Some(folder) = self.config.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file =
            std::fs::OpenOptions::new().append(true).create(true).mode(MODE).open(&self.config.path)?;
        let found = file.metadata()?;
        // A file of an earlier day is put aside at the first line.
        let day = found.modified().ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        let day = if found.len() > 0 { day.map_or_else(|| day_of(line), local_day) } else { day_of(line) };
        Ok(Open { file, bytes: found.len(), day, torn: false, is_plain: found.is_file() })
    }

    fn is_due(&self, open: &Open, more: u64, day: Date) -> bool {
        let max = self.config.max_size;
        let full = max > 0 && open.bytes > 0 && open.bytes.saturating_add(more) > max;
        let old = self.config.daily && open.bytes > 0 && open.day != day;
        open.is_plain && (full || old)
    }

    /// `fieldgate.log` becomes `fieldgate.log.1`, and that `fieldgate.log.2`; the last one goes.
    fn rotate(&self) -> std::io::Result<()> {
        let path = &self.config.path;
        if self.config.keep == 0 {
            return std::fs::remove_file(path);
        }
        for number in (1..self.config.keep).rev() {
            let from = aside(path, number);
            if from.exists() {
                std::fs::rename(from, aside(path, number + 1))?;
            }
        }
        std::fs::rename(path, aside(path, 1))
    }

    fn try_write(&mut self, line: &Line) -> std::io::Result<()> {
        let mut text = line.render(&self.style, false);
        text.push('\n');
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.opened(line)?,
        };
        if self.is_due(&open, bytes, day_of(line)) {
            match self.rotate() {
                Ok(()) => open = self.opened(line)?,
                // Some other program has put it aside just now.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => open = self.opened(line)?,
                Err(error) => return Err(error),
            }
        }
        if open.torn {
            text.insert(0, '\n');
        }
        let written = open.file.write_all(text.as_bytes());
        open.torn = written.is_err();
        if written.is_ok() {
            open.bytes = open.bytes.saturating_add(bytes);
        }
        self.open = Some(open);
        written
    }
}

impl Destination for File {
    fn write(&mut self, line: &Line) -> Result<(), String> {
        self.try_write(line).map_err(|error| format!("{}: {error}", self.config.path.display()))
    }

    fn reopen(&mut self) {
        self.open = None;
    }
}

fn aside(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn day_of(line: &Line) -> Date {
    local_day(line.at)
}

fn local_day(at: jiff::Timestamp) -> Date {
    at.to_zoned(TimeZone::system()).date()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::SignedDuration;
    use tracing::Level;

    use super::*;
    use crate::config::{LogFormat, LogTime};

    fn file(dir: &Path, max_size: u64, keep: usize, daily: bool) -> File {
        let config = LogFile { path: dir.join("logs/f.log"), max_size, keep, daily };
        File::new(&config, Style { format: LogFormat::Text, time: LogTime::None })
    }

    fn line(text: &str) -> Line {
        Line::new(Level::INFO, text.into())
    }

    fn read(dir: &Path, name: &str) -> Option<String> {
        std::fs::read_to_string(dir.join("logs").join(name)).ok()
    }

    #[test]
    fn a_full_file_is_put_aside_and_only_so_many_are_kept_and_no_line_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = file(dir.path(), 40, 2, false);
        for number in 0..10 {
            file.write(&line(&format!("number {number}"))).unwrap();
        }
        let texts = ["f.log", "f.log.1", "f.log.2", "f.log.3"].map(|name| read(dir.path(), name));
        let two = |a: u32, b: u32| Some(format!(" INFO number {a}\n INFO number {b}\n"));
        assert_eq!(texts, [two(8, 9), two(6, 7), two(4, 5), None]);
        let mode = std::fs::metadata(dir.path().join("logs/f.log")).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0, "{mode:o}");
    }

    #[test]
    fn a_new_day_puts_the_file_aside_where_that_is_wanted() {
        for (daily, aside) in [(true, Some(" INFO before\n".to_owned())), (false, None)] {
            let dir = tempfile::tempdir().unwrap();
            let mut file = file(dir.path(), 0, 5, daily);
            file.write(&line("before")).unwrap();
            let mut tomorrow = line("after");
            tomorrow.at += SignedDuration::from_hours(25);
            file.write(&tomorrow).unwrap();
            assert_eq!(read(dir.path(), "f.log.1"), aside);
        }
    }

    #[test]
    fn a_file_moved_away_is_followed_until_it_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = file(dir.path(), 0, 5, false);
        file.write(&line("one")).unwrap();
        std::fs::rename(dir.path().join("logs/f.log"), dir.path().join("logs/moved")).unwrap();
        file.write(&line("two")).unwrap();
        file.reopen();
        file.write(&line("three")).unwrap();
        assert_eq!(read(dir.path(), "moved").unwrap(), " INFO one\n INFO two\n");
        assert_eq!(read(dir.path(), "f.log").unwrap(), " INFO three\n");
    }
}
