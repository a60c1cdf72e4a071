//! Every config under `config/` runs as it is on a bare machine: it starts, answers, and stops cleanly. Each runs
//! in mount and network namespaces of its own, so that the paths and ports in it are free.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests and their helpers")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs in the namespaces: `$1` is the program, `$2` the config. Prints the answer of `fieldgate status`.
const SCRIPT: &str = r#"
mount --make-rprivate /
mount -t tmpfs none /var/lib
mount -t tmpfs none /run
ip link set lo up
"$1" run --config "$2" 2>/run/log & gateway=$!
tries=0
until "$1" status --json >/run/status 2>/dev/null || [ $? = 3 ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] && kill -0 $gateway || { cat /run/log; exit 9; }
    sleep 0.05
done
kill -TERM $gateway
wait $gateway || { echo "stopped with $?"; cat /run/log; exit 8; }
cat /run/status
"#;

#[test]
fn every_config_runs_as_it_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(root.join("examples")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.push(root.join("fieldgate.toml"));
    assert!(files.len() > 5);
    for file in files {
        let mut command = Command::new("unshare");
        // Who isn't root gets the same rights inside a user namespace.
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let output = command
            .args(["--mount", "--net", "sh", "-c", SCRIPT, "sh", env!("CARGO_BIN_EXE_fieldgate")])
            .arg(&file)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let name = file.display();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} ends with {}:\n{text}{errors}", output.status);
        let status: serde_json::Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
        assert!(status["version"].is_string() && status["store"]["state"] == "ok", "{name}: {status}");
        for listener in status["listeners"].as_array().unwrap() {
            assert!(listener["error"].is_null(), "{name}: {listener}");
        }
    }
}
