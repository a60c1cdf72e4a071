//! What this machine is called on its networks.

use std::net::{IpAddr, Ipv6Addr};

use rustls::pki_types::DnsName;

use crate::limits::CERTIFICATE_NAMES_MAX;
use crate::people::claim::Own;

/// Whether a certificate can be made for that name.
#[must_use]
pub fn is_dns_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    name.len() <= 253 && !name.ends_with('.') && DnsName::try_from(name).is_ok()
}

/// What this machine is called on its networks: its name, its name in mDNS, its addresses, localhost.
#[must_use]
pub fn own() -> Vec<String> {
    with(&[])
}

/// The same and further names or addresses, as many as a certificate takes: names come first.
#[must_use]
pub fn with(more: &[String]) -> Vec<String> {
    let host = host_name().to_ascii_lowercase();
    let mut names = Vec::new();
    if is_dns_name(&host) {
        names.push(host.clone());
        if !host.contains('.') {
            names.push(format!("{host}.local"));
        }
    }
    names.extend(more.iter().cloned());
    names.push("localhost".to_owned());
    let temporary =
        std::fs::read_to_string("/proc/net/if_inet6").map(|text| temporary(&text)).unwrap_or_default();
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .map(if_addrs::Interface::ip)
        // A link-local address of IPv6 is only reached with its interface's name, which no certificate can have.
        .filter(|address| !matches!(address, IpAddr::V6(six) if six.is_unicast_link_local() || temporary.contains(six)))
        .collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6(), *address));
    names.extend(addresses.iter().map(IpAddr::to_string));
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique.truncate(CERTIFICATE_NAMES_MAX);
    unique
}

/// The addresses in a `/proc/net/if_inet6` that the kernel has made up for a day, for connections to elsewhere (RFC 8981).
/// The flag is `IFA_F_TEMPORARY` of linux/if_addr.h.
fn temporary(text: &str) -> Vec<Ipv6Addr> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let flagged = lines.filter(|fields| {
        fields.get(4).and_then(|flags| u8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 != 0)
    });
    flagged
        .filter_map(|fields| Some(Ipv6Addr::from(u128::from_str_radix(fields.first()?, 16).ok()?)))
        .collect()
}

/// What the kernel calls this machine.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The addresses of this machine, each with how many of its first bits its neighbours share.
#[must_use]
pub fn addresses() -> Vec<Own> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own = interfaces.iter().map(|interface| match &interface.addr {
        if_addrs::IfAddr::V4(four) => (IpAddr::V4(four.ip), four.prefixlen),
        if_addrs::IfAddr::V6(six) => (IpAddr::V6(six.ip), six.prefixlen),
    });
    own.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_day_are_told_from_those_that_stay() {
        let text = "fd000000000000000000000000000002 04 40 00 82     eth0\n\
                    fd000000000000000000000000000003 04 40 00 01     eth0\n\
                    garbage\nfd0 04 40 00 zz x\n";
        assert_eq!(temporary(text), ["fd00::3".parse::<Ipv6Addr>().unwrap()]);
    }

    #[test]
    fn further_names_come_before_addresses_and_each_stands_once() {
        let names = with(&["gate.example.com".to_owned(), "localhost".to_owned()]);
        let place = |name: &str| names.iter().position(|known| known == name).unwrap();
        assert!(place("gate.example.com") < place("127.0.0.1"), "{names:?}");
        assert_eq!(names.iter().filter(|name| *name == "localhost").count(), 1);
    }
}
