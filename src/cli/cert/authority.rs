//! The authority's folder: its key, the list of what it has issued, the revocation list, and the certificates.
//!
//! The list is written before the certificate: nothing is handed out that could not be revoked later. What is revoked
//! is in the list before it is in the revocation list; the two have one number, and where the numbers differ, because
//! a run was cut short, the next run writes the revocation list again.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData,
    RevocationReason, RevokedCertParams, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::index::{Entry, Index, Kind};
use super::names;
use crate::hex;
use crate::io::certificate_dates::{self, fingerprint};
use crate::io::{files, passwords};
use crate::limits::CONFIG_FILE_BYTES_MAX;

/// How long the authority lasts: 20 years.
const AUTHORITY_DAYS: u32 = 7_305;

const DAY_S: i64 = 86_400;

/// An authority, held by this process alone.
pub(super) struct Authority {
    dir: PathBuf,
    certificate: Vec<u8>,
    /// The end of its certificate.
    pub(super) expires_unix_s: i64,
    pub(super) index: Index,
    /// The lock on the certificate's file, which is never replaced.
    _lock: File,
}

/// What a certificate shall say.
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) names: Vec<String>,
    pub(super) days: u32,
}

/// Where an issued certificate is.
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    /// Makes one. Nothing is replaced.
    ///
    /// # Errors
    /// In words.
    pub(super) fn create(dir: &Path, name: &str, now: i64) -> Result<Self, String> {
        make_dir(dir)?;
        let dir = absolute(dir)?;
        for file in ["ca.pem", "ca.key", "index.json", "crl.pem"] {
            if dir.join(file).exists() {
                return Err(format!(
                    "{} is there already: this folder has an authority, or the rest of one; nothing was changed. \
                     Name another folder with --dir, or move the files away",
                    dir.join(file).display()
                ));
            }
        }
        let key = KeyPair::generate().map_err(in_words)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&names::common(name));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?.1);
        params.not_before = OffsetDateTime::UNIX_EPOCH;
        params.not_after = point(now.saturating_add(i64::from(AUTHORITY_DAYS) * DAY_S))?;
        let certificate = params.self_signed(&key).map_err(in_words)?;
        // The certificate comes last: without it there is no authority.
        put_new(&dir.join("ca.key"), key.serialize_pem().as_bytes())?;
        put_new(&dir.join("index.json"), &Index::new().to_bytes())?;
        give_to_owner(&dir, "index.json");
        put_new(&dir.join("ca.pem"), certificate.pem().as_bytes())?;
        give_to_owner(&dir, "ca.pem");
        Self::open(&dir, now)
    }

    /// Opens one, and waits until no other process has it.
    ///
    /// # Errors
    /// In words.
    pub(super) fn open(dir: &Path, now: i64) -> Result<Self, String> {
        let path = dir.join("ca.pem");
        let lock = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no authority in {}; `fieldgate cert init` makes one, --dir names another folder",
                dir.display()
            ),
            _ => format!("can't read {}: {error}", path.display()),
        })?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| format!("can't lock {}: {error}", path.display()))?;
        let dir = absolute(dir)?;
        let certificate = read(&path)?;
        let expires_unix_s = certificate_dates::ends(&certificate)
            .ok_or_else(|| format!("{}: is no certificate", path.display()))?;
        let index = dir.join("index.json");
        let index = Index::parse(&read(&index)?).map_err(|error| format!("{}: {error}", index.display()))?;
        let authority = Self { dir, certificate, expires_unix_s, index, _lock: lock };
        if authority.published_number() != Some(authority.index.crl_number) {
            authority.publish(now)?;
        }
        Ok(authority)
    }

    /// The file of that name in the folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// SHA-256 of the authority's certificate.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.certificate).unwrap_or_default()
    }

    /// Where the certificate of a device or of the listeners is.
    pub(super) fn files(&self, kind: Kind, name: &str) -> Files {
        let base = match kind {
            Kind::Listener => self.dir.join("listener"),
            Kind::Device => self.dir.join("devices").join(name),
        };
        // Not with_extension: a name may have dots.
        let with = |end: &str| PathBuf::from(format!("{}.{end}", base.display()));
        Files { certificate: with("pem"), key: with("key") }
    }

    /// Issues a certificate with a key of its own.
    ///
    /// # Errors
    /// In words.
    pub(super) fn issue(&mut self, wanted: Wanted, now: i64) -> Result<(Entry, Files), String> {
        if self.expires_unix_s <= now {
            return Err("the authority itself has expired; make another one in another folder".into());
        }
        let issuer = self.issuer()?;
        let key = KeyPair::generate().map_err(in_words)?;
        let (digits, number) = serial()?;
        let end = now.saturating_add(i64::from(wanted.days).saturating_mul(DAY_S)).min(self.expires_unix_s);
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished(&wanted.name);
        params.serial_number = Some(number);
        // No earlier than the clock of a device, or of this gateway after a power cut: both may say 1970.
        params.not_before = OffsetDateTime::UNIX_EPOCH;
        params.not_after = point(end)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match wanted.kind {
            Kind::Device => ExtendedKeyUsagePurpose::ClientAuth,
            Kind::Listener => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.subject_alt_names =
            wanted.names.iter().map(|name| alternative(name)).collect::<Result<_, _>>()?;
        let pem = params.signed_by(&key, &issuer).map_err(in_words)?.pem();
        let entry = Entry {
            serial: digits,
            name: wanted.name,
            kind: wanted.kind,
            names: wanted.names,
            days: wanted.days,
            issued_unix_s: now,
            expires_unix_s: end,
            fingerprint: fingerprint(pem.as_bytes()).unwrap_or_default(),
            revoked_unix_s: None,
        };
        self.index.add(entry.clone(), now)?;
        self.keep_index()?;
        let files = self.files(entry.kind, &entry.name);
        if let Some(folder) = files.key.parent() {
            make_dir(folder)?;
        }
        self.put(&files.key, key.serialize_pem().into_bytes())?;
        self.put(&files.certificate, pem.into_bytes())?;
        Ok((entry, files))
    }

    /// Revokes certificates by their serial numbers; how many were not revoked before.
    ///
    /// # Errors
    /// In words.
    pub(super) fn revoke(&mut self, serials: &[String], now: i64) -> Result<usize, String> {
        let count = self.index.revoke(serials, now);
        self.keep_index()?;
        self.publish(now)?;
        Ok(count)
    }

    /// Writes the revocation list. It lasts as long as the authority: each change brings a new one at once, so that its
    /// end says nothing.
    fn publish(&self, now: i64) -> Result<(), String> {
        let issuer = self.issuer()?;
        let revoked = self.index.entries().iter().filter_map(|entry| {
            let revoked = point(entry.revoked_unix_s?);
            Some(revoked.and_then(|at| {
                Ok(RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&bytes_of(&entry.serial)?),
                    revocation_time: at,
                    reason_code: Some(RevocationReason::Unspecified),
                    invalidity_date: None,
                })
            }))
        });
        let params = CertificateRevocationListParams {
            this_update: point(now.min(self.expires_unix_s.saturating_sub(1)))?,
            next_update: point(self.expires_unix_s)?,
            crl_number: SerialNumber::from(self.index.crl_number),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect::<Result<_, String>>()?,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&issuer).and_then(|list| list.pem()).map_err(in_words)?;
        self.put(&self.dir.join("crl.pem"), list.into_bytes())
    }

    /// The number of the revocation list that is there.
    fn published_number(&self) -> Option<u64> {
        certificate_dates::crl_number(&read(&self.dir.join("crl.pem")).ok()?)
    }

    fn issuer(&self) -> Result<Issuer<'static, KeyPair>, String> {
        let path = self.dir.join("ca.key");
        let wrong = |error: &dyn std::fmt::Display| format!("{}: can't be used: {error}", path.display());
        let key = String::from_utf8(read(&path)?).map_err(|error| wrong(&error))?;
        let key = KeyPair::from_pem(&key).map_err(|error| wrong(&error))?;
        let certificate = certificate_dates::der(&self.certificate).ok_or("ca.pem: is no certificate")?;
        if certificate_dates::public_key(&certificate).as_deref() != Some(&key.subject_public_key_info()) {
            return Err(format!("{} is not the key of ca.pem beside it", path.display()));
        }
        Issuer::from_ca_cert_der(&certificate, key).map_err(|error| wrong(&error))
    }

    fn keep_index(&self) -> Result<(), String> {
        self.put(&self.dir.join("index.json"), self.index.to_bytes())
    }

    /// Replaces a file as a whole. A symbolic link is none of ours: whoever runs the gateway owns the folder, and root
    /// must not write to wherever a link leads.
    fn put(&self, path: &Path, bytes: Vec<u8>) -> Result<(), String> {
        if path.is_symlink() {
            return Err(format!("{} is a symbolic link; only a file is replaced", path.display()));
        }
        files::rewrite(path, |_| Ok((bytes, ())))?;
        give(path, &self.dir);
        Ok(())
    }
}

