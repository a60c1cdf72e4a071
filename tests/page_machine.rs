//! What the page tells of log, events and machine; that none of it has a secret in it; and the start anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use fieldgate::web::routes::{self, Method};
use serde_json::{Value as Json, json};
use support::http::{Http, PASSWORD, claim_code, web_config, with_page};
use support::{Gateway, eventually, free_port, upstream};

fn kinds(events: &Json) -> Vec<(String, String, String)> {
    let text = |event: &Json, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let all = events["events"].as_array().unwrap().iter();
    all.map(|event| (text(event, "kind"), text(event, "who"), text(event, "detail"))).collect()
}

#[test]
fn events_tell_of_starts_outages_and_of_who_did_what() {
    let (gateway, plain, _) = with_page("", &upstream(free_port()));
    let mut admin = plain;
    admin.claim(&gateway);
    let journal = || kinds(&admin.get("/api/v1/journal").json());
    let has = |kind: &str, who: &str, part: &str| {
        let is_it = |one: &(String, String, String)| one.0 == kind && one.1 == who && one.2.contains(part);
        eventually(kind, || journal().iter().any(is_it).then_some(()));
    };
    has("started", "", "fieldgate ");
    has("upstream_refused", "", "up: ");
    let set = admin.post("/api/v1/log", &json!({"name": "bridge", "level": "debug", "minutes": 1}));
    assert_eq!(set.status, 200, "{set:?}");
    has("log_levels", "anna", "bridge=debug for 60 s");
    gateway.ask("claim");
    has("failed", "control socket", "has been claimed");
    std::fs::write(gateway.config(), std::fs::read_to_string(gateway.config()).unwrap() + "\n# more\n")
        .unwrap();
    gateway.ask("reload");
    has("config_read", "", "");
    let page = admin.get("/events?group=outages");
    assert!(
        page.body.contains("No connection to upstream") && !page.body.contains("Gateway claimed"),
        "{page:?}"
    );
}

