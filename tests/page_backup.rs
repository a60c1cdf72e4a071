//! Backups by the page's API: secrets are in them only under a passphrase, nothing is written by a look, and what a restored
//! backup brought goes back with its config unless somebody confirms it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use support::http::{Http, PASSWORD, web_config};
use support::{Gateway, eventually, free_port};

const SECRET: &str = "CANARY-OF-THE-PLC";

/// A claimed gateway with a user whose password is in a file.
fn claimed(confirm_within: &str) -> (Gateway, Http, PathBuf) {
    let mut gateway = Gateway::new("");
    let secret = gateway.dir.path().join("plc.secret");
    std::fs::write(&secret, SECRET).unwrap();
    let plain = free_port();
    let own = format!(
        "[[broker.user]]\nname = \"plc\"\npassword = {{ file = {secret:?} }}\n\
         [config]\nconfirm_within = \"{confirm_within}\"\n"
    );
    gateway.configure(&(web_config(plain, free_port(), "") + &own));
    gateway.start_again();
    eventually("the page can be opened", || std::net::TcpStream::connect(("127.0.0.1", plain)).ok());
    let mut http = Http::new(plain, None);
    http.claim(&gateway);
    (gateway, http, secret)
}

fn outcome(http: &Http, path: &str, body: &Json) -> Json {
    let answer = http.post(path, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn backup(http: &Http, passphrase: Option<&str>) -> Json {
    outcome(http, "/api/v1/config/backup", &json!({ "passphrase": passphrase }))
}

#[test]
fn secrets_are_in_a_backup_only_with_a_passphrase_that_is_long_enough() {
    let (gateway, http, _) = claimed("90s");
    let open = backup(&http, None);
    assert_eq!(open["encrypted"], false);
    let text = open["content"].as_str().unwrap();
    assert!(text.contains("confirm_within") && !text.contains(SECRET), "{text}");
    assert!(open["left_out"].to_string().contains("plc.secret"), "{open}");
    assert!(open["left_out"].to_string().contains("accounts.json"), "{open}");
    let short = backup(&http, Some("short"));
    assert_eq!(short["outcome"], "refused");
    assert!(short["error"].as_str().unwrap().contains("it needs 8"), "{short}");
    let sealed = backup(&http, Some("long enough"));
    assert_eq!((&sealed["encrypted"], &sealed["left_out"]), (&json!(true), &json!([])), "{sealed}");
    assert!(!sealed["content"].as_str().unwrap().contains("confirm_within"));
    let journal = http.get("/api/v1/journal").body;
    let made = "\"detail\":\"with secrets\",\"kind\":\"backup_made\"";
    assert!(journal.contains(made), "{journal}");
    assert!(!journal.contains("long enough") && !gateway.log().contains("long enough"));
    for (body, words) in [
        (json!({"backup": sealed["content"]}), "give its passphrase"),
        (json!({"backup": sealed["content"], "passphrase": "another one"}), "the passphrase is wrong"),
        (json!({"backup": "{}"}), "no backup of fieldgate"),
    ] {
        let refused = outcome(&http, "/api/v1/config/restore", &body);
        assert_eq!(refused["outcome"], "refused", "{refused}");
        assert!(refused["error"].as_str().unwrap().contains(words), "{refused}");
    }
    assert_eq!(http.post("/api/v1/config/restore", &json!({})).json()["error"]["field"], "backup");
    let large = json!({"backup": "x".repeat(5 * 1024 * 1024)});
    assert_eq!(http.post("/api/v1/config/restore", &large).status, 413);
}

#[test]
fn a_restored_backup_that_nobody_confirms_goes_back_with_its_files_also_over_a_crash() {
    let (mut gateway, http, secret) = claimed("8s");
    let sealed = backup(&http, Some("long enough"))["content"].clone();
    let file = |text: &str| std::fs::write(&secret, text).unwrap();
    file("changed meanwhile");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let body = json!({"backup": sealed, "passphrase": "long enough"});
    let look = outcome(&http, "/api/v1/config/restore", &body);
    assert_eq!((&look["outcome"], &look["needs_confirmation"]), (&json!("right"), &json!(true)), "{look}");
    let differs = |name: &str| {
        let all = look["restores"].as_array().unwrap();
        let found = all.iter().find(|file| file["file"].as_str().unwrap().ends_with(name));
        found.unwrap()["differs"] == true
    };
    assert!(differs("plc.secret") && !differs("accounts.json"), "{look}");
    assert!(!look.to_string().contains(SECRET), "{look}");
    let now = || std::fs::read_to_string(&secret).unwrap();
    assert_eq!(now(), "changed meanwhile", "a look writes nothing");
    let restore = || {
        let mut body = body.clone();
        body["apply"] = json!(true);
        let done = outcome(&http, "/api/v1/config/restore", &body);
        assert_eq!(done["outcome"], "applied", "{done}");
        assert!(done["confirm_within_s"].is_u64(), "{done}");
        assert_eq!(now(), SECRET);
    };
    restore();
    eventually("it has gone back", || (now() == "changed meanwhile").then_some(()));
    eventually("that is told", || {
        gateway.log().contains("was not confirmed and has gone back").then_some(())
    });
    restore();
    gateway.kill9();
    gateway.start_again();
    assert_eq!(now(), "changed meanwhile");
    assert_eq!(std::fs::read_to_string(gateway.config()).unwrap(), text);
    let mut http = http;
    eventually("the page can be opened", || std::net::TcpStream::connect(("127.0.0.1", http.port)).ok());
    http.log_in("anna");
    let mut body = body.clone();
    body["apply"] = json!(true);
    let done = outcome(&http, "/api/v1/config/restore", &body);
    assert_eq!(done["outcome"], "applied", "{done}");
    assert_eq!(outcome(&http, "/api/v1/config/confirm", &json!({}))["outcome"], "confirmed");
    assert_eq!(now(), SECRET);
    let history = http.get("/api/v1/config/history").body;
    assert!(!history.contains(SECRET) && !PASSWORD.is_empty(), "{history}");
    let folder = gateway.data_dir().join("config-history");
    let found = std::process::Command::new("grep").args(["-rl", SECRET]).arg(folder).output().unwrap();
    assert!(found.stdout.is_empty(), "{found:?}");
}

#[test]
fn a_backup_whose_config_is_refused_leaves_everything_as_it_was() {
    let (gateway, http, secret) = claimed("10min");
    let open = backup(&http, None)["content"].as_str().unwrap().to_owned();
    let sealed = backup(&http, Some("long enough"))["content"].clone();
    let broken = open.replace("confirm_within", "confirm_wihtin");
    let refused = outcome(&http, "/api/v1/config/restore", &json!({"backup": broken, "apply": true}));
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert!(refused.to_string().contains("did you mean"), "{refused}");
    // Its address is taken meanwhile by another: the running gateway can't take it over.
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let lan = format!("127.0.0.1:{}", gateway.lan_port);
    let elsewhere = text.replace(&lan, &format!("127.0.0.1:{}", free_port()));
    std::fs::write(gateway.config(), &elsewhere).unwrap();
    assert_eq!(gateway.ask("reload")["outcome"], "applied");
    eventually("the address is free", || std::net::TcpListener::bind(&lan).ok())
        .set_nonblocking(true)
        .unwrap();
    let _taken = std::net::TcpListener::bind(&lan).unwrap();
    std::fs::write(&secret, "changed meanwhile").unwrap();
    let body = json!({"backup": sealed, "passphrase": "long enough", "apply": true});
    let refused = outcome(&http, "/api/v1/config/restore", &body);
    assert_eq!(refused["outcome"], "refused", "{refused}");
    assert_eq!(std::fs::read_to_string(&secret).unwrap(), "changed meanwhile");
    assert_eq!(std::fs::read_to_string(gateway.config()).unwrap(), elsewhere);
    assert!(!gateway.data_dir().join("config-history/unconfirmed.json").exists());
    assert_eq!(http.get("/api/v1/config/pending").json()["pending"], Json::Null);
}