/// A certificate's random serial number, positive and 16 bytes long (RFC 5280, 4.1.2.2).
fn serial() -> Result<(String, SerialNumber), String> {
    let mut bytes = passwords::random::<16>()?;
    if let Some(first) = bytes.first_mut() {
        *first = *first & 0x3F | 0x40;
    }
    let digits = hex::encode(&bytes);
    Ok((digits, SerialNumber::from_slice(&bytes)))
}

fn bytes_of(digits: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("index.json: {digits:?} is no serial number");
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
    pairs.map(|pair| byte(pair).ok_or_else(wrong)).collect()
}

fn distinguished(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn alternative(name: &str) -> Result<SanType, String> {
    Ok(match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) => SanType::DnsName(name.try_into().map_err(in_words)?),
    })
}

fn point(unix_s: i64) -> Result<OffsetDateTime, String> {
    OffsetDateTime::from_unix_timestamp(unix_s).map_err(|error| error.to_string())
}

fn in_words(error: rcgen::Error) -> String {
    format!("the certificate can't be made: {error}")
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    files::read_limited(path, CONFIG_FILE_BYTES_MAX)
        .map_err(|error| format!("can't read {}: {error}", path.display()))
}

fn absolute(dir: &Path) -> Result<PathBuf, String> {
    dir.canonicalize().map_err(|error| format!("{}: {error}", dir.display()))
}

