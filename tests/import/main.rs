//! `fieldgate import` with configs as people write them: each fixture is run by Mosquitto itself and, imported, by the
//! gateway, and the same clients try both. Who gets in, what is delivered and what isn't must be the same.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod side;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod words;

use std::os::unix::fs::PermissionsExt;

use side::{Side, Site, UPSTREAM};
use support::{Process, Tap, client, eventually, publish_with};

/// An upstream for fixtures that need none.
const NO_MATTER: &str = "listener {PORT} 127.0.0.1\nallow_anonymous true\n";

/// Both brokers with a fixture; the import must end with this code and say these things.
fn both(fixture: &str, users: &[(&str, &str)], upstream: &str, code: i32, told: &[&str]) -> [Side; 2] {
    let site = Site::new(fixture, users, upstream);
    let (ended, text) = site.import();
    assert_eq!(ended, code, "{text}");
    for part in told {
        assert!(text.contains(part), "{part:?} is not said in:\n{text}");
    }
    let imported = Side::fieldgate(site);
    [Side::mosquitto(Site::new(fixture, users, upstream)), imported]
}

#[track_caller]
fn lets_in(sides: &[Side], rows: &[(usize, &str, bool)]) {
    for side in sides {
        for (listener, arguments, expected) in rows {
            assert_eq!(
                side.gets_in(*listener, arguments),
                *expected,
                "{}, listener {listener}, {arguments:?}\n{}",
                side.name,
                side.log()
            );
        }
    }
}

#[track_caller]
fn delivers(
    sides: &[Side],
    listener: usize,
    subscriber: &str,
    puts: &[(usize, &str, &str)],
    expected: &[&str],
) {
    for side in sides {
        assert_eq!(side.exchange(listener, subscriber, puts), expected, "{}, {subscriber:?}", side.name);
    }
}

#[test]
fn a_home_automation_box_keeps_its_accounts_rules_and_retained_messages() {
    let users = [("homeassistant", "ha pass"), ("plug", "plug-pass")];
    let mut sides = both(
        "home-assistant",
        &users[..],
        NO_MATTER,
        0,
        &["carried over (0 with a difference), 1 not needed"],
    );
    lets_in(
        &sides,
        &[
            (0, "-u plug -P plug-pass", true),
            (0, "-u plug -P wrong", false),
            (0, "-u nobody -P plug-pass", false),
            (0, "", false),
            (0, "-u plug -P plug-pass -V 5", true),
            (0, "-u plug -P plug-pass -V mqttv31", true),
        ],
    );
    let plug = "-u plug -P plug-pass";
    delivers(
        &sides,
        0,
        "-u plug -P plug-pass -t devices/# -t homeassistant/#",
        &[
            (0, plug, "devices/other/state"),
            (0, plug, "homeassistant/switch/plug/config"),
            (0, plug, "devices/plug/state"),
        ],
        &["devices/plug/state 2 q1"],
    );
    for side in &mut sides {
        assert_eq!(side.page(1, "/", None), (101, Some(5)), "{}: a page without a name", side.name);
        let arguments = "-u plug -P plug-pass -r";
        side.exchange(0, "-u plug -P plug-pass -t devices/#", &[(0, arguments, "devices/plug/kept")]);
        side.restart();
        let kept = side.exchange(0, "-u plug -P plug-pass -t devices/#", &[(0, plug, "devices/plug/end")]);
        assert!(kept.contains(&"devices/plug/kept 0 q1 r".to_owned()), "{}: {kept:?}", side.name);
    }
}

#[test]
fn the_debian_default_with_its_conf_d_lets_in_users_alone() {
    let sides = both("debian", &[("ann", "secret")], NO_MATTER, 0, &["1 not needed, 0 not carried over"]);
    lets_in(&sides, &[(0, "-u ann -P secret", true), (0, "-u ann -P Secret", false), (0, "", false)]);
    let ann = "-u ann -P secret";
    delivers(&sides, 0, "-u ann -P secret -t #", &[(0, "", "a"), (0, ann, "b")], &["b 1 q1"]);
}

