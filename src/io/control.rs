//! The control socket: one JSON request a line, one JSON answer a line. The command line speaks it, and so can
//! `socat`: `echo '{"op":"status"}' | socat - UNIX-CONNECT:/run/fieldgate/control.sock`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::change_control;
use super::operations::{self, Desk, Operation, Request, ports};
use super::reporter::Reporter;
use super::scan_control::{self, Wanted};

/// Clients served at once; more wait. Each costs a few KB.
const CLIENTS_MAX: usize = 16;

/// The longest request; a longer one ends the connection.
const REQUEST_BYTES_MAX: u64 = 4 * 1024;

/// A client that says nothing for this long is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);

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
pub async fn serve(socket: ControlSocket, desk: Desk) {
    let room = std::sync::Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let desk = desk.clone();
                tokio::task::spawn_local(async move {
                    // A client that goes away in the middle harms nobody.
                    let _ = converse(stream, &desk).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: UnixStream, desk: &Desk) -> io::Result<()> {
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
        if change_control::is_one(&line) {
            change_control::serve(line, &desk.reporter, &mut read, &mut write).await?;
            return Ok(());
        }
        match long(&line) {
            Some(Long::Trace(port)) => return trace(&port, &desk.reporter, &mut read, &mut write).await,
            Some(Long::Scan(wanted)) => {
                return scan_control::serve(wanted, &desk.reporter, &mut read, &mut write).await;
            }
            None => {}
        }
        let answer = answer(&line, desk).await;
        tell(&mut write, &answer).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

pub(super) async fn tell(write: &mut OwnedWriteHalf, answer: &Json) -> io::Result<()> {
    write.write_all(format!("{answer}\n").as_bytes()).await
}

/// A request that has many answers.
enum Long {
    /// To look on at this port.
    Trace(String),
    /// To scan.
    Scan(Wanted),
}

fn long(line: &[u8]) -> Option<Long> {
    let request: Request = serde_json::from_slice(line).ok()?;
    match request {
        Request { op: Operation::Trace, port: Some(port), scan: None, .. } => Some(Long::Trace(port)),
        Request { op: Operation::Scan, port: Some(port), scan: Some(arguments), .. } => {
            Some(Long::Scan(Wanted { port, arguments }))
        }
        _ => None,
    }
}

/// Tells what happens on a port until the client goes, or says anything more.
async fn trace(
    port: &str,
    reporter: &Reporter,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut looking = match ports::look_on(port, reporter) {
        Ok(looking) => looking,
        Err(failure) => return tell(write, &failure.message.put_into(json!({}))).await,
    };
    tell(write, &looking.about).await?;
    loop {
        tokio::select! {
            Some(piece) = looking.pieces.recv() => tell(write, &piece).await?,
            _ = read.read_u8() => return Ok(()),
        }
    }
}

async fn answer(line: &[u8], desk: &Desk) -> Json {
    let answer = match serde_json::from_slice::<Request>(line) {
        Ok(request) => desk.answer(request).await.map_err(|failure| failure.message.to_string()),
        Err(error) => Err(format!("{error}; expected {{\"op\": \"{}\"}}", operations::names())),
    };
    answer.unwrap_or_else(|error| json!({ "error": error }))
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
    let long = operations::OPERATIONS.iter().any(|row| row.name == op && row.long);
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
    Err("the gateway has ended it".to_owned())
}

/// Asks for what takes time, as a line of JSON; gives each progress to `take`, and returns the answer.
///
/// # Errors
/// In words.
pub fn converse_with(path: &Path, request: &str, mut take: impl FnMut(&Json)) -> Result<Json, String> {
    use std::io::{BufRead, Write};
    let mut stream = connect_to(path)?;
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    // Longer than any try of a config.
    stream.set_read_timeout(Some(Duration::from_secs(120))).map_err(wrong)?;
    stream.write_all(format!("{request}\n").as_bytes()).map_err(wrong)?;
    for line in std::io::BufReader::new(stream).lines() {
        let answer: Json = serde_json::from_str(&line.map_err(wrong)?)
            .map_err(|error| format!("{}: the answer is no JSON: {error}", path.display()))?;
        match answer.get("progress") {
            Some(progress) => take(progress),
            None => return Ok(answer),
        }
    }
    Err("the gateway has ended the conversation".to_owned())
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
