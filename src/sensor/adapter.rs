//! Which of the adapters that are plugged in a port means. Looking what is plugged in is the shell's business.

use std::fmt;

/// A serial line that the kernel knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapter {
    /// Its device file, such as /dev/ttyUSB0.
    pub path: String,
    /// The kernel's driver.
    pub driver: Option<String>,
    /// What it says of itself, if it hangs on USB.
    pub usb: Option<UsbFacts>,
    /// Its link under /dev/serial/by-id.
    pub by_id: Option<String>,
    /// Its link under /dev/serial/by-path.
    pub by_path: Option<String>,
}

/// What a USB adapter says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbFacts {
    /// Vendor and product, as `0403:6001`.
    pub vid_pid: String,
    /// Which of the adapter's interfaces the line is; adapters with several lines have several.
    pub interface: Option<u8>,
    /// The adapter's serial number; cheap ones have none, or all the same.
    pub serial: Option<String>,
    /// Its maker, in the maker's words.
    pub maker: Option<String>,
    /// What it is, in the maker's words.
    pub product: Option<String>,
}

/// An adapter by what it says of itself; what is `None` doesn't count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbMatch {
    /// Its serial number.
    pub serial: Option<String>,
    /// Its vendor and product, as `0403:6001`.
    pub vid_pid: Option<String>,
    /// Which of its interfaces.
    pub interface: Option<u8>,
}

impl UsbMatch {
    fn is(&self, usb: &UsbFacts) -> bool {
        self.serial.as_ref().is_none_or(|serial| usb.serial.as_ref() == Some(serial))
            && self.vid_pid.as_ref().is_none_or(|id| id.eq_ignore_ascii_case(&usb.vid_pid))
            && self.interface.is_none_or(|interface| usb.interface == Some(interface))
    }

    /// The one adapter that it means.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find<'a>(&self, adapters: &'a [Adapter]) -> Result<&'a Adapter, FindError> {
        let is = |adapter: &&Adapter| adapter.usb.as_ref().is_some_and(|usb| self.is(usb));
        let found: Vec<&Adapter> = adapters.iter().filter(is).collect();
        match found.as_slice() {
            [only] => Ok(only),
            [] => Err(FindError::None { wanted: self.to_string() }),
            several => Err(FindError::Several {
                wanted: self.to_string(),
                found: several.iter().map(|adapter| adapter.path.clone()).collect(),
            }),
        }
    }
}

/// `usb 0403:6001 serial A50285BI interface 0`
impl fmt::Display for UsbMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("usb")?;
        if let Some(vid_pid) = &self.vid_pid {
            write!(f, " {vid_pid}")?;
        }
        if let Some(serial) = &self.serial {
            write!(f, " serial {serial}")?;
        }
        if let Some(interface) = self.interface {
            write!(f, " interface {interface}")?;
        }
        Ok(())
    }
}

/// Why nobody can say which adapter is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindError {
    /// None is it.
    None {
        /// What was looked for.
        wanted: String,
    },
    /// Several are it; taking one of them would be a guess.
    Several {
        /// What was looked for.
        wanted: String,
        /// Their device files.
        found: Vec<String>,
    },
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None { wanted } => {
                write!(f, "{wanted}: no such port; is it plugged in? `fieldgate ports` shows what is")
            }
            Self::Several { wanted, found } => write!(
                f,
                "{wanted}: {} ports match: {}; `fieldgate ports` shows how they differ",
                found.len(),
                found.join(", ")
            ),
        }
    }
}

impl std::error::Error for FindError {}

