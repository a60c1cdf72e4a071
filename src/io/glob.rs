//! Files by a pattern: `*` and `?` within one level of an absolute path.

use std::io;
use std::path::{Path, PathBuf};

use crate::sensor::FoundFile;

/// The paths that match, in the order of their names, at most so many. What isn't there matches nothing.
///
/// # Errors
/// In words, where a folder can't be read.
pub fn find(pattern: &str, count_max: usize) -> Result<Vec<FoundFile>, String> {
    let mut found = vec![(PathBuf::from("/"), Vec::new())];
    for level in pattern.split('/').filter(|level| !level.is_empty()) {
        let mut next = Vec::new();
        for (folder, matches) in &found {
            if level.contains(['*', '?']) {
                for name in names(folder)? {
                    if let Some(more) = wild(level, &name) {
                        next.push((folder.join(&name), [matches.as_slice(), &more].concat()));
                    }
                }
            } else {
                next.push((folder.join(level), matches.clone()));
            }
        }
        found = next;
        found.truncate(count_max);
    }
    let found = found.into_iter().filter(|(path, _)| path.exists());
    Ok(found.map(|(path, matches)| FoundFile { path: path.display().to_string(), matches }).collect())
}

fn names(folder: &Path) -> Result<Vec<String>, String> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(format!("can't read {}: {error}", folder.display())),
    };
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
}

/// What each run of wildcards in a level matches; as with a shell, each takes as little as it can.
fn wild(level: &str, name: &str) -> Option<Vec<String>> {
    let Some(star) = level.find(['*', '?']) else {
        return (level == name).then(Vec::new);
    };
    let (before, rest) = level.split_at(star);
    let name = name.strip_prefix(before)?;
    let run = rest.find(|character| !matches!(character, '*' | '?')).unwrap_or(rest.len());
    let (run, rest) = rest.split_at(run);
    let (least, is_open) = (run.matches('?').count(), run.contains('*'));
    let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]).enumerate();
    for (count, end) in ends.skip(least) {
        if count > least && !is_open {
            break;
        }
        let (taken, behind) = name.split_at(end);
        if let Some(more) = wild(rest, behind) {
            return Some([vec![taken.to_owned()], more].concat());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_within_a_level_and_say_what_they_stand_for() {
        let check = |level: &str, name: &str, expected: Option<&[&str]>| {
            let found = wild(level, name);
            let expected: Option<Vec<String>> =
                expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
            assert_eq!(found, expected, "{level} {name}");
        };
        check("28-*", "28-0316a279c0ff", Some(&["0316a279c0ff"]));
        check("28-*", "10-000802bf634d", None);
        check("hwmon?", "hwmon3", Some(&["3"]));
        check("hwmon?", "hwmon12", None);
        check("hwmon?*", "hwmon12", Some(&["12"]));
        check("a*b*c", "a1b2b3c", Some(&["1", "2b3"]));
        check("*", "", Some(&[""]));
        check("plain", "plain", Some(&[]));
        check("in_*_input", "in_temp_raw", None);
    }

    #[test]
    fn files_are_found_on_each_level_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["28-b/temperature", "28-a/temperature", "28-c/other", "w1_bus/temperature"] {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "1").unwrap();
        }
        let pattern = format!("{}/28-*/temp*", dir.path().display());
        let found = find(&pattern, 10).unwrap();
        let matches: Vec<&[String]> = found.iter().map(|file| file.matches.as_slice()).collect();
        assert_eq!(matches, [["a", "erature"], ["b", "erature"]]);
        assert!(found[0].path.ends_with("28-a/temperature"));
        assert_eq!(find(&pattern, 1).unwrap().len(), 1);
        assert_eq!(find("/no/such/*/folder", 10), Ok(Vec::new()));
    }
}
