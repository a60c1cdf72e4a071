//! Operations on ports.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use tokio::task::spawn_blocking;

use super::Failure;
use crate::io::plugged;
use crate::io::reporter::Reporter;
use crate::sensor::{Adapter, PortConfig, PortKind};

/// The serial lines that are plugged in, each with the ports that mean it and what to write into the config.
pub(super) async fn plugged(reporter: &Reporter) -> Result<Json, Failure> {
    let names: Vec<_> = reporter.lines().iter().map(|line| line.name.clone()).collect();
    let ports: Vec<PortConfig> =
        names.iter().filter_map(|name| reporter.sources.loans.config(name)).collect();
    // Reads folders of the kernel: not on this thread.
    let look = move || {
        let adapters = plugged::plugged();
        let meant: Vec<(String, PathBuf)> = ports.iter().filter_map(meant).collect();
        let all: Vec<Json> =
            adapters.iter().map(|adapter| adapter_json(adapter, &adapters, &meant)).collect();
        Json::Array(all)
    };
    spawn_blocking(look).await.map_err(|_| Failure::busy("the gateway is stopping"))
}

/// A port, and the device file that it means now.
fn meant(port: &PortConfig) -> Option<(String, PathBuf)> {
    if port.kind != PortKind::Serial {
        return None;
    }
    Some((port.name.to_string(), real(&plugged::resolve(port).ok()?)))
}

fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn adapter_json(adapter: &Adapter, all: &[Adapter], meant: &[(String, PathBuf)]) -> Json {
    let usb = adapter.usb.as_ref();
    let path = real(Path::new(&adapter.path));
    let users = meant.iter().filter(|(_, other)| *other == path).map(|(name, _)| name.as_str());
    json!({
        "path": adapter.path,
        "driver": adapter.driver,
        "by_id": adapter.by_id,
        "vid_pid": usb.map(|usb| &usb.vid_pid),
        "serial": usb.and_then(|usb| usb.serial.as_ref()),
        "maker": usb.and_then(|usb| usb.maker.as_ref()),
        "product": usb.and_then(|usb| usb.product.as_ref()),
        "used_by": users.collect::<Vec<_>>(),
        "config": adapter.config_line(all),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_told_with_the_ports_that_mean_it() {
        let adapter = Adapter {
            path: "/dev/null".into(),
            driver: Some("ftdi_sio".into()),
            usb: None,
            by_id: None,
            by_path: None,
        };
        let meant = [("a".to_owned(), "/dev/null".into()), ("b".to_owned(), "/dev/zero".into())];
        let told = adapter_json(&adapter, std::slice::from_ref(&adapter), &meant);
        assert_eq!((&told["used_by"], &told["driver"]), (&json!(["a"]), &json!("ftdi_sio")));
        assert!(told["config"].as_str().unwrap().contains("/dev/null"), "{told}");
    }
}