#[test]
fn an_open_broker_takes_any_name_and_any_password() {
    let sides = both("zigbee2mqtt", &[], NO_MATTER, 0, &[]);
    lets_in(&sides, &[(0, "", true), (0, "-u z2m -P whatever", true), (0, "-u z2m", true)]);
    let puts = [(0, "-u DVES_USER -P DVES_PASS", "zigbee2mqtt/lamp"), (0, "", "zigbee2mqtt/end")];
    delivers(&sides, 0, "-t zigbee2mqtt/#", &puts, &["zigbee2mqtt/lamp 0 q1", "zigbee2mqtt/end 1 q1"]);
}

#[test]
fn plugs_of_one_account_are_told_apart_by_their_identifiers() {
    let users = [("DVES_USER", "lan"), ("panel", "p")];
    let sides =
        both("tasmota", &users[..], NO_MATTER, 0, &["max_keepalive: carried over, with a difference"]);
    let plug = "-u DVES_USER -P lan -i DVES_1";
    lets_in(
        &sides,
        &[
            (0, plug, true),
            (0, "-u DVES_USER -P lan -i OTHER", false),
            (0, "-u DVES_USER -P no -i DVES_1", false),
            (0, "-i DVES_1", false),
        ],
    );
    let panel = "-u panel -P p -i DVES_panel";
    delivers(
        &sides,
        0,
        "-u panel -P p -i DVES_sub -t #",
        &[
            (0, plug, "stat/DVES_1/POWER"),
            (0, plug, "stat/DVES_2/POWER"),
            (0, plug, "tasmota/discovery/x"),
            (0, plug, "tele/DVES_1/STATE"),
        ],
        &["stat/DVES_1/POWER 0 q1", "tele/DVES_1/STATE 3 q1"],
    );
    delivers(
        &sides,
        0,
        "-u DVES_USER -P lan -i DVES_boiler -t cmnd/# -t tasmota/#",
        &[
            (0, panel, "cmnd/DVES_1/POWER"),
            (0, panel, "cmnd/DVES_boiler/POWER"),
            (0, plug, "tasmota/discovery/end"),
        ],
        &["cmnd/DVES_boiler/POWER 1 q1", "tasmota/discovery/end 2 q1"],
    );
}

#[test]
fn machines_come_with_certificates_and_people_with_passwords() {
    let told = ["ciphers: not needed"];
    let sides = both("tls-clients", &[("ann", "secret")], NO_MATTER, 0, &told);
    let machine = "--cafile {DIR}/ca.pem --cert {DIR}/plc.pem --key {DIR}/plc.key";
    lets_in(
        &sides,
        &[
            (0, machine, true),
            (0, "--cafile {DIR}/ca.pem", false),
            (0, "--cafile {DIR}/ca.pem -u ann -P secret", false),
            (0, "--cafile {DIR}/ca.pem --cert {DIR}/revoked.pem --key {DIR}/revoked.key", false),
            (0, "", false),
            (1, "--cafile {DIR}/ca.pem -u ann -P secret", true),
            (1, "--cafile {DIR}/ca.pem -u ann -P wrong", false),
            (1, "--cafile {DIR}/ca.pem", false),
            (1, "-u ann -P secret", false),
        ],
    );
    let ann = "--cafile {DIR}/ca.pem -u ann -P secret";
    delivers(
        &sides,
        1,
        "--cafile {DIR}/ca.pem -u ann -P secret -t #",
        &[
            (0, machine, "machines/plc-8/state"),
            (0, machine, "orders/1"),
            (0, machine, "machines/plc-7/state"),
        ],
        &["machines/plc-7/state 2 q1"],
    );
    delivers(
        &sides,
        0,
        &format!("{machine} -t #"),
        &[(1, ann, "orders/1"), (1, ann, "else"), (1, ann, "machines/plc-7/x")],
        &["orders/1 0 q1", "machines/plc-7/x 2 q1"],
    );
}

