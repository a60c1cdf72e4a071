//! The package is upgraded, over data of today and of the oldest layouts, and purged.

use std::process::Command;
use std::time::Duration;

use super::support::{Process, Tap, eventually, within};
use super::{Appliance, project};

pub fn is_upgraded(appliance: &Appliance, tap: &Tap) {
    let container = &appliance.container;
    let before = appliance.status().unwrap();
    let pid = appliance.main_pid();
    let config = container.run_well(&["cat", "/etc/fieldgate/fieldgate.toml"]);
    // Whoever upgrades 3,000 boxes answers no question: there must be none.
    container.run_well(&["dpkg", "-i", "/root/second.deb"]);
    assert_ne!(appliance.main_pid(), pid, "the new program runs");
    assert_eq!(container.run_well(&["cat", "/etc/fieldgate/fieldgate.toml"]), config);
    let after = eventually("it answers", || appliance.status());
    assert_eq!(after["run"].as_u64().unwrap(), before["run"].as_u64().unwrap() + 1, "the store is the same");
    appliance.wait_reading(tap, 40);
}

/// The data directory of the oldest layout of each part, under a package that is upgraded: sessions and what waits for
/// them, retained messages, and 6493 records for an upstream (`tests/store_layouts.rs` made them).
pub fn takes_over_what_the_oldest_layout_has_kept(appliance: &Appliance, upstream: u16) {
    let container = &appliance.container;
    container.run_well(&["dpkg", "-i", "/root/first.deb"]);
    container.run_well(&["systemctl", "stop", "fieldgate"]);
    let data = container.root.join("var/lib/fieldgate");
    let fixtures = project().join("fixtures/store");
    let script = format!(
        "rm -rf ./* && tar xzf {0}/v1.tar.gz --strip-components=1 && rm -rf state && tar xzf {0}/state-layout-1.tar.gz ./state",
        fixtures.display()
    );
    Process::run_well("tar", Command::new("sh").args(["-ec", &script]).current_dir(&data));
    container.run_well(&["chown", "-R", "fieldgate:fieldgate", "/var/lib/fieldgate"]);
    // What waits was for an upstream with a stream.
    container.write(
        "/etc/fieldgate/conf.d/old.toml",
        &format!(
            "[[upstream]]\nname = \"cloud\"\nclient_id = \"old\"\nhost = \"127.0.0.1\"\nport = {upstream}\n\n\
             [[upstream.stream]]\nname = \"1\"\n\n\
             [[upstream.map]]\nfilter = \"#\"\ndirection = \"out\"\nstream = \"1\"\n"
        ),
    );
    let tap = Tap::subscribe(upstream, "#");
    container.run_well(&["dpkg", "-i", "/root/second.deb"]);
    let status = eventually("it answers", || appliance.status());
    assert_eq!(status["run"], 2, "{status:#}");
    for session in ["sleeper-a", "sleeper-b"] {
        let sleeper = Tap::resume(appliance.lan_port, "plant/#", session, &[]);
        for number in 1..=3 {
            let start = format!("message {number} ");
            sleeper.wait("its messages", |message| message.payload.starts_with(&start));
        }
    }
    Tap::subscribe(appliance.lan_port, "plant/state").wait_payload("retained");
    within(Duration::from_secs(60), "all that waited is sent", || {
        let came: std::collections::HashSet<u64> = tap
            .messages()
            .iter()
            .filter_map(|message| match &*message.topic {
                // The one that is longer than a segment says nothing else.
                "valve/1" if message.payload.starts_with("long ") => Some(1000),
                "valve/1" => message.payload.strip_prefix("on ")?.parse().ok(),
                "fieldgate/gw/data/boiler" => {
                    message.json()["seq"].as_str()?.strip_prefix("3-")?.parse().ok()
                }
                _ => None,
            })
            .collect();
        (8..=6500).all(|number| came.contains(&number)).then_some(())
    });
    std::fs::remove_file(container.root.join("etc/fieldgate/conf.d/old.toml")).unwrap();
}

pub fn is_purged(appliance: &Appliance) {
    let container = &appliance.container;
    container.run_well(&["dpkg", "-P", "fieldgate"]);
    container.run_well(&[
        "rm",
        "-r",
        "/etc/systemd/system/fieldgate.service.d",
        "/root/first.deb",
        "/root/second.deb",
    ]);
    let left = container.run_well(&[
        "find",
        "/",
        "-xdev",
        "(",
        "-path",
        "/proc",
        "-o",
        "-path",
        "/sys",
        "-o",
        "-path",
        "/var/log",
        ")",
        "-prune",
        "-o",
        "-iname",
        "*fieldgate*",
        "-print",
    ]);
    assert_eq!(left, "", "left over");
    for kind in ["passwd", "group"] {
        let (found, said) = container.run(&["getent", kind, "fieldgate"]);
        assert!(!found.success(), "{said}");
    }
}
