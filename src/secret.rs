//! Secrets: where they are kept, and a value that never prints itself.

use std::fmt;
use std::path::PathBuf;

/// Where a secret is kept. The config never holds the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// `{ file = "/etc/fieldgate/secrets/upstream" }`: the file's content without its last line end.
    File(PathBuf),
    /// `{ env = "UPSTREAM_PASSWORD" }`.
    Env(String),
    /// `{ credential = "upstream" }`: a systemd credential, a file in $CREDENTIALS_DIRECTORY.
    Credential(String),
}

/// The place in words, for messages: `file /etc/fieldgate/secrets/upstream`. Never the secret.
impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Credential(name) => write!(f, "credential {name}"),
        }
    }
}

/// A secret's bytes. `Debug` shows `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Takes the content of a file, without its last line end (LF or CR LF): editors and `echo` add one.
    #[must_use]
    pub fn from_file_content(mut content: Vec<u8>) -> Self {
        if content.ends_with(b"\n") {
            content.pop();
            if content.ends_with(b"\r") {
                content.pop();
            }
        }
        Self(content)
    }

    /// The bytes, for the one place that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_last_line_end_is_no_part_of_the_secret() {
        for (content, expected) in [
            ("abc", "abc"),
            ("abc\n", "abc"),
            ("abc\r\n", "abc"),
            ("abc\n\n", "abc\n"),
            (" abc \n", " abc "),
            ("abc\r", "abc\r"),
            ("\n", ""),
            ("", ""),
        ] {
            assert_eq!(
                Secret::from_file_content(content.into()).expose(),
                expected.as_bytes(),
                "{content:?}"
            );
        }
    }

    #[test]
    fn a_secret_never_prints_itself() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "***");
    }

    #[test]
    fn a_reference_names_its_place_in_words() {
        for (reference, expected) in [
            (SecretRef::File("/a/b".into()), "file /a/b"),
            (SecretRef::Env("A".into()), "environment variable A"),
            (SecretRef::Credential("c".into()), "credential c"),
        ] {
            assert_eq!(reference.to_string(), expected);
        }
    }
}
