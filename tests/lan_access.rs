//! Who gets in and who may do what, with the built gateway and real clients: password files that mosquitto_passwd
//! and `fieldgate passwd` made, ACL files, and what becomes of both when they change.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use support::{Gateway, Hello, Process, Pty, Python, Tap, Wire, client, eventually, fieldgate, publish_with};

/// The codes of a CONNACK for 3.1, 3.1.1 and 5.0.
const BAD_PASSWORD: [(u8, u8); 3] = [(3, 4), (4, 4), (5, 0x86)];
const BUSY: [(u8, u8); 3] = [(3, 3), (4, 3), (5, 0x89)];

/// A gateway that isn't started, whose listener lets nobody in without a name; `files` are written beside its
/// config and named in it.
fn gateway(files: &[(&str, &str)], more: &str) -> Gateway {
    let gateway = Gateway::new("");
    let mut config = String::from("allow_anonymous = false\n");
    if !more.contains("[[broker.user]]") && files.iter().all(|(key, _)| *key != "password_file") {
        config.push_str("[[broker.user]]\nname = \"unused\"\npassword = { env = \"PATH\" }\n");
    }
    config.push_str("[broker]\n");
    for (key, content) in files {
        let path = gateway.dir.path().join(key);
        std::fs::write(&path, content).unwrap();
        config += &format!("{key} = \"{}\"\n", path.display());
    }
    gateway.configure(&(config + more));
    gateway
}

fn file(gateway: &Gateway, key: &str) -> PathBuf {
    gateway.dir.path().join(key)
}

fn passwd(arguments: &[&str], input: &str) -> (ExitStatus, String) {
    let mut command = fieldgate();
    command.arg("passwd").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have ended without reading.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status, text)
}

fn passwd_well(arguments: &[&str]) {
    let (status, text) = passwd(arguments, "");
    assert!(status.success(), "{arguments:?}: {text}");
}

fn login(gateway: &Gateway, version: u8, user: &str, password: &str) -> u8 {
    // A name of its own: the one before may not be gone yet, and another user's name is taken.
    let client_id = format!("login-{user}");
    let hello =
        Hello { client_id: &client_id, user: Some(user), password: Some(password), ..Hello::default() };
    Wire::connect(gateway.lan_port, version, hello).1
}

fn named<'a>(client_id: &'a str, user: &'a str) -> Hello<'a> {
    Hello { client_id, user: Some(user), password: Some(user), ..Hello::default() }
}

/// Waits until status says something with all these parts.
fn wait_problem(gateway: &mut Gateway, parts: &[&str]) {
    gateway.wait(&format!("a problem says {parts:?}"), |status| {
        let problems = status["problems"].as_array().into_iter().flatten();
        problems
            .filter_map(|problem| problem.as_str())
            .any(|text| parts.iter().all(|part| text.contains(part)))
    });
}

fn wait_no_problem(gateway: &mut Gateway) {
    gateway.wait("nothing is wrong", |status| status["problems"].as_array().is_some_and(Vec::is_empty));
}

#[test]
fn password_files_of_mosquitto_are_taken_and_their_hashes_renewed() {
    let mut gateway = gateway(&[("password_file", "")], "");
    let path = file(&gateway, "password_file");
    for (kind, user) in [("sha512-pbkdf2", "seven"), ("sha512", "six")] {
        let mut command = client("mosquitto_passwd");
        command.args(["-H", kind, "-b"]).arg(&path).args([user, "pass word"]);
        Process::run_well("mosquitto_passwd", &mut command);
    }
    // mosquitto_passwd keeps no comments; people write them all the same.
    let made = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("# the greenhouse\n{made}")).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    assert!(before.contains("seven:$7$") && before.contains("six:$6$"), "{before}");
    gateway.start_again();
    for (user, prefix) in [("seven", "seven:$argon2id$v=19$m=19456,t=2,p=1$"), ("six", "six:$argon2id$")] {
        publish_with(gateway.lan_port, "t", "x", &["-u", user, "-P", "pass word", "-q", "1"]);
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(after.contains(prefix), "it is renewed before the client is let in: {after}");
    }
    let after = std::fs::read_to_string(&path).unwrap();
    assert!(after.starts_with("# the greenhouse\nseven:"), "the rest of the file stays: {after}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for (version, bad) in BAD_PASSWORD {
        assert_eq!(login(&gateway, version, "seven", "pass word"), 0);
        assert_eq!(login(&gateway, version, &format!("nobody{version}"), "pass word"), bad);
        let hello = Hello { client_id: "x", user: Some("no password"), ..Hello::default() };
        assert_eq!(Wire::connect(gateway.lan_port, version, hello).1, if version == 5 { 0x86 } else { 4 });
        let (_, code) =
            Wire::connect(gateway.lan_port, version, Hello { client_id: "x", ..Hello::default() });
        assert_eq!(code, if version == 5 { 0x87 } else { 5 }, "without a name");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(!gateway.log().contains("pass word"), "no password is logged");
}

