//! The files that a config names, so that a backup has all of it.

use std::path::PathBuf;

use super::reload::Settings;
use super::section::{Section, Value};
use crate::secret::SecretRef;

/// What a file holds that a key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holds {
    /// What anybody may see: certificates, rules.
    Open,
    /// What nobody may see: keys, passwords, their hashes.
    Secret,
}

/// The keys that name files with something of the config in them. Other paths are places, where the gateway writes or finds
/// devices.
const KEYS: [(&str, Holds); 7] = [
    ("ca", Holds::Open),
    ("cert", Holds::Open),
    ("client_ca", Holds::Open),
    ("crl", Holds::Open),
    ("acl_file", Holds::Open),
    ("key", Holds::Secret),
    ("password_file", Holds::Secret),
];

/// What a config names beside itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// The files, each once.
    pub files: Vec<(PathBuf, Holds)>,
    /// Secrets that no backup can have: variables of the environment, credentials of systemd.
    pub elsewhere: Vec<String>,
}

/// The files that a config names.
#[must_use]
pub fn named(settings: &Settings) -> Named {
    let mut named = Named::default();
    in_section(&settings.0, &mut named);
    named.files.sort();
    named.files.dedup();
    named.elsewhere.sort();
    named.elsewhere.dedup();
    named
}

fn in_section(section: &Section, named: &mut Named) {
    for (key, entry) in &section.entries {
        match &entry.value {
            Value::Table(below) | Value::Tagged(_, below) => in_section(below, named),
            Value::Tables(below) => below.iter().for_each(|below| in_section(below, named)),
            Value::Secret(SecretRef::File(path)) => named.files.push((path.clone(), Holds::Secret)),
            Value::Secret(elsewhere) => named.elsewhere.push(elsewhere.to_string()),
            Value::Text(path) => {
                let holds = KEYS.iter().find(|(name, _)| name == key).map(|(_, holds)| *holds);
                if let (Some(holds), true) = (holds, path.starts_with('/')) {
                    named.files.push((PathBuf::from(path), holds));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{Kind, each_table};
    use crate::config::{Facts, Source, parse};

    /// Paths that are places.
    const PLACES: [&str; 10] = [
        "cwd",
        "data_dir",
        "control_socket",
        "profiles_dir",
        "texts_dir",
        "pid_file",
        "path",
        "socket",
        "command",
        "chip",
    ];

    #[test]
    fn of_each_path_in_the_schema_it_is_known_whether_it_belongs_to_the_config() {
        let mut paths = 0;
        each_table(&mut |table| {
            for key in table.keys {
                if matches!(key.kind, Kind::Path) {
                    let known = KEYS.iter().any(|(name, _)| *name == key.name) || PLACES.contains(&key.name);
                    assert!(
                        known,
                        "{} in {} is neither a file of the config nor a place",
                        key.name, table.name
                    );
                    paths += 1;
                }
            }
        });
        assert!(paths > 10, "only {paths} paths");
    }

    #[test]
    fn secrets_and_open_files_are_told_apart() {
        let text = "[broker]\nacl_file = \"/e/acl\"\npassword_file = \"/e/users\"\n\
                    [[broker.user]]\nname = \"u\"\npassword = { env = \"P\" }\n\
                    [[upstream]]\nhost = \"h\"\nuser_name = \"u\"\npassword = { file = \"/e/secret\" }\n\
                    tls = { ca = \"/e/ca.pem\", cert = \"/e/c.pem\", key = \"/e/k.pem\" }\n";
        let source = Source { file: "f".into(), text: text.into() };
        let config = parse(&[source], &Facts { default_id: "gw".into(), ..Facts::default() }).unwrap();
        let named = named(&config.settings);
        let file = |path: &str, holds| (PathBuf::from(path), holds);
        assert_eq!(
            named.files,
            [
                file("/e/acl", Holds::Open),
                file("/e/c.pem", Holds::Open),
                file("/e/ca.pem", Holds::Open),
                file("/e/k.pem", Holds::Secret),
                file("/e/secret", Holds::Secret),
                file("/e/users", Holds::Secret),
            ]
        );
        assert_eq!(named.elsewhere, ["environment variable P"]);
    }
}
