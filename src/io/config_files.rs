//! The config on disk as one document: read, told apart by a hash, written file by file so that whatever happens finds
//! each as it was or as it is to be. All of it blocks.

use std::path::Path;

use ring::digest;

use super::files;
use crate::config::{self, Config, Mistake, Source};
use crate::hex;

/// The main file, empty where there is none yet, and the files of `conf.d`.
///
/// # Errors
/// In words, naming the file.
pub fn read(main: &Path) -> Result<Vec<Source>, String> {
    let missing =
        std::fs::symlink_metadata(main).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    if !missing {
        return files::config_sources(main);
    }
    let mut sources = vec![Source { file: main.display().to_string(), text: String::new() }];
    sources.extend(files::config_parts(main)?);
    Ok(sources)
}

/// Tells one document from another: SHA-256 over the files' names and texts.
#[must_use]
pub fn hash(sources: &[Source]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for source in sources {
        for part in [&source.file, &source.text] {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part.as_bytes());
        }
    }
    hex::encode(context.finish().as_ref())
}

/// What a document means, with the device profiles that it names.
///
/// # Errors
/// All mistakes; or, where profiles can't be read, why, as the only one.
pub fn parse(sources: &[Source]) -> Result<Config, Vec<Mistake>> {
    let profiles = files::profile_sources(sources).map_err(|message| {
        let file = sources.first().map(|source| source.file.clone()).unwrap_or_default();
        vec![Mistake {
            file,
            line: 1,
            column: 1,
            len: 1,
            message,
            help: None,
            excerpt: String::new(),
            caret: 0,
        }]
    })?;
    config::parse_with(sources, &profiles, &files::facts())
}

/// Turns the document `old` into `new`: writes what differs, takes away what isn't there any more. The main file comes
/// last, so that what was interrupted is seen by its hash.
///
/// # Errors
/// In words; some files may have been written then.
pub fn write(old: &[Source], new: &[Source]) -> Result<(), String> {
    let text_of = |sources: &[Source], file: &str| {
        sources.iter().find(|source| source.file == file).map(|source| source.text.clone())
    };
    let differs = |source: &&Source| text_of(old, &source.file).as_ref() != Some(&source.text);
    for source in new.iter().rev().filter(differs) {
        let path = Path::new(&source.file);
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| format!("can't make the folder {}: {error}", folder.display()))?;
        }
        files::rewrite_open(path, |_| Ok((source.text.clone().into_bytes(), ())))?;
    }
    for gone in old.iter().filter(|source| text_of(new, &source.file).is_none()) {
        match std::fs::remove_file(&gone.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("can't remove {}: {error}", gone.file));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether each file on disk is as in one of these documents: what somebody has written there since is in none.
#[must_use]
pub fn is_between(found: &[Source], one: &[Source], other: &[Source]) -> bool {
    let known =
        |source: &&Source| !one.contains(source) && !other.contains(source) && !source.text.is_empty();
    !found.iter().any(|source| known(&source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &Path, text: &str) -> Source {
        Source { file: path.display().to_string(), text: text.into() }
    }

    #[test]
    fn a_document_becomes_another_with_files_that_come_and_go() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("fieldgate.toml");
        let part = folder.path().join("conf.d").join("a.toml");
        let empty = read(&main).unwrap();
        assert_eq!(empty, [source(&main, "")]);
        let full = [source(&main, "[gateway]\n"), source(&part, "[health]\n")];
        write(&empty, &full).unwrap();
        assert_eq!(read(&main).unwrap(), full);
        let less = [source(&main, "[gateway]\nid = \"a\"\n")];
        write(&full, &less).unwrap();
        assert_eq!(read(&main).unwrap(), less);
        assert!(!part.exists());
    }

    #[test]
    fn a_hash_tells_names_and_texts_apart() {
        let one = |file: &str, text: &str| Source { file: file.into(), text: text.into() };
        let hashes = [
            hash(&[]),
            hash(&[one("a", "b")]),
            hash(&[one("ab", "")]),
            hash(&[one("a", ""), one("b", "")]),
            hash(&[one("a", "c")]),
        ];
        let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
        assert_eq!(distinct.len(), hashes.len());
        assert_eq!(hash(&[one("a", "b")]), hashes[1]);
    }

    #[test]
    fn what_a_person_wrote_meanwhile_is_neither_before_nor_after() {
        let of = |text: &str| vec![Source { file: "f".into(), text: text.into() }];
        assert!(is_between(&of("a"), &of("a"), &of("b")) && is_between(&of("b"), &of("a"), &of("b")));
        assert!(!is_between(&of("c"), &of("a"), &of("b")));
        assert!(is_between(&of(""), &of("a"), &of("b")), "a file that isn't there yet is nobody's");
    }
}
