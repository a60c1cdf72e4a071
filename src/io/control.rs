//! The control socket: one JSON request a line, one JSON answer a line. The command line speaks it, and so can
//! `socat`: `echo '{"op":"status"}' | socat - UNIX-CONNECT:/run/fieldgate/control.sock`.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::gpio_control;
use super::reporter::Reporter;
use super::store_control::{self, Arguments, Ask};
use crate::bridge::{Handling, Input};
use crate::health;

/// Clients served at once; more wait. Each costs a few KB.
const CLIENTS_MAX: usize = 16;

/// The longest request; a longer one ends the connection.
const REQUEST_BYTES_MAX: u64 = 4 * 1024;

/// A client that says nothing for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// A request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    op: Operation,
    /// Of `log`: levels to set, by name; none takes back what was set.
    levels: Option<BTreeMap<String, String>>,
    /// Of `log`: for how long.
    for_s: Option<u64>,
    /// Of `deadletters`: nothing, `retry` or `purge`.
    action: Option<LetterAction>,
    /// Of `deadletters` and `store-*`: whose; all without it. Of `upstream-connect`: which.
    upstream: Option<String>,
    /// Of `store-export`: from which record on.
    #[serde(default)]
    from: u64,
    /// Of `store-purge`: what was committed before, in milliseconds since 1970.
    before: Option<i64>,
    /// Of `trace`: which.
    port: Option<String>,
    /// Of `store-purge`: everything.
    #[serde(default)]
    all: bool,
    /// Of `gpio-…`: which line, and what of it.
    gpio: Option<gpio_control::Arguments>,
}

/// What is done with the messages that an upstream refused for good.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LetterAction {
    Retry,
    Purge,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Operation {
    Status,
    Health,
    Readings,
    Backlog,
    Deadletters,
    Reload,
    Log,
    StoreStat,
    StoreVerify,
    StoreExport,
    StorePurge,
    UpstreamConnect,
    GpioSet,
    GpioPulse,
    /// Answered with a line for each thing that happens, until the client goes.
    Trace,
}

/// A request to read the config again, with the place for the answer.
pub type Reload = oneshot::Sender<Reloaded>;

/// What came of reading the config again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What has changed, by the names of the keys.
    pub applied: Vec<String>,
    /// What counts at the next start.
    pub next_start: Vec<String>,
    /// Clients that had to go.
    pub disconnected: u64,
    /// Why nothing was changed; empty if all went well.
    pub mistakes: Vec<String>,
}

impl Reloaded {
    fn json(&self) -> Json {
        json!({
            "outcome": if self.mistakes.is_empty() { "applied" } else { "refused" },
            "applied": self.applied,
            "next_start": self.next_start,
            "disconnected": self.disconnected,
            "mistakes": self.mistakes,
        })
    }
}

/// The socket, removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // It may have been replaced or removed by hand: then there is nothing to do.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Binds the socket, making its folder. A socket that nobody listens on any more is replaced.
///
/// # Errors
/// In words, naming the path.
pub fn bind(path: &Path) -> Result<ControlSocket, String> {
    let wrong = |error: io::Error| format!("can't open the control socket {}: {error}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(wrong)?;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(format!("another fieldgate answers on {}; is it running already?", path.display()));
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            std::fs::remove_file(path).map_err(wrong)?;
        }
        Ok(_) => return Err(format!("{} is in the way: it is no socket", path.display())),
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(wrong)?;
    // The service's group may ask; nobody else.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(wrong)?;
    Ok(ControlSocket { listener, path: path.to_owned() })
}

