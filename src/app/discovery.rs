//! What the gateway tells on its networks, from the config: its page, and the broker's doors that neighbours can reach.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Bind, Config};
use crate::discovery::{SERVICES_MAX, Service, Wanted, label_of};
use crate::io::discovery::Discovery;
use crate::io::reporter::Reporter;

/// Tells it from now on, until that is dropped.
pub(super) fn begin(config: &Config, reporter: &Reporter) -> Discovery {
    let mut announced =
        Discovery::new(reporter.page.clone(), reporter.panics.clone(), reporter.clock.clone());
    announced.tell(wanted(config));
    announced
}

/// What is told; none where nothing is.
pub(super) fn wanted(config: &Config) -> Option<Wanted> {
    if !config.discovery.mdns {
        return None;
    }
    let mut services = Vec::new();
    if config.web.enabled {
        // A browser that comes without TLS is sent on to where there is TLS, so both lead there.
        for kind in ["_https._tcp", "_http._tcp"] {
            services.extend(service(kind, None, config.web.bind, &["path=/"]));
        }
    }
    let doors = config.listeners.iter().filter_map(|listener| match &listener.bind {
        // Whoever looks for a broker takes it for one that speaks MQTT at once.
        Bind::Tcp(address) if listener.websocket.is_none() && !listener.proxy_protocol => {
            let kind = if listener.tls.is_some() { "_secure-mqtt._tcp" } else { "_mqtt._tcp" };
            Some((kind, &listener.name, *address))
        }
        _ => None,
    });
    let doors: Vec<_> = doors.filter(|(.., address)| is_for_neighbours(*address)).collect();
    for (kind, name, address) in &doors {
        let is_alone = doors.iter().filter(|(other, ..)| other == kind).count() == 1;
        services.extend(service(kind, (!is_alone).then(|| name.to_string()), *address, &[]));
    }
    // A name alone, with nothing to be reached behind it, is of no use.
    if services.is_empty() {
        return None;
    }
    services.truncate(SERVICES_MAX);
    let id = &config.gateway.id;
    Some(Wanted { label: label_of(id), instance: format!("fieldgate {id}"), services })
}

/// None where only this machine gets there.
fn service(kind: &'static str, name: Option<String>, at: SocketAddr, facts: &[&str]) -> Option<Service> {
    let only: Option<IpAddr> = Some(at.ip().to_canonical()).filter(|address| !address.is_unspecified());
    let facts = facts.iter().map(|fact| (*fact).to_owned()).collect();
    is_for_neighbours(at).then(|| Service { kind, name, port: at.port(), only, facts })
}

fn is_for_neighbours(at: SocketAddr) -> bool {
    !at.ip().to_canonical().is_loopback() && at.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kind, name, port, and whether it is at one address alone.
    type Told = (&'static str, Option<String>, u16, bool);

    fn told(text: &str) -> Option<Vec<Told>> {
        let source = crate::config::Source { file: "x.toml".into(), text: text.into() };
        let facts = crate::config::Facts { default_id: "GW.7_a".into(), ..Default::default() };
        let config = crate::config::parse(&[source], &facts).unwrap();
        let wanted = wanted(&config)?;
        assert_eq!((&*wanted.label, &*wanted.instance), ("gw-7-a", "fieldgate GW.7_a"));
        Some(wanted.services.into_iter().map(|s| (s.kind, s.name, s.port, s.only.is_some())).collect())
    }

    #[test]
    fn what_neighbours_can_reach_is_told_and_nothing_else() {
        let page = [("_https._tcp", None, 8443, false), ("_http._tcp", None, 8443, false)];
        assert_eq!(told(""), Some(page.to_vec()), "the broker is for this machine alone");
        assert_eq!(told("[discovery]\nmdns = false\n"), None);
        assert_eq!(told("[web]\nenabled = false\n"), None);
        assert_eq!(told("[web]\nbind = \"127.0.0.1:8443\"\n"), None);
        let broker = "[web]\nbind = \"192.168.4.7:443\"\n\
             [[broker.listener]]\nname = \"lan\"\nbind = \"0.0.0.0:1883\"\nallow_anonymous = true\n\
             [[broker.listener]]\nname = \"plc\"\nbind = \"192.168.4.7:1884\"\nallow_anonymous = true\n\
             [[broker.listener]]\nname = \"pages\"\nbind = \"0.0.0.0:9001\"\nwebsocket = true\nallow_anonymous = true\n\
             [[broker.listener]]\nname = \"here\"\nbind = \"127.0.0.1:1885\"\n";
        let name = |name: &str| Some(name.to_owned());
        let expected = vec![
            ("_https._tcp", None, 443, true),
            ("_http._tcp", None, 443, true),
            ("_mqtt._tcp", name("lan"), 1883, false),
            ("_mqtt._tcp", name("plc"), 1884, true),
        ];
        assert_eq!(told(broker), Some(expected));
    }
}
