//! One password hash: argon2id, and the two kinds of Mosquitto's older password files. Text to hash and back,
//! making, checking.

use std::fmt;
use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use base64ct::{Base64, Base64Unpadded, Encoding};
use ring::{digest, pbkdf2};
use subtle::ConstantTimeEq;

/// The length of the salt of a new hash.
pub const SALT_BYTES: usize = 16;

/// Memory, passes and lanes of a new hash: OWASP's first choice. 19 MiB for some 30 ms.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// The length of a new hash.
const OUTPUT_BYTES: usize = 32;

/// What a hash of a file may cost at most: a line mistyped, or written by an enemy, must not take the machine's
/// memory. Mosquitto makes 47,104 KiB.
const MEMORY_KIB_MAX: u32 = 65_536;
const PASSES_MAX: u32 = 16;
const LANES_MAX: u32 = 8;
const ITERATIONS_MAX: u32 = 10_000_000;

/// Salts and hashes of other kinds are longer than any that exist; shorter ones protect nothing.
const SALT_LIMITS: std::ops::RangeInclusive<usize> = 8..=64;
const OUTPUT_LIMITS: std::ops::RangeInclusive<usize> = 16..=64;
/// SHA-512, and what Mosquitto derives by PBKDF2.
const SHA512_BYTES: usize = 64;

/// A password hash. Two are equal if all their parts are.
#[derive(Clone, PartialEq, Eq)]
pub enum Hash {
    /// `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, as RFC 9106 and the PHC string format have it.
    Argon2id {
        /// KiB.
        memory: u32,
        /// Times.
        passes: u32,
        /// Threads that could work on it.
        lanes: u32,
        /// 8 to 64 bytes.
        salt: Vec<u8>,
        /// 16 to 64 bytes.
        output: Vec<u8>,
    },
    /// `$7$iterations$salt$hash`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2 {
        /// Times.
        iterations: NonZeroU32,
        /// 12 bytes, since Mosquitto 2.1 64.
        salt: Vec<u8>,
        /// 64 bytes.
        output: Vec<u8>,
    },
    /// `$6$salt$hash`: SHA-512 of password and salt, once.
    Sha512 {
        /// Usually 12 bytes.
        salt: Vec<u8>,
        /// 64 bytes.
        output: Vec<u8>,
    },
}

/// Why a text is no hash that can be used. Says nothing of the text itself: it may be a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashError {
    /// It doesn't begin with `$argon2id$`, `$7$` or `$6$`.
    UnknownKind,
    /// A part is missing, there is one too many, or one is not what it should be.
    Malformed(&'static str),
    /// It would take more memory or time than is allowed.
    TooCostly(&'static str),
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind => f.write_str(
                "what follows the user name is no password hash ($argon2id$, $7$ or $6$); \
                 `fieldgate passwd -U FILE` turns a file of plain passwords into hashes",
            ),
            Self::Malformed(what) => write!(f, "the password hash is damaged: {what}"),
            Self::TooCostly(what) => write!(f, "the password hash would cost too much: {what}"),
        }
    }
}

impl std::error::Error for HashError {}

impl Hash {
    /// A new argon2id hash. `None` only if argon2 refuses the password's length (4 GiB).
    #[must_use]
    pub fn make(password: &[u8], salt: &[u8]) -> Option<Self> {
        let mut output = vec![0; OUTPUT_BYTES];
        argon2id(MEMORY_KIB, PASSES, LANES, password, salt, &mut output)?;
        Some(Self::Argon2id { memory: MEMORY_KIB, passes: PASSES, lanes: LANES, salt: salt.to_vec(), output })
    }

    /// One that costs as much as a new one and that no password is known to match.
    #[must_use]
    pub fn of_nobody() -> Self {
        Self::Argon2id {
            memory: MEMORY_KIB,
            passes: PASSES,
            lanes: LANES,
            salt: vec![0; SALT_BYTES],
            output: vec![0; OUTPUT_BYTES],
        }
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`HashError`]: what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, HashError> {
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            parse_argon2id(rest)
        } else if let Some(rest) = text.strip_prefix("$7$") {
            let (iterations, rest) = rest.split_once('$').ok_or(HashError::Malformed("it has no salt"))?;
            let number = iterations.parse().ok().and_then(NonZeroU32::new);
            let iterations = number.ok_or(HashError::Malformed("the number of iterations"))?;
            if iterations.get() > ITERATIONS_MAX {
                return Err(HashError::TooCostly("more than 10,000,000 iterations"));
            }
            let (salt, output) = mosquitto_parts(rest)?;
            Ok(Self::Pbkdf2 { iterations, salt, output })
        } else if let Some(rest) = text.strip_prefix("$6$") {
            let (salt, output) = mosquitto_parts(rest)?;
            Ok(Self::Sha512 { salt, output })
        } else {
            Err(HashError::UnknownKind)
        }
    }

    /// Whether the password is this hash's. Takes long; compares in constant time.
    #[must_use]
    pub fn matches(&self, password: &[u8]) -> bool {
        match self {
            Self::Argon2id { memory, passes, lanes, salt, output } => {
                let mut found = vec![0; output.len()];
                argon2id(*memory, *passes, *lanes, password, salt, &mut found).is_some()
                    && bool::from(found.ct_eq(output))
            }
            Self::Pbkdf2 { iterations, salt, output } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *iterations, salt, password, output).is_ok()
            }
            Self::Sha512 { salt, output } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                bool::from(context.finish().as_ref().ct_eq(output))
            }
        }
    }

    /// Whether a thief of the file would have an easier time than with a new hash.
    #[must_use]
    pub const fn is_weak(&self) -> bool {
        matches!(self, Self::Pbkdf2 { .. } | Self::Sha512 { .. })
    }
}