/// Serves until the task is dropped.
pub async fn serve(socket: ControlSocket, reporter: Rc<Reporter>, reload: mpsc::Sender<Reload>) {
    let room = std::sync::Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let (reporter, reload) = (reporter.clone(), reload.clone());
                tokio::task::spawn_local(async move {
                    // A client that goes away in the middle harms nobody.
                    let _ = converse(stream, &reporter, &reload).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: UnixStream, reporter: &Reporter, reload: &mpsc::Sender<Reload>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut read).take(REQUEST_BYTES_MAX);
        let Ok(got) = tokio::time::timeout(IDLE_MAX, limited.read_until(b'\n', &mut line)).await else {
            return Ok(());
        };
        if got? == 0 {
            return Ok(());
        }
        if let Some(port) = traced(&line) {
            return trace(&port, reporter, &mut read, &mut write).await;
        }
        let answer = answer(&line, reporter, reload).await;
        tell(&mut write, &answer).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

async fn tell(write: &mut OwnedWriteHalf, answer: &Json) -> io::Result<()> {
    write.write_all(format!("{answer}\n").as_bytes()).await
}

/// The port that a request wants to look on at.
fn traced(line: &[u8]) -> Option<String> {
    let request: Request = serde_json::from_slice(line).ok()?;
    if matches!(request.op, Operation::Trace) { request.port } else { None }
}

/// Tells what happens on a port until the client goes, or says anything more.
async fn trace(
    port: &str,
    reporter: &Reporter,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let lines = reporter.lines();
    let Some(line) = lines.iter().find(|line| *line.name == *port) else {
        let names: Vec<&str> = lines.iter().map(|line| &*line.name).collect();
        let error = format!("there is no port {port:?}; known are {}", names.join(", "));
        return tell(write, &json!({ "error": error })).await;
    };
    let Some(mut trace) = reporter.sources.traces.look_on(port) else {
        return tell(write, &json!({"error": "too many look on at ports already"})).await;
    };
    let state = health::port_state(line.state);
    tell(write, &json!({"port": port, "path": line.path, "state": state})).await?;
    loop {
        tokio::select! {
            Some(piece) = trace.next() => tell(write, &piece).await?,
            _ = read.read_u8() => return Ok(()),
        }
    }
}

async fn answer(line: &[u8], reporter: &Reporter, reload: &mpsc::Sender<Reload>) -> Json {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            return json!({"error": format!("{error}; expected {{\"op\": \"status|health|readings|backlog|deadletters|reload|log|store-stat|store-verify|store-export|store-purge|upstream-connect|gpio-set|gpio-pulse|trace\"}}")});
        }
    };
    let sets_levels = request.levels.is_some() || request.for_s.is_some();
    if sets_levels && !matches!(request.op, Operation::Log) {
        return json!({"error": "levels and for_s go with {\"op\": \"log\"}"});
    }
    if request.action.is_some() && !matches!(request.op, Operation::Deadletters) {
        return json!({"error": "action goes with {\"op\": \"deadletters\"}"});
    }
    let of_store = matches!(
        request.op,
        Operation::StoreStat | Operation::StoreVerify | Operation::StoreExport | Operation::StorePurge
    );
    let of_upstream = matches!(request.op, Operation::Deadletters | Operation::UpstreamConnect);
    if request.upstream.is_some() && !of_store && !of_upstream {
        return json!({"error": "upstream goes with deadletters, upstream-connect and store-…"});
    }
    if (request.from > 0 || request.before.is_some() || request.all) && !of_store {
        return json!({"error": "from, before and all go with store-…"});
    }
    if request.gpio.is_some() && !matches!(request.op, Operation::GpioSet | Operation::GpioPulse) {
        return json!({"error": "gpio goes with gpio-…"});
    }
    if request.port.is_some() {
        return json!({"error": "port goes with trace"});
    }
    match request.op {
        Operation::Trace => json!({"error": "trace needs port"}),
        Operation::GpioSet => gpio_control::set(request.gpio, reporter).await,
        Operation::GpioPulse => gpio_control::pulse(request.gpio, reporter).await,
        Operation::Deadletters => letters(&request, reporter),
        Operation::UpstreamConnect => connect(&request, reporter),
        Operation::Reload => read_config_again(reload).await,
        Operation::Log => log(request, reporter).unwrap_or_else(|error| json!({ "error": error })),
        Operation::Health => reporter.snapshot().await.health(),
        Operation::Readings => reporter.snapshot().await.readings(),
        Operation::Backlog => reporter.snapshot().await.backlog(),
        Operation::Status => {
            let snapshot = reporter.snapshot().await;
            let mut status = snapshot.health();
            if let Json::Object(status) = &mut status {
                status.insert("readings".into(), snapshot.readings());
            }
            status
        }
        Operation::StoreStat => of_the_store(Ask::Stat, request, reporter).await,
        Operation::StoreVerify => of_the_store(Ask::Verify, request, reporter).await,
        Operation::StoreExport => of_the_store(Ask::Export, request, reporter).await,
        Operation::StorePurge => of_the_store(Ask::Purge, request, reporter).await,
    }
}

async fn of_the_store(ask: Ask, request: Request, reporter: &Reporter) -> Json {
    let Request { upstream, from, before, all, .. } = request;
    store_control::answer(ask, Arguments { upstream, from, before, all }, reporter).await
}

/// The messages that upstreams refused for good, as they were before anything is done with them.
fn letters(request: &Request, reporter: &Reporter) -> Json {
    let now = reporter.clock.now();
    let mut found = Vec::new();
    for bridge in &reporter.bridges {
        let status = bridge.machine.borrow().status(now);
        if request.upstream.as_ref().is_some_and(|wanted| **wanted != *status.name) {
            continue;
        }
        found.push(health::letters(&status));
        let handling = match request.action {
            None => continue,
            Some(LetterAction::Retry) => Handling::Retry,
            Some(LetterAction::Purge) => Handling::Purge,
        };
        bridge.machine.borrow_mut().handle(now, Input::Letters(handling));
        bridge.bell.notify_one();
    }
    match &request.upstream {
        Some(wanted) if found.is_empty() => json!({"error": format!("there is no upstream {wanted:?}")}),
        _ => Json::Array(found),
    }
}