#[test]
fn paho_clients_hear_bad_password_and_not_authorized() {
    let acl = "user ann\ntopic open/#\n";
    let mut gateway = gateway(&[("password_file", ""), ("acl_file", acl)], "");
    let path = file(&gateway, "password_file");
    passwd_well(&["-c", "-b", path.to_str().unwrap(), "ann", "secret"]);
    gateway.start_again();
    let port = gateway.lan_port.to_string();
    // paho-mqtt 2 tells the codes of version 5 whatever was spoken.
    for (python, protocol, bad, forbidden) in [
        (Python::Paho1, "3", 4, 5),
        (Python::Paho1, "4", 4, 5),
        (Python::Paho1, "5", 0x86, 0x87),
        (Python::Paho2, "4", 0x86, 0x87),
        (Python::Paho2, "5", 0x86, 0x87),
    ] {
        for (arguments, code) in [
            (&["--user", "ann", "--password", "secret"][..], 0),
            (&["--user", "ann", "--password", "secret", "--will", "open/will"], 0),
            (&["--user", "ann", "--password", "secret", "--will", "closed/will"], forbidden),
            (&["--user", "ann", "--password", "Secret"], bad),
            (&[], forbidden),
        ] {
            let all = [&[&*port, "paho", "--protocol", protocol], arguments].concat();
            python.start("login.py", &all).wait_line(&format!("connack {code}"));
        }
    }
}

#[test]
fn a_password_file_that_changes_counts_without_a_disconnect_and_a_broken_one_changes_nothing() {
    let mut gateway = gateway(&[("password_file", "")], "");
    let path = file(&gateway, "password_file");
    let name = path.to_str().unwrap();
    passwd_well(&["-c", "-b", name, "ann", "first"]);
    gateway.start_again();
    let tap = Tap::subscribe_with(gateway.lan_port, "t", &["-u", "ann", "-P", "first"]);
    passwd_well(&["-b", name, "ann", "second"]);
    passwd_well(&["-b", name, "bob", "b"]);
    eventually("the new user is let in", || (login(&gateway, 5, "bob", "b") == 0).then_some(()));
    assert_eq!(login(&gateway, 4, "ann", "second"), 0);
    assert_eq!(login(&gateway, 4, "ann", "first"), 4, "the old password, although it was right a moment ago");
    // Broken: told with file and line, and nothing else changes.
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{good}\neve\n")).unwrap();
    wait_problem(&mut gateway, &[name, "line 4", "has no ':'", "the users read before it stay"]);
    assert_eq!(login(&gateway, 5, "bob", "b"), 0);
    std::fs::remove_file(&path).unwrap();
    wait_problem(&mut gateway, &["can't read the password file", name]);
    assert_eq!(login(&gateway, 5, "bob", "b"), 0);
    std::fs::write(&path, good).unwrap();
    wait_no_problem(&mut gateway);
    passwd_well(&["-D", name, "bob"]);
    eventually("the deleted user is refused", || (login(&gateway, 5, "bob", "b") == 0x86).then_some(()));
    publish_with(gateway.lan_port, "t", "still here", &["-u", "ann", "-P", "second", "-q", "1"]);
    tap.wait_payload("still here");
}

