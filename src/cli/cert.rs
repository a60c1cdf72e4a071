//! `fieldgate cert`: a small certificate authority for the devices and the listeners of one gateway. What it knows is in
//! one folder; a gateway that runs takes a new certificate and a new revocation list within seconds.

mod authority;
mod index;
mod names;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use authority::{Authority, Files, Wanted};
use index::{Entry, Kind, date};

use super::{DEFAULT_CONFIG, check, complain, say};
use crate::config::TimeTrust;
use crate::io::clock::Clock;
use crate::store;

/// Days that a listener's certificate lasts unless another number is given. Some systems take no longer ones.
const LISTENER_DAYS: u32 = 825;

/// Days that a device's certificate lasts unless another number is given: it hangs on a wall, and can be revoked.
const DEVICE_DAYS: u32 = 3_650;

/// 2026-11-01: no clock that says less is right, as this program is younger.
const EARLIEST_UNIX_S: i64 = 1_793_491_200;

/// Arguments of `fieldgate cert`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// The authority's folder. Default: `tls` in the data directory of the config.
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The config file that names the data directory.
    #[arg(short, long, global = true, value_name = "FILE", conflicts_with = "dir")]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make the authority.
    Init {
        /// What it is called. Default: after the gateway's id or this machine.
        #[arg(long)]
        name: Option<String>,
    },
    /// Issue the certificate of the gateway's own listeners; one that is there is replaced.
    Listener {
        /// A host name or an address that clients use; may stand several times. Default: all that this machine has.
        #[arg(long = "name", value_name = "HOST|IP")]
        names: Vec<String>,
        /// How long it lasts.
        #[arg(long, default_value_t = LISTENER_DAYS, value_parser = clap::value_parser!(u32).range(1..=7_305))]
        days: u32,
    },
    /// Issue a device's certificate. The device's name becomes its user name.
    Device {
        /// The device's name.
        name: String,
        /// How long it lasts.
        #[arg(long, default_value_t = DEVICE_DAYS, value_parser = clap::value_parser!(u32).range(1..=7_305))]
        days: u32,
    },
    /// Show what was issued.
    List,
    /// Revoke a certificate, or all of one name. Whoever is connected with it is disconnected.
    Revoke {
        /// A device's name, or a serial number.
        #[arg(value_name = "NAME|SERIAL")]
        which: String,
    },
    /// Issue a certificate anew, with a new key. The old one stays valid until it is revoked or expires.
    Renew {
        /// A device's name, or `listener`.
        name: String,
    },
}