#[test]
fn the_log_is_shown_by_level_and_text_and_set_for_a_time() {
    let (gateway, plain, _) = with_page("", "");
    let mut admin = plain;
    admin.claim(&gateway);
    let lines = |query: &str| {
        let answer = admin.get(&format!("/api/v1/log{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let all = lines("");
    assert!(
        all["lines"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line["text"].as_str().unwrap().starts_with("started"))
    );
    let started = lines("?text=STARTED%20gateway&level=info");
    assert_eq!(started["lines"].as_array().unwrap().len(), 1, "{started}");
    assert_eq!(lines("?text=nobody%20says%20this")["lines"], json!([]));
    assert_eq!(lines(&format!("?after={}", u64::MAX))["lines"], json!([]));
    for (query, field) in [("?after=x", "after"), ("?level=loud", "level")] {
        let wrong = admin.get(&format!("/api/v1/log{query}"));
        assert_eq!((wrong.status, wrong.json()["error"]["field"].as_str()), (400, Some(field)), "{wrong:?}");
    }
    for minutes in [json!(0), json!(1_441), json!("x"), json!(-1)] {
        let wrong = admin.post("/api/v1/log", &json!({"level": "debug", "minutes": minutes}));
        assert_eq!(
            (wrong.status, wrong.json()["error"]["field"].as_str()),
            (400, Some("minutes")),
            "{wrong:?}"
        );
    }
    let set = admin.post("/api/v1/log", &json!({"name": "store", "level": "trace"})).json();
    assert_eq!(set["levels"]["store"]["level"], "trace");
    let left = set["levels"]["store"]["for_s"].as_f64().unwrap();
    assert!((800.0..=900.0).contains(&left), "a quarter of an hour: {left}");
    let back = admin.post("/api/v1/log", &json!({})).json();
    assert_eq!(back["levels"]["store"]["level"], "info");
    // Texts of others stand on the page as texts.
    let page = admin.get("/logs?text=%3Cscript%3Ealert(1)");
    assert!(!page.body.contains("<script>alert"), "{page:?}");
}

/// Secrets of all kinds: what stands in files, in the environment and in the config, and what people type.
struct Canaries {
    /// In the config, which an administrator may see as it is.
    config: Vec<String>,
    /// What nobody may see anywhere.
    all: Vec<String>,
}

fn with_secrets() -> (Gateway, Http, Canaries) {
    let word = |number: usize| format!("canary{number}kzq");
    let (plain, tls) = (free_port(), free_port());
    let mut gateway = Gateway::new("");
    let secret = |name: &str, number: usize| {
        let path = gateway.dir.path().join(name);
        std::fs::write(&path, word(number)).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let rest = format!(
        "# the password is {}\n[[broker.user]]\nname = \"plc\"\npassword = {{ file = \"{}\" }}\n\
         [[broker.user]]\nname = \"panel\"\npassword = {{ env = \"PANEL_PASSWORD\" }}\n\
         [[exec]]\nname = \"x\"\ncommand = [\"/bin/sh\", \"-c\", \"sleep 1000\", \"--token={}\", \"http://u:{}@h/\"]\n\
         env = {{ READER_KEY = \"{}\" }}\n\
         [[device]]\nname = \"d\"\nport = \"x\"\ndecode = \"json\"\npoints = \"*\"\n\
         {}user_name = \"barn\"\npassword = {{ file = \"{}\" }}\n\
         [upstream.proxy]\nkind = \"http\"\nhost = \"127.0.0.1\"\nport = {}\nuser_name = \"p\"\npassword = {{ file = \"{}\" }}\n",
        word(1),
        secret("plc", 2),
        word(3),
        word(4),
        word(5),
        upstream(free_port()),
        secret("up", 6),
        free_port(),
        secret("proxy", 7),
    );
    gateway.configure(&(web_config(plain, tls, "") + &rest));
    gateway.set_env("PANEL_PASSWORD", &word(8));
    gateway.start_again();
    let mut admin = Http::new(plain, None);
    eventually("the page is open", || (admin.get("/healthz").status == 200).then_some(()));
    let code = claim_code(&gateway);
    admin.claim(&gateway);
    let account = json!({"name": "otto", "role": "operator", "password": format!("{} long enough", word(9))});
    assert_eq!(admin.post("/api/v1/accounts", &account).status, 200);
    let guest = Http::new(plain, None);
    assert_eq!(guest.post("/api/v1/login", &json!({"name": "otto", "password": word(10)})).status, 401);
    let token = admin.post("/api/v1/tokens", &json!({"name": "t", "role": "viewer"})).json();
    let key = std::fs::read_dir(gateway.data_dir().join("web"))
        .unwrap()
        .filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok())
        .find(|text| text.contains("PRIVATE KEY"))
        .expect("the page has a key");
    let mut all: Vec<String> = [2, 6, 7, 8, 9, 10].map(word).to_vec();
    all.push(PASSWORD.to_owned());
    all.push(code);
    all.push(token["token"].as_str().unwrap().to_owned());
    all.push(admin.cookie.split_once('=').unwrap().1.to_owned());
    all.push(key.lines().nth(1).unwrap().to_owned());
    (gateway, admin, Canaries { config: [1, 3, 4, 5].map(word).to_vec(), all })
}

#[test]
fn no_secret_is_in_the_bundle_on_a_page_in_the_api_in_metrics_or_in_the_log() {
    let (gateway, admin, canaries) = with_secrets();
    assert!(canaries.config.len() + canaries.all.len() >= 12);
    admin.post("/api/v1/log", &json!({"level": "trace"}));
    eventually("the upstream was tried", || {
        let events = admin.get("/api/v1/journal").json();
        kinds(&events).iter().any(|(kind, ..)| kind == "upstream_refused").then_some(())
    });
    let bundle = admin.get("/api/v1/support");
    assert_eq!(bundle.status, 200, "{bundle:?}");
    assert!(bundle.header("content-disposition").contains("fieldgate-gw-support.json"), "{bundle:?}");
    let json = bundle.json();
    let config = json["config"].as_object().unwrap().values().next().unwrap();
    assert_eq!(config["exec"][0]["env"]["READER_KEY"], "***");
    assert!(config["upstream"][0]["password"]["file"].as_str().unwrap().ends_with("/up"), "{config}");
    assert!(json["log"]["lines"].as_array().unwrap().len() > 5, "{}", json["log"]);
    assert!(json["health"]["upstreams"].is_array() && json["system"]["machine"]["kernel"].is_string());
    let absent = |text: &str, what: &str, canaries: &[String]| {
        for canary in canaries {
            assert!(!text.contains(canary.as_str()), "{canary} is in {what}");
        }
    };
    absent(&bundle.body, "the bundle", &canaries.config);
    for route in routes::all().filter(|route| route.method == Method::Get && !route.path.contains('{')) {
        // The stream has no end; its events are those of the status.
        if route.content == "text/event-stream" {
            continue;
        }
        let answer = admin.get(route.path);
        absent(&answer.body, route.path, &canaries.all);
        if matches!(
            route.path,
            "/metrics" | "/api/v1/log" | "/api/v1/journal" | "/logs" | "/events" | "/system" | "/"
        ) {
            assert_eq!(answer.status, 200, "{}", route.path);
            absent(&answer.body, route.path, &canaries.config);
        }
    }
    // The claim code is shown on the console, as long as it opens anything.
    let shown: Vec<String> = canaries
        .all
        .into_iter()
        .filter(|canary| !gateway.log().contains(&format!("claim code {canary}")))
        .collect();
    absent(&gateway.log(), "the log", &shown);
    absent(&gateway.log(), "the log", &canaries.config);
}

#[test]
fn who_types_the_gateways_id_has_it_end_in_order_with_a_code_of_its_own() {
    let (mut gateway, plain, _) = with_page("", "");
    let mut admin = plain;
    admin.claim(&gateway);
    let system = admin.get("/api/v1/system").json();
    assert_eq!((&system["gateway"], &system["clock"]), (&json!("gw"), &json!("synced")));
    assert!(system["machine"]["memory_bytes"].as_u64().unwrap() > 1 << 20, "{system}");
    for body in [json!({}), json!({"confirm": "other"})] {
        let wrong = admin.post("/api/v1/restart", &body);
        assert_eq!(
            (wrong.status, wrong.json()["error"]["field"].as_str()),
            (400, Some("confirm")),
            "{wrong:?}"
        );
    }
    assert!(gateway.is_running());
    let done = admin.post("/api/v1/restart", &json!({"confirm": "gw"}));
    assert_eq!((done.status, &done.json()["restarting"]), (200, &json!(true)));
    let (status, log) = gateway.wait_end();
    assert_eq!(status.code(), Some(75), "{log}");
    assert!(log.contains("stopped"), "in order: {log}");
}
