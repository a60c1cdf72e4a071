//! The page's certificate: the configured one, or one of its own that is made at the first start, and again when the
//! gateway has a name or an address that isn't in it. It is read again when its files change.
//!
//! The key stays when the certificate is made again: who trusts the certificate's file, or has noted its public key, goes
//! on trusting. A browser that was told to trust the certificate itself asks once more, so it isn't made again only because
//! a name has gone. One that isn't the gateway's own, wherever it lies, is never touched.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use tracing::info;

use super::Web;
use crate::config::{self, CrlExpired, ListenerTls, TlsVersion};
use crate::discovery::label_of;
use crate::events::Event;
use crate::io::certificate_dates::{der, fingerprint, identity, names};
use crate::io::files::{read_limited, rewrite};
use crate::io::lock::Locked;
use crate::io::own_names;
use crate::io::server_tls::Keys;
use crate::limits::{CERTIFICATE_NAMES_MAX, CONFIG_FILE_BYTES_MAX};
use crate::time::Timestamp;

/// The end of an own certificate: no clock is needed to make one, and nobody stands on a ladder to renew it.
const ENDS_AFTER_1970: Duration = Duration::days(80 * 365);

/// How often it is looked whether the gateway has names that aren't in its certificate.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// What listeners call the files; makes them where there are none.
///
/// # Errors
/// In words.
pub(super) fn settings(config: &config::Web, web: &Web) -> Result<ListenerTls, String> {
    let (cert, key) = match &config.certificate {
        Some((cert, key)) => (cert.clone(), key.clone()),
        None => {
            let own = Own::of(&web.folder);
            if !own.cert.exists() || !own.key.exists() {
                own.make(&wanted(config, web), &[])?;
                info!(file = %own.cert.display(), "made a certificate for the page");
            }
            (own.cert, own.key)
        }
    };
    Ok(ListenerTls {
        cert,
        key,
        min_version: TlsVersion::V12,
        client_ca: None,
        crl: None,
        crl_expired: CrlExpired::Warn,
        user_from_cert: None,
    })
}

/// SHA-256 of a certificate, to be compared with what a browser shows.
pub(super) fn fingerprint_of(cert: &Path) -> Option<String> {
    let pem = read_limited(cert, CONFIG_FILE_BYTES_MAX).ok()?;
    fingerprint(&pem)
}

/// What the gateway's own certificate must name: what the machine is called, what the gateway is called in mDNS, and what
/// the config says besides.
fn wanted(config: &config::Web, web: &Web) -> Vec<String> {
    let by_rule = format!("{}.local", label_of(&web.gateway));
    let announced = web.page.locked().local_name.clone();
    let more: Vec<String> =
        std::iter::once(by_rule).chain(announced).chain(config.hosts.iter().cloned()).collect();
    own_names::with(&more)
}

