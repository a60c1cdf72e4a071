//! A child process whose output is kept line by line, and that never outlives its value.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, within};

/// Lines that are shown of a process when its test fails.
const SHOWN_MAX: usize = 80;

/// What a program has said is read within this after its end.
const OUTPUT_MAX: Duration = Duration::from_secs(5);

/// A line of standard output or standard error, and when it came.
#[derive(Clone, Debug)]
pub struct Line {
    pub at: Instant,
    pub text: String,
}

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    lines: Arc<Mutex<Vec<Line>>>,
    readers: Vec<JoinHandle<()>>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts a program; `name` is for messages.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("can't start {name}: {error}; ./tests/run installs what is missing")
            });
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![keep(stdout, lines.clone()), keep(stderr, lines.clone())];
        Self { name: name.to_owned(), child, lines, readers, ended: None }
    }

    /// Runs a program to its end; returns how it ended and all that it said.
    pub fn run(name: &str, command: &mut Command) -> (ExitStatus, String) {
        let mut process = Self::start(name, command);
        let status = process.wait_end(PATIENCE);
        (status, process.text())
    }

    /// Runs a program that must succeed; returns all that it said.
    pub fn run_well(name: &str, command: &mut Command) -> String {
        let (status, text) = Self::run(name, command);
        assert!(status.success(), "{name} failed ({status}):\n{text}");
        text
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<Line> {
        self.lines.lock().unwrap().clone()
    }

    /// All lines so far that `parse` takes.
    pub fn parsed<T>(&self, parse: impl FnMut(&Line) -> Option<T>) -> Vec<T> {
        self.lines.lock().unwrap().iter().filter_map(parse).collect()
    }

    /// All output so far.
    pub fn text(&self) -> String {
        self.lines().into_iter().map(|line| line.text + "\n").collect()
    }

    /// Waits for a line that has `part` in it.
    pub fn wait_line(&mut self, part: &str) -> Line {
        let what = format!("{} says {part:?}", self.name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.try_ended();
            if ended.is_some() {
                // Its last lines may still be on their way through the pipe.
                self.wait_output(deadline);
            }
            if let Some(line) = self.lines().into_iter().find(|line| line.text.contains(part)) {
                return line;
            }
            assert!(ended.is_none(), "{} ended ({ended:?}) before it was true that {what}", self.name);
            assert!(Instant::now() < deadline, "did not happen within {PATIENCE:?}: {what}");
            std::thread::sleep(super::LOOK);
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.try_ended().is_none()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal)
            .unwrap_or_else(|error| panic!("can't signal {}: {error}", self.name));
    }

    /// Kills it at once, as a crash would, and waits until it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        let status = self.wait_end(PATIENCE);
        assert_eq!(status.signal(), Some(9), "{} had ended before it was killed: {status}", self.name);
    }

    /// Asks it to stop, and waits for its end.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_end(limit)
    }

    /// Waits for its end; all of its output is there then.
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        let status = within(limit, &what, || self.try_ended());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        status
    }

    /// Waits until all that it said is there, but not for what it started and left behind with its output.
    fn wait_output(&self, deadline: Instant) {
        let deadline = deadline.min(Instant::now() + OUTPUT_MAX);
        while Instant::now() < deadline && !self.readers.iter().all(JoinHandle::is_finished) {
            std::thread::sleep(super::LOOK);
        }
    }

    #[allow(clippy::print_stderr, reason = "what a failed test says belongs to its output")]
    fn show_last_lines(&self) {
        let lines = self.lines();
        eprintln!("-- the last lines of {}:", self.name);
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_MAX)) {
            eprintln!("   {}", line.text);
        }
    }

    fn try_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.try_ended().is_none() {
            // It may end by itself just now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            self.show_last_lines();
        }
    }
}

fn keep(from: impl Read + Send + 'static, lines: Arc<Mutex<Vec<Line>>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            lines.lock().unwrap().push(Line { at: Instant::now(), text });
            bytes.clear();
        }
    })
}