#[test]
fn a_password_file_that_cannot_be_used_at_the_start_lets_nobody_in() {
    for (content, told) in [
        ("user\n", "line 1: has no ':'"),
        ("ann:secret\n", "line 1: what follows the user name is no password hash"),
        ("ann\n", "line 1: has no ':'"),
        ("# x\n:$6$a$b\n", "line 2: the user name is empty"),
        ("ann:$7$101$0GCvxkoTnZ6C18rg$UaIAM\n", "line 1: the password hash is damaged"),
    ] {
        let mut gateway = gateway(&[("password_file", content)], "");
        let (status, text) = Process::run("fieldgate check", fieldgate().arg("check").arg(gateway.config()));
        assert!(status.code() == Some(2) && text.contains(told), "{text}");
        gateway.start_again();
        wait_problem(&mut gateway, &["password_file", told]);
        for (version, busy) in BUSY {
            assert_eq!(login(&gateway, version, "ann", "secret"), busy, "{content}");
            assert_ne!(login(&gateway, version, "", ""), 0, "{content}");
        }
        let path = file(&gateway, "password_file");
        passwd_well(&["-c", "-b", path.to_str().unwrap(), "ann", "secret"]);
        eventually("the mended file lets her in", || {
            (login(&gateway, 4, "ann", "secret") == 0).then_some(())
        });
        wait_no_problem(&mut gateway);
        gateway.stop();
    }
}

