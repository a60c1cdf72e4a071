//! The provisioning file: all that makes a fresh box this gateway, in one TOML file. Read and checked as a whole, together
//! with the config that is there; what is to be written comes out as values. Pure.

use serde::Deserialize;

use super::{Config, Facts, Source, parse_with};
use crate::auth::Hash;

/// The files that it may carry: a config, its certificates and keys, profiles. More are refused.
const PARTS_MAX: usize = 64;

/// The folder of the parts that root alone reads, as the unit hands them to the service.
pub const SECRETS: &str = "secrets";

/// The part of conf.d that holds the identity.
const IDENTITY: &str = "conf.d/00-provisioned.toml";

/// The letters and digits that a claim code has at least: 60 bits.
const CLAIM_LETTERS_MIN: usize = 12;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    id: Option<String>,
    site: Option<String>,
    /// The code with which the gateway is claimed.
    claim: Option<String>,
    /// Or whoever administers it.
    admin: Option<Admin>,
    /// The whole main file.
    config: Option<String>,
    /// Files beside it.
    #[serde(default)]
    file: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Admin {
    name: String,
    password_hash: String,
}

/// A file that is to be written.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Below the config's folder, or below [`SECRETS`].
    pub path: String,
    /// Its content.
    pub text: String,
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a key.
        write!(f, "Part({}, {} bytes)", self.path, self.text.len())
    }
}

/// What a provisioning file comes to.
#[derive(Debug)]
pub struct Provision {
    /// The files beside the main one.
    pub parts: Vec<Part>,
    /// The main file, where it is to be another one.
    pub main: Option<String>,
    /// The claim code.
    pub claim: Option<String>,
    /// The name and the password's hash of an administrator.
    pub admin: Option<(String, String)>,
    /// The config that holds then.
    pub config: Config,
}

/// The config that is there: main file first.
#[derive(Clone, Debug)]
pub struct Present {
    /// What the main file is called.
    pub main: String,
    /// It and those of conf.d, as far as they are there.
    pub sources: Vec<Source>,
    /// The user's own profiles.
    pub profiles: Vec<Source>,
}

/// Reads a provisioning file and checks what the config would be.
///
/// # Errors
/// Everything that is wrong, in words; never a secret.
pub fn read(text: &str, present: &Present, facts: &Facts) -> Result<Provision, Vec<String>> {
    // The error's own words would quote the line, which may hold a secret.
    let form: Form = toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |above| above.lines().count().max(1));
        vec![format!("line {line}: {}", error.message())]
    })?;
    let mut wrong = Vec::new();
    let Form { id, site, claim, admin, config: main, file: mut parts } = form;
    if parts.len() > PARTS_MAX {
        wrong.push(format!("it carries {} files; at most {PARTS_MAX}", parts.len()));
    }
    parts.iter().for_each(|part| wrong.extend(check_part(part)));
    if let Some(identity) = identity(id, site) {
        parts.push(identity);
    }
    let names: Vec<&str> = parts.iter().map(|part| part.path.as_str()).collect();
    for (at, name) in names.iter().enumerate() {
        if names.iter().skip(at + 1).any(|other| other == name) {
            wrong.push(format!("file {name:?} stands in it twice"));
        }
    }
    let letters = |code: &str| code.chars().filter(char::is_ascii_alphanumeric).count();
    if claim.as_deref().is_some_and(|code| letters(code) < CLAIM_LETTERS_MIN) {
        wrong.push(format!("the claim code has fewer than {CLAIM_LETTERS_MIN} letters and digits"));
    }
    let admin = admin.map(|admin| (admin.name, admin.password_hash));
    if let Some((name, hash)) = &admin {
        if name.is_empty() || name.chars().any(char::is_control) {
            wrong.push("admin: the name is empty or has control characters".to_owned());
        }
        if Hash::parse(hash).is_err() {
            wrong.push("admin: password_hash is no hash that `fieldgate passwd` writes".to_owned());
        }
    }
    match judge(&parts, main.as_deref(), present, facts) {
        Ok(config) if wrong.is_empty() => Ok(Provision { parts, main, claim, admin, config }),
        Ok(_) => Err(wrong),
        Err(mistakes) => Err([wrong, mistakes].concat()),
    }
}

/// The identity as a part of the config.
fn identity(id: Option<String>, site: Option<String>) -> Option<Part> {
    if id.is_none() && site.is_none() {
        return None;
    }
    let line = |(key, value): (&str, Option<String>)| {
        // JSON's form of a text is one of TOML's.
        value.map(|value| format!("{key} = {}\n", serde_json::Value::String(value))).unwrap_or_default()
    };
    let lines: String = [("id", id), ("site", site)].into_iter().map(line).collect();
    Some(Part {
        path: IDENTITY.to_owned(),
        text: format!("# From the provisioning file.\n[gateway]\n{lines}"),
    })
}