#[test]
fn a_dashboard_connects_over_websocket_wherever_it_comes_from_and_nothing_is_kept() {
    let mut sides = both("websockets", &[], NO_MATTER, 0, &[]);
    for side in &mut sides {
        for path in ["/", "/mqtt", "/ws"] {
            for origin in [None, Some("https://panel.example"), Some("http://127.0.0.1")] {
                assert_eq!(side.page(1, path, origin), (101, Some(0)), "{} {path} {origin:?}", side.name);
            }
        }
        side.exchange(0, "-t #", &[(0, "-r", "kept")]);
        side.restart();
        let after = side.exchange(0, "-t #", &[(0, "", "end")]);
        assert_eq!(after, ["end 0 q1"], "{}: without persistence nothing is kept", side.name);
    }
}

#[test]
fn the_local_door_stays_open_and_the_networks_has_rules() {
    let users = [("meter", "m"), ("reader", "r")];
    let sides = both("two-doors", &users[..], NO_MATTER, 0, &[]);
    lets_in(
        &sides,
        &[
            (0, "", true),
            (0, "-u meter -P nonsense", true),
            (0, "--unix {DIR}/mqtt.sock", true),
            (1, "", false),
            (1, "-u meter -P m", true),
            (1, "-u meter -P nonsense", false),
        ],
    );
    delivers(
        &sides,
        1,
        "-u reader -P r -t #",
        &[
            (1, "-u reader -P r", "meters/0"),
            (1, "-u meter -P m", "other/1"),
            (0, "", "other/2"),
            (0, "", "meters/3"),
            (1, "-u meter -P m", "meters/4"),
        ],
        &["meters/3 3 q1", "meters/4 4 q1"],
    );
    delivers(
        &sides,
        0,
        "-t #",
        &[(1, "-u meter -P m", "meters/1"), (0, "", "other/2")],
        &["meters/1 0 q1", "other/2 1 q1"],
    );
}

#[test]
fn each_listener_keeps_its_own_users_and_its_own_rules() {
    let sides = both("two-halls", &[("anna", "north")], NO_MATTER, 0, &[]);
    lets_in(
        &sides,
        &[
            (0, "-u anna -P north", true),
            (0, "-u anna -P south", false),
            (0, "-u bert -P b", false),
            (0, "", false),
            (1, "-u anna -P south", true),
            (1, "-u anna -P north", false),
            (1, "-u bert -P b", true),
            (1, "", false),
        ],
    );
    delivers(
        &sides,
        0,
        "-u anna -P north -t #",
        &[(1, "-u bert -P b -i else", "south/bert/0"), (0, "-u anna -P north", "north/1")],
        &["north/1 1 q1"],
    );
    // The user name takes the place of the identifier, also in the rules.
    delivers(
        &sides,
        1,
        "-u anna -P south -t #",
        &[
            (0, "-u anna -P north", "north/0"),
            (1, "-u bert -P b -i cleo", "south/cleo/1"),
            (1, "-u bert -P b -i else", "south/bert/2"),
        ],
        &["south/bert/2 2 q1"],
    );
}

/// Waits until the bridge of each side is connected upstream, and subscribed to what it takes from there.
fn bridged(sides: &[Side], parts: &[&str]) {
    for side in sides {
        for part in parts {
            eventually(&format!("{part:?} upstream of {}", side.name), || {
                side.site.upstream.log().contains(part).then_some(())
            });
        }
    }
}

#[test]
fn a_bridge_to_the_cloud_sends_what_it_sent() {
    let upstream = "listener {PORT} 127.0.0.1\ncafile {DIR}/ca.pem\ncertfile {DIR}/server.pem\n\
                    keyfile {DIR}/server.key\nrequire_certificate true\nuse_identity_as_username true\n";
    let sides = both("bridge-cloud", &[], upstream, 0, &["bridge_attempt_unsubscribe: not needed"]);
    bridged(&sides, &["as gateway-0042 ("]);
    let reader =
        "--cafile {DIR}/ca.pem --cert {DIR}/plc.pem --key {DIR}/plc.key -t dt/# -t alarms/# -t telemetry/#";
    delivers(
        &sides,
        UPSTREAM,
        reader,
        &[
            (0, "-r", "plant/telemetry/1"),
            (0, "", "plant/other"),
            (0, "", "telemetry/2"),
            (0, "", "plant/heartbeat"),
            (0, "", "alarms/fire"),
        ],
        &["dt/plant/0042/telemetry/1 0 q1", "dt/plant/0042/alive 3 q1", "alarms/fire 4 q1"],
    );
}

