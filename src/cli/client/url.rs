//! `mqtt://user:password@host:port/topic`, as mosquitto_pub's -L takes it, and the same with `ws://`.

/// The parts of a URL, percent-decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) tls: bool,
    pub(super) websocket: bool,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<Vec<u8>>,
    pub(super) host: String,
    pub(super) port: Option<u16>,
    pub(super) topic: String,
}

/// Takes a URL apart.
///
/// # Errors
/// In words; the URL itself, which may hold a password, is not repeated.
pub(super) fn parse(url: &str) -> Result<Url, String> {
    let (tls, websocket, rest) = match url.split_once("://") {
        Some(("mqtt", rest)) => (false, false, rest),
        Some(("mqtts", rest)) => (true, false, rest),
        Some(("ws", rest)) => (false, true, rest),
        Some(("wss", rest)) => (true, true, rest),
        _ => return Err("the URL must begin with mqtt://, mqtts://, ws:// or wss://".into()),
    };
    let (authority, topic) = rest.split_once('/').ok_or("the URL has no /topic behind the host")?;
    if topic.is_empty() {
        return Err("the URL has no topic behind its /".into());
    }
    let (login, address) = match authority.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, authority),
    };
    let (user_name, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
        None => (None, None),
        Some((user, "")) => (Some(decoded(user)?), None),
        Some((user, password)) => (Some(decoded(user)?), Some(decoded_bytes(password)?)),
    };
    let (host, port) = host_and_port(address)?;
    Ok(Url { tls, websocket, user_name, password, host, port, topic: decoded(topic)? })
}

/// `host`, `host:port`, `[::1]:port`.
fn host_and_port(address: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or("the URL's address has no closing ]")?;
            (host, tail.strip_prefix(':'))
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    if host.is_empty() {
        return Err("the URL has no host".into());
    }
    let wrong = |port: &str| format!("{port:?} in the URL is no port: 1 to 65535");
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|n| *n > 0).ok_or_else(|| wrong(port))?),
    };
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<String, String> {
    String::from_utf8(decoded_bytes(text)?).map_err(|_| "a %-sequence in the URL is no UTF-8".into())
}

/// Resolves %41 and the like (RFC 3986, 2.1).
fn decoded_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let byte = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = byte.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = byte.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.ok_or("a % in the URL must be followed by two hexadecimal digits; % itself is %25")?);
        rest = tail.get(2..).unwrap_or_default();
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        for (url, tls, user, password, host, port, topic) in [
            ("mqtt://h/t", false, None, None, "h", None, "t"),
            ("mqtts://h:8884/a/b", true, None, None, "h", Some(8884), "a/b"),
            ("mqtt://u@h/t", false, Some("u"), None, "h", None, "t"),
            ("mqtt://u:p%40%3a@h:1/t%20x/%23", false, Some("u"), Some("p@:"), "h", Some(1), "t x/#"),
            ("mqtt://u:p@x@[::1]:18/t", false, Some("u"), Some("p@x"), "::1", Some(18), "t"),
            ("mqtt://[fe80::1]//t", false, None, None, "fe80::1", None, "/t"),
            ("ws://h/t", false, None, None, "h", None, "t"),
            ("wss://h:1/t", true, None, None, "h", Some(1), "t"),
        ] {
            let expected = Url {
                tls,
                websocket: url.starts_with("ws"),
                user_name: user.map(str::to_owned),
                password: password.map(|password| password.as_bytes().to_vec()),
                host: host.to_owned(),
                port,
                topic: topic.to_owned(),
            };
            assert_eq!(parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_url_that_is_none_says_what_is_missing() {
        for (url, part) in [
            ("http://h/t", "mqtt://"),
            ("h/t", "mqtt://"),
            ("mqtt://h", "/topic"),
            ("mqtt://h/", "no topic"),
            ("mqtt:///t", "no host"),
            ("mqtt://h:0/t", "no port"),
            ("mqtt://h:65536/t", "no port"),
            ("mqtt://h:/t", "no port"),
            ("mqtt://[::1/t", "]"),
            ("mqtt://h/%4", "two hexadecimal"),
            ("mqtt://h/%+1", "two hexadecimal"),
            ("mqtt://h/%ff", "UTF-8"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(part), "{url}: {error}");
        }
    }
}
