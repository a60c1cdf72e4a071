//! The TLS options of a client, and what they mean for a connection.

use std::path::PathBuf;

use crate::config::UpstreamTls;
use crate::io::tls;

/// TLS options, with mosquitto_pub's names.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(in crate::cli) struct TlsOptions {
    /// Use TLS, and trust the CAs of this system.
    #[arg(long, alias = "tls-use-os-certs")]
    tls: bool,
    /// Use TLS, and trust the CAs in this PEM file.
    #[arg(long, value_name = "FILE")]
    cafile: Option<PathBuf>,
    /// Use TLS, and trust the CAs in the PEM files of this folder.
    #[arg(long, value_name = "DIR")]
    capath: Option<PathBuf>,
    /// Our certificate chain, PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The protocol to ask for within TLS (ALPN), as brokers on port 443 want it.
    #[arg(long, value_name = "PROTOCOL")]
    tls_alpn: Option<String>,
    /// Don't check that the broker's certificate is for the name that was asked for. Anyone with a certificate of
    /// the same CA can then be the broker.
    #[arg(long)]
    insecure: bool,
}

impl TlsOptions {
    /// Whether any of them asks for TLS.
    pub(in crate::cli) const fn is_used(&self) -> bool {
        self.tls || self.cafile.is_some() || self.capath.is_some()
    }

    /// Where the files are, as an upstream would name them.
    pub(super) fn files(&self) -> UpstreamTls {
        UpstreamTls {
            ca: self.cafile.clone(),
            server_name: None,
            cert: self.cert.clone(),
            key: self.key.clone(),
            ..UpstreamTls::default()
        }
    }

    /// The settings of one connection attempt.
    ///
    /// # Errors
    /// In words, naming the file.
    pub(in crate::cli) fn client(&self, host: &str) -> Result<tls::Client, String> {
        let files = tls::ClientFiles {
            ca: self.cafile.as_deref(),
            ca_dir: self.capath.as_deref(),
            cert: self.cert.as_deref(),
            key: self.key.as_deref(),
        };
        let alpn = self.tls_alpn.iter().cloned().collect::<Vec<_>>();
        let demands = tls::Demands { any_name: self.insecure, alpn: &alpn, ..tls::Demands::default() };
        tls::client_with(&files, host, &demands, &tls::COMMAND_LINE)
    }
}
