//! `fieldgate pub`: publishes messages to an MQTT broker, with mosquitto_pub's options.

use std::ffi::OsString;
use std::io::{BufRead, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::client::connection::{self, Clock, Outcome, Task};
use super::client::message::{Event, Message};
use super::client::options::{self, Endpoint, Options};
use super::client::properties::Side;
use super::client::session::{BACKLOG_MAX, Session};
use super::complain;
use crate::mqtt::{QoS, ReasonCode};
use crate::time::Mono;

/// The longest payload that fits into a packet, whatever stands before it.
const PAYLOAD_BYTES_MAX: u64 = 268_435_455;

/// Lines that are read ahead of the broker.
const LINES_AHEAD: usize = 64;

/// Arguments of `fieldgate pub`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, args_override_self = true)]
#[command(group = clap::ArgGroup::new("payload").required(true))]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// The topic to publish to.
    #[arg(short, long, value_name = "TOPIC", required_unless_present = "url")]
    topic: Option<String>,
    /// The payload.
    #[arg(short, long, value_name = "PAYLOAD", group = "payload")]
    message: Option<OsString>,
    /// The file that is the payload.
    #[arg(short, long, value_name = "FILE", group = "payload")]
    file: Option<PathBuf>,
    /// Publish each line of standard input.
    #[arg(short = 'l', long, group = "payload")]
    stdin_line: bool,
    /// Publish all of standard input as one payload.
    #[arg(short = 's', long, group = "payload")]
    stdin_file: bool,
    /// Publish an empty payload.
    #[arg(short, long, group = "payload")]
    null_message: bool,
    /// The quality of service.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = options::qos)]
    qos: QoS,
    /// Have the broker keep the message for later subscribers.
    #[arg(short, long)]
    retain: bool,
    /// Publish the same message this many times.
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with_all = ["stdin_line", "null_message"],
          value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Seconds between them; may have a fraction.
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    repeat_delay: Duration,
}

/// Exit codes: 0 the broker has all messages (as far as their QoS can tell), 1 it has not, 2 wrong arguments.
pub fn execute(args: &Args) -> ExitCode {
    let quiet = args.options.is_quiet();
    let (endpoint, mut session, mut publisher) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    match connection::run(&endpoint, &mut session, &mut publisher, None) {
        Ok(Outcome::Done) if !publisher.failed => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            if !quiet {
                complain(error);
            }
            ExitCode::FAILURE
        }
    }
}

fn prepare(args: &Args) -> Result<(Endpoint, Session, Publisher), String> {
    let mut resolved = args.options.resolve(Side::Publisher, None)?;
    let topic = args.topic.clone().or(resolved.topic.take()).unwrap_or_default();
    options::topic_name(&topic)?;
    let template = Message {
        topic,
        payload: Bytes::new(),
        qos: args.qos,
        retain: args.retain,
        properties: resolved.publish_properties,
        packet_id: None,
    };
    let source = match payload(args)? {
        Some(payload) => Source::Same {
            payload: Bytes::from(payload),
            left: args.repeat,
            delay: args.repeat_delay,
            next: None,
        },
        None => Source::Lines(read_lines()?),
    };
    let publisher = Publisher {
        template,
        is_stream: matches!(source, Source::Lines(_)),
        source,
        failed: false,
        quiet: args.options.is_quiet(),
    };
    Ok((resolved.endpoint, Session::new(resolved.settings), publisher))
}

/// The one payload; `None` if there is one for each line.
fn payload(args: &Args) -> Result<Option<Vec<u8>>, String> {
    if args.stdin_line {
        return Ok(None);
    }
    let (mut payload, mut name) = (Vec::new(), "standard input".to_owned());
    if let Some(message) = &args.message {
        payload = message.clone().into_vec();
    } else if let Some(path) = &args.file {
        name = path.display().to_string();
        read_all(&mut open(path)?, &name, &mut payload)?;
    } else if args.stdin_file {
        read_all(&mut std::io::stdin().lock(), &name, &mut payload)?;
    }
    if u64::try_from(payload.len()).unwrap_or(u64::MAX) > PAYLOAD_BYTES_MAX {
        return Err(format!("{name}: has more than {PAYLOAD_BYTES_MAX} bytes, MQTT's limit for a message"));
    }
    Ok(Some(payload))
}

