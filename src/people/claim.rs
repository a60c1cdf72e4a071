//! The claim: whoever knows the gateway's code makes the first account. What the code looks like, and from where it may
//! be used.

use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::{Digest, digest_of};
use crate::time::Mono;

/// Letters of a code (RFC 4648, base 32): none of them looks like another.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Letters of a code that is made: 100 bits.
pub const CODE_LETTERS: usize = 20;

/// The shortest code that may be set beforehand: 60 bits.
pub const CODE_LETTERS_MIN: usize = 12;

/// The claim of a gateway that nobody has an account of.
pub(super) struct Claim {
    code: String,
    digest: Digest,
    until: Mono,
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim(*** until {:?})", self.until)
    }
}

impl Claim {
    pub(super) fn new(code: &str, until: Mono) -> Self {
        Self { code: code.to_owned(), digest: digest_of(plain(code).as_bytes()), until }
    }

    pub(super) fn is_open(&self, now: Mono) -> bool {
        now < self.until
    }

    pub(super) const fn open_until(&mut self, until: Mono) {
        self.until = until;
    }

    pub(super) fn code(&self) -> &str {
        &self.code
    }

    pub(super) fn is_right(&self, code: &str) -> bool {
        digest_of(plain(code).as_bytes()).ct_eq(&self.digest).into()
    }
}

/// A code of random bytes, in groups of four.
#[must_use]
pub fn make_code(random: &[u8; CODE_LETTERS]) -> String {
    let mut code = String::with_capacity(CODE_LETTERS + CODE_LETTERS / 4);
    for (place, byte) in random.iter().enumerate() {
        if place > 0 && place % 4 == 0 {
            code.push('-');
        }
        code.push(char::from(LETTERS.get(usize::from(byte % 32)).copied().unwrap_or(b'A')));
    }
    code
}

/// As it is compared: however it was typed, with the digits for the letters that they look like.
fn plain(code: &str) -> String {
    let letter = |c: char| match c.to_ascii_uppercase() {
        '0' => 'O',
        '1' => 'I',
        '8' => 'B',
        other => other,
    };
    code.chars().filter(|c| !c.is_whitespace() && *c != '-').map(letter).collect()
}

/// Whether a code that was set beforehand can be used.
///
/// # Errors
/// In words, without the code.
pub fn check_code(code: &str) -> Result<(), String> {
    let code = plain(code);
    let letters = code.chars().count();
    if letters < CODE_LETTERS_MIN {
        return Err(format!("the claim code has {letters} letters; at least {CODE_LETTERS_MIN} are wanted"));
    }
    if code.len() > 64 || code.chars().any(|c| !c.is_ascii_alphanumeric()) {
        return Err("the claim code has more than letters and digits, or more than 64 of them".to_owned());
    }
    Ok(())
}

/// An address of this machine, and how many of its first bits its neighbours share.
pub type Own = (IpAddr, u8);

/// Whether an address is on a network that this machine is on too: nobody from further away may claim it.
#[must_use]
pub fn is_on_link(address: IpAddr, own: &[Own]) -> bool {
    let address = address.to_canonical();
    if address.is_loopback() {
        return true;
    }
    let link_local = match address {
        IpAddr::V4(four) => four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    link_local || own.iter().any(|(own, bits)| shares(address, own.to_canonical(), *bits))
}

fn shares(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let (one, other, width): (u128, u128, u32) = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let bits = u32::from(bits);
    // A network of everybody is a mistake, a default route, or a point-to-point link: it has no neighbours.
    if bits == 0 || bits > width {
        return false;
    }
    let rest = width - bits;
    one.checked_shr(rest).unwrap_or(0) == other.checked_shr(rest).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_a_hundred_bits_and_is_right_however_it_is_typed() {
        let mut random = [0; CODE_LETTERS];
        for (place, byte) in random.iter_mut().enumerate() {
            *byte = u8::try_from(place * 13).unwrap();
        }
        let code = make_code(&random);
        assert_eq!(code, "AN2H-UBO3-IVCP-4JWD-Q5KX");
        let claim = Claim::new(&code, Mono::ZERO);
        for typed in [&code, "an2h ubo3 ivcp 4jwd q5kx", " AN2HUBO31VCP4JWDQ5KX", "AN2H-U803-IVCP-4JWD-Q5KX"]
        {
            assert!(claim.is_right(typed), "{typed}");
        }
        for typed in ["", "AN2H", "AN2H-UBO3-IVCP-4JWD-Q5KY", "AN2H-UBO3-IVCP-4JWD-Q5KX-A"] {
            assert!(!claim.is_right(typed), "{typed}");
        }
        assert_eq!(format!("{claim:?}"), format!("Claim(*** until {:?})", Mono::ZERO));
    }

    #[test]
    fn only_neighbours_are_on_link() {
        let own: Vec<Own> = [("192.168.4.7", 24), ("10.1.2.3", 32), ("fd00:1::7", 64), ("0.0.0.0", 0)]
            .map(|(address, bits)| (address.parse().unwrap(), bits))
            .to_vec();
        let check = |address: &str, expected: bool| {
            assert_eq!(is_on_link(address.parse().unwrap(), &own), expected, "{address}");
        };
        for near in [
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "192.168.4.200",
            "::ffff:192.168.4.9",
            "169.254.3.3",
            "fe80::1",
            "fd00:1::abcd",
            "10.1.2.3",
        ] {
            check(near, true);
        }
        for far in
            ["192.168.5.1", "10.1.2.4", "8.8.8.8", "::ffff:8.8.8.8", "fd00:2::1", "2001:db8::1", "172.16.0.1"]
        {
            check(far, false);
        }
    }

    #[test]
    fn a_code_set_beforehand_must_be_long_enough_to_be_one() {
        for good in ["ABCD-EFGH-IJKL", "abcdefghijkl", "A1B2C3D4E5F6G7"] {
            assert_eq!(check_code(good), Ok(()), "{good}");
        }
        for bad in ["", "ABCD-EFGH", "ABCD-EFGH-IJK!", &"A".repeat(65)] {
            assert!(check_code(bad).is_err(), "{bad}");
        }
    }
}
