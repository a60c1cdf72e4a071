//! What this machine is called on its networks.

use std::net::IpAddr;

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
    let host = host_name();
    let mut names = Vec::new();
    if is_dns_name(&host) {
        names.push(host.to_ascii_lowercase());
        if !host.contains('.') {
            names.push(format!("{}.local", host.to_ascii_lowercase()));
        }
    }
    names.push("localhost".to_owned());
    let mut addresses: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .map(if_addrs::Interface::ip)
        // A link-local address of IPv6 is only reached with its interface's name, which no certificate can have.
        .filter(|address| !matches!(address, IpAddr::V6(six) if six.is_unicast_link_local()))
        .collect();
    addresses.sort_by_key(|address| (address.is_loopback(), address.is_ipv6()));
    addresses.truncate(CERTIFICATE_NAMES_MAX.saturating_sub(names.len()));
    names.extend(addresses.iter().map(IpAddr::to_string));
    let mut unique: Vec<String> = Vec::new();
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    unique
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
