//! A text that only who knows the passphrase can read, or change unnoticed: argon2id makes the key, ChaCha20-Poly1305 seals.

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64, Encoding};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use crate::io::passwords::random;
use crate::secret::Secret;

/// What argon2id costs: as much memory as a login, which a small board has, and more time.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 4;

/// What somebody else's backup may cost here at most.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 64;

const KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;

/// How the text was sealed. Stands before it, and is sealed along.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Header {
    fieldgate_backup: u32,
    encrypted: String,
    kdf: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    nonce: String,
}

/// Seals a text.
///
/// # Errors
/// In words.
pub(super) fn seal(text: &str, passphrase: &Secret) -> Result<String, String> {
    let (salt, nonce) = (random::<SALT_BYTES>()?, random::<NONCE_LEN>()?);
    let header = Header {
        fieldgate_backup: 1,
        encrypted: "chacha20-poly1305".to_owned(),
        kdf: "argon2id".to_owned(),
        memory_kib: MEMORY_KIB,
        passes: PASSES,
        salt: Base64::encode_string(&salt),
        nonce: Base64::encode_string(&nonce),
    };
    let line = serde_json::to_string(&header).map_err(|error| error.to_string())?;
    let mut bytes = text.as_bytes().to_vec();
    key(passphrase, &header)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(line.as_bytes()), &mut bytes)
        .map_err(|_| "it can't be encrypted".to_owned())?;
    Ok(format!("{line}\n{}\n", Base64::encode_string(&bytes)))
}

/// Whether a text is sealed.
pub(super) fn is_sealed(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    serde_json::from_str::<Header>(first).is_ok()
}

/// Opens what [`seal`] made.
///
/// # Errors
/// In words: a wrong passphrase and a damaged file can't be told apart.
pub(super) fn open(text: &str, passphrase: &Secret) -> Result<String, String> {
    let damaged = || "the backup is damaged".to_owned();
    let (line, rest) = text.split_once('\n').ok_or_else(damaged)?;
    let header: Header = serde_json::from_str(line).map_err(|_| damaged())?;
    if header.memory_kib > MEMORY_KIB_MAX || header.passes > PASSES_MAX {
        return Err("the backup asks for more work than a backup of this program ever does".to_owned());
    }
    let nonce: [u8; NONCE_LEN] =
        Base64::decode_vec(&header.nonce).ok().and_then(|nonce| nonce.try_into().ok()).ok_or_else(damaged)?;
    let mut bytes = Base64::decode_vec(rest.trim_end()).map_err(|_| damaged())?;
    let opened = key(passphrase, &header)?
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(line.as_bytes()), &mut bytes)
        .map_err(|_| "the passphrase is wrong, or the backup is damaged".to_owned())?;
    String::from_utf8(opened.to_vec()).map_err(|_| damaged())
}

fn key(passphrase: &Secret, header: &Header) -> Result<LessSafeKey, String> {
    let damaged = |_| "the backup is damaged".to_owned();
    let salt = Base64::decode_vec(&header.salt).map_err(damaged)?;
    let params = Params::new(header.memory_kib, header.passes, 1, Some(KEY_BYTES))
        .map_err(|error| format!("the backup is damaged: {error}"))?;
    let mut key = [0; KEY_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), &salt, &mut key)
        .map_err(|error| format!("the passphrase can't be used: {error}"))?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|error| error.to_string())?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes().to_vec())
    }

    #[test]
    fn only_the_passphrase_opens_what_was_sealed_and_nothing_can_be_changed() {
        let sealed = seal("the canary sings", &secret("correct horse")).unwrap();
        assert!(is_sealed(&sealed) && !sealed.contains("canary"));
        assert_eq!(open(&sealed, &secret("correct horse")).as_deref(), Ok("the canary sings"));
        assert!(open(&sealed, &secret("wrong")).unwrap_err().contains("passphrase is wrong"));
        let other = seal("the canary sings", &secret("correct horse")).unwrap();
        assert_ne!(sealed, other, "salt and nonce are new each time");
        let (line, rest) = sealed.split_once('\n').unwrap();
        for damaged in [
            format!("{line}\n{}", rest.replacen(&rest[..1], if &rest[..1] == "A" { "B" } else { "A" }, 1)),
            format!("{}\n{rest}", line.replace("\"passes\":4", "\"passes\":3")),
            format!("{line}\n!"),
            line.to_owned(),
        ] {
            assert!(open(&damaged, &secret("correct horse")).is_err(), "{damaged}");
        }
        let greedy = format!("{}\n{rest}", line.replace("19456", "999999999"));
        assert!(open(&greedy, &secret("correct horse")).unwrap_err().contains("more work"));
        assert!(!is_sealed("{}\n") && !is_sealed(""));
    }
}
