//! The claim: where the code comes from, where it is shown, the route that takes it, and the label.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::StatusCode;
use qrcodegen::{QrCode, QrCodeEcc};

use super::accounts;
use super::call::Call;
use super::reply::{Refusal, Reply, done};
use crate::config::Web;
use crate::events::Event;
use crate::io::lock::Locked;
use crate::io::{files, passwords};
use crate::people::Refused;
use crate::people::claim::{check_code, make_code};
use crate::said;

/// The account that the claim makes where none is named.
const FIRST_NAME: &str = "admin";

/// A systemd credential and a file on the boot partition that may hold the code, looked for where the config names none.
const PRESET: &[&str] = &["/boot/firmware/fieldgate-claim.txt", "/boot/fieldgate-claim.txt"];
const CREDENTIAL: &str = "fieldgate-claim";

/// The code of an unclaimed gateway: set beforehand, kept from the start before, or new.
///
/// # Errors
/// In words, never with the code.
pub fn code(config: &Web, folder: &Path) -> Result<String, String> {
    if let Some(code) = preset(config)? {
        check_code(&code)?;
        return Ok(code);
    }
    let kept = folder.join("claim-code");
    files::rewrite(&kept, |old| {
        let old = old.and_then(|old| String::from_utf8(old).ok()).map(|old| old.trim().to_owned());
        let code = match old.filter(|old| check_code(old).is_ok()) {
            Some(old) => old,
            None => make_code(&passwords::random()?),
        };
        Ok((format!("{code}\n").into_bytes(), code))
    })
}

fn preset(config: &Web) -> Result<Option<String>, String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if let Some(reference) = &config.claim_code {
        return files::secret(reference).map(|secret| Some(text(secret.expose())));
    }
    let credential =
        std::env::var_os("CREDENTIALS_DIRECTORY").map(|folder| PathBuf::from(folder).join(CREDENTIAL));
    let mut places = credential.into_iter().chain(PRESET.iter().map(PathBuf::from));
    Ok(places.find_map(|place| files::read_limited(&place, 256).ok()).map(|bytes| text(&bytes)))
}

/// Shows the code to whoever has the console, or is root: in words, and in a file. Where the file is.
///
/// # Errors
/// If the file can't be written; then the words are all there is.
pub fn show(code: &str, folder: &Path) -> Result<PathBuf, String> {
    let file = folder.join("claim");
    files::rewrite(&file, |_| Ok((format!("{code}\n").into_bytes(), ())))?;
    Ok(file)
}

/// Says the code on standard error, which is the console and the journal, and not in the log, which may go anywhere.
pub fn say(code: &str, port: u16) {
    use std::io::Write;
    // Whoever has closed standard error has the file.
    let _ = writeln!(
        std::io::stderr(),
        "fieldgate: nobody has claimed this gateway yet. Open https://<its address>:{port}/ and enter the claim code {code}"
    );
}

/// Claims the gateway.
pub(super) async fn claim(call: Call) -> Result<Reply, Refusal> {
    let web = call.web.clone();
    let name =
        call.optional_text("name")?.map(str::trim).filter(|name| !name.is_empty()).unwrap_or(FIRST_NAME);
    let (code, password) = (call.text("code")?, call.text("password")?);
    let address = call.peer.address;
    let checked = web.people.locked().check_claim(web.clock.now().mono, address, code);
    match checked {
        Ok(()) => {}
        Err(Refused::Closed) => {
            let words = said!(
                "claim_over",
                "the time for claiming is over; `fieldgate claim` on the gateway, or a restart, opens it again"
            );
            return Err(Refusal::new(StatusCode::FORBIDDEN, "closed", words));
        }
        Err(Refused::Wrong) => {
            web.note(Event {
                kind: "claim_failed",
                who: None,
                address: Some(address.to_string()),
                detail: String::new(),
            });
            return Err(Refusal::field("code", said!("wrong_code", "code: this isn't the gateway's code")));
        }
        Err(Refused::Later(wait)) => return Err(later(wait)),
    }
    crate::people::roll::check_name(name).map_err(|error| Refusal::field("name", error))?;
    let hash = accounts::new_hash(&web, password, name).await?;
    accounts::add_first(&web, name, hash.clone())?;
    forget(&web);
    web.note(Event {
        kind: "claimed",
        who: Some(name.to_owned()),
        address: Some(address.to_string()),
        detail: String::new(),
    });
    Ok(accounts::begin(&call, name, &hash)?.unwrap_or_else(done))
}

/// Removes the files with the code, which opens nothing any more.
pub(super) fn forget(web: &super::Web) {
    if web.people.locked().is_unclaimed() {
        return;
    }
    for file in web.claim_file.iter().cloned().chain([web.folder.join("claim-code")]) {
        // It may be gone already, or never have been there.
        let _ = std::fs::remove_file(file);
    }
}

fn later(wait: Duration) -> Refusal {
    Refusal::too_many(
        said!(
            "too_many_codes",
            "too many wrong codes; try again in {seconds} s",
            seconds = wait.as_secs().max(1)
        ),
        wait,
    )
}

/// The code as a picture for a label, drawn with characters for a terminal. `None` if it is too long for one.
#[must_use]
pub fn picture_of_characters(text: &str) -> Option<String> {
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let mut picture = String::new();
    // Two rows a line; a white frame of two, without which no camera finds it.
    let edge = code.size() + 2;
    for y in (-2..edge).step_by(2) {
        for x in -2..edge {
            picture.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (true, true) => ' ',
                (true, false) => '▄',
                (false, true) => '▀',
                (false, false) => '█',
            });
        }
        picture.push('\n');
    }
    Some(picture)
}

/// The same as SVG, with the words below.
#[must_use]
pub fn picture_as_svg(text: &str, words: &[&str]) -> Option<String> {
    use std::fmt::Write;
    let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
    let size = code.size() + 8;
    let height = size + 4 * i32::try_from(words.len()).ok()?;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {height}\"><rect width=\"100%\" height=\"100%\" \
         fill=\"#fff\"/><path d=\""
    );
    for y in 0..code.size() {
        for x in 0..code.size() {
            if code.get_module(x, y) {
                let _ = write!(svg, "M{} {}h1v1h-1z", x + 4, y + 4);
            }
        }
    }
    svg.push_str("\"/>");
    for (line, words) in words.iter().enumerate() {
        let y = size + 4 * i32::try_from(line).ok()?;
        let words: String = words.chars().filter(|c| !matches!(c, '<' | '>' | '&')).collect();
        let _ =
            write!(svg, "<text x=\"4\" y=\"{y}\" font-family=\"monospace\" font-size=\"2.4\">{words}</text>");
    }
    svg.push_str("</svg>\n");
    Some(svg)
}
