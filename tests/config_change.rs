//! The config of a running gateway is changed: comments stay, mistakes are told at their key, what could lock people out
//! goes back by itself, versions are kept, and a broken file doesn't keep the gateway from starting.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "tests and their helpers"
)]

mod raw;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::{Command, ExitStatus, Stdio};

use raw::{Client, Connect, V};
use serde_json::{Value as Json, json};
use support::{Gateway, Process, Pty, eventually, fieldgate, free_port, json_device};

/// `fieldgate config …` as a person calls it.
fn config(gateway: &Gateway, arguments: &[&str]) -> (ExitStatus, String) {
    let mut command = fieldgate();
    command.arg("config").args(arguments).arg("--config").arg(gateway.config());
    Process::run("fieldgate config", &mut command)
}

#[track_caller]
fn well(gateway: &Gateway, arguments: &[&str]) -> String {
    let (status, text) = config(gateway, arguments);
    assert!(status.success(), "{arguments:?}: {text}\n{}", gateway.log());
    text
}

#[track_caller]
fn refused(gateway: &Gateway, code: i32, arguments: &[&str]) -> String {
    let (status, text) = config(gateway, arguments);
    assert_eq!(status.code(), Some(code), "{arguments:?}: {text}\n{}", gateway.log());
    text
}

/// The last answer of the control socket to one request.
fn ask(gateway: &Gateway, request: &Json) -> Json {
    gateway.request(request)
}

fn text(gateway: &Gateway) -> String {
    std::fs::read_to_string(gateway.config()).unwrap()
}

fn versions(gateway: &Gateway) -> Vec<Json> {
    ask(gateway, &json!({"op": "config-history"})).as_array().unwrap().clone()
}

/// The start and each reload are noted a little later than they count.
fn wait_version(gateway: &Gateway, number: u64) {
    eventually(&format!("version {number} is kept"), || {
        versions(gateway).iter().any(|version| version["number"] == number).then_some(())
    });
}

fn wait_log(gateway: &Gateway, words: &str) {
    eventually(&format!("the log says {words:?}"), || gateway.log().contains(words).then_some(()));
}