impl Adapter {
    /// What to write into a `[[port]]` for this one, so that it is found under whatever name. `all` are all that are
    /// plugged in.
    #[must_use]
    pub fn config_line(&self, all: &[Self]) -> String {
        let usb =
            |found: UsbMatch, line: String| found.find(all).is_ok_and(|one| one == self).then_some(line);
        let by_serial = || {
            let serial = self.usb.as_ref()?.serial.clone()?;
            let interface = self.usb.as_ref()?.interface;
            let of_serial = UsbMatch { serial: Some(serial.clone()), ..UsbMatch::default() };
            let with_interface = UsbMatch { interface, ..of_serial.clone() };
            usb(of_serial, format!("usb = {{ serial = {serial:?} }}")).or_else(|| {
                let interface = interface?;
                usb(with_interface, format!("usb = {{ serial = {serial:?}, interface = {interface} }}"))
            })
        };
        let by_kind = || {
            let facts = self.usb.as_ref()?;
            let vid_pid = &facts.vid_pid;
            let interface = facts.interface?;
            let found = UsbMatch { serial: None, vid_pid: Some(vid_pid.clone()), interface: Some(interface) };
            usb(found, format!("usb = {{ vid_pid = {vid_pid:?}, interface = {interface} }}"))
        };
        let by_path = || self.by_path.as_ref().map(|path| format!("path = {path:?}"));
        by_serial().or_else(by_kind).or_else(by_path).unwrap_or_else(|| format!("path = {:?}", self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(path: &str, vid_pid: &str, interface: u8, serial: Option<&str>) -> Adapter {
        let usb = UsbFacts {
            vid_pid: vid_pid.to_owned(),
            interface: Some(interface),
            serial: serial.map(str::to_owned),
            ..UsbFacts::default()
        };
        let by_path = Some(format!("/dev/serial/by-path/{}", path.trim_start_matches("/dev/")));
        Adapter { path: path.to_owned(), usb: Some(usb), by_path, ..Adapter::default() }
    }

    #[test]
    fn an_adapter_is_found_by_what_it_says_and_two_are_a_mistake_in_words() {
        let all = [
            Adapter { path: "/dev/ttyAMA0".to_owned(), ..Adapter::default() },
            adapter("/dev/ttyUSB0", "0403:6001", 0, Some("A1")),
            adapter("/dev/ttyUSB1", "10c4:ea70", 0, Some("B2")),
            adapter("/dev/ttyUSB2", "10c4:ea70", 1, Some("B2")),
            adapter("/dev/ttyUSB3", "1a86:7523", 0, None),
            adapter("/dev/ttyUSB4", "1a86:7523", 0, None),
        ];
        let find = |serial: Option<&str>, vid_pid: Option<&str>, interface: Option<u8>| {
            let wanted = UsbMatch {
                serial: serial.map(str::to_owned),
                vid_pid: vid_pid.map(str::to_owned),
                interface,
            };
            wanted.find(&all).map(|adapter| adapter.path.clone()).map_err(|error| error.to_string())
        };
        assert_eq!(find(Some("A1"), None, None).unwrap(), "/dev/ttyUSB0");
        assert_eq!(find(None, Some("0403:6001"), None).unwrap(), "/dev/ttyUSB0");
        assert_eq!(find(Some("B2"), Some("10C4:EA70"), Some(1)).unwrap(), "/dev/ttyUSB2");
        assert_eq!(
            find(Some("B2"), None, None).unwrap_err(),
            "usb serial B2: 2 ports match: /dev/ttyUSB1, /dev/ttyUSB2; `fieldgate ports` shows how they differ"
        );
        assert_eq!(
            find(Some("A1"), Some("1a86:7523"), Some(0)).unwrap_err(),
            "usb 1a86:7523 serial A1 interface 0: no such port; is it plugged in? `fieldgate ports` shows what is"
        );
        let lines: Vec<String> = all.iter().map(|adapter| adapter.config_line(&all)).collect();
        assert_eq!(
            lines,
            [
                "path = \"/dev/ttyAMA0\"",
                "usb = { serial = \"A1\" }",
                "usb = { serial = \"B2\", interface = 0 }",
                "usb = { serial = \"B2\", interface = 1 }",
                // Nothing but the socket tells these two apart.
                "path = \"/dev/serial/by-path/ttyUSB3\"",
                "path = \"/dev/serial/by-path/ttyUSB4\"",
            ]
        );
    }
}
