//! What came of the provisioning file: noted in the data directory by `fieldgate provision`, told by the gateway.

use std::path::Path;

use serde_json::Value as Json;

use super::files;

/// The note.
pub const NAME: &str = "provisioned.json";

/// A longer note is not read: nobody wrote it.
const BYTES_MAX: u64 = 64 * 1024;

/// The note, if there is one that can be read.
#[must_use]
pub fn note(data_dir: &Path) -> Option<Json> {
    let bytes = files::read_limited(&data_dir.join(NAME), BYTES_MAX).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether a file with this hash was taken over already: one on a partition that can't be written stays where it is.
#[must_use]
pub fn is_taken(data_dir: &Path, sha256: &str) -> bool {
    let is = |note: Json| {
        note.get("sha256").and_then(Json::as_str) == Some(sha256)
            && note.get("error").is_some_and(Json::is_null)
    };
    note(data_dir).is_some_and(is)
}

/// In words, for the status topic: since when, and from where, or why not.
#[must_use]
pub fn words(note: &Json) -> String {
    let text = |key: &str| note.get(key).and_then(Json::as_str);
    let file = text("file").unwrap_or_default();
    match text("error") {
        None => format!("provisioned {} from {file}", text("time").unwrap_or_default()),
        Some(error) => format!("provisioning from {file} failed: {error}"),
    }
}