fn open(path: &Path) -> Result<std::fs::File, String> {
    std::fs::File::open(path).map_err(|error| format!("{}: can't be opened: {error}", path.display()))
}

/// Reads one byte more than is allowed at most.
fn read_all(from: &mut impl Read, name: &str, payload: &mut Vec<u8>) -> Result<(), String> {
    let read = from.take(PAYLOAD_BYTES_MAX + 1).read_to_end(payload);
    read.map(drop).map_err(|error| format!("{name}: can't be read: {error}"))
}

/// Standard input can only be read by waiting for it: a thread of its own does, and ends with the process.
fn read_lines() -> Result<mpsc::Receiver<Result<Vec<u8>, String>>, String> {
    let (lines, receiver) = mpsc::channel(LINES_AHEAD);
    let read = move || {
        let mut stdin = std::io::stdin().lock();
        loop {
            let line = match next_line(&mut stdin) {
                Ok(Some(line)) => Ok(line),
                Ok(None) => return,
                Err(error) => Err(format!("standard input: {error}")),
            };
            if line.is_err() | lines.blocking_send(line).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("stdin".into()).spawn(read);
    thread.map(|_| receiver).map_err(|error| format!("can't start a thread: {error}"))
}

/// The next line without its line end; the last one may lack it.
fn next_line(from: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(PAYLOAD_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if u64::try_from(line.len()).unwrap_or(u64::MAX) > PAYLOAD_BYTES_MAX {
        return Err(std::io::Error::other("a line is longer than a message can be"));
    }
    Ok(Some(line))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "is a number of seconds, such as 0.5".into())
}

/// What is published.
#[derive(Debug)]
struct Publisher {
    template: Message,
    source: Source,
    /// There may always be more: a lost connection is no reason to end.
    is_stream: bool,
    /// The broker didn't take a message.
    failed: bool,
    quiet: bool,
}

/// Where payloads come from.
#[derive(Debug)]
enum Source {
    Same { payload: Bytes, left: u64, delay: Duration, next: Option<Instant> },
    Lines(mpsc::Receiver<Result<Vec<u8>, String>>),
    Ended,
}

impl Publisher {
    /// The next payload when it is time; `None` at the end. Cancel safe.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        match &mut self.source {
            Source::Same { left: 0, .. } | Source::Ended => Ok(None),
            Source::Same { payload, left, delay, next } => {
                if let Some(next) = next {
                    sleep_until(*next).await;
                }
                *left = left.saturating_sub(1);
                *next = (!delay.is_zero()).then(|| Instant::now() + *delay);
                Ok(Some(payload.clone()))
            }
            Source::Lines(lines) => lines.recv().await.transpose().map(|line| line.map(Bytes::from)),
        }
    }
}

impl Task for Publisher {
    fn event(&mut self, _session: &mut Session, _now: Mono, event: Event) -> Result<(), String> {
        match event {
            Event::Undelivered { topic, why } => {
                self.failed = true;
                if !self.quiet {
                    complain(format_args!("the broker didn't take the message to {topic:?}: {why}"));
                }
            }
            Event::Trace(line) => complain(line),
            _ => {}
        }
        Ok(())
    }

    fn settle(&mut self, session: &mut Session) -> Result<(), String> {
        if matches!(self.source, Source::Same { left: 0, .. }) {
            self.source = Source::Ended;
        }
        if matches!(self.source, Source::Ended) && session.is_ready() && session.is_settled() {
            session.disconnect(ReasonCode::Success);
        }
        Ok(())
    }

    async fn work(&mut self, session: &mut Session, clock: Clock) -> Result<(), String> {
        match self.next().await? {
            Some(payload) => session.publish(clock.now(), Message { payload, ..self.template.clone() }),
            None => self.source = Source::Ended,
        }
        Ok(())
    }

    fn wants_work(&self, session: &Session) -> bool {
        !matches!(self.source, Source::Ended) && session.backlog() < BACKLOG_MAX
    }

    fn reconnects(&self) -> bool {
        self.is_stream
    }

    fn lost(&self, why: &str) {
        if !self.quiet {
            complain(format_args!("{why}; connecting again"));
        }
    }
}
