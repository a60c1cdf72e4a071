//! Where an upstream of the config is, and with which certificate and passwords one gets there.

use super::dial::{Target, Way};
use super::files;
use super::own_certificate::OwnCertificate;
use crate::config::{self, Upstream};

/// The addresses of one upstream, in the order of the config. `secret_error` says why a password can't be read, here or
/// before: then it can't be connected.
#[must_use]
pub fn targets(upstream: &Upstream, secret_error: &mut Option<String>) -> Vec<Target> {
    let proxy = upstream.reach.proxy.as_ref().map(|proxy| {
        let password = proxy.password.as_ref().map(files::secret).transpose().unwrap_or_else(|error| {
            secret_error.get_or_insert(format!("the proxy's password can't be read: {error}"));
            None
        });
        (proxy.clone(), password)
    });
    let target = |address: config::Address| Target {
        host: address.host,
        port: address.port,
        tls: upstream.tls.clone(),
        secret_error: secret_error.clone(),
        way: Way {
            proxy: proxy.clone(),
            bind: upstream.reach.bind.clone(),
            websocket: upstream.reach.websocket.clone(),
            unix: None,
        },
    };
    addresses(upstream).map(target).collect()
}

/// Host and port of each of them.
pub fn addresses(upstream: &Upstream) -> impl Iterator<Item = config::Address> {
    let first = config::Address { host: upstream.host.clone(), port: upstream.port };
    std::iter::once(first).chain(upstream.reach.fallback.iter().cloned())
}

/// The certificate that it is shown, if one is.
#[must_use]
pub fn own_certificate(upstream: &Upstream) -> Option<OwnCertificate> {
    let tls = upstream.tls.as_ref()?;
    Some(OwnCertificate::new(upstream.name.clone(), tls.cert.as_ref()?, tls.key.as_ref()?))
}