#[test]
fn the_password_of_a_bridge_goes_into_a_file_of_its_own_and_nowhere_else() {
    let upstream = "listener {PORT} 127.0.0.1\nallow_anonymous false\npassword_file {DIR}/passwd\n";
    let users = [("site", "correct horse battery"), ("watcher", "w")];
    let site = Site::new("bridge-central", &users, upstream);
    let (_, text) = site.import();
    let config = std::fs::read_to_string(site.config()).unwrap();
    let secret = site.dir.path().join("imported.central.password");
    assert!(!text.contains("horse") && !config.contains("horse"), "{text}{config}");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "correct horse battery");
    assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    // To standard output it goes nowhere, and the way is told.
    let output = support::fieldgate().arg("import").arg(site.conf()).output().unwrap();
    let all = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert!(!all.contains("horse") && all.contains("/etc/fieldgate/secrets/central.password"), "{all}");
    // Nothing is overwritten, unless it is wanted.
    let (code, text) = site.import();
    assert!(code == 1 && text.contains("exists; --force replaces it"), "{text}");
    let forced = support::fieldgate()
        .arg("import")
        .arg(site.conf())
        .arg("-o")
        .arg(site.config())
        .arg("--force")
        .output();
    assert!(forced.unwrap().status.code() != Some(1));
}

#[test]
fn a_bridge_to_a_central_broker_sends_what_it_sent() {
    let upstream = "listener {PORT} 127.0.0.1\nallow_anonymous false\npassword_file {DIR}/passwd\n";
    let users = [("site", "correct horse battery"), ("watcher", "w")];
    let told = ["0 not carried over"];
    let sides = both("bridge-central", &users, upstream, 0, &told);
    bridged(&sides, &["as site-north (", "site-north 1 north/commands/#", "site-north 1 north/chat/#"]);
    let puts = [(0, "", "readings/1"), (0, "", "other"), (0, "", "chat/2"), (0, "", "readings/3")];
    let expected = ["north/readings/1 0 q1", "north/chat/2 2 q1", "north/readings/3 3 q1"];
    delivers(&sides, UPSTREAM, "-u watcher -P w -t north/#", &puts, &expected);
    // And back: what the upstream says, and none of what was sent there.
    let watcher = "-u watcher -P w";
    let puts = [
        (UPSTREAM, watcher, "north/commands/0"),
        (UPSTREAM, watcher, "north/readings/1"),
        (UPSTREAM, watcher, "south/commands/2"),
        (0, "", "chat/3"),
        (UPSTREAM, watcher, "north/chat/4"),
        (UPSTREAM, watcher, "north/commands/5"),
    ];
    let expected = ["commands/0 0 q1", "chat/3 3 q1", "chat/4 4 q1", "commands/5 5 q1"];
    delivers(&sides, 0, "-t commands/# -t chat/# -t readings/#", &puts, &expected);
    for side in &sides {
        let told = side.exchange(0, "-t $SYS/broker/connection/+/state -t end", &[(0, "", "end")]);
        let state = "$SYS/broker/connection/site-north/state 1 q1 r".to_owned();
        assert!(told.contains(&state), "{}: {told:?}", side.name);
    }
}