fn listener(name: &str, port: u16) -> String {
    format!("[[broker.listener]]\nname = \"{name}\"\nbind = \"127.0.0.1:{port}\"\n")
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_setting_is_changed_in_the_file_and_in_the_gateway_and_comments_stay() {
    let gateway = Gateway::start("# how it does\n[health] # often\nevery = \"30s\" # the default\n");
    wait_version(&gateway, 1);
    let before = text(&gateway);
    let mut stays = Client::connect(gateway.lan_port, &Connect::new(V::V5, "stays"));
    let told = well(
        &gateway,
        &["set", "health.every", "7s", "gateway.site", "North barn", "--note", "for the barn"],
    );
    assert!(
        told.contains("version 2") && told.contains("health.every") && told.contains("gateway.site"),
        "{told}"
    );
    let expected = before
        .replace("every = \"30s\" # the", "every = \"7s\" # the")
        .replace("control.sock\"\n", "control.sock\"\nsite = \"North barn\"\n");
    assert_eq!(text(&gateway), expected);
    assert_eq!(gateway.ask("status")["site"], "North barn");
    stays.nothing();
    let newest = versions(&gateway).pop().unwrap();
    assert_eq!(
        (&newest["note"], &newest["summary"]),
        (&json!("for the barn"), &json!("gateway.site, health.every"))
    );
    assert!(newest["who"].as_str().unwrap().contains("uid "), "{newest}");
    assert_eq!(well(&gateway, &["get", "health.every"]).trim(), "7s");
    well(&gateway, &["unset", "gateway.site"]);
    assert_eq!(gateway.ask("status")["site"], Json::Null);
    let told = well(&gateway, &["revert"]);
    assert!(told.contains("version 4"), "{told}");
    assert_eq!(text(&gateway), expected);
    let told = well(&gateway, &["diff", "1"]);
    assert!(
        told.contains("-site = \"North barn\"\n") && told.contains("health.every [live]: \"7s\" -> \"30s\""),
        "{told}"
    );
    assert!(
        well(&gateway, &["history"]).lines().count() == 4
            && well(&gateway, &["history", "1"]).contains(&before)
    );
    assert_eq!(well(&gateway, &["set", "health.every", "7s"]).trim(), "nothing would change");
}

#[test]
fn a_mistake_is_told_with_the_words_of_check_and_the_key_it_is_about() {
    let sensor = Pty::open();
    let gateway = Gateway::start(&json_device("scale", sensor.path()));
    let before = text(&gateway);
    let edits = json!([{"path": "port.scale-port.baud", "value": 0}, {"path": "device.scale.stale_after", "value": "5"}]);
    let answer = ask(&gateway, &json!({"op": "config-apply", "config": {"edits": edits}}));
    assert_eq!(answer["outcome"], "refused", "{answer}");
    let paths: Vec<&str> = answer["mistakes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mistake| mistake["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["port.scale-port.baud", "device.scale.stale_after"]);
    // The same text, checked as a file.
    let broken = before.replace("baud = 115200", "baud = 0");
    let file = gateway.dir.path().join("broken.toml");
    std::fs::write(&file, &broken).unwrap();
    let (status, checked) = Process::run("check", fieldgate().arg("check").arg(&file));
    assert_eq!(status.code(), Some(2));
    let words = answer["mistakes"][0]["message"].as_str().unwrap();
    assert!(checked.contains(words), "{words:?} is not in {checked}");
    let told = refused(&gateway, 2, &["apply", file.to_str().unwrap()]);
    assert!(told.contains(words) && told.contains("nothing has changed"), "{told}");
    let told = refused(&gateway, 2, &["set", "helth.every", "5s"]);
    assert!(told.contains("did you mean \"health\"?"), "{told}");
    assert_eq!(text(&gateway), before);
}

#[test]
fn what_was_changed_on_disk_meanwhile_is_not_overwritten() {
    let gateway = Gateway::start("");
    let state = ask(&gateway, &json!({"op": "config-get"}));
    assert_eq!((&state["is_running"], &state["files"][0]["text"]), (&json!(true), &json!(text(&gateway))));
    let by_hand = text(&gateway) + "[health]\nevery = \"9s\"\n";
    std::fs::write(gateway.config(), &by_hand).unwrap();
    let edits = json!([{"path": "gateway.site", "value": "x"}]);
    let request = json!({"op": "config-apply", "config": {"base": state["base"], "edits": edits}});
    let answer = ask(&gateway, &request);
    assert_eq!((&answer["outcome"], &answer["stale"]), (&json!("refused"), &json!(true)), "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("changed since it was read"), "{answer}");
    assert_eq!(text(&gateway), by_hand);
    assert_eq!(ask(&gateway, &json!({"op": "config-get"}))["is_running"], false);
    let told = well(&gateway, &["diff"]);
    assert!(told.contains("health.every [live]: \"30s\" -> \"9s\""), "{told}");
}

#[test]
fn a_change_that_could_lock_people_out_goes_back_by_itself() {
    let (old, new) = (free_port(), free_port());
    let within = "[config]\nconfirm_within = \"2s\"\n";
    let gateway = Gateway::start(&(within.to_owned() + &listener("panel", old)));
    let before = text(&gateway);
    let told = well(&gateway, &["set", "broker.listener.panel.bind", &format!("127.0.0.1:{new}")]);
    assert!(told.contains("it goes back in 2 s unless you confirm it"), "{told}");
    assert!(listens(new) && !listens(old));
    assert!(gateway.ask("status")["config"]["pending"].as_str().unwrap().contains("goes back unless"));
    let told = refused(&gateway, 2, &["set", "gateway.site", "x"]);
    assert!(told.contains("waits to be confirmed"), "{told}");
    eventually("the old listener is back", || listens(old).then_some(()));
    eventually("the new one is gone", || (!listens(new)).then_some(()));
    assert_eq!(text(&gateway), before);
    wait_log(&gateway, "was not confirmed and has gone back");
    eventually("nothing is pending", || gateway.ask("status")["config"]["pending"].is_null().then_some(()));
    let newest = versions(&gateway).pop().unwrap();
    assert_eq!((&newest["who"], &newest["note"]), (&json!("the gateway"), &json!("not confirmed in time")));
    assert!(refused(&gateway, 1, &["confirm"]).contains("no change waits"));
}

#[test]
fn a_confirmed_change_stays_and_one_that_is_put_back_is_gone_at_once() {
    let (old, new) = (free_port(), free_port());
    let within = "[config]\nconfirm_within = \"3s\"\n";
    let mut gateway = Gateway::start(&(within.to_owned() + &listener("panel", old)));
    let bind = format!("127.0.0.1:{new}");
    well(&gateway, &["set", "broker.listener.panel.bind", &bind]);
    assert!(well(&gateway, &["revert"]).contains("in use"));
    assert!(listens(old) && !listens(new));
    well(&gateway, &["set", "broker.listener.panel.bind", &bind]);
    well(&gateway, &["confirm"]);
    let confirmed = std::time::Instant::now();
    eventually("the time to confirm is long over", || (confirmed.elapsed().as_secs() >= 4).then_some(()));
    assert!(listens(new) && !listens(old));
    gateway.kill9();
    gateway.start_again();
    assert!(listens(new), "what was confirmed stays over a crash");
}

#[test]
fn what_was_not_confirmed_before_a_crash_has_gone_back_at_the_next_start() {
    let (old, new) = (free_port(), free_port());
    let mut gateway = Gateway::start(&listener("panel", old));
    let before = text(&gateway);
    well(&gateway, &["set", "broker.listener.panel.bind", &format!("127.0.0.1:{new}")]);
    gateway.kill9();
    assert_ne!(text(&gateway), before);
    gateway.start_again();
    assert_eq!(text(&gateway), before);
    assert!(listens(old) && !listens(new));
    wait_log(&gateway, "was not confirmed before the gateway was started again");
    assert!(gateway.ask("status")["config"]["pending"].is_null());
}

#[test]
fn a_config_that_the_running_gateway_cannot_take_over_is_put_back() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let gateway = Gateway::start("");
    let before = text(&gateway);
    let file = gateway.dir.path().join("new.toml");
    std::fs::write(
        &file,
        before.clone() + &format!("[[broker.listener]]\nname = \"x\"\nbind = \"{address}\"\n"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let told = refused(&gateway, 3, &["apply", file]);
    assert!(told.contains("can't listen on") && told.contains("nothing has changed"), "{told}");
    let told = refused(&gateway, 2, &["apply", "--no-probe", file]);
    assert!(told.contains("can't take it over") && told.contains(&address), "{told}");
    assert_eq!(text(&gateway), before);
    let status = gateway.ask("status");
    assert_eq!(
        (&status["config"]["error"], &status["config"]["pending"]),
        (&Json::Null, &Json::Null),
        "{status}"
    );
    assert!(listens(gateway.lan_port));
}

#[test]
fn twenty_versions_are_kept_and_each_can_be_had_back() {
    let gateway = Gateway::start("");
    wait_version(&gateway, 1);
    for n in 2..=24 {
        let edits = json!([{"path": "gateway.site", "value": format!("site {n}")}]);
        let answer = ask(&gateway, &json!({"op": "config-apply", "config": {"edits": edits}}));
        assert_eq!((&answer["outcome"], &answer["version"]), (&json!("applied"), &json!(n)), "{answer}");
    }
    let numbers: Vec<u64> =
        versions(&gateway).iter().map(|version| version["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (5..=24).collect::<Vec<_>>());
    well(&gateway, &["revert", "7"]);
    assert_eq!(gateway.ask("status")["site"], "site 7");
    assert!(refused(&gateway, 1, &["revert", "3"]).contains("there is no version 3"));
    assert!(refused(&gateway, 1, &["history", "3"]).contains("there is no version 3"));
}

#[test]
fn a_reload_by_hand_is_a_version_too() {
    let gateway = Gateway::start("");
    wait_version(&gateway, 1);
    gateway.configure("[health]\nevery = \"9s\"\n");
    let (status, text) =
        Process::run("fieldgate reload", fieldgate().arg("reload").arg("--config").arg(gateway.config()));
    assert!(status.success(), "{text}");
    wait_version(&gateway, 2);
    let newest = versions(&gateway).pop().unwrap();
    assert_eq!((&newest["who"], &newest["summary"]), (&json!("reload"), &json!("health.every")));
}

#[test]
fn a_broken_or_missing_config_gives_way_to_the_last_good_one() {
    let mut gateway = Gateway::start("");
    let data_dir = gateway.data_dir().to_str().unwrap().to_owned();
    well(&gateway, &["set", "gateway.site", "good"]);
    gateway.stop();
    let good = text(&gateway);
    std::fs::write(gateway.config(), good.clone() + "[[prt]]\n").unwrap();
    let (status, told) = Process::run("check", fieldgate().arg("check").arg(gateway.config()));
    assert_eq!(status.code(), Some(2), "{told}");
    let (status, told) =
        Process::run("strict", fieldgate().args(["run", "--strict", "--config"]).arg(gateway.config()));
    assert!(status.code() == Some(2) && told.contains("unknown table [[prt]]"), "{told}");
    gateway.start_again();
    let status = gateway.ask("status");
    assert_eq!((&status["site"], &status["state"]), (&json!("good"), &json!("degraded")), "{status}");
    let error = status["config"]["error"].as_str().unwrap();
    assert!(error.contains("unknown table [[prt]]") && error.contains("it runs with version 2"), "{error}");
    wait_log(&gateway, "the config on disk can't be used");
    // A new whole text mends it.
    let file = gateway.dir.path().join("new.toml");
    std::fs::write(&file, good.replace("\"good\"", "\"mended\"")).unwrap();
    well(&gateway, &["apply", file.to_str().unwrap()]);
    let status = gateway.ask("status");
    assert_eq!((&status["site"], &status["config"]["error"]), (&json!("mended"), &Json::Null));
    gateway.stop();
    std::fs::remove_file(gateway.config()).unwrap();
    gateway.set_env("STATE_DIRECTORY", &data_dir);
    gateway.start_again();
    let status = gateway.ask("status");
    assert_eq!(status["site"], "mended");
    assert!(status["config"]["error"].as_str().unwrap().contains("no such file"), "{status}");
    gateway.stop();
}

#[test]
fn a_long_text_is_taken_and_an_endless_one_refused() {
    let gateway = Gateway::start("");
    let comment = "# 0123456789 abcdef\n".repeat(20_000);
    let new = text(&gateway) + &comment;
    let mut apply = fieldgate();
    apply.args(["config", "apply", "-", "--config"]).arg(gateway.config()).stdin(Stdio::piped());
    let mut child = apply.stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(new.as_bytes()).unwrap();
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(text(&gateway), new);
    let stream = UnixStream::connect(gateway.socket()).unwrap();
    let endless = std::thread::spawn({
        let mut stream = stream.try_clone().unwrap();
        move || {
            let _ = stream.write_all(br#"{"op":"config-apply","config":{"text":""#);
            let piece = vec![b'x'; 1 << 20];
            // It is closed somewhere in the middle.
            (0..64).take_while(|_| stream.write_all(&piece).is_ok()).count()
        }
    });
    let mut answer = String::new();
    let _ = BufReader::new(&stream).read_line(&mut answer);
    drop(stream);
    assert!(endless.join().unwrap() < 64 || answer.contains("at most"), "{answer}");
    assert_eq!(gateway.ask("status")["state"], "ok");
    assert_eq!(text(&gateway), new);
}

#[test]
fn the_schema_and_the_settings_are_shown_without_a_gateway() {
    let gateway = Gateway::new("[health]\nevery = \"8s\"\n");
    let run = |arguments: &[&str]| {
        let mut command: Command = fieldgate();
        Process::run_well("fieldgate", command.arg("config").args(arguments))
    };
    let schema: Json = serde_json::from_str(&run(&["schema", "--json"])).unwrap();
    assert_eq!(schema["properties"]["health"]["properties"]["every"]["x-effect"], "live");
    assert!(run(&["schema"]).contains("broker.listener[].bind [reconnect] (default \"127.0.0.1:1883\")"));
    assert!(well(&gateway, &["show"]).contains("health.every = \"8s\"\n"));
    let all: Json = serde_json::from_str(&well(&gateway, &["show", "--json"])).unwrap();
    assert_eq!((&all["health"]["every"], &all["buffer"]["memory"]), (&json!("8s"), &json!("4 MiB")));
    assert!(refused(&gateway, 1, &["get", "health.evry"]).contains("has no value"));
    assert!(refused(&gateway, 1, &["set", "health.every", "5s"]).contains("no gateway answers"));
}

#[test]
fn a_backup_has_everything_with_a_passphrase_and_no_secret_without() {
    let authority = tempfile::tempdir().unwrap();
    let certificates = support::Certificates::new(authority.path(), "ca");
    let issued = certificates.issue("server", "DNS:localhost");
    let mut gateway = Gateway::new("");
    let dir = gateway.dir.path().to_owned();
    let file = |name: &str, content: &str| {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let secrets = [file("up-secret", "canary-upstream\n"), file("user-secret", "canary-user\n")];
    let key = dir.join("server.key");
    std::fs::copy(&issued.key, &key).unwrap();
    let cert = dir.join("server.pem");
    std::fs::copy(&issued.certificate, &cert).unwrap();
    let acl = file("acl", "user u\ntopic readwrite #\n");
    let (tls, more) = (free_port(), free_port());
    let rest = format!(
        "{}tls = {{ cert = {cert:?}, key = {key:?} }}\n[broker]\nacl_file = {acl:?}\n\
         [[broker.user]]\nname = \"u\"\npassword = {{ file = {:?} }}\n\
         [[upstream]]\nname = \"up\"\nhost = \"127.0.0.1\"\nport = {more}\nuser_name = \"u\"\n\
         password = {{ file = {:?} }}\n",
        listener("tls", tls),
        secrets[1],
        secrets[0],
    );
    gateway.configure(&rest);
    let part = dir.join("conf.d").join("health.toml");
    std::fs::create_dir(dir.join("conf.d")).unwrap();
    std::fs::write(&part, "[health]\nevery = \"8s\"\n").unwrap();
    gateway.start_again();
    let before = text(&gateway);
    let private = std::fs::read_to_string(&key).unwrap();
    let canaries = ["canary-upstream", "canary-user", private.lines().nth(1).unwrap()];
    let (open, sealed) = (dir.join("open.json"), dir.join("sealed.json"));
    let told = well(&gateway, &["backup", open.to_str().unwrap()]);
    assert_eq!(told.matches("a secret; give a passphrase").count(), 3, "{told}");
    let content = std::fs::read_to_string(&open).unwrap();
    assert!(content.contains("[[broker.listener]]"), "{content}");
    for canary in canaries {
        // Neither as it is nor in Base64, whichever of the three ways it falls.
        for shift in 0..3 {
            use base64ct::{Base64Unpadded, Encoding};
            let coded = Base64Unpadded::encode_string(canary.get(shift..).unwrap().as_bytes());
            assert!(!content.contains(&coded[..12]), "{canary}");
        }
        assert!(!content.contains(canary));
    }
    let passphrase = file("passphrase", "correct horse\n");
    let with = ["--passphrase-file", passphrase.to_str().unwrap()];
    well(&gateway, &["backup", sealed.to_str().unwrap(), with[0], with[1]]);
    assert!(!std::fs::read_to_string(&sealed).unwrap().contains("listener"));
    gateway.stop();
    // All is lost but the backup.
    for path in [&secrets[0], &secrets[1], &key, &cert, &acl, &part, &gateway.config()] {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_dir_all(gateway.data_dir()).unwrap();
    let sealed = sealed.to_str().unwrap();
    assert!(refused(&gateway, 1, &["restore", sealed]).contains("encrypted; give its passphrase"));
    let wrong = file("wrong", "wrong horse\n");
    let told = refused(&gateway, 1, &["restore", sealed, with[0], wrong.to_str().unwrap()]);
    assert!(told.contains("the passphrase is wrong"), "{told}");
    assert!(!gateway.config().exists());
    let told = well(&gateway, &["restore", sealed, with[0], with[1]]);
    assert!(told.contains("no gateway runs"), "{told}");
    assert_eq!(text(&gateway), before);
    assert_eq!(std::fs::read_to_string(&key).unwrap(), private);
    assert_eq!(std::fs::read_to_string(&part).unwrap(), "[health]\nevery = \"8s\"\n");
    gateway.start_again();
    assert!(listens(tls));
    Client::connect(gateway.lan_port, &Connect::new(V::V5, "c").user("u", "canary-user")).nothing();
    // A running gateway takes it over.
    well(&gateway, &["set", "gateway.site", "elsewhere"]);
    let told = well(&gateway, &["restore", sealed, with[0], with[1]]);
    assert!(told.contains("the running gateway has taken over"), "{told}");
    assert_eq!((gateway.ask("status")["site"].is_null(), text(&gateway)), (true, before));
    let log = gateway.log();
    assert!(!canaries.iter().any(|canary| log.contains(canary)), "{log}");
}
