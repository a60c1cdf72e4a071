//! `fieldgate claim`: tells the claim code of a running gateway that nobody has claimed yet, opens its window once more,
//! and prints a label.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::running::Running;
use super::{asked, tell};
use crate::io::own_names;
use crate::web::claim::{picture_as_svg, picture_of_characters};

/// Arguments of `fieldgate claim`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    running: Running,
    /// Print a label: the page's address and the code, in words and as a picture for a phone's camera.
    #[arg(long)]
    label: bool,
    /// Write the label as SVG into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The name or address under which the page is reached; by default this machine's name and ".local".
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

/// Exit code 0 if it can be claimed, 1 otherwise.
pub fn execute(args: &Args) -> ExitCode {
    tell(run(args))
}

fn run(args: &Args) -> Result<String, String> {
    let answer = asked(&args.running, &json!({"op": "claim"}))?;
    if args.running.json {
        return Ok(answer.to_string());
    }
    let text = |key: &str| answer.get(key).and_then(Json::as_str).unwrap_or_default();
    let (code, gateway) = (text("code"), text("gateway"));
    let port = text("address").rsplit(':').next().unwrap_or("8443").to_owned();
    let host =
        args.host.clone().unwrap_or_else(|| format!("{}.local", own_names::host_name().to_ascii_lowercase()));
    let address = format!("https://{host}:{port}/");
    // Behind the #, which no browser sends along.
    let link = format!("{address}setup#code={code}");
    if let Some(file) = &args.svg {
        let svg =
            picture_as_svg(&link, &[gateway, &address, code]).ok_or("the address is too long for a label")?;
        std::fs::write(file, svg).map_err(|error| format!("can't write {}: {error}", file.display()))?;
    }
    let minutes = answer.get("open_for_s").and_then(Json::as_u64).unwrap_or_default() / 60;
    let words = format!("{gateway}\n{address}\nclaim code {code}");
    if args.label {
        let picture = picture_of_characters(&link).ok_or("the address is too long for a label")?;
        return Ok(format!("{picture}{words}"));
    }
    Ok(format!("{words}\nIt can be claimed for {minutes} min from now."))
}
