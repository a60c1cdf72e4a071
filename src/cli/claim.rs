//! `fieldgate claim`: tells the claim code of a running gateway that nobody has claimed yet, opens its window once more,
//! and prints a label.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::running::Running;
use super::{asked, tell};
use crate::config;
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
    /// Print only where the page is, and open nothing: as the running gateway says, else as its config does.
    #[arg(long, conflicts_with_all = ["label", "svg"])]
    address: bool,
    /// The name or address under which the page is reached; by default this machine's name and ".local".
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
}

/// Exit code 0 if it can be claimed, 1 otherwise.
pub fn execute(args: &Args) -> ExitCode {
    tell(run(args))
}

fn run(args: &Args) -> Result<String, String> {
    if args.address {
        return address(args);
    }
    let answer = asked(&args.running, &json!({"op": "claim"}))?;
    if args.running.json {
        return Ok(answer.to_string());
    }
    let text = |key: &str| answer.get(key).and_then(Json::as_str).unwrap_or_default();
    let (code, gateway) = (text("code"), text("gateway"));
    let address = place(args.host.clone(), None, text("address"));
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

/// Where the page of a gateway is, whether it runs or not.
fn address(args: &Args) -> Result<String, String> {
    let status = asked(&args.running, &json!({"op": "status"})).ok();
    let web = status.as_ref().and_then(|status| status.get("web"));
    let text = |key: &str| web?.get(key)?.as_str().map(str::to_owned);
    let (name, bound) = (text("local_name"), text("address"));
    let bound = match bound {
        Some(bound) => bound,
        None => config::web_address(&args.running.sources()?),
    };
    Ok(place(args.host.clone(), name, &bound))
}

/// Who is bound to one address is reached there alone; anybody else under the name that is given, the one in mDNS, or this
/// machine's.
fn place(host: Option<String>, local_name: Option<String>, bound: &str) -> String {
    let bound: Option<SocketAddr> = bound.parse().ok();
    let only = bound.map(|bound| bound.ip()).filter(|ip| !ip.is_unspecified());
    let only = only.map(|ip| if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() });
    let usual = || format!("{}.local", own_names::host_name().to_ascii_lowercase());
    let host = host.or(only).or(local_name).unwrap_or_else(usual);
    format!("https://{host}:{}/", bound.map_or(8443, |bound| bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_where_it_is_bound_or_under_the_name_that_neighbours_know() {
        let named = Some("gw-7.local".to_owned());
        for (bound, expected) in [
            ("[::]:8443", "https://gw-7.local:8443/"),
            ("0.0.0.0:443", "https://gw-7.local:443/"),
            ("192.168.4.7:9443", "https://192.168.4.7:9443/"),
            ("[fd00::7]:9443", "https://[fd00::7]:9443/"),
        ] {
            assert_eq!(place(None, named.clone(), bound), expected);
        }
        assert_eq!(place(Some("a.example".into()), named, "[::]:1"), "https://a.example:1/");
        assert!(place(None, None, "[::]:1").ends_with(".local:1/"));
    }
}
