//! The names that certificates are made for: a device's, which becomes its user name, and those of a listener.

use std::net::IpAddr;

use crate::io::certificate_name;
use crate::io::own_names::is_dns_name;
pub(super) use crate::io::own_names::{host_name, own};
use crate::limits::CERTIFICATE_NAMES_MAX;

/// The longest common name, in characters (X.520: ub-common-name).
const COMMON_NAME_MAX: usize = 64;

/// Whether a device may be called that: as at login, and no longer than a common name can be. It is a file's name too.
///
/// # Errors
/// In words.
pub(super) fn device(name: &str) -> Result<(), String> {
    certificate_name::check(name).map_err(|why| format!("{name:?} {why}"))?;
    if name.chars().count() > COMMON_NAME_MAX {
        return Err(format!(
            "{name:?} has more than {COMMON_NAME_MAX} characters; a certificate has no room for more"
        ));
    }
    if name.trim() != name || name.starts_with('.') {
        return Err(format!("{name:?} begins with a dot or a space, or ends with a space"));
    }
    Ok(())
}

/// A common name made of any text.
pub(super) fn common(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(COMMON_NAME_MAX).collect()
}

/// The names of a listener as they were given, each of them once.
///
/// # Errors
/// In words.
pub(super) fn listener(given: &[String]) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for name in given {
        let name = match name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) if is_dns_name(name) => name.to_ascii_lowercase(),
            Err(_) => {
                return Err(format!(
                    "{name:?} is neither a host name, such as \"gw.example.com\", nor an IP address"
                ));
            }
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.len() > CERTIFICATE_NAMES_MAX {
        return Err(format!("{} names; a certificate takes at most {CERTIFICATE_NAMES_MAX}", names.len()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_called_what_may_log_in_and_be_a_file() {
        for name in ["plc-7", "Stall Süd", "a.b@c", "-x", &"ü".repeat(64)] {
            assert_eq!(device(name), Ok(()), "{name}");
        }
        for name in ["", "a/b", "a+b", "#", "a\0", "a\nb", ".", "..", ".hidden", " a", "a ", &"x".repeat(65)]
        {
            assert!(device(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_listener_has_host_names_and_addresses_each_once() {
        let given = |names: &[&str]| listener(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(
            given(&["GW.example", "10.0.0.5", "::1", "gw.example", "*.example.com", "0:0:0:0:0:0:0:1"]),
            Ok(["gw.example", "10.0.0.5", "::1", "*.example.com"].map(str::to_owned).to_vec())
        );
        for name in ["", "a b", "*", "*.", "http://gw", "10.0.0.5:8883", "gw.", "-", &"a.".repeat(130)] {
            assert!(given(&[name]).is_err(), "{name:?}");
        }
        let many: Vec<String> = (0..65).map(|number| format!("10.0.0.{number}")).collect();
        assert!(listener(&many).unwrap_err().contains("at most 64"));
    }

    #[test]
    fn this_machine_has_names_that_its_listener_can_have() {
        let names = own();
        assert!(
            names.contains(&"localhost".to_owned()) && names.contains(&"127.0.0.1".to_owned()),
            "{names:?}"
        );
        assert_eq!(listener(&names), Ok(names));
    }
}