#[test]
fn a_flood_of_logins_is_refused_as_busy_and_holds_up_nobody() {
    let mut gateway = gateway(&[("password_file", "")], "");
    let path = file(&gateway, "password_file");
    passwd_well(&["-c", "-b", path.to_str().unwrap(), "ann", "ann"]);
    gateway.start_again();
    let (mut ann, code) = Wire::connect(gateway.lan_port, 5, named("ann", "ann"));
    assert_eq!(code, 0);
    let port = gateway.lan_port;
    let flood: Vec<_> = (0..150)
        .map(|number| {
            std::thread::spawn(move || {
                let user = format!("flood-{number}");
                Wire::connect(port, 5, named(&user, &user)).1
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    while !flood.iter().all(std::thread::JoinHandle::is_finished) {
        let asked = Instant::now();
        assert_eq!(ann.ping(), []);
        slowest = slowest.max(asked.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    let codes: Vec<u8> = flood.into_iter().map(|thread| thread.join().unwrap()).collect();
    let count = |code| codes.iter().filter(|got| **got == code).count();
    assert_eq!(count(0x86) + count(0x89), codes.len(), "{codes:?}");
    assert!(count(0x86) >= 32 && count(0x89) > 0, "{codes:?}");
    assert!(slowest < Duration::from_secs(2), "a client that was in waited {slowest:?}");
    assert_eq!(login(&gateway, 5, "ann", "ann"), 0, "who was right lately needs no hash");
}

const ACL: &str = "\
topic read public/#
user ann
topic readwrite ann/#
topic read public/#
topic deny ann/hidden
# once more
user bob
topic write public/#
user ann
topic read bob/+
pattern readwrite devices/%c/%u
";

/// A gateway with ann and bob, whose passwords are their names, and the rules above.
fn with_acl() -> Gateway {
    let mut gateway = gateway(&[("password_file", ""), ("acl_file", ACL)], "");
    let path = file(&gateway, "password_file");
    passwd_well(&["-c", "-b", path.to_str().unwrap(), "ann", "ann"]);
    passwd_well(&["-b", path.to_str().unwrap(), "bob", "bob"]);
    gateway.start_again();
    gateway
}

#[test]
fn an_acl_file_of_mosquitto_says_who_may_do_what() {
    let gateway = with_acl();
    let port = gateway.lan_port;
    for (version, denied, refused) in [(4, 0, 0x80), (5, 0x87, 0x87)] {
        let (mut ann, code) = Wire::connect(port, version, named("c-ann", "ann"));
        assert_eq!(code, 0);
        assert_eq!(ann.subscribe(&["ann/x", "secret", "public/news"]), [1, refused, 1]);
        assert_eq!(
            ann.subscribe(&["#", "+/+", "/+", "ann/hidden", "$SYS/#"]),
            [1, 1, refused, refused, refused]
        );
        assert_eq!(ann.subscribe(&["devices/c-ann/+", "devices/other/+"]), [1, refused]);
        let (mut bob, code) = Wire::connect(port, version, named("c-bob", "bob"));
        assert_eq!(code, 0);
        for (topic, code) in [
            ("public/news", 0),
            ("ann/x", denied),
            ("bob/x", denied),
            ("devices/c-bob/bob", 0),
            ("devices/c-bob/ann", denied),
            ("devices/c-ann/bob", denied),
        ] {
            assert_eq!(bob.publish(topic, "x", false), code, "bob to {topic}");
        }
        let got: Vec<String> = ann.ping().iter().map(|(_, body)| topic_of(body)).collect();
        assert_eq!(got, ["public/news"], "the wide subscription gets what may be read");
        for (will, code) in [("public/w", 0), ("ann/w", if version == 5 { 0x87 } else { 5 })] {
            let hello = Hello { will: Some(will), ..named("willed", "bob") };
            assert_eq!(Wire::connect(port, version, hello).1, code, "{will}");
        }
    }
    // The same with Mosquitto's own clients.
    let tap = Tap::subscribe_with(port, "#", &["-u", "ann", "-P", "ann"]);
    for (topic, payload) in [("bob/1", "denied"), ("public/1", "allowed")] {
        publish_with(port, topic, payload, &["-u", "bob", "-P", "bob", "-V", "mqttv311", "-q", "1"]);
    }
    assert_eq!(tap.wait_payload("allowed").topic, "public/1");
    assert!(tap.messages().iter().all(|message| message.payload != "denied"));
}

fn topic_of(body: &[u8]) -> String {
    let len = usize::from(u16::from_be_bytes([body[0], body[1]]));
    String::from_utf8(body[2..2 + len].to_vec()).unwrap()
}

#[test]
fn a_right_that_is_taken_away_is_gone_from_every_way_to_a_client() {
    let mut gateway = with_acl();
    let port = gateway.lan_port;
    let (mut live, _) = Wire::connect(port, 5, named("live", "ann"));
    assert_eq!(live.subscribe(&["#"]), [1]);
    // One who is away with a message under way and others queued, and one with a will.
    let away = Hello { resume: true, ..named("away", "ann") };
    let (mut under_way, _) = Wire::connect(port, 5, away);
    assert_eq!(under_way.subscribe(&["public/#"]), [1]);
    let will = Hello { will: Some("public/will"), ..named("willed", "bob") };
    let (willed, code) = Wire::connect(port, 5, will);
    assert_eq!(code, 0);
    let (mut bob, _) = Wire::connect(port, 5, named("c-bob", "bob"));
    assert_eq!(bob.publish("public/1", "under way", false), 0);
    assert_eq!(topic_of(&under_way.read().unwrap().1), "public/1");
    drop(under_way);
    gateway.wait("it is away", |status| status["broker"]["sessions_offline"] == 1);
    assert_eq!(bob.publish("public/2", "queued", false), 0);
    assert_eq!(bob.publish("public/3", "kept", true), 0);
    assert_eq!(live.ping().len(), 3);

    let path = file(&gateway, "acl_file");
    std::fs::write(&path, "user ann\ntopic ann/#\nuser bob\ntopic ann/free\n").unwrap();
    // Nobody reads this topic, so nothing piles up meanwhile.
    eventually("the new rules hold", || (bob.publish("devices/c-bob/bob", "x", false) == 0x87).then_some(()));
    assert_eq!(bob.publish("public/1", "live", false), 0x87);
    // Nobody was disconnected; what is still allowed arrives, what isn't does not.
    assert_eq!(bob.publish("ann/free", "x", false), 0);
    drop(willed);
    gateway.wait("the will is refused", |status| {
        status["broker"]["drops"]["denied"].as_u64().is_some_and(|denied| denied >= 3)
    });
    let got: Vec<String> = live.ping().iter().map(|(_, body)| topic_of(body)).collect();
    assert_eq!(got, ["ann/free"]);
    assert_eq!(live.subscribe(&["public/#", "ann/#"]), [0x87, 1], "nor is there a retained message");
    assert_eq!(live.ping(), []);
    let (mut back, code) = Wire::connect(port, 5, away);
    assert_eq!(code, 0);
    assert_eq!(back.ping(), [], "neither what was under way nor what was queued");

    // A broken file changes nothing; a mended one does.
    std::fs::write(&path, "user ann\ntopic reed public/#\n").unwrap();
    wait_problem(&mut gateway, &["acl_file, line 2", "\"reed\" is none of", "the rules read before it stay"]);
    assert_eq!(bob.publish("ann/free", "x", false), 0);
    std::fs::write(&path, ACL).unwrap();
    eventually("the old rules hold again", || (bob.publish("public/1", "x", false) == 0).then_some(()));
    wait_no_problem(&mut gateway);
    let got: Vec<String> = live.ping().iter().map(|(_, body)| topic_of(body)).collect();
    assert_eq!(got.last().map(String::as_str), Some("public/1"), "the subscription of before works again");
}

#[test]
fn an_acl_file_that_is_empty_missing_or_broken_denies_everything() {
    for (content, told) in [
        (Some(""), None),
        (Some("# nothing\n\n# at all\n"), None),
        (None, Some("can't read the ACL file")),
        (Some("user ann\ntopic\n"), Some("line 2: topic: the topic is missing")),
        (Some("allow everything\n"), Some("line 1: \"allow\" is none of user, topic, pattern")),
    ] {
        let user = "[[broker.user]]\nname = \"ann\"\npassword = { file = \"PLACE\" }\n";
        let secrets = tempfile::tempdir().unwrap();
        let secret = secrets.path().join("ann");
        std::fs::write(&secret, "ann").unwrap();
        let mut gateway =
            gateway(&[("acl_file", content.unwrap_or(""))], &user.replace("PLACE", secret.to_str().unwrap()));
        if content.is_none() {
            std::fs::remove_file(file(&gateway, "acl_file")).unwrap();
        }
        gateway.start_again();
        match told {
            Some(told) => wait_problem(&mut gateway, &["acl_file", told, "everything is denied"]),
            None => wait_no_problem(&mut gateway),
        }
        let (mut ann, code) = Wire::connect(gateway.lan_port, 5, named("c", "ann"));
        assert_eq!(code, 0);
        assert_eq!(ann.publish("a", "x", false), 0x87, "{content:?}");
        assert_eq!(ann.subscribe(&["a", "#", "$share/g/a"]), [0x87; 3], "{content:?}");
        std::fs::write(file(&gateway, "acl_file"), "user ann\ntopic a\n").unwrap();
        eventually("the mended file holds", || (ann.publish("a", "x", false) == 0).then_some(()));
        gateway.stop();
    }
}

#[test]
fn rules_of_the_config_and_client_id_prefixes_hold() {
    let rules = "client_id_prefixes = [\"meter-\", \"c\"]\n\
                 [[broker.user]]\nname = \"ann\"\npassword = { env = \"ANN\" }\n\
                 [[broker.acl]]\nuser = \"ann\"\nallow = [{ topic = \"u/%u/#\" }]\n\
                 deny = [{ topic = \"u/+/closed\", access = \"write\" }]\n\
                 [[broker.acl]]\nclient_id = \"meter-*\"\nallow = [{ topic = \"meters/%c\", access = \"write\" }]\n";
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("ann"), "ann").unwrap();
    let place = format!("file = \"{}\"", secrets.path().join("ann").display());
    let mut gateway = gateway(&[], &rules.replace("env = \"ANN\"", &place));
    gateway.start_again();
    let port = gateway.lan_port;
    for (version, code) in [(3, 2), (4, 2), (5, 0x85)] {
        assert_eq!(Wire::connect(port, version, named("other", "ann")).1, code);
    }
    let (mut ann, code) = Wire::connect(port, 5, named("c1", "ann"));
    assert_eq!(code, 0);
    for (topic, code) in
        [("u/ann/x", 0), ("u/bob/x", 0x87), ("u/ann/closed", 0x87), ("meters/c1", 0x87), ("x", 0x87)]
    {
        assert_eq!(ann.publish(topic, "x", false), code, "{topic}");
    }
    assert_eq!(ann.subscribe(&["u/ann/closed", "meters/c1"]), [1, 0x87]);
    let (mut meter, _) = Wire::connect(port, 5, named("meter-7", "ann"));
    assert_eq!(
        (meter.publish("meters/meter-7", "x", false), meter.publish("meters/meter-8", "x", false)),
        (0, 0x87)
    );
}

#[test]
fn the_rules_hold_at_every_listener_and_for_those_without_a_name_too() {
    let open_port = support::free_port();
    let more = format!(
        "[[broker.listener]]\nname = \"open\"\nbind = \"127.0.0.1:{open_port}\"\nallow_anonymous = true\n"
    );
    let mut gateway = gateway(&[("password_file", ""), ("acl_file", ACL)], &more);
    let path = file(&gateway, "password_file");
    passwd_well(&["-c", "-b", path.to_str().unwrap(), "ann", "ann"]);
    gateway.start_again();
    for (version, denied) in [(4, 0x80), (5, 0x87)] {
        for port in [gateway.lan_port, open_port] {
            let (mut ann, code) = Wire::connect(port, version, named("c-ann", "ann"));
            assert_eq!(code, 0);
            assert_eq!(ann.subscribe(&["secret", "ann/x"]), [denied, 1], "{port}");
        }
        let nameless = Hello { client_id: "c-none", ..Hello::default() };
        assert_ne!(Wire::connect(gateway.lan_port, version, nameless).1, 0, "this listener wants a name");
        let (mut nobody, code) = Wire::connect(open_port, version, nameless);
        assert_eq!(code, 0);
        // What stands above the first user is for them, and `%u` matches nothing.
        assert_eq!(nobody.subscribe(&["public/x", "ann/x", "devices/c-none/+"]), [1, denied, denied]);
        if version == 5 {
            assert_eq!(nobody.publish("public/x", "x", false), 0x87);
        }
        // A wrong name is not better than none.
        assert_ne!(Wire::connect(open_port, version, named("c-eve", &format!("eve{version}"))).1, 0);
    }
}

#[test]
fn another_user_can_neither_take_nor_end_a_session() {
    let gateway = with_acl();
    let port = gateway.lan_port;
    let mine = Hello { resume: true, ..named("mine", "ann") };
    let (mut ann, _) = Wire::connect(port, 5, mine);
    assert_eq!(ann.subscribe(&["public/#"]), [1]);
    for hello in [
        named("mine", "bob"),
        Hello { resume: true, ..named("mine", "bob") },
        // Clean start with a wrong password.
        Hello { password: Some("wrong"), ..named("mine", "ann") },
    ] {
        assert_ne!(Wire::connect(port, 5, hello).1, 0);
    }
    assert_eq!(ann.ping(), [], "she is still connected");
    drop(ann);
    let (mut bob, _) = Wire::connect(port, 5, named("c-bob", "bob"));
    assert_eq!(bob.publish("public/1", "for ann", false), 0);
    assert_ne!(Wire::connect(port, 5, named("mine", "bob")).1, 0);
    let (mut back, code) = Wire::connect(port, 5, mine);
    assert_eq!(code, 0);
    assert_eq!(topic_of(&back.read().unwrap().1), "public/1");
}

#[test]
fn passwd_has_the_habits_of_mosquitto_passwd() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwd");
    let name = path.to_str().unwrap();
    let read = || std::fs::read_to_string(&path).unwrap();
    for (arguments, input, code, told) in [
        (&[name, "ann"][..], "secret\n", 1, "-c creates it"),
        (&["-c", "-b", name, "ann", "secret"], "", 0, "user \"ann\" added"),
        (&["-b", name, "ann", "other"], "", 0, "user \"ann\" updated"),
        (&[name, "bob"], "from stdin\n", 0, "user \"bob\" added"),
        (&[name, "cy", "-"], "from stdin\r\n", 0, "user \"cy\" added"),
        (&[name, "dora"], "", 1, "the password is empty"),
        (&["-b", name, "dora", ""], "", 1, "the password is empty"),
        (&["-D", name, "bob"], "", 0, "user \"bob\" deleted"),
        (&["-D", name, "bob"], "", 1, "there is no user \"bob\""),
        (&["-b", name, "a:b", "x"], "", 1, "can't contain ':'"),
        (&["-b", name, "", "x"], "", 1, "the user name is empty"),
        (&["-b", name, "#x", "x"], "", 1, "can't start with '#'"),
        (&[name, "ann", "secret"], "", 2, "needs -b"),
        (&["-b", name, "ann"], "", 2, "PASSWORD"),
        (&[name], "", 2, "USER"),
        (&["-c", "-D", name, "ann"], "", 2, "cannot be used with"),
    ] {
        let (status, text) = passwd(arguments, input);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {text}");
        assert!(text.contains(told), "{arguments:?}: {text}");
    }
    let users: Vec<String> = read().lines().map(|line| line.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(users, ["ann", "cy"]);
    assert!(read().lines().all(|line| line.contains(":$argon2id$v=19$m=19456,t=2,p=1$")));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    passwd_well(&["-c", "-b", name, "new", "x"]);
    assert!(read().starts_with("new:") && read().lines().count() == 1, "-c replaces the file");
    // A file that is damaged is left alone.
    std::fs::write(&path, "ann\n").unwrap();
    let (status, text) = passwd(&["-b", name, "bob", "x"], "");
    assert!(status.code() == Some(1) && text.contains("passwd, line 1: has no ':'"), "{text}");
    assert_eq!(read(), "ann\n");
    // Plain passwords become hashes; comments stay.
    std::fs::write(&path, "# plain\nann:one two\nbob:b\n").unwrap();
    passwd_well(&["-U", name]);
    assert!(read().starts_with("# plain\nann:$argon2id$") && !read().contains("one two"), "{}", read());
    let converted = read();
    passwd_well(&["-U", name]);
    assert_eq!(read(), converted, "what is a hash stays one");
}

#[test]
fn a_password_that_is_typed_is_asked_for_twice_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("passwd");
    for (typed, told, code) in [
        ("right\rright\r", "added", 0),
        ("rx\x7fight\r\x15\x7fright\r", "added", 0),
        ("one\rother\r", "the two passwords differ", 1),
        ("one\x03", "interrupted", 1),
        ("\r", "the password is empty", 1),
    ] {
        let terminal = Pty::open();
        let before = terminal.modes();
        let mut command = fieldgate();
        command.args(["passwd", "-c"]).arg(&path).arg("ann");
        let output = type_in(command, &terminal, typed);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{typed:?}: {text}");
        assert!(text.contains(told) && text.starts_with("Password: "), "{typed:?}: {text}");
        assert_eq!(terminal.shown(), "", "nothing that is typed is shown");
        assert_eq!(terminal.modes(), before, "the terminal is as it was");
    }
}

fn type_in(mut command: Command, terminal: &Pty, keys: &str) -> std::process::Output {
    let stdin = File::options().read(true).write(true).open(Path::new(terminal.path())).unwrap();
    let stderr = tempfile::NamedTempFile::new().unwrap();
    command.stdin(stdin).stdout(Stdio::piped()).stderr(stderr.reopen().unwrap());
    let child = command.spawn().unwrap();
    // What is typed before the prompt is thrown away, as it is for a person.
    let mut lines = keys.split_inclusive('\r').enumerate();
    let prompts = || std::fs::read_to_string(stderr.path()).unwrap();
    for (number, line) in lines.by_ref() {
        let prompt = ["Password: ", "Again: "][number];
        eventually(prompt, || prompts().contains(prompt).then_some(()));
        terminal.write(line.as_bytes());
    }
    let mut output = child.wait_with_output().unwrap();
    output.stderr = std::fs::read(stderr.path()).unwrap();
    // The prompts come first, whatever came when.
    output.stderr.extend(std::mem::take(&mut output.stdout));
    output
}