/// Has an upstream connected now; its state then.
fn connect(request: &Request, reporter: &Reporter) -> Json {
    let Some(wanted) = &request.upstream else {
        return json!({"error": "upstream-connect needs upstream"});
    };
    let now = reporter.clock.now();
    for bridge in &reporter.bridges {
        let mut machine = bridge.machine.borrow_mut();
        if **machine.name() == **wanted {
            machine.handle(now, Input::ConnectNow);
            bridge.bell.notify_one();
            return json!({"upstream": wanted, "state": health::link_state(machine.status(now).state)});
        }
    }
    json!({"error": format!("there is no upstream {wanted:?}")})
}

async fn read_config_again(reload: &mpsc::Sender<Reload>) -> Json {
    let (answer, outcome) = oneshot::channel();
    // Nobody waits here for a disk that has stalled: others want to ask how the gateway does.
    if let Err(mpsc::error::TrySendError::Full(_)) = reload.try_send(answer) {
        return json!({"error": "the config is being read; others wait for it already"});
    }
    match outcome.await {
        Ok(outcome) => outcome.json(),
        Err(_) => json!({"error": "this gateway can't read its config again"}),
    }
}

/// Sets levels if any are wanted, and tells how they are then.
fn log(request: Request, reporter: &Reporter) -> Result<Json, String> {
    let logs = reporter.logs.as_ref().ok_or("the log of this gateway has no levels to change")?;
    let for_time = request.for_s.map(Duration::from_secs);
    match request.levels {
        Some(levels) if levels.is_empty() => logs.reset(),
        Some(levels) => logs.set(&levels.into_iter().collect::<Vec<_>>(), for_time)?,
        None if for_time.is_some() => return Err("for_s goes with levels".to_owned()),
        None => {}
    }
    Ok(logs.describe())
}

/// Asks a running gateway one thing; blocks for 5 s at most, for `reload`, which reads files, and for what is asked of
/// the store or simulated, which may be long at it, for 60 s.
///
/// # Errors
/// In words, saying what to do.
pub fn ask(path: &Path, op: &str) -> Result<Json, String> {
    request(path, &json!({ "op": op }))
}

/// As [`ask`], with a whole request.
///
/// # Errors
/// In words, saying what to do.
pub fn request(path: &Path, request: &Json) -> Result<Json, String> {
    use std::io::{BufRead, Write};
    let mut stream = connect_to(path)?;
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    let op = request.get("op").and_then(Json::as_str).unwrap_or_default();
    let long = op == "reload" || op == "gpio-pulse" || op.starts_with("store-");
    let patience = Duration::from_secs(if long { 60 } else { 5 });
    stream.set_read_timeout(Some(patience)).map_err(wrong)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(wrong)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).map_err(wrong)?;
    serde_json::from_str(&line).map_err(|error| format!("{}: the answer is no JSON: {error}", path.display()))
}

/// Asks for what has many answers; gives each but the first, which says what follows, to `take`, until that says false or
/// the gateway ends.
///
/// # Errors
/// In words.
pub fn stream(path: &Path, request: &Json, mut take: impl FnMut(&Json) -> bool) -> Result<(), String> {
    use std::io::{BufRead, Write};
    let mut stream = connect_to(path)?;
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    stream.write_all(format!("{request}\n").as_bytes()).map_err(wrong)?;
    for (number, line) in std::io::BufReader::new(stream).lines().enumerate() {
        let answer: Json = serde_json::from_str(&line.map_err(wrong)?)
            .map_err(|error| format!("{}: the answer is no JSON: {error}", path.display()))?;
        if number == 0 {
            if let Some(error) = answer.get("error").and_then(Json::as_str) {
                return Err(error.to_owned());
            }
        } else if !take(&answer) {
            return Ok(());
        }
    }
    Err("the gateway has ended the trace".to_owned())
}

fn connect_to(path: &Path) -> Result<std::os::unix::net::UnixStream, String> {
    std::os::unix::net::UnixStream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!(
                "{}: permission denied; ask as root or as a member of the service's group",
                path.display()
            )
        }
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!(
                "no gateway answers on {}; is it running? (fieldgate run, or systemctl status fieldgate)",
                path.display()
            )
        }
        _ => format!("{}: {error}", path.display()),
    })
}
