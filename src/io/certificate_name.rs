//! The name of a client in its certificate, as an MQTT user name. The certificate has been verified by then: what is
//! read here was signed by an authority that the config names.

use rustls::pki_types::CertificateDer;

use crate::config::CertificateName;

/// The longest name.
const NAME_BYTES_MAX: usize = 256;

/// The object identifier of a common name, 2.5.4.3 (X.520, 6.2.2).
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// DER: tags of the parts of a subject (X.690).
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const PRINTABLE_STRING: u8 = 0x13;
const TELETEX_STRING: u8 = 0x14;
const IA5_STRING: u8 = 0x16;

/// The user name in a certificate.
///
/// # Errors
/// In words, if there is none, or one that would be taken apart wherever it stands in a topic.
pub(super) fn user_name(certificate: &CertificateDer<'_>, wanted: CertificateName) -> Result<String, String> {
    let certificate = webpki::EndEntityCert::try_from(certificate)
        .map_err(|error| format!("the client's certificate can't be read: {error}"))?;
    let name = match wanted {
        CertificateName::Common => common_name(certificate.subject()),
        CertificateName::Alternative => {
            let mut names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
            names.next().map(str::to_owned)
        }
    };
    let name = name.ok_or_else(|| {
        let what = match wanted {
            CertificateName::Common => "common name",
            CertificateName::Alternative => "alternative name that is a DNS name or a URI",
        };
        format!("the client's certificate has no {what}")
    })?;
    check(&name).map_err(|why| format!("the name {name:?} in the client's certificate {why}"))?;
    Ok(name)
}

/// Whether a name in a certificate can be a user name.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the name.
pub fn check(name: &str) -> Result<(), String> {
    let forbidden = |c: char| matches!(c, '+' | '#' | '/') || c.is_control();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(forbidden) {
        return Err(format!(
            "can't be a user name: 1 to {NAME_BYTES_MAX} bytes, without + # / and control characters"
        ));
    }
    Ok(())
}

/// The first common name of a subject: a sequence of sets of pairs (RFC 5280, 4.1.2.4), its own tag taken off.
fn common_name(mut subject: &[u8]) -> Option<String> {
    // Some hand it out with its tag.
    if subject.first() == Some(&SEQUENCE)
        && let Some((_, inner, [])) = element(subject)
    {
        subject = inner;
    }
    while let Some((SET, mut set, rest)) = element(subject) {
        while let Some((SEQUENCE, pair, others)) = element(set) {
            if let Some((OBJECT_IDENTIFIER, id, value)) = element(pair)
                && *id == COMMON_NAME
            {
                let (tag, text, _) = element(value)?;
                return text_of(tag, text);
            }
            set = others;
        }
        subject = rest;
    }
    None
}

fn text_of(tag: u8, bytes: &[u8]) -> Option<String> {
    match tag {
        UTF8_STRING | PRINTABLE_STRING | IA5_STRING | TELETEX_STRING => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        _ => None,
    }
}

/// The first element of some DER: its tag, its content, and what follows. Lengths up to 65,535.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (length, rest) = match rest.split_first()? {
        (&short @ 0..=0x7F, rest) => (usize::from(short), rest),
        (0x81, rest) => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        (0x82, rest) => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let mut der = vec![tag];
        match u8::try_from(length) {
            Ok(short @ 0..=0x7F) => der.push(short),
            Ok(byte) => der.extend([0x81, byte]),
            Err(_) => {
                der.push(0x82);
                der.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        der.extend(content);
        der
    }

    fn attribute(id: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        tlv(SET, &tlv(SEQUENCE, &[tlv(OBJECT_IDENTIFIER, id), tlv(tag, text)].concat()))
    }

    #[test]
    fn the_first_common_name_of_a_subject_is_found_whatever_stands_around_it() {
        let country = attribute(&[0x55, 0x04, 0x06], PRINTABLE_STRING, b"DE");
        let cn = |text: &str| attribute(&COMMON_NAME, UTF8_STRING, text.as_bytes());
        let long = "n".repeat(300);
        for (subject, expected) in [
            ([country.clone(), cn("plc-1")].concat(), Some("plc-1")),
            ([cn("Stall Süd"), country.clone(), cn("second")].concat(), Some("Stall Süd")),
            (attribute(&COMMON_NAME, PRINTABLE_STRING, b"plc-2"), Some("plc-2")),
            (tlv(SEQUENCE, &cn("tagged")), Some("tagged")),
            (cn(&long), Some(long.as_str())),
            (country, None),
            (attribute(&COMMON_NAME, 0x1E, b"\0a"), None),
            (attribute(&COMMON_NAME, UTF8_STRING, b"\xff"), None),
            (Vec::new(), None),
        ] {
            assert_eq!(common_name(&subject).as_deref(), expected, "{subject:?}");
            for cut in 0..subject.len() {
                // Cut anywhere, it is no name or the whole one.
                let name = common_name(&subject[..cut]);
                assert!(name.is_none() || name.as_deref() == expected, "{subject:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_name_that_would_break_a_topic_is_refused() {
        for name in ["", "a+b", "#", "a/b", "a\0", "a\nb", &"x".repeat(257)] {
            assert!(check(name).is_err(), "{name:?}");
        }
        for name in ["plc-1", "Stall Süd", "device.example.com", &"x".repeat(256)] {
            assert_eq!(check(name), Ok(()));
        }
    }
}
