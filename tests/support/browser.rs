//! Debian's Chromium, driven by the scripts of `tests/web`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::http::{Http, PASSWORD};
use super::{Gateway, Process, program};

/// A script ends within this on a slow, busy machine.
pub const SCRIPT_MAX: Duration = Duration::from_secs(180);

/// Runs a script of `tests/web` against a gateway's page; it must say that all is well. `more` is added to its settings. Gives what
/// it has said.
pub fn browse(script: &str, gateway: &Gateway, page: &Http, more: Json) -> String {
    finish(script, gateway, begin(script, gateway, page, more))
}

/// Starts a script.
pub fn begin(script: &str, gateway: &Gateway, page: &Http, more: Json) -> Process {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("node");
    assert!(
        packages.join("node_modules/playwright-core").exists(),
        "./tests/run (or tests/install-peers) makes it"
    );
    let mut settings = json!({
        "page": format!("https://127.0.0.1:{}/", page.port),
        "certificate": gateway.data_dir().join("web/certificate.pem"),
        "packages": packages,
        "chromium": program("chromium"),
        "password": PASSWORD,
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut command = Command::new("node");
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web").join(script))
        .arg(settings.to_string());
    Process::start(script, &mut command)
}

/// Waits until it says that all is well; what else it has said.
pub fn finish(script: &str, gateway: &Gateway, mut process: Process) -> String {
    let status = process.wait_end(SCRIPT_MAX);
    let text = process.text();
    assert!(
        status.success() && text.contains("all is well"),
        "{script} ends with {status}:\n{text}\n{}",
        gateway.log()
    );
    text
}
