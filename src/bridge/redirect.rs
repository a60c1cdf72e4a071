//! Another server that upstream names (5.0, 4.11): where it may be, and whether it is followed. Nothing is opened here.

use std::fmt;

/// References that are followed one after the other, without a connection that lasted. Beyond, the servers send us in a
/// circle.
pub(super) const HOPS_MAX: u32 = 5;

/// Where another server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Servers to which an upstream may send us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// A host, or with `*.` in front all that end so.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Allowed {
    /// Whether it names this place. Names are the same in capitals.
    #[must_use]
    pub fn holds(&self, place: &Place) -> bool {
        let (wanted, host) = (self.host.to_ascii_lowercase(), place.host.to_ascii_lowercase());
        let named = match wanted.strip_prefix('*') {
            Some(end) => host.len() > end.len() && host.ends_with(end),
            None => host == wanted,
        };
        named && self.port == place.port
    }
}

/// The places that a Server Reference names, in its order: `host`, `host:port`, `[v6]:port`, with spaces between (5.0,
/// 4.11). What has another form is passed over: a scheme could ask for a weaker transport.
pub(super) fn places(reference: &str, port: u16) -> Vec<Place> {
    reference.split(' ').filter_map(|text| place(text, port)).collect()
}

fn place(text: &str, port: u16) -> Option<Place> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, port),
        Some((host, rest)) => (host, rest.strip_prefix(':')?.parse().ok()?),
        None if text.matches(':').count() > 1 => (text, port),
        None => match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (text, port),
        },
    };
    let may_stand = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    let is_host = !host.is_empty() && host.len() <= 253 && host.chars().all(may_stand);
    (is_host && port > 0).then(|| Place { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_in_their_order_and_what_is_no_place_is_passed_over() {
        for (reference, expected) in [
            ("b.example", "b.example:8883"),
            ("b.example:1 10.0.0.2", "b.example:1 10.0.0.2:8883"),
            ("[fe80::1]:7 [fe80::2] fe80::3", "[fe80::1]:7 [fe80::2]:8883 [fe80::3]:8883"),
            ("mqtt://b.example mqtts://c.example:8883", ""),
            ("b:0 b:x b:70000 [::1]x b/c a\u{7}", ""),
            ("", ""),
        ] {
            let read: Vec<String> = places(reference, 8883).iter().map(ToString::to_string).collect();
            assert_eq!(read.join(" "), expected, "{reference}");
        }
    }

    #[test]
    fn a_star_stands_for_what_comes_before_the_dot_and_the_port_counts() {
        for (host, port, name, other, expected) in [
            ("b.example", 8883, "B.example", 8883, true),
            ("b.example", 8883, "b.example", 1883, false),
            ("*.example.com", 8883, "a.b.example.com", 8883, true),
            ("*.example.com", 8883, "example.com", 8883, false),
            ("*.example.com", 8883, "evil-example.com", 8883, false),
            ("*.example.com", 8883, ".example.com", 8883, false),
            ("b.example", 8883, "b.example.evil", 8883, false),
        ] {
            let allowed = Allowed { host: host.into(), port };
            assert_eq!(allowed.holds(&Place { host: name.into(), port: other }), expected, "{host} {name}");
        }
    }
}
