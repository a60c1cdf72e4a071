//! The control socket: one JSON request a line, one JSON answer a line. The command line speaks it, and so can
//! `socat`: `echo '{"op":"status"}' | socat - UNIX-CONNECT:/run/fieldgate/control.sock`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::reporter::Reporter;

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
}

/// What can be asked.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Status,
    Health,
    Readings,
    Backlog,
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
pub async fn serve(socket: ControlSocket, reporter: Rc<Reporter>) {
    let room = std::sync::Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let reporter = reporter.clone();
                tokio::task::spawn_local(async move {
                    // A client that goes away in the middle harms nobody.
                    let _ = converse(stream, &reporter).await;
                    drop(permit);
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: UnixStream, reporter: &Reporter) -> io::Result<()> {
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
        let mut answer = answer(&line, reporter).await.to_string();
        answer.push('\n');
        write.write_all(answer.as_bytes()).await?;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], reporter: &Reporter) -> Json {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => {
            return json!({"error": format!("{error}; expected {{\"op\": \"status|health|readings|backlog\"}}")});
        }
    };
    let snapshot = reporter.snapshot().await;
    match request.op {
        Operation::Health => snapshot.health(),
        Operation::Readings => snapshot.readings(),
        Operation::Backlog => snapshot.backlog(),
        Operation::Status => {
            let mut status = snapshot.health();
            if let Json::Object(status) = &mut status {
                status.insert("readings".into(), snapshot.readings());
            }
            status
        }
    }
}

/// Asks a running gateway one thing; blocks for 5 s at most.
///
/// # Errors
/// In words, saying what to do.
pub fn ask(path: &Path, op: &str) -> Result<Json, String> {
    use std::io::{BufRead, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(|error| match error.kind() {
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
    })?;
    let wrong = |error: io::Error| format!("{}: {error}", path.display());
    stream.set_read_timeout(Some(Duration::from_secs(5))).map_err(wrong)?;
    stream.write_all(format!("{}\n", json!({ "op": op })).as_bytes()).map_err(wrong)?;
    let mut line = String::new();
    std::io::BufReader::new(stream).read_line(&mut line).map_err(wrong)?;
    serde_json::from_str(&line).map_err(|error| format!("{}: the answer is no JSON: {error}", path.display()))
}
