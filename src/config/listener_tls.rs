//! `[broker.listener.tls]`: certificates of a listener, and what those of its clients must be. Files named here are only
//! names: the shell reads them.

use std::path::PathBuf;

use super::mistake::Mistakes;
use super::schema::Effect::Reconnect;
use super::schema::{Kind, Table, computed, key, optional, required};
use super::section::Section;

/// `tls` of a listener. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// Our certificate chain, the listener's own first.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The oldest version that is spoken. Default 1.2.
    pub min_version: TlsVersion,
    /// The authorities of client certificates, a file or a folder of files, and whether each client must have one.
    /// Default: clients aren't asked.
    pub client_ca: Option<(PathBuf, ClientCertificate)>,
    /// Revoked client certificates.
    pub crl: Option<PathBuf>,
    /// What becomes of clients with certificates once the list of revoked ones is out of date. Default: they get in, and
    /// that is said.
    pub crl_expired: CrlExpired,
    /// Which name in a client's certificate is its user name. Default: none.
    pub user_from_cert: Option<CertificateName>,
}

/// Whether a client must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Without one, it is a client like any other.
    Optional,
    /// Without one, the handshake fails.
    Required,
}

/// A name in a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateName {
    /// The subject's first common name.
    Common,
    /// The first alternative name that is a DNS name, else the first that is a URI.
    Alternative,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2
    V12,
    /// 1.3
    V13,
}

/// What a revocation list is worth after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrlExpired {
    /// It still counts; status and log say that it is out of date.
    Warn,
    /// Nobody gets in with a certificate until there is a new one.
    Deny,
}

/// `[broker.listener.tls]`
pub static TLS: Table = Table {
    name: "[broker.listener.tls]",
    doc: "TLS 1.2 and 1.3 for the clients of this listener. Files are read again when they change, and at SIGHUP.",
    keys: &[
        required(
            "cert",
            Kind::Path,
            "\"/etc/fieldgate/listener.pem\"",
            Reconnect,
            "PEM file of the listener's certificate chain.",
        ),
        required("key", Kind::Path, "\"/etc/fieldgate/listener.key\"", Reconnect, "PEM file of its key."),
        key(
            "min_version",
            Kind::Words(&["1.2", "1.3"]),
            "\"1.2\"",
            Reconnect,
            "The oldest version of TLS that is spoken.",
        ),
        optional(
            "client_ca",
            Kind::Path,
            Reconnect,
            "The authorities of client certificates: a PEM file, or a folder of *.pem, *.crt and hash-named files.",
        ),
        computed(
            "client_cert",
            Kind::Words(&["required", "optional"]),
            "\"required\" with client_ca",
            Reconnect,
            "Whether a client must have a certificate.",
        ),
        optional("crl", Kind::Path, Reconnect, "PEM file of revoked client certificates."),
        key(
            "crl_expired",
            Kind::Words(&["warn", "deny"]),
            "\"warn\"",
            Reconnect,
            "Once crl is out of date: go on with it and say so, or let nobody in with a certificate.",
        ),
        optional(
            "user_from_cert",
            Kind::Words(&["cn", "san"]),
            Reconnect,
            "Which name in the certificate is the user name; then no password is asked.",
        ),
    ],
};

/// Whether nobody gets in without a certificate.
pub(super) fn asks_for_certificates(tls: &ListenerTls) -> bool {
    matches!(tls.client_ca, Some((_, ClientCertificate::Required)))
}

pub(super) fn listener_tls(section: &Section, mistakes: &mut Mistakes<'_>) -> ListenerTls {
    let client_ca = section.path("client_ca");
    if client_ca.is_none() && !section.is_mistaken("client_ca") {
        for key in ["client_cert", "crl", "crl_expired", "user_from_cert"] {
            if section.is_given(key) && !section.is_mistaken(key) {
                mistakes.add_with_help(
                    section.key_span(key),
                    format!("{key}: clients aren't asked for a certificate without client_ca"),
                    "add client_ca = \"/etc/fieldgate/devices-ca.pem\"",
                );
            }
        }
    }
    if section.is_given("crl_expired") && !section.is_given("crl") && client_ca.is_some() {
        mistakes.add_with_help(
            section.key_span("crl_expired"),
            "crl_expired: there is no list of revoked certificates without crl",
            "add crl = \"/etc/fieldgate/devices.crl\"",
        );
    }
    let asked = match section.word("client_cert") {
        "optional" => ClientCertificate::Optional,
        _ => ClientCertificate::Required,
    };
    ListenerTls {
        cert: section.path("cert").unwrap_or_default(),
        key: section.path("key").unwrap_or_default(),
        min_version: match section.word("min_version") {
            "1.3" => TlsVersion::V13,
            _ => TlsVersion::V12,
        },
        client_ca: client_ca.map(|path| (path, asked)),
        crl: section.path("crl"),
        crl_expired: match section.word("crl_expired") {
            "deny" => CrlExpired::Deny,
            _ => CrlExpired::Warn,
        },
        user_from_cert: match section.word("user_from_cert") {
            "cn" => Some(CertificateName::Common),
            "san" => Some(CertificateName::Alternative),
            _ => None,
        },
    }
}
