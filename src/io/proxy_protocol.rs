//! The header that a proxy puts before a connection to tell whose it is: the PROXY protocol of HAProxy, versions 1
//! and 2. Bytes in, address out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header of version 1, with its line end (section 2.1 of the specification).
const V1_BYTES_MAX: usize = 107;

/// How a header of version 2 starts (section 2.2).
const V2_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2.
const V2_FIXED_BYTES: usize = 16;

/// The longest variable part that is taken: addresses, and what a proxy may add about itself.
const V2_REST_BYTES_MAX: usize = 2 * 1024;

/// What the beginning of a connection says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// It isn't whole yet.
    Incomplete,
    /// A whole one.
    Whole {
        /// Its bytes.
        used: usize,
        /// Where the client is; `None` if the proxy doesn't say, as for its own health checks.
        source: Option<SocketAddr>,
    },
}

/// Reads the header at the front of `bytes`.
///
/// # Errors
/// In words, if it is none.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, &'static str> {
    let starts = |whole: &[u8]| whole.iter().zip(bytes).all(|(a, b)| a == b);
    if starts(&V2_SIGNATURE) {
        version_2(bytes)
    } else if starts(b"PROXY ") {
        version_1(bytes)
    } else {
        Err("no PROXY header")
    }
}

fn version_1(bytes: &[u8]) -> Result<Header, &'static str> {
    const BROKEN: &str = "a broken PROXY header";
    let line = bytes.get(..V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < V1_BYTES_MAX { Ok(Header::Incomplete) } else { Err(BROKEN) };
    };
    let text = line.get(..end).and_then(|line| std::str::from_utf8(line).ok()).ok_or(BROKEN)?;
    let used = end.saturating_add(2);
    let mut words = text.split(' ').skip(1);
    let family = words.next().ok_or(BROKEN)?;
    if family == "UNKNOWN" {
        // Whatever else stands in the line is to be ignored.
        return Ok(Header::Whole { used, source: None });
    }
    let (Some(source), Some(destination), Some(port), Some(to), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BROKEN);
    };
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| BROKEN),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| BROKEN),
        _ => Err(BROKEN),
    };
    let port = port.parse::<u16>().map_err(|_| BROKEN)?;
    address(destination)?;
    to.parse::<u16>().map_err(|_| BROKEN)?;
    Ok(Header::Whole { used, source: Some(SocketAddr::new(address(source)?, port)) })
}

fn version_2(bytes: &[u8]) -> Result<Header, &'static str> {
    let Some((fixed, rest)) = bytes.split_at_checked(V2_FIXED_BYTES) else { return Ok(Header::Incomplete) };
    let Some(&[version_command, family, high, low]) = fixed.get(V2_SIGNATURE.len()..) else {
        return Ok(Header::Incomplete);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_REST_BYTES_MAX {
        return Err("a PROXY header that is too long");
    }
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err("a PROXY header of an unknown version or command"),
    };
    let Some(rest) = rest.get(..length) else { return Ok(Header::Incomplete) };
    let used = V2_FIXED_BYTES.saturating_add(length);
    if is_local {
        return Ok(Header::Whole { used, source: None });
    }
    let source = match family {
        // TCP over IPv4: two addresses, two ports.
        0x11 => {
            let Some(&[a, b, c, d, _, _, _, _, high, low, _, _]) = rest.get(..12) else {
                return Err("a PROXY header without addresses");
            };
            Some(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), u16::from_be_bytes([high, low])))
        }
        0x21 => {
            let (Some(address), Some(&[high, low])) = (rest.first_chunk::<16>(), rest.get(32..34)) else {
                return Err("a PROXY header without addresses");
            };
            if rest.len() < 36 {
                return Err("a PROXY header without addresses");
            }
            Some(SocketAddr::new(Ipv6Addr::from(*address).into(), u16::from_be_bytes([high, low])))
        }
        // Unix sockets and what isn't known have no address that would tell anything.
        _ => None,
    };
    Ok(Header::Whole { used, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&V2_SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn check(header: &[u8], source: Option<&str>) {
        for cut in 0..header.len() {
            assert_eq!(parse(&header[..cut]), Ok(Header::Incomplete), "{header:?} cut at {cut}");
        }
        let expected =
            Header::Whole { used: header.len(), source: source.map(|source| source.parse().unwrap()) };
        assert_eq!(parse(header), Ok(expected));
        let more = [header, &b"\x10\x0c\x00\x04MQTT"[..]].concat();
        assert_eq!(parse(&more), Ok(expected), "what follows is not the header's");
    }

    #[test]
    fn a_header_of_either_version_tells_the_clients_address_however_it_is_cut() {
        check(b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 1883\r\n", Some("192.0.2.7:56324"));
        check(b"PROXY TCP6 2001:db8::7 2001:db8::1 4124 1883\r\n", Some("[2001:db8::7]:4124"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff::1 whatever\r\n", None);
        let v4 = [192, 0, 2, 7, 192, 0, 2, 1, 0xDC, 0x04, 0x07, 0x5B];
        check(&version_2(0x21, 0x11, &v4), Some("192.0.2.7:56324"));
        check(&version_2(0x21, 0x11, &[&v4[..], &[4, 0, 1, 9]].concat()), Some("192.0.2.7:56324"));
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[32..34].copy_from_slice(&4124_u16.to_be_bytes());
        check(&version_2(0x21, 0x21, &v6), Some("[2001:db8::7]:4124"));
        check(&version_2(0x20, 0x00, &[]), None);
        check(&version_2(0x21, 0x00, &[1, 2, 3]), None);
        check(&version_2(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn whatever_is_no_header_is_refused() {
        for bytes in [
            &b"\x10\x0c\x00\x04MQTT"[..],
            b"PROXX",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 56324\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 56324 1883 9\r\n",
            b"PROXY TCP4 2001:db8::7 192.0.2.1 56324 1883\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 66324 1883\r\n",
            b"PROXY UDP4 192.0.2.7 192.0.2.1 6324 1883\r\n",
            b"PROXY \xff\xff\r\n",
            &[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(),
            &version_2(0x11, 0x11, &[0; 12]),
            &version_2(0x2F, 0x11, &[0; 12]),
            &version_2(0x21, 0x11, &[0; 11]),
            &version_2(0x21, 0x21, &[0; 35]),
            &version_2(0x21, 0x11, &[0; 2049]),
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