/// Exit code 0 if it is done, 1 if it isn't.
pub fn execute(args: &Args) -> ExitCode {
    match run(args) {
        Ok(text) => {
            say(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    let place = place(args)?;
    let clock = Clock::new(TimeTrust::Auto).now().wall.as_millis().div_euclid(1_000);
    let now = counted_from(clock);
    if now != clock {
        complain(format_args!(
            "this machine's clock says {}, which can't be; dates count from {}",
            date(clock),
            date(now)
        ));
    }
    let open = || Authority::open(&place.dir, now);
    match &args.action {
        Action::Init { name } => {
            let name = name.clone().unwrap_or_else(|| format!("fieldgate {}", place.gateway));
            Authority::create(&place.dir, &name, now).map(|authority| told_init(&authority, &name))
        }
        Action::Listener { names, days } => listener(open()?, names, *days, now),
        Action::Device { name, days } => {
            names::device(name)?;
            device(open()?, name, *days, now)
        }
        Action::List => open().map(|authority| list(&authority, now)),
        Action::Revoke { which } => revoke(open()?, which, now),
        Action::Renew { name } => renew(open()?, name, now),
    }
}

/// From when dates count, in seconds since 1970: from now, unless the clock can't be right. A certificate that ends
/// some years after 1970 would be of no use once the clock is set.
fn counted_from(clock: i64) -> i64 {
    clock.max(EARLIEST_UNIX_S)
}

/// Where the authority is, and whose it is.
struct Place {
    dir: PathBuf,
    gateway: String,
}

fn place(args: &Args) -> Result<Place, String> {
    if let Some(dir) = &args.dir {
        return Ok(Place { dir: dir.clone(), gateway: names::host_name() });
    }
    let default = Path::new(DEFAULT_CONFIG);
    let path = args.config.as_deref().unwrap_or(default);
    if args.config.is_none() && !default.exists() {
        return Err(format!(
            "there is no {DEFAULT_CONFIG}; say where the authority is with --dir, or --config"
        ));
    }
    let gateway = check::load(path)?.gateway;
    Ok(Place { dir: gateway.data_dir.join(store::CERTIFICATES), gateway: gateway.id })
}

fn told_init(authority: &Authority, name: &str) -> String {
    format!(
        "The authority {name:?} is made; it lasts until {}.\n\
         certificate  {}\n\
         key          {}\n\
         SHA-256      {}\n\
         Whoever has the key can make devices: keep a copy where nobody else gets it.\n\
         Next: `fieldgate cert listener`, then `fieldgate cert device NAME` for each device.",
        date(authority.expires_unix_s),
        authority.path("ca.pem").display(),
        authority.path("ca.key").display(),
        authority.fingerprint(),
    )
}

fn listener(mut authority: Authority, given: &[String], days: u32, now: i64) -> Result<String, String> {
    let all = if given.is_empty() { names::own() } else { names::listener(given)? };
    let name = names::common(all.first().map_or("listener", String::as_str));
    let wanted = Wanted { kind: Kind::Listener, name, names: all, days };
    let (entry, files) = authority.issue(wanted, now)?;
    let quoted = |path: &Path| toml_text(&path.display().to_string());
    Ok(format!(
        "{}for          {}\n\n\
         Put into the config:\n\n\
         [[broker.listener]]\n\
         name = \"devices\"\n\
         bind = \"0.0.0.0:8883\"\n\n\
         [broker.listener.tls]\n\
         cert = {}\n\
         key = {}\n\
         client_ca = {}\n\
         crl = {}\n\
         user_from_cert = \"cn\"\n",
        told(&entry, &files),
        entry.names.join(" "),
        quoted(&files.certificate),
        quoted(&files.key),
        quoted(&authority.path("ca.pem")),
        quoted(&authority.path("crl.pem")),
    ))
}

fn device(mut authority: Authority, name: &str, days: u32, now: i64) -> Result<String, String> {
    if let Some(good) = authority.index.good(Kind::Device, name, now) {
        return Err(format!(
            "{name:?} has a certificate until {}; `fieldgate cert renew` makes another, `fieldgate cert revoke` takes \
             it away",
            date(good.expires_unix_s)
        ));
    }
    let wanted = Wanted { kind: Kind::Device, name: name.to_owned(), names: Vec::new(), days };
    let (entry, files) = authority.issue(wanted, now)?;
    Ok(told(&entry, &files) + &told_device(&authority, &files, now))
}

fn renew(mut authority: Authority, name: &str, now: i64) -> Result<String, String> {
    let newest =
        |kind| authority.index.entries().iter().rev().find(|entry| entry.kind == kind && is(entry, name));
    let old = newest(Kind::Device).or_else(|| newest(Kind::Listener)).cloned();
    let old =
        old.ok_or_else(|| format!("nothing was issued for {name:?}, so that nothing can be renewed"))?;
    if old.revoked_unix_s.is_some() {
        return Err(format!(
            "the certificate of {name:?} was revoked; `fieldgate cert {} …` issues one anew",
            old.kind.as_str()
        ));
    }
    let wanted = Wanted { kind: old.kind, name: old.name.clone(), names: old.names.clone(), days: old.days };
    let (entry, files) = authority.issue(wanted, now)?;
    let mut text = told(&entry, &files);
    if old.is_good(now) {
        text += &format!(
            "The one before it is valid until {}; when it is no longer used: fieldgate cert revoke {}\n",
            date(old.expires_unix_s),
            old.serial
        );
    }
    if entry.kind == Kind::Device {
        text += &told_device(&authority, &files, now);
    }
    Ok(text)
}

/// Whether `renew` means this one: there is one listener, whatever the first of its names is.
fn is(entry: &Entry, name: &str) -> bool {
    entry.name == name || (entry.kind == Kind::Listener && name == Kind::Listener.as_str())
}

fn revoke(mut authority: Authority, which: &str, now: i64) -> Result<String, String> {
    let found: Vec<Entry> = authority.index.find(which)?.into_iter().cloned().collect();
    let serials: Vec<String> = found.iter().map(|entry| entry.serial.clone()).collect();
    let count = authority.revoke(&serials, now)?;
    let list = authority.path("crl.pem");
    let done = match count {
        0 => "was revoked before".to_owned(),
        1 => "is revoked".to_owned(),
        more => format!("is revoked, {more} certificates"),
    };
    let name = found.first().map_or(which, |entry| &*entry.name);
    if found.iter().any(|entry| entry.kind == Kind::Listener) {
        return Ok(format!(
            "{name:?} {done}.\nThe revocation list is {}; clients that have it refuse the listener's certificate.",
            list.display()
        ));
    }
    Ok(format!(
        "{name:?} {done}.\nThe revocation list is {}; a gateway that runs with it refuses the certificate within \
         seconds, and disconnects whoever uses it.",
        list.display()
    ))
}

fn list(authority: &Authority, now: i64) -> String {
    let mut text =
        format!("authority until {}, {}\n", date(authority.expires_unix_s), authority.path("").display());
    if authority.index.entries().is_empty() {
        return text + "nothing was issued yet";
    }
    text += &format!("{:<32}  {:<8}  {:<20}  {:<10}  {:>7}\n", "serial", "kind", "name", "issued", "expires");
    for entry in authority.index.entries() {
        let state = match entry.revoked_unix_s {
            Some(at) => format!("  revoked {}", date(at)),
            None if !authority.files(entry.kind, &entry.name).certificate.exists() => {
                "  not in the folder".into()
            }
            None => String::new(),
        };
        let left = match entry.days_left(now) {
            left @ 0.. => format!("{left} d"),
            _ => "expired".to_owned(),
        };
        text += &format!(
            "{:<32}  {:<8}  {:<20}  {:<10}  {left:>7}{state}\n",
            entry.serial,
            entry.kind.as_str(),
            entry.name,
            date(entry.issued_unix_s)
        );
    }
    text
}

fn told(entry: &Entry, files: &Files) -> String {
    format!(
        "{} {:?}: the certificate lasts until {}.\n\
         certificate  {}\n\
         key          {}\n\
         serial       {}\n\
         SHA-256      {}\n",
        entry.kind.as_str(),
        entry.name,
        date(entry.expires_unix_s),
        files.certificate.display(),
        files.key.display(),
        entry.serial,
        entry.fingerprint,
    )
}

/// What the device needs, and how to try it.
fn told_device(authority: &Authority, files: &Files, now: i64) -> String {
    let newest = authority.index.entries().iter().rev().find(|entry| entry.kind == Kind::Listener);
    let Some(listener) = newest.filter(|entry| entry.is_good(now)) else {
        return format!(
            "authority    {}\nThe listener has no certificate yet: `fieldgate cert listener`.\n",
            authority.path("ca.pem").display()
        );
    };
    let quoted = |path: &Path| shell_text(&path.display().to_string());
    format!(
        "authority    {}\nThe device needs these three files. To try them:\n\n\
         mosquitto_pub -h {} -p 8883 --cafile {} --cert {} --key {} -t test -m hello -q 1\n",
        authority.path("ca.pem").display(),
        listener.name,
        quoted(&authority.path("ca.pem")),
        quoted(&files.certificate),
        quoted(&files.key),
    )
}

/// As a basic string of TOML, whose escapes are those of JSON.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// As one word of a shell.
fn shell_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_the_shell_and_one_string_for_the_config() {
        for (text, shell) in [
            ("/var/lib/tls/plc-7.pem", "/var/lib/tls/plc-7.pem"),
            ("/a b", "'/a b'"),
            ("/it's", "'/it'\\''s'"),
            ("", "''"),
            ("$(x)", "'$(x)'"),
        ] {
            assert_eq!(shell_text(text), shell);
            let document = format!("x = {}", toml_text(text));
            let table: toml::Table = toml::from_str(&document).unwrap();
            assert_eq!(table["x"].as_str(), Some(text));
        }
        assert_eq!(toml_text("a\"\\\n"), "\"a\\\"\\\\\\n\"");
    }

    #[test]
    fn dates_never_count_from_before_this_program_was_made() {
        assert_eq!(date(counted_from(0)), "2026-11-01");
        assert_eq!(date(counted_from(-1)), "2026-11-01");
        assert_eq!(counted_from(1_795_186_265), 1_795_186_265);
    }
}
