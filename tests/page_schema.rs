//! The API does what its description says, whatever it is asked: schemathesis makes requests of the description, right ones
//! and wrong ones, and judges the answers.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::process::Command;

use serde_json::json;
use support::http::with_page;
use support::{Pty, Python, json_device, upstream};

/// Requests of each route and kind in the ordinary run, and in the long one.
const FEW: u32 = 4;
const MANY: u32 = 150;

/// What puts another config in use, such as an empty one, and so the page elsewhere.
const OTHER_CONFIG: [&str; 3] = ["/api/v1/config/apply", "/api/v1/config/revert", "/api/v1/config/restore"];

#[test]
fn the_api_answers_as_it_is_described() {
    schemathesis(FEW);
}

#[test]
#[ignore = "takes minutes"]
fn the_api_answers_as_it_is_described_for_long() {
    schemathesis(MANY);
}

fn schemathesis(examples: u32) {
    let sensor = Pty::open();
    let config = json_device("weather", sensor.path())
        + &upstream(support::free_port())
        + "[[gpio]]\nname = \"pump\"\nline = \"pump\"\nbackend = \"sim\"\nmode = \"output\"\n";
    let (mut gateway, mut admin, _) = with_page("", &config);
    admin.claim(&gateway);
    let token = admin.post("/api/v1/tokens", &json!({"name": "schemathesis", "role": "admin"})).json();
    let token = token["token"].as_str().unwrap();
    let description = gateway.dir.path().join("openapi.json");
    std::fs::write(&description, admin.get("/api/v1/openapi.json").body).unwrap();

    let valid =
        Command::new(Python::Web.program("openapi-spec-validator")).arg(&description).output().unwrap();
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stdout));

    let mut command = Command::new(Python::Web.program("schemathesis"));
    command.arg("run").arg(&description).current_dir(gateway.dir.path());
    command.arg("--url").arg(format!("http://127.0.0.1:{}", admin.port));
    command.arg("--header").arg(format!("Authorization: Bearer {token}"));
    // A stream of events has no end.
    for route in fieldgate::web::routes::all().filter(|route| route.content == "text/event-stream") {
        command.args(["--exclude-path", route.path]);
    }
    for path in OTHER_CONFIG {
        command.args(["--exclude-path", path]);
    }
    // What a field may be stands in its description in words: a text that its schema allows may be refused.
    command.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    command.args([
        "--phases",
        "examples,coverage,fuzzing",
        "--seed",
        "7",
        "--no-shrink",
        "--continue-on-failure",
    ]);
    command.args(["--max-examples", &examples.to_string(), "--suppress-health-check", "all"]);
    command.args(["--generation-database", "none", "--no-color", "--warnings", "off"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}\n{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        gateway.log()
    );
    assert!(gateway.is_running());
    assert_eq!(admin.get("/healthz").status, 200);
    assert_eq!(gateway.ask("status")["panics"]["total"].as_u64().unwrap_or(0), 0);
}