/// The text form.
impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argon2id { memory, passes, lanes, salt, output } => {
                let (salt, output) =
                    (Base64Unpadded::encode_string(salt), Base64Unpadded::encode_string(output));
                write!(f, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${output}")
            }
            Self::Pbkdf2 { iterations, salt, output } => {
                let (salt, output) = (Base64::encode_string(salt), Base64::encode_string(output));
                write!(f, "$7${iterations}${salt}${output}")
            }
            Self::Sha512 { salt, output } => {
                write!(f, "$6${}${}", Base64::encode_string(salt), Base64::encode_string(output))
            }
        }
    }
}

/// Never shows salt or output.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Argon2id { .. } => "Argon2id(***)",
            Self::Pbkdf2 { .. } => "Pbkdf2(***)",
            Self::Sha512 { .. } => "Sha512(***)",
        })
    }
}

fn argon2id(
    memory: u32,
    passes: u32,
    lanes: u32,
    password: &[u8],
    salt: &[u8],
    out: &mut [u8],
) -> Option<()> {
    let params = Params::new(memory, passes, lanes, Some(out.len())).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(password, salt, out).ok()
}

/// `v=19$m=…,t=…,p=…$salt$hash`
fn parse_argon2id(text: &str) -> Result<Hash, HashError> {
    let parts: Vec<&str> = text.split('$').collect();
    let &[version, costs, salt, output] = parts.as_slice() else {
        return Err(HashError::Malformed("it must have a version, three costs, a salt and a hash"));
    };
    if version != "v=19" {
        return Err(HashError::Malformed("its version isn't v=19"));
    }
    let costs: Vec<&str> = costs.split(',').collect();
    let &[memory, passes, lanes] = costs.as_slice() else {
        return Err(HashError::Malformed("its costs aren't m=…,t=…,p=…"));
    };
    let cost = |text: &str, prefix: &str| text.strip_prefix(prefix).and_then(|number| number.parse().ok());
    let (Some(memory), Some(passes), Some(lanes)) =
        (cost(memory, "m="), cost(passes, "t="), cost(lanes, "p="))
    else {
        return Err(HashError::Malformed("its costs aren't m=…,t=…,p=…"));
    };
    if memory > MEMORY_KIB_MAX {
        return Err(HashError::TooCostly("more than 65,536 KiB of memory"));
    }
    if passes > PASSES_MAX || lanes > LANES_MAX {
        return Err(HashError::TooCostly("more than 16 passes or 8 lanes"));
    }
    let decode = |text: &str| Base64Unpadded::decode_vec(text).ok();
    let salt = decode(salt).filter(|salt| SALT_LIMITS.contains(&salt.len()));
    let output = decode(output).filter(|output| OUTPUT_LIMITS.contains(&output.len()));
    let salt = salt.ok_or(HashError::Malformed("its salt isn't base64 of 8 to 64 bytes"))?;
    let output = output.ok_or(HashError::Malformed("its hash isn't base64 of 16 to 64 bytes"))?;
    if Params::new(memory, passes, lanes, Some(output.len())).is_err() {
        return Err(HashError::Malformed("its costs are too small"));
    }
    Ok(Hash::Argon2id { memory, passes, lanes, salt, output })
}

/// `salt$hash`, both in base64.
fn mosquitto_parts(text: &str) -> Result<(Vec<u8>, Vec<u8>), HashError> {
    let (salt, output) = text.split_once('$').ok_or(HashError::Malformed("it has no salt"))?;
    let salt = Base64::decode_vec(salt).ok().filter(|salt| SALT_LIMITS.contains(&salt.len()));
    let output = Base64::decode_vec(output).ok().filter(|output| output.len() == SHA512_BYTES);
    Ok((
        salt.ok_or(HashError::Malformed("its salt isn't base64 of 8 to 64 bytes"))?,
        output.ok_or(HashError::Malformed("its hash isn't base64 of 64 bytes"))?,
    ))
}
