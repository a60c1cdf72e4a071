//! What a start, and `fieldgate store verify`, do in processes of their own: look at one database, or copy what can be
//! read of it. A line of JSON on standard output tells what came of it.

use std::path::Path;
use std::process::ExitCode;

use super::{DAMAGED, say};
use crate::io::store_json;
use crate::store::StoreError;
use crate::store::inspect::{self, Checked};

pub(super) fn verify_generation(path: &Path) -> Result<ExitCode, String> {
    tell(inspect::check_generation(path))
}

pub(super) fn verify_state(path: &Path) -> Result<ExitCode, String> {
    tell(inspect::check_state(path))
}

pub(super) fn salvage(generation: &Path, into: &Path) -> Result<ExitCode, String> {
    tell(inspect::salvage(generation, into))
}

pub(super) fn salvage_state(state: &Path, into: &Path) -> Result<ExitCode, String> {
    tell(inspect::salvage_state(state, into))
}

fn tell(checked: Result<Checked, StoreError>) -> Result<ExitCode, String> {
    let checked = checked.map_err(|error| error.to_string())?;
    say(store_json::checked(&checked));
    Ok(if checked.is_whole() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}
