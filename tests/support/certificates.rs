//! Certificates of a private authority, made with the openssl command.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::Process;

/// An authority in a folder.
pub struct Certificates {
    dir: PathBuf,
}

/// A certificate and its key, PEM.
pub struct Issued {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// Makes an authority; `name` is its folder's.
    pub fn new(parent: &Path, name: &str) -> Self {
        let dir = parent.join(name);
        std::fs::create_dir(&dir).unwrap();
        let issuer = Self { dir };
        std::fs::write(issuer.dir.join("index"), "").unwrap();
        std::fs::write(issuer.dir.join("serial"), "01\n").unwrap();
        let config = format!(
            "[ca]\ndefault_ca = own\n[own]\ndir = {0}\ndatabase = {0}/index\nserial = {0}/serial\n\
             new_certs_dir = {0}\ncrlnumber = {0}/crlnumber\ncertificate = {0}/ca.pem\nprivate_key = {0}/ca.key\ndefault_md = sha256\n\
             policy = any\ndefault_crl_days = 2\nunique_subject = no\n[any]\ncommonName = supplied\n\
             [req]\ndistinguished_name = name\n[name]\n",
            issuer.dir.display()
        );
        std::fs::write(issuer.dir.join("openssl.cnf"), config).unwrap();
        issuer.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout ca.key -out ca.pem -days 2 \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign -config openssl.cnf",
            &["-subj", &format!("/CN=fieldgate test authority {name}")],
        );
        issuer
    }

    /// The authority's own certificate, PEM.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A server's certificate for a name (`DNS:localhost`, `IP:127.0.0.1`), valid for a day.
    pub fn issue(&self, file: &str, name: &str) -> Issued {
        self.issue_with(file, name, "-days 1")
    }

    /// One that ends in so many days.
    pub fn issue_for_days(&self, file: &str, name: &str, days: u32) -> Issued {
        self.issue_with(file, name, &format!("-days {days}"))
    }

    /// One that ended on 2020-02-01.
    pub fn issue_expired(&self, file: &str, name: &str) -> Issued {
        self.issue_with(file, name, "-startdate 20200101000000Z -enddate 20200201000000Z")
    }

    /// A client's certificate for a common name and an alternative name (`DNS:device`), valid for a day.
    pub fn issue_client(&self, file: &str, common_name: &str, name: &str) -> Issued {
        self.issue_any(file, &format!("/CN={common_name}"), name, "clientAuth", "-days 1")
    }

    /// A client's certificate that is a day old, and ends in so many hours.
    pub fn issue_client_for_hours(&self, file: &str, common_name: &str, hours: u64) -> Issued {
        let now = SystemTime::now();
        let validity = format!(
            "-startdate {} -enddate {}",
            openssl_time(now - Duration::from_secs(86_400)),
            openssl_time(now + Duration::from_secs(hours * 3_600))
        );
        self.issue_any(file, &format!("/CN={common_name}"), "DNS:device", "clientAuth", &validity)
    }

    /// Revokes one; the list is in [`Self::revocation_list`] from then on.
    pub fn revoke(&self, issued: &Issued) {
        let certificate = issued.certificate.display().to_string();
        self.openssl("ca -config openssl.cnf -revoke", &[&certificate]);
        self.publish_revocations();
    }

    /// Writes the list anew.
    pub fn publish_revocations(&self) {
        std::fs::write(self.dir.join("crlnumber"), "01\n").unwrap();
        self.openssl("ca -config openssl.cnf -gencrl -crldays 2 -out crl.pem", &[]);
    }

    /// Writes a list whose time was over on 2020-02-01.
    pub fn publish_stale_revocations(&self) {
        std::fs::write(self.dir.join("crlnumber"), "01\n").unwrap();
        self.openssl(
            "ca -config openssl.cnf -gencrl -crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z \
             -out crl.pem",
            &[],
        );
    }

    /// The list of revoked certificates, PEM.
    pub fn revocation_list(&self) -> PathBuf {
        self.dir.join("crl.pem")
    }

    fn issue_with(&self, file: &str, name: &str, validity: &str) -> Issued {
        self.issue_any(file, "/CN=server", name, "serverAuth", validity)
    }

    fn issue_any(&self, file: &str, subject: &str, name: &str, usage: &str, validity: &str) -> Issued {
        let extensions =
            format!("basicConstraints = CA:FALSE\nsubjectAltName = {name}\nextendedKeyUsage = {usage}\n");
        std::fs::write(self.dir.join(format!("{file}.ext")), extensions).unwrap();
        self.openssl(
            &format!(
                "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout {file}.key -out {file}.csr \
                 -config openssl.cnf"
            ),
            &["-subj", subject],
        );
        self.openssl(
            &format!(
                "ca -batch -notext -config openssl.cnf -in {file}.csr -out {file}.pem -extfile {file}.ext {validity}"
            ),
            &[],
        );
        Issued {
            certificate: self.dir.join(format!("{file}.pem")),
            key: self.dir.join(format!("{file}.key")),
        }
    }

    fn openssl(&self, arguments: &str, more: &[&str]) {
        let mut command = Command::new("openssl");
        command.current_dir(&self.dir).args(arguments.split_whitespace()).args(more);
        Process::run_well("openssl", &mut command);
    }
}

/// As openssl takes it: 20261121170000Z.
fn openssl_time(time: SystemTime) -> String {
    let millis = time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let text = fieldgate::time::Timestamp::from_millis(i64::try_from(millis).unwrap()).to_string();
    let digits: String = text.chars().take(19).filter(char::is_ascii_digit).collect();
    digits + "Z"
}
