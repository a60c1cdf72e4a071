//! `-o FILE`: options of `pub` and `sub` in a file, one a line, as mosquitto_pub's -o takes them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::io::files;

/// A longer file of options is a mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Puts the options of the file before those of the command line, which win where an option may stand only once.
///
/// # Errors
/// In words, naming the file.
pub(in crate::cli) fn expand(arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let is_client = arguments.get(1).is_some_and(|command| command == "pub" || command == "sub");
    let option = arguments.iter().position(|argument| argument == "-o" || argument == "--options");
    let (true, Some(at)) = (is_client, option) else { return Ok(arguments) };
    // Without a file behind it, the command says what is missing.
    let Some(file) = arguments.get(at.saturating_add(1)) else { return Ok(arguments) };
    let mut expanded: Vec<OsString> = arguments.iter().take(2).cloned().collect();
    expanded.extend(read(Path::new(file))?);
    let rest = arguments.iter().enumerate().skip(2);
    expanded
        .extend(rest.filter(|(n, _)| *n != at && *n != at.saturating_add(1)).map(|(_, word)| word.clone()));
    Ok(expanded)
}

fn read(path: &Path) -> Result<Vec<OsString>, String> {
    let name = path.display();
    let bytes = files::read_limited(path, FILE_BYTES_MAX).map_err(|error| format!("{name}: {error}"))?;
    let mut words = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if !line.starts_with(b"-") {
            return Err(format!("{name}, line {}: an option begins with -", number.saturating_add(1)));
        }
        // Whatever follows an option is its value, with the blanks within; only a property has several.
        let parts_max = if line.starts_with(b"-D") || line.starts_with(b"--property") { 5 } else { 2 };
        let parts = line.splitn(parts_max, u8::is_ascii_whitespace);
        words.extend(parts.map(|part| OsString::from_vec(part.trim_ascii().to_vec())));
    }
    match words.iter().any(|word| word == OsStr::from_bytes(b"-o") || word == "--options") {
        true => Err(format!("{name}: a file of options can't name another one")),
        false => Ok(words),
    }
}
