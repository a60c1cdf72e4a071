//! A broker to measure: where it is, how one gets in, and which process it is.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::cli::client::trust::TlsOptions;
use crate::io::{files, tls};
use crate::mqtt::Version;
use crate::secret::{Secret, SecretRef};

/// An address gets this long to say whether somebody listens there.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// A broker.
#[derive(Debug)]
pub(super) struct Target {
    /// As it was named.
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) tls: Option<tls::Client>,
    pub(super) login: Option<(String, Option<Secret>)>,
    pub(super) version: Version,
    /// The process, where its cost is to be measured.
    pub(super) pid: Option<u32>,
}

/// How one gets in, the same for all.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Entry {
    /// The user name.
    #[arg(short, long, value_name = "NAME")]
    username: Option<String>,
    /// Where the password is: file:PATH, env:NAME or credential:NAME.
    #[arg(long, value_name = "WHERE", value_parser = crate::cli::client::options::secret_reference, requires = "username")]
    pw_from: Option<SecretRef>,
    /// Speak MQTT 5 instead of 3.1.1.
    #[arg(long)]
    v5: bool,
    #[command(flatten)]
    tls: TlsOptions,
}

impl Entry {
    /// The broker of a `[NAME=]HOST:PORT`.
    ///
    /// # Errors
    /// In words.
    pub(super) fn target(&self, named: &str, pid: Option<u32>) -> Result<Target, String> {
        let (name, place) = named.split_once('=').unwrap_or((named, named));
        let wrong =
            |why: &dyn std::fmt::Display| format!("{place:?} is no HOST:PORT that can be reached: {why}");
        let addresses: Vec<SocketAddr> = place.to_socket_addrs().map_err(|error| wrong(&error))?.collect();
        // A name may have addresses of which the broker listens on one alone.
        let listens = |address: &&SocketAddr| TcpStream::connect_timeout(address, ANSWER_MAX).is_ok();
        let address = addresses.iter().find(listens).or(addresses.first()).copied();
        let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tls = if self.tls.is_used() { Some(self.tls.client(host)?) } else { None };
        let password = self.pw_from.as_ref().map(files::secret).transpose()?;
        Ok(Target {
            name: name.to_owned(),
            address: address.ok_or_else(|| wrong(&"it has no address"))?,
            tls,
            login: self.username.clone().map(|user| (user, password)),
            version: if self.v5 { Version::V5 } else { Version::V311 },
            pid,
        })
    }
}