/// Has the own certificate made again whenever it lacks a name, while people go on being served. Never ends.
pub(super) async fn keep(web: Arc<Web>, keys: Rc<Keys>, changed: impl Fn(Option<String>)) {
    let mut before = Vec::new();
    loop {
        let wanted = wanted(&web.current().config, &web);
        if wanted != before {
            let (own, names) = (Own::of(&web.folder), wanted.clone());
            let renewed = tokio::task::spawn_blocking(move || own.renew(&names)).await;
            match renewed.unwrap_or_else(|error| Err(error.to_string())) {
                Ok(made) => {
                    before = wanted;
                    if let Some(made) = made {
                        keys.read_now("web", &changed).await;
                        let detail = format!("{}; SHA-256 {}", made.names.join(" "), made.fingerprint);
                        web.note(Event { kind: "certificate_made", who: None, address: None, detail });
                    }
                }
                // It is tried again.
                Err(error) => changed(Some(error)),
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = web.renamed.notified() => {}
        }
    }
}

/// The files of the gateway's own certificate.
struct Own {
    cert: PathBuf,
    key: PathBuf,
}

/// A certificate that was made.
#[derive(Debug, PartialEq, Eq)]
struct Made {
    names: Vec<String>,
    fingerprint: String,
}

impl Own {
    fn of(folder: &Path) -> Self {
        Self { cert: folder.join("certificate.pem"), key: folder.join("certificate.key") }
    }

    /// Makes it again where a name isn't in it. The addresses that it named stay in it as long as there is room, so that
    /// a cable that is plugged in here and there doesn't have it made each time.
    ///
    /// # Errors
    /// In words; the one before is used then.
    fn renew(&self, wanted: &[String]) -> Result<Option<Made>, String> {
        let pem = read_limited(&self.cert, CONFIG_FILE_BYTES_MAX).map_err(|error| error.to_string())?;
        let Some(certificate) = der(&pem) else { return Ok(None) };
        let at = |span: Duration| Timestamp::from_millis(span.whole_seconds().saturating_mul(1_000));
        let is_ours = identity(&certificate).is_some_and(|identity| {
            identity.subject == identity.issuer
                && identity.begins == at(Duration::ZERO)
                && identity.ends == at(ENDS_AFTER_1970)
        });
        let named = names(&certificate);
        if !is_ours || wanted.iter().all(|name| named.contains(name)) {
            return Ok(None);
        }
        let had: Vec<String> = named.into_iter().filter(|name| name.parse::<IpAddr>().is_ok()).collect();
        self.make(wanted, &had).map(Some)
    }

    /// Makes it, with the key that is there if there is one.
    fn make(&self, wanted: &[String], had: &[String]) -> Result<Made, String> {
        let in_words = |error: rcgen::Error| format!("can't make a certificate: {error}");
        let mut names = wanted.to_vec();
        names.extend(had.iter().filter(|name| !wanted.contains(name)).cloned());
        names.truncate(CERTIFICATE_NAMES_MAX);
        let key = match self.key_that_is_there() {
            Some(key) => key,
            None => {
                let key = KeyPair::generate().map_err(in_words)?;
                rewrite(&self.key, |_| Ok((key.serialize_pem().into_bytes(), ())))?;
                key
            }
        };
        let pem = signed(&names, &key).map_err(in_words)?;
        let fingerprint = fingerprint(pem.as_bytes()).unwrap_or_default();
        rewrite(&self.cert, |_| Ok((pem.into_bytes(), ())))?;
        Ok(Made { names, fingerprint })
    }

    fn key_that_is_there(&self) -> Option<KeyPair> {
        let pem = read_limited(&self.key, CONFIG_FILE_BYTES_MAX).ok()?;
        KeyPair::from_pem(std::str::from_utf8(&pem).ok()?).ok()
    }
}

fn signed(names: &[String], key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    let common: String = own_names::host_name().chars().filter(|c| !c.is_control()).take(64).collect();
    name.push(DnType::CommonName, if common.is_empty() { "fieldgate".to_owned() } else { common });
    params.distinguished_name = name;
    params.not_before = OffsetDateTime::UNIX_EPOCH;
    params.not_after = OffsetDateTime::UNIX_EPOCH + ENDS_AFTER_1970;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    Ok(params.self_signed(key)?.pem())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::certificate_dates::public_key;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_name_that_it_lacks_has_it_made_again_with_its_key_and_one_that_goes_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::of(folder.path());
        let first = own.make(&texts(&["gw", "gw.local", "10.0.0.1"]), &[]).unwrap();
        let (pem, key) = (std::fs::read(&own.cert).unwrap(), std::fs::read(&own.key).unwrap());
        assert_eq!(names(&der(&pem).unwrap()), texts(&["gw", "gw.local", "10.0.0.1"]));
        for fewer in [&["gw"][..], &["10.0.0.1", "gw", "gw.local"]] {
            assert_eq!(own.renew(&texts(fewer)), Ok(None), "{fewer:?}");
        }
        let again = own.renew(&texts(&["gw", "gw.example.com", "fd00::7"])).unwrap().unwrap();
        // An address may come back; a name that isn't wanted any more has been given up on purpose.
        assert_eq!(again.names, ["gw", "gw.example.com", "fd00::7", "10.0.0.1"]);
        assert_ne!(again.fingerprint, first.fingerprint);
        let renewed = std::fs::read(&own.cert).unwrap();
        assert_eq!(names(&der(&renewed).unwrap()), again.names);
        assert_eq!(public_key(&der(&renewed).unwrap()), public_key(&der(&pem).unwrap()));
        assert_eq!(std::fs::read(&own.key).unwrap(), key);
        assert_eq!(own.renew(&texts(&["gw", "gw.example.com", "fd00::7"])), Ok(None));
    }

    #[test]
    fn it_names_only_so_many_and_those_that_are_wanted_first() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::of(folder.path());
        let had: Vec<String> = (0..CERTIFICATE_NAMES_MAX).map(|last| format!("10.0.0.{last}")).collect();
        own.make(&had, &[]).unwrap();
        let names = own.renew(&texts(&["gw"])).unwrap().unwrap().names;
        assert_eq!((names.len(), names[0].as_str()), (CERTIFICATE_NAMES_MAX, "gw"));
    }

    #[test]
    fn one_that_somebody_else_has_put_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let own = Own::of(folder.path());
        let key = KeyPair::generate().unwrap();
        let theirs = CertificateParams::new(texts(&["gw"])).unwrap().self_signed(&key).unwrap().pem();
        std::fs::write(&own.cert, &theirs).unwrap();
        std::fs::write(&own.key, key.serialize_pem()).unwrap();
        assert_eq!(own.renew(&texts(&["other"])), Ok(None));
        assert_eq!(std::fs::read_to_string(&own.cert).unwrap(), theirs);
    }
}
