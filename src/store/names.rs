//! What an outbox is called on disk.

use super::segment;

/// Before the name of each.
pub(super) const OUTBOX_PREFIX: &str = "outbox-";

/// A file name is 255 bytes at most; what is longer is cut and told apart by a checksum.
const NAME_BYTES_MAX: usize = 150;

/// The directory of the outbox called `name`: letters, digits, `-` and `_` as they are, all else as `%XX`.
pub(super) fn directory_name(name: &str) -> String {
    file_name(OUTBOX_PREFIX, name)
}

/// A name as part of a path, behind a prefix; see [`directory_name`].
pub(super) fn file_name(prefix: &str, name: &str) -> String {
    let mut encoded = String::from(prefix);
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    if encoded.len() > NAME_BYTES_MAX {
        encoded.truncate(NAME_BYTES_MAX);
        encoded.push_str(&format!("%{:08x}", segment::crc32c(&[name.as_bytes()])));
    }
    encoded
}

/// The upstream's name in its directory's.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(byte);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstreams_name_becomes_one_directory_of_its_own() {
        let check = |name: &str, expected: &str| assert_eq!(directory_name(name), expected);
        check("cloud", "outbox-cloud");
        check("my cloud/1", "outbox-my%20cloud%2F1");
        check("..", "outbox-%2E%2E");
        check("ü", "outbox-%C3%BC");
        let (long, longer) = ("a".repeat(300), "a".repeat(301));
        assert!(directory_name(&long).len() < 200);
        assert_ne!(directory_name(&long), directory_name(&longer));
    }

    #[test]
    fn a_directory_tells_its_upstreams_name() {
        for name in ["cloud", "local/2", "größe", "100%", "a b"] {
            assert_eq!(decoded(directory_name(name).strip_prefix(OUTBOX_PREFIX).unwrap()), name);
        }
    }
}
