//! Options of mosquitto_pub and mosquitto_sub that a command here doesn't have, so that a script that is moved over
//! gets a reason instead of "unexpected argument".

/// They are hidden from --help.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RefusedOptions {
    #[arg(short = 'S', hide = true)]
    srv: bool,
    #[arg(long, hide = true)]
    psk: Option<String>,
    #[arg(long, hide = true)]
    psk_identity: Option<String>,
    #[arg(long, hide = true)]
    ciphers: Option<String>,
    #[arg(long, hide = true)]
    tls_version: Option<String>,
    #[arg(long, hide = true)]
    keyform: Option<String>,
    #[arg(long, hide = true)]
    tls_engine: Option<String>,
    #[arg(long, hide = true)]
    tls_engine_kpass_sha1: Option<String>,
    #[arg(long, hide = true)]
    proxy: Option<String>,
}

impl RefusedOptions {
    /// Refuses what is given.
    ///
    /// # Errors
    /// In words: the option, and what to do instead.
    pub(super) fn check(&self) -> Result<(), String> {
        let psk = self.psk.is_some() || self.psk_identity.is_some();
        let engine = self.tls_engine.is_some() || self.tls_engine_kpass_sha1.is_some();
        let refused = [
            (self.srv, "-S", "SRV records are not looked up; name the broker with -h and -p"),
            (
                psk,
                "--psk",
                "pre-shared keys are not supported; use a certificate (--cert, --key) or a password",
            ),
            (self.ciphers.is_some(), "--ciphers", "the ciphers are fixed to those that are still safe"),
            (
                self.tls_version.is_some(),
                "--tls-version",
                "TLS 1.3 is used where the broker has it, else 1.2, nothing older",
            ),
            (self.keyform.is_some(), "--keyform", "a key is always a PEM file"),
            (engine, "--tls-engine", "a key is always a PEM file"),
            (self.proxy.is_some(), "--proxy", "there is no way through a SOCKS proxy"),
        ];
        match refused.into_iter().find(|(given, ..)| *given) {
            Some((_, option, why)) => Err(format!("{option} is not supported: {why}")),
            None => Ok(()),
        }
    }
}
