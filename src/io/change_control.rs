//! The requests of the control socket that look at the config and change it: `{"op": "config-…", "config": {…}}`. What takes
//! time tells how it goes on, a line each with a `progress`; the last line is the answer.

use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::spawn_local;

use super::change::{How, Origin, PROGRESS_MAX, Proposal, Restore};
use super::operations::CONTROL_SOCKET;
use super::reporter::Reporter;
use crate::config::describe;
use crate::limits::CONFIG_REQUEST_BYTES_MAX;
use crate::secret::Secret;

/// What such a request begins with that is too long to be read as a whole before that is known.
const BEGINNINGS: [&[u8]; 2] = [br#"{"op":"config-"#, br#"{"config":"#];

/// One long request at a time is read.
static LONG: Semaphore = Semaphore::const_new(1);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    op: Operation,
    #[serde(default)]
    config: Arguments,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Operation {
    #[serde(rename = "config-get")]
    Get,
    #[serde(rename = "config-schema")]
    Schema,
    #[serde(rename = "config-history")]
    History,
    #[serde(rename = "config-pending")]
    Pending,
    #[serde(rename = "config-look")]
    Look,
    #[serde(rename = "config-probe")]
    Probe,
    #[serde(rename = "config-apply")]
    Apply,
    #[serde(rename = "config-confirm")]
    Confirm,
    #[serde(rename = "config-revert")]
    Revert,
    #[serde(rename = "config-backup")]
    Backup,
    #[serde(rename = "config-restore")]
    Restore,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Arguments {
    #[serde(flatten)]
    proposal: Proposal,
    /// Of `config-history` and `config-revert`: which.
    version: Option<u64>,
    /// Who asks, in that person's words; who is at the socket stands beside it.
    who: Option<String>,
    /// Why.
    note: Option<String>,
    /// Of `config-apply`: whether it is tried first. Default true.
    probe: Option<bool>,
    /// Of `config-apply`: whether it is made even if the try fails.
    force: bool,
    /// Of `config-restore`: the backup, as `config-backup` gives it.
    backup: Option<String>,
    /// Of `config-restore`: whether it is done; otherwise only told what it would change.
    apply: bool,
}

/// Whether a line, or its beginning, is such a request.
pub(super) fn is_one(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Any {
        op: String,
    }
    if line.last() == Some(&b'\n') {
        return serde_json::from_slice::<Any>(line).is_ok_and(|any| any.op.starts_with("config-"));
    }
    BEGINNINGS.iter().any(|beginning| {
        let compact = line.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        compact.take(beginning.len()).eq(beginning.iter().copied())
    })
}

/// Reads the rest of the request, and answers.
pub(super) async fn serve(
    line: Vec<u8>,
    reporter: &Reporter,
    read: &mut BufReader<OwnedReadHalf>,
    write: &mut OwnedWriteHalf,
) -> std::io::Result<()> {
    let by = peer(read);
    let mut line = line;
    let _long = if line.last() == Some(&b'\n') {
        None
    } else {
        let Ok(permit) = LONG.acquire().await else { return Ok(()) };
        let mut rest = read.take(CONFIG_REQUEST_BYTES_MAX);
        rest.read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            let error =
                format!("a request has at most {CONFIG_REQUEST_BYTES_MAX} bytes, and ends with its line");
            return tell(write, &json!({ "error": error })).await;
        }
        Some(permit)
    };
    let request: Request = match serde_json::from_slice(&line) {
        Ok(request) => request,
        Err(error) => {
            let error = format!(
                "{error}; expected {{\"op\": \"config-get|schema|history|pending|look|probe|apply|confirm|revert|backup|restore\", \"config\": {{…}}}}"
            );
            return tell(write, &json!({ "error": error })).await;
        }
    };
    drop(line);
    let (progress, mut told) = mpsc::channel(PROGRESS_MAX);
    let Some(answer) = begin(request, by, None, reporter, progress) else {
        return tell(write, &json!({"error": "this gateway has no config file"})).await;
    };
    // By itself: what has begun to be written is finished, whoever listens.
    let mut answer = spawn_local(answer);
    loop {
        tokio::select! {
            biased;
            Some(piece) = told.recv() => tell(write, &json!({ "progress": piece })).await?,
            answer = &mut answer => {
                let answer = answer.unwrap_or_else(|_| json!({"error": "cut short by a fault of this program"}));
                return tell(write, &answer).await;
            }
            // Gone, or impatient: a try is called off.
            _ = read.read_u8() => return Ok(()),
        }
    }
}

/// What comes with a request from elsewhere than the control socket.
#[derive(Debug)]
pub(super) struct Asked {
    /// Where it came from; who it was may stand in the request.
    pub(super) by: Origin,
    /// Of `config-backup` and `config-restore`: no text of the request has it.
    pub(super) passphrase: Option<Secret>,
    /// Where the asker hears how it goes on, if he wants to.
    pub(super) progress: Option<mpsc::Sender<Json>>,
}

/// Answers a request of the page, or of a client.
pub(super) async fn answer(op: &str, config: Option<Json>, asked: Asked, reporter: &Reporter) -> Json {
    let config = config.unwrap_or_else(|| json!({}));
    let request: Request = match serde_json::from_value(json!({"op": op, "config": config})) {
        Ok(request) => request,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    // Held: a closed one would call a try off.
    let (unheard, _told) = mpsc::channel(PROGRESS_MAX);
    let progress = asked.progress.unwrap_or(unheard);
    let Some(answer) = begin(request, asked.by, asked.passphrase, reporter, progress) else {
        return json!({"error": "this gateway has no config file"});
    };
    spawn_local(answer).await.unwrap_or_else(|_| json!({"error": "cut short by a fault of this program"}))
}

type Answer = std::pin::Pin<Box<dyn Future<Output = Json>>>;

fn begin(
    request: Request,
    by: Origin,
    passphrase: Option<Secret>,
    reporter: &Reporter,
    progress: mpsc::Sender<Json>,
) -> Option<Answer> {
    let desk = reporter.changes.get()?.clone();
    let Arguments { proposal, version, who, note, probe, force, backup, apply } = request.config;
    let origin = Origin { who: who.map(|who| plain(&who)), ..by };
    let note = note.map(|note| plain(&note));
    let how = How { origin, note, probe: probe.unwrap_or(true), force };
    Some(match request.op {
        Operation::Get => Box::pin(async move { desk.state().await }),
        Operation::Schema => Box::pin(async { describe::schema() }),
        Operation::History => Box::pin(async move { desk.history(version).await }),
        Operation::Pending => Box::pin(async move { json!({"pending": desk.pending()}) }),
        Operation::Look => Box::pin(async move { desk.look(proposal).await }),
        Operation::Probe => Box::pin(async move { desk.probe(proposal, &progress).await }),
        Operation::Apply => Box::pin(desk.apply(proposal, how, progress)),
        Operation::Confirm => Box::pin(async move { desk.confirm(&how.origin).await }),
        Operation::Revert => Box::pin(desk.revert(version, how, progress)),
        Operation::Backup => Box::pin(async move { desk.backup(passphrase, &how.origin).await }),
        Operation::Restore => {
            let restore = if apply { Restore::Apply } else { Restore::Look };
            Box::pin(desk.restore(backup.unwrap_or_default(), passphrase, restore, how))
        }
    })
}

/// A person's words for the history: one line, not endless.
fn plain(words: &str) -> String {
    const CHARS_MAX: usize = 200;
    words.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}

/// Whose process is at the other end.
fn peer(read: &BufReader<OwnedReadHalf>) -> Origin {
    let (way, address) = match read.get_ref().as_ref().peer_cred() {
        Ok(peer) => (format!("uid {}", peer.uid()), format!("{CONTROL_SOCKET}, uid {}", peer.uid())),
        Err(_) => (format!("the {CONTROL_SOCKET}"), CONTROL_SOCKET.to_owned()),
    };
    Origin { who: None, way, address }
}

async fn tell(write: &mut OwnedWriteHalf, answer: &Json) -> std::io::Result<()> {
    write.write_all(format!("{answer}\n").as_bytes()).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_about_the_config_is_known_by_its_beginning() {
        for (line, expected) in [
            ("{\"op\":\"config-get\"}\n", true),
            ("{\"x\":1, \"op\":\"config-get\"}\n", true),
            ("{\"config\":{},\"op\":\"status\"}\n", false),
            (r#"{"config": {"text": "[gateway"#, true),
            (r#"{ "op" : "config-apply", "config": {"text": "#, true),
            (r#"{"op":"status"}"#, false),
            (r#"{"op":"confi"#, false),
            ("", false),
        ] {
            assert_eq!(is_one(line.as_bytes()), expected, "{line}");
        }
    }
}
