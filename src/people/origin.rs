//! Whether a request was meant for this gateway, and comes from its own page: `Host`, `Origin` and `Sec-Fetch-Site`.
//! Against DNS rebinding and requests that other pages make in the browser of somebody who is logged in.

use std::net::IpAddr;

/// The names under which the gateway is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// This machine's name, in lower case, without a domain or with one.
    pub host: Option<String>,
    /// Further ones, in lower case, of the config.
    pub listed: Vec<String>,
}

impl Names {
    /// Whether a `Host` is this gateway: one of its addresses, its own name, `localhost`, a `*.local`, one that is listed.
    #[must_use]
    pub fn has(&self, host: &str, own: &[IpAddr]) -> bool {
        let Some(name) = name_of(host) else { return false };
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            let address = address.to_canonical();
            return address.is_loopback() || own.iter().any(|own| own.to_canonical() == address);
        }
        let name = name.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        name == "localhost"
            || name.strip_suffix(".local").is_some_and(|label| !label.is_empty())
            || self.host.as_deref().is_some_and(|host| name == host || host.split('.').next() == Some(name))
            || self.listed.iter().any(|listed| listed == name)
    }
}

/// The name in front of the port.
fn name_of(host: &str) -> Option<&str> {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')? + 2;
            (host.get(..end)?, host.get(end..)?.strip_prefix(':'))
        }
        None => host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port))),
    };
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    (!name.is_empty() && port.is_none_or(is_port)).then_some(name)
}

/// Whether a change is asked for by the gateway's own page: `origin` must be that of `host`, and what the browser says of
/// where the request comes from, if it says so, must not contradict.
#[must_use]
pub fn is_own_page(scheme: &str, host: &str, origin: Option<&str>, fetch_site: Option<&str>) -> bool {
    let is_same = origin.and_then(|origin| origin.strip_prefix(scheme)?.strip_prefix("://"));
    is_same.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
        && fetch_site.is_none_or(|site| site == "same-origin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_gateway_are_answered() {
        let names = Names { host: Some("barn7.lan".into()), listed: vec!["gate.example.com".into()] };
        let own: Vec<IpAddr> = ["192.168.4.7", "fd00::7"].map(|address| address.parse().unwrap()).to_vec();
        for good in [
            "192.168.4.7",
            "192.168.4.7:8443",
            "[fd00::7]:8443",
            "[fd00::7]",
            "127.0.0.1:8080",
            "[::1]:1",
            "localhost",
            "LOCALHOST:8443",
            "barn7",
            "Barn7.lan:8443",
            "barn7.lan.",
            "anything.local",
            "gate.example.com:443",
            "[::ffff:192.168.4.7]",
        ] {
            assert!(names.has(good, &own), "{good}");
        }
        for bad in [
            "",
            ":8443",
            "192.168.4.8",
            "evil.example",
            "evil.example:8443",
            "gate.example.com.evil.example",
            ".local",
            "barn7.evil.example",
            "localhost.evil.example",
            "[fd00::8]",
            "[fd00::7",
            "barn7:x",
            "barn7:123456",
            "local",
        ] {
            assert!(!names.has(bad, &own), "{bad}");
        }
    }

    #[test]
    fn only_the_own_page_may_change_something() {
        let check = |origin, site, expected| {
            assert_eq!(is_own_page("https", "gw.local:8443", origin, site), expected, "{origin:?} {site:?}");
        };
        check(Some("https://gw.local:8443"), None, true);
        check(Some("https://gw.local:8443"), Some("same-origin"), true);
        check(Some("https://gw.local:8443"), Some("same-site"), false);
        check(Some("https://gw.local:8443"), Some("cross-site"), false);
        check(Some("https://gw.local"), None, false);
        check(Some("http://gw.local:8443"), None, false);
        check(Some("https://evil.example"), None, false);
        check(Some("null"), None, false);
        check(None, Some("same-origin"), false);
        check(None, None, false);
    }
}