/// Makes a folder for its owner alone, and those above it as usual. One that is there stays as it is, unless others may
/// write to it: they could put an authority of their own there.
fn make_dir(dir: &Path) -> Result<(), String> {
    let wrong = |error: io::Error| format!("can't make the folder {}: {error}", dir.display());
    if dir.is_dir() {
        let mode = std::fs::metadata(dir).map_err(wrong)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(format!(
                "others may write to the folder {}; it must be its owner's alone",
                dir.display()
            ));
        }
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(wrong)?;
    }
    std::fs::DirBuilder::new().mode(0o700).create(dir).map_err(wrong)?;
    if let Some(parent) = dir.parent() {
        give(dir, if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    }
    Ok(())
}

fn put_new(path: &Path, bytes: &[u8]) -> Result<(), String> {
    files::rewrite(path, |old| match old {
        None => Ok((bytes.to_vec(), ())),
        Some(_) => Err(format!("{} is there already; nothing was changed", path.display())),
    })
}

fn give_to_owner(dir: &Path, name: &str) {
    give(&dir.join(name), dir);
}

/// Root makes files for the user as whom the gateway runs, who owns the folder. The authority's key is not among them:
/// the gateway doesn't need it. Whoever isn't root can't give anything away, and needn't.
fn give(path: &Path, folder: &Path) {
    if let Ok(owner) = std::fs::metadata(folder) {
        let _ = std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()));
    }
}
