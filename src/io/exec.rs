//! The task of one `[[exec]]`: keeps a program running, feeds what it prints to the port machine, logs what it complains
//! of, and ends it, with all that it has started, when the gateway stops.

use std::cell::RefCell;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::Instant;
use tracing::warn;

use super::source::Common;
use crate::limits::{EXEC_BYTES_PER_SECOND, EXEC_STDERR_LINES_MAX};
use crate::sensor::{ExecConfig, Input, Output, Port};

/// A program gives at most this much in one read.
const READ_BYTES: usize = 4 * 1024;

/// A program that was asked to end has this long.
const END_MAX: Duration = Duration::from_secs(2);

/// The longest line of standard error that is logged; the rest of it is left out.
const STDERR_LINE_BYTES: usize = 256;

/// Of the gateway's environment only these: others may hold secrets.
const ENVIRONMENT: [&str; 3] = ["PATH", "LANG", "TZ"];

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// The program.
    pub config: ExecConfig,
    /// The machine. Never borrowed across an await.
    pub machine: Rc<RefCell<Port>>,
    /// What all sources share.
    pub common: Common,
}

/// A program that runs. Dropped, it is killed with its group.
struct Program {
    child: Child,
    stdout: ChildStdout,
    group: Option<Pid>,
    /// When more of its output is taken.
    resume: Instant,
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

impl Program {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It may have ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }

    /// Ends it in order, or by force after a while.
    async fn end(mut self) {
        self.signal(Signal::TERM);
        let _ = tokio::time::timeout(END_MAX, self.child.wait()).await;
    }

    async fn read(&mut self, scratch: &mut [u8]) -> std::io::Result<usize> {
        tokio::time::sleep_until(self.resume).await;
        let bytes = self.stdout.read(scratch).await?;
        let taken = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.resume = Instant::now() + Duration::from_secs(taken.into()) / EXEC_BYTES_PER_SECOND;
        Ok(bytes)
    }

    /// How it ended; it has closed its output.
    async fn verdict(&mut self) -> String {
        match tokio::time::timeout(END_MAX, self.child.wait()).await {
            Ok(Ok(status)) => format!("the program has ended: {status}"),
            Ok(Err(error)) => format!("the program has ended: {error}"),
            Err(_) => "the program has closed its output, and was killed".to_owned(),
        }
    }
}

/// Runs until the gateway stops.
pub async fn run(setup: Setup) {
    setup.common.keep("program", || serve(&setup), |lost| input(&setup, lost)).await;
}

async fn serve(setup: &Setup) {
    let mut stop = setup.common.stop.clone();
    let mut program: Option<Program> = None;
    let mut scratch = [0; READ_BYTES];
    loop {
        carry_out(setup, &mut program);
        let now = setup.common.clock.now().mono;
        let deadline = setup.machine.borrow().next_deadline().map(|deadline| deadline.since(now));
        // All branches are cancel safe: a read that is dropped has read nothing.
        tokio::select! {
            result = read(program.as_mut(), &mut scratch), if program.is_some() => match result {
                Ok(0) => lose(setup, &mut program, None).await,
                Ok(bytes) => input(setup, Input::Bytes(scratch.get(..bytes).unwrap_or_default())),
                Err(error) => lose(setup, &mut program, Some(error.to_string())).await,
            },
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                input(setup, Input::Tick);
            }
            _ = stop.wait_for(|stop| *stop) => {
                if let Some(program) = program {
                    program.end().await;
                }
                return;
            }
        }
    }
}

async fn read(program: Option<&mut Program>, scratch: &mut [u8]) -> std::io::Result<usize> {
    match program {
        Some(program) => program.read(scratch).await,
        None => std::future::pending().await,
    }
}

fn input(setup: &Setup, input: Input<'_>) {
    let now = setup.common.clock.now();
    setup.common.show(&setup.config.name, now, &input);
    setup.machine.borrow_mut().handle(now, input);
}

async fn lose(setup: &Setup, program: &mut Option<Program>, error: Option<String>) {
    let Some(mut ended) = program.take() else { return };
    let error = match error {
        Some(error) => error,
        None => ended.verdict().await,
    };
    // What it has started and left behind goes too.
    drop(ended);
    input(setup, Input::Lost { error: &error });
}

fn carry_out(setup: &Setup, program: &mut Option<Program>) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(Output::Open) => match start(&setup.config) {
                Ok(started) => {
                    *program = Some(started);
                    input(setup, Input::Opened);
                }
                Err(error) => input(setup, Input::OpenFailed { error: &error }),
            },
            // A program takes no commands, which the config sees to.
            Some(Output::Send(_)) => {}
            Some(Output::Done { id, outcome }) => setup.common.desk.ended(id, &outcome),
            Some(Output::Reading(reading)) => setup.common.give(reading),
            Some(Output::Notice(notice)) => setup.common.tell(&setup.config.name, &notice),
        }
    }
}

/// Starts the program in a group of its own. Of our files it gets none: all of them are closed by exec.
fn start(config: &ExecConfig) -> Result<Program, String> {
    let (name, arguments) = config.command.split_first().ok_or("no program is named")?;
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().process_group(0).current_dir(config.cwd.as_deref().unwrap_or("/".as_ref()));
    command.envs(ENVIRONMENT.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
    if let Some(user) = &config.user {
        let account = account(user)?;
        command.uid(account.user).gid(account.group).env("HOME", account.home).env("USER", user);
    }
    command.envs(config.env.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn().map_err(|error| format!("can't start {name}: {error}"))?;
    let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    if let Some(stderr) = stderr {
        tokio::task::spawn_local(log(config.name.to_string(), stderr));
    }
    let stdout = stdout.ok_or("the program has no output")?;
    Ok(Program { child, stdout, group, resume: Instant::now() })
}

struct Account {
    user: u32,
    group: u32,
    home: String,
}

/// Looks a user up. Names that a directory service knows aren't found.
fn account(name: &str) -> Result<Account, String> {
    let text = std::fs::read_to_string("/etc/passwd").map_err(|error| format!("/etc/passwd: {error}"))?;
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let (user, group) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        Some(Account { user, group, home: fields.nth(1)?.to_owned() })
    });
    found.ok_or_else(|| format!("there is no user {name:?} in /etc/passwd"))
}

/// Logs what a program complains of, so much a minute.
async fn log(port: String, stderr: impl AsyncRead + Unpin) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    let (mut minute, mut told, mut held) = (Instant::now(), 0, 0_u64);
    loop {
        line.clear();
        match (&mut stderr).take(4 * 1024).read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            Ok(_) | Err(_) => break,
        }
        if minute.elapsed() >= Duration::from_secs(60) {
            if held > 0 {
                warn!(port, lines = held, "a program has complained of more than was logged");
            }
            (minute, told, held) = (Instant::now(), 0, 0);
        }
        if told >= EXEC_STDERR_LINES_MAX {
            held = held.saturating_add(1);
            continue;
        }
        told += 1;
        let shown = line.get(..STDERR_LINE_BYTES).unwrap_or(&line).trim_ascii();
        warn!(port, says = %String::from_utf8_lossy(shown).escape_debug(), "a program complains");
    }
    if held > 0 {
        warn!(port, lines = held, "a program has complained of more than was logged");
    }
}