/// What is wrong with a file.
fn check_part(part: &Part) -> Option<String> {
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with('.')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    let levels: Vec<&str> = part.path.split('/').collect();
    if levels.len() > 2 || !levels.iter().all(|level| is_name(level)) || part.path == "fieldgate.toml" {
        return Some(format!(
            "file {:?}: a path is a name or a folder and a name, of A-Z a-z 0-9 _ . -; the main file is `config`",
            part.path
        ));
    }
    let is_pem = [".pem", ".crt", ".key"].iter().any(|ending| part.path.ends_with(ending));
    if is_pem && !(part.text.contains("-----BEGIN ") && part.text.contains("-----END ")) {
        return Some(format!("file {:?} is no PEM", part.path));
    }
    None
}

/// The config as it would be.
fn judge(
    parts: &[Part],
    main: Option<&str>,
    present: &Present,
    facts: &Facts,
) -> Result<Config, Vec<String>> {
    let folder = present.main.rsplit_once('/').map_or("", |(folder, _)| folder);
    let file = |part: &Part| Source { file: format!("{folder}/{}", part.path), text: part.text.clone() };
    let merge = |old: &[Source], kind: &str| {
        let is_of = |part: &&Part| part.path.starts_with(kind) && part.path.ends_with(".toml");
        let new: Vec<Source> = parts.iter().filter(is_of).map(file).collect();
        let kept = old.iter().filter(|old| !new.iter().any(|new| new.file == old.file)).cloned();
        let mut all: Vec<Source> = kept.chain(new.iter().cloned()).collect();
        all.sort_by(|a, b| a.file.cmp(&b.file));
        all
    };
    let text = match main {
        Some(text) => Some(text.to_owned()),
        None => present
            .sources
            .iter()
            .find(|source| source.file == present.main)
            .map(|source| source.text.clone()),
    };
    let further: Vec<Source> =
        present.sources.iter().filter(|source| source.file != present.main).cloned().collect();
    let mut sources = vec![Source { file: present.main.clone(), text: text.unwrap_or_default() }];
    sources.extend(merge(&further, "conf.d/"));
    parse_with(&sources, &merge(&present.profiles, "profiles/"), facts)
        .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { default_id: "fg-00000000".into(), host_name: None, machine: None }
    }

    fn present() -> Present {
        let source = |file: &str, text: &str| Source { file: file.into(), text: text.into() };
        Present {
            main: "/etc/fieldgate/fieldgate.toml".into(),
            sources: vec![
                source("/etc/fieldgate/fieldgate.toml", "[time]\ntrust = \"always\"\n"),
                source("/etc/fieldgate/conf.d/10-old.toml", "[health]\nevery = \"1min\"\n"),
            ],
            profiles: Vec::new(),
        }
    }

    #[test]
    fn a_file_is_taken_as_a_whole_or_refused_with_all_that_is_wrong() {
        let key = "-----BEGIN PRIVATE KEY-----\\nAAAA\\n-----END PRIVATE KEY-----";
        let taken = format!(
            "id = \"barn-7\"\nsite = \"North \\\"barn\\\"\"\nclaim = \"ABCD-EFGH-IJKL\"\n\
             [[file]]\npath = \"conf.d/10-old.toml\"\ntext = \"[health]\\nevery = '2min'\"\n\
             [[file]]\npath = \"secrets/upstream.key\"\ntext = \"{key}\"\n"
        );
        let provision = read(&taken, &present(), &facts()).unwrap();
        assert_eq!(provision.config.gateway.id, "barn-7");
        assert_eq!(provision.config.gateway.site.as_deref(), Some("North \"barn\""));
        assert_eq!(provision.config.health.every.as_secs(), 120, "a file of that name is replaced");
        assert_eq!(provision.parts.len(), 3);
        for (wrong, expected) in [
            ("id = \"\"", "fieldgate/conf.d/00-provisioned.toml:3:6"),
            ("nonsense = 1", "line 1: unknown field `nonsense`"),
            ("claim = \"1234\"", "fewer than 12"),
            ("[[file]]\npath = \"../passwd\"\ntext = \"\"", "a path is a name"),
            ("[[file]]\npath = \"fieldgate.toml\"\ntext = \"\"", "the main file is `config`"),
            ("[[file]]\npath = \"a.pem\"\ntext = \"x\"", "is no PEM"),
            ("[[file]]\npath = \"a\"\ntext = \"\"\n[[file]]\npath = \"a\"\ntext = \"\"", "twice"),
            ("config = \"[gateway]\\nide = 1\"", "/etc/fieldgate/fieldgate.toml:2:1"),
            ("[admin]\nname = \"ann\"\npassword_hash = \"plain\"", "no hash"),
        ] {
            let words = read(wrong, &present(), &facts()).unwrap_err().join("\n");
            assert!(words.contains(expected), "{wrong}: {words}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        let words = read("claim = \"HUNTER2SECRET\nx", &present(), &facts()).unwrap_err().join("\n");
        assert!(!words.contains("HUNTER2"), "{words}");
        let provision = read("[[file]]\npath = \"acl\"\ntext = \"HUNTER2\"", &present(), &facts()).unwrap();
        assert!(!format!("{:?}", provision.parts).contains("HUNTER2"));
    }
}
