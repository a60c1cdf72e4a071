//! What the page tells of the users of the LAN's broker, and of who is connected as whom.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "tests and their helpers"
)]

mod raw;
mod support;

use raw::{Client, Connect, V};
use serde_json::{Value as Json, json};
use support::http::with_page;
use support::{eventually, fieldgate};

#[test]
fn users_are_told_by_whence_they_are_and_as_whom_clients_are_connected() {
    let dir = tempfile::tempdir().unwrap();
    let (secret, file) = (dir.path().join("secret"), dir.path().join("passwords"));
    std::fs::write(&secret, "right").unwrap();
    let made = fieldgate().args(["passwd", "-c", "-b"]).arg(&file).args(["ben", "right"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let config = format!(
        "[[broker.user]]\nname = \"plc\"\npassword = {{ file = \"{}\" }}\n[broker]\npassword_file = \"{}\"\n",
        secret.display(),
        file.display()
    );
    let (gateway, mut http, _) = with_page("", &config);
    http.claim(&gateway);
    let mut clients = Vec::new();
    for (id, user) in [("one", Some("plc")), ("two", Some("plc")), ("three", Some("ben")), ("nameless", None)]
    {
        let connect = Connect::new(V::V5, id);
        let connect = match user {
            Some(user) => connect.user(user, "right"),
            None => connect,
        };
        clients.push(Client::connect(gateway.lan_port, &connect));
    }
    let told = eventually("all are connected", || {
        let told = http.get("/api/v1/broker/users").json();
        let all: u64 = told["users"].as_array()?.iter().filter_map(|user| user["connected"].as_u64()).sum();
        (all == 4).then_some(told)
    });
    let of = |name: Json| told["users"].as_array().unwrap().iter().find(|user| user["name"] == name).unwrap();
    let plc = of(json!("plc"));
    assert_eq!((&plc["source"], &plc["connected"]), (&json!("config"), &json!(2)), "{told}");
    assert_eq!(plc["clients"].as_array().unwrap().len(), 2, "{told}");
    assert_eq!(
        (&of(json!("ben"))["source"], &of(json!("ben"))["clients"]),
        (&json!("file"), &json!(["three"]))
    );
    assert_eq!((&of(Json::Null)["source"], &of(Json::Null)["connected"]), (&Json::Null, &json!(1)), "{told}");
    assert_eq!((&told["more"], &told["all_counted"]), (&json!(0), &json!(true)));
    assert!(!told.to_string().contains("right"), "{told}");

    let page = http.get("/broker").body;
    for expected in ["of the config", "of the password file", "without a user name", "connected: three"] {
        assert!(page.contains(expected), "{expected} is missing in {page}");
    }
    for link in ["/config?path=broker.user.plc", "/config?path=broker.user", "/config?path=broker.acl"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link} is missing in {page}");
        assert_eq!(http.get(link).status, 200, "{link}");
    }
    // Who is gone is connected no more.
    clients.remove(2);
    eventually("ben is gone", || {
        let told = http.get("/api/v1/broker/users").json();
        let ben = told["users"].as_array()?.iter().find(|user| user["name"] == "ben")?;
        (ben["connected"] == 0).then_some(())
    });
    assert!(http.get("/broker").body.contains("not connected"));
    // What is done with a client stands in the events once, with who did it.
    assert_eq!(http.post("/api/v1/broker/kick", &json!({"client": "one"})).status, 200);
    let journal = http.get("/api/v1/journal").json();
    let kicked: Vec<&Json> = journal["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["kind"] == "client_kicked")
        .collect();
    assert_eq!(kicked.len(), 1, "{journal}");
    assert_eq!((&kicked[0]["who"], &kicked[0]["detail"]), (&json!("anna"), &json!("one")));
    assert_eq!(kicked[0]["address"], "127.0.0.1");
    assert!(http.get("/events").body.contains("Client disconnected"));
}