#[test]
fn limits_and_intervals_hold_as_they_were_set() {
    let sides = both("kitchen-sink", &[], NO_MATTER, 0, &["0 not carried over"]);
    lets_in(&sides, &[(0, "", true), (1, "", true)]);
    for side in &sides {
        let sys = side.exchange(1, "-t $SYS/broker/uptime -t end", &[(1, "", "end")]);
        assert!(sys.contains(&"end 0 q1".to_owned()), "{sys:?}");
        let long = "x".repeat(9_000);
        let fits = "x".repeat(7_000);
        let mut reader = Process::start(
            "mosquitto_sub",
            side_client(side, "mosquitto_sub").args(["-d", "-t", "size/#", "-F", "MSG|%t|%q|%r|%l"]),
        );
        reader.wait_line("Subscribed (mid");
        for payload in [&long, &fits] {
            Process::run(
                "mosquitto_pub",
                side_client(side, "mosquitto_pub").args(["-q", "1", "-t", "size/a", "-m", payload]),
            );
        }
        reader.wait_line("MSG|size/a|0|0|7000");
        assert!(!reader.text().contains("|9000"), "{}: a packet above the limit is refused", side.name);
        // The door has two places; the reader has none of them.
        let mut places = Vec::new();
        for _ in 0..2 {
            let mut command = client("mosquitto_sub");
            command.args(["-h", "127.0.0.1", "-p", &side.site.ports[0].to_string(), "-d", "-t", "a"]);
            let mut place = Process::start("mosquitto_sub", &mut command);
            place.wait_line("Subscribed (mid");
            places.push(place);
        }
        // Mosquitto 2.0.11 counts each that leaves twice, and so lets in more and more.
        if side.name == "fieldgate" {
            assert!(!side.gets_in(0, ""), "a third client is refused");
        }
        assert!(side.gets_in(1, ""));
        let mut first = places.remove(0);
        first.kill9();
        eventually(&format!("a place is free at {}", side.name), || side.gets_in(0, "").then_some(()));
    }
}

/// What an absent client gets of sixty messages when it comes back, if fifty may wait.
fn waited_for(side: &Side) -> Vec<String> {
    let port = side.site.ports[1];
    Tap::register(port, "queue/#", "late", &[]);
    let program = client("mosquitto_pub");
    let words: Vec<_> = std::iter::once(program.get_program()).chain(program.get_args()).collect();
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    let line = format!("seq 60 | {} -h 127.0.0.1 -p {port} -q 1 -t queue/a -l", words.join(" "));
    Process::run_well("mosquitto_pub -l", std::process::Command::new("sh").args(["-c", &line]));
    let late = Tap::resume(port, "queue/#", "late", &[]);
    late.wait_payload("1");
    publish_with(port, "queue/a", "end", &["-q", "1"]);
    late.wait_payload("end");
    late.messages().into_iter().map(|message| message.payload).collect()
}

#[test]
fn of_what_waits_for_an_absent_client_the_newest_is_dropped() {
    let sides = both("kitchen-sink", &[], NO_MATTER, 0, &[]);
    let [mosquitto, fieldgate] = [waited_for(&sides[0]), waited_for(&sides[1])];
    assert_eq!(mosquitto.len(), 51, "{mosquitto:?}");
    assert_eq!(mosquitto, fieldgate);
}

fn side_client(side: &Side, name: &str) -> std::process::Command {
    let mut command = client(name);
    command.args(["-h", "127.0.0.1", "-p", &side.site.ports[1].to_string()]);
    command
}

#[test]
fn what_a_plugin_allowed_is_denied_until_rules_are_written() {
    let site = Site::new("plugin", &[("ann", "secret")], NO_MATTER);
    let (code, text) = site.import();
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("plugin: NOT CARRIED OVER (security): users, groups and roles"), "{text}");
    let side = Side::fieldgate(site);
    assert!(!side.gets_in(0, ""), "nobody without a name");
    assert!(!side.gets_in(0, "-u ann -P wrong"));
    let config = std::fs::read_to_string(side.site.config()).unwrap();
    assert!(config.contains("[[broker.acl]]"), "{config}");
    let got = Process::run(
        "mosquitto_sub",
        support::client("mosquitto_sub").args([
            "-h",
            "127.0.0.1",
            "-p",
            &side.site.ports[0].to_string(),
            "-u",
            "ann",
            "-P",
            "secret",
            "-d",
            "-t",
            "a",
            "-E",
        ]),
    );
    assert!(got.1.contains("Subscribed (mid: 1): 128"), "{}", got.1);
}
