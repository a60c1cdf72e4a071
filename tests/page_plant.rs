//! What the page's API tells of sensors, ports, upstreams and what waits for them, and what it does with them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use serde_json::{Value as Json, json};
use support::http::with_page;
use support::{Gateway, Mosquitto, Pty, Tap, eventually, fieldgate, free_port, json_device, upstream};

#[test]
fn a_sensor_is_told_with_units_and_its_last_bytes_and_bytes_are_tried_without_being_published() {
    let pty = Pty::open();
    let points = "points = [{ name = \"t\", unit = \"Cel\", max = 50 }]";
    let config = json_device("weather", pty.path()).replace("points = \"*\"", points);
    let (gateway, mut http, _) = with_page("", &config);
    http.claim(&gateway);
    let told = eventually("a reading is told", || {
        pty.write(b"{\"t\": 21.5}\n");
        let told = http.get("/api/v1/sensors/weather").json();
        (told[0]["points"][0]["value"] == 21.5).then_some(told)
    });
    assert_eq!(told[0]["points"][0]["unit"], "Cel");
    assert_eq!(told[0]["points"][0]["quality"], "good");
    assert_eq!(told[0]["state"], "ok");
    let raw = told[0]["raw"]["bytes"].as_str().unwrap();
    assert!(raw.ends_with("7b2274223a2032312e357d0a"), "{raw}");
    assert_eq!(http.get("/api/v1/sensors").json().as_array().unwrap().len(), 1);
    assert_eq!(http.get("/api/v1/sensors/nobody").status, 400);

    let tried = |body: &Json| http.post("/api/v1/sensors/weather/try", body);
    let good = tried(&json!({"text": "{\"t\": 99.5}"})).json();
    assert_eq!(
        (&good["count"], &good["pieces"][0]["values"][0]["quality"]),
        (&json!(1), &json!("out_of_range"))
    );
    let hex = tried(&json!({"text": "7b 22 74 22 3a 31 7d 0a", "is_hex": true})).json();
    assert_eq!(hex["pieces"][0]["values"][0]["value"], 1);
    for wrong in [
        json!({}),
        json!({"text": 1}),
        json!({"text": "0g", "is_hex": true}),
        json!({"text": "a".repeat(20_000)}),
    ] {
        let answer = tried(&wrong);
        assert_eq!(
            (answer.status, answer.json()["error"]["field"].as_str()),
            (400, Some("text")),
            "{answer:?}"
        );
    }
    let after = http.get("/api/v1/sensors/weather").json();
    assert_eq!(after[0]["points"][0]["value"], 21.5, "what is tried is no reading");
}

#[test]
fn a_table_of_500_sensors_comes_in_pages_of_100_and_letters_find_one() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::sensors_of_files(folder.path(), "21.5");
    let (gateway, mut http, _) = with_page("", &config);
    http.claim(&gateway);
    eventually("all have sent", || {
        let sensors = http.get("/api/v1/sensors").json();
        let have_sent =
            |sensors: &Vec<Json>| sensors.iter().all(|sensor| sensor["points"][0]["value"] == 21.5);
        sensors.as_array().filter(|sensors| sensors.len() == 500 && have_sent(sensors)).map(|_| ())
    });
    let rows = |path: &str| {
        let page = http.get(path);
        assert_eq!(page.status, 200, "{page:?}");
        assert!(page.body.len() < 150_000, "{path}: {} bytes", page.body.len());
        page.body.matches("<tbody data-device=").count()
    };
    assert_eq!(rows("/sensors"), 100);
    assert_eq!(rows("/sensors?sort=name&page=5"), 100);
    assert_eq!(rows("/sensors?page=99"), 100, "the last one there is");
    assert_eq!(rows("/sensors?q=G7-4"), 10);
    assert_eq!(rows("/sensors?q=g7-49&sort=age"), 1);
    assert_eq!(rows("/sensors?q=%3Cscript%3E"), 0);
    assert!(!http.get("/sensors?q=%22%3E%3Cscript%3E").body.contains("<script>"));
    let found = http.get("/sensors?sort=name").body;
    assert!(found.contains("500 of 500 sensors, page 1 of 5") && found.contains("°C"), "{found}");
    assert_eq!(http.get("/sensors/g7-49").status, 200);
}

#[test]
fn what_waits_is_exported_and_given_up_only_with_the_upstreams_name() {
    let pty = Pty::open();
    let config = json_device("weather", pty.path()) + &upstream(free_port());
    let (gateway, mut http, _) = with_page("", &config);
    http.claim(&gateway);
    eventually("something waits", || {
        pty.write(b"{\"t\": 21.5}\n");
        let waiting = http.get("/api/v1/upstreams").json()[0]["backlog"]["messages"].as_u64()?;
        (waiting >= 3).then_some(())
    });
    let lines = eventually("it is exported once it is on disk", || {
        let answer = http.get("/api/v1/upstreams/up/export");
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/x-ndjson"));
        let lines: Vec<Json> = answer
            .body
            .lines()
            .filter(|line| line.starts_with('{'))
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        (lines.len() >= 3).then_some(lines)
    });
    assert!(lines.iter().all(|line| line["upstream"] == "up"), "{lines:?}");
    assert_eq!(http.get("/api/v1/upstreams/nobody/export").status, 400);

    assert_eq!(http.post("/api/v1/upstreams/up/connect", &json!({})).status, 200);
    assert_eq!(http.post("/api/v1/upstreams/nobody/connect", &json!({})).status, 400);
    let refused = http.post("/api/v1/upstreams/up/purge", &json!({"name": "down"}));
    assert_eq!((refused.status, refused.json()["error"]["field"].as_str()), (400, Some("name")));
    let purged = http.post("/api/v1/upstreams/up/purge", &json!({"name": "up"})).json();
    assert!(purged["purged"].as_u64().unwrap() >= 3, "{purged}");
    let upstreams = http.get("/api/v1/upstreams").json();
    assert!(upstreams[0]["drops"]["purged"].as_u64().unwrap() >= 3, "{upstreams}");
    let links = eventually("the backlog has a history", || {
        let links = http.get("/api/v1/links").json();
        (links["points"].as_array()?.len() == 2).then_some(links)
    });
    assert_eq!(links["points"][1]["point"], "waiting");
    let letters = http.post("/api/v1/upstreams/up/deadletters/retry", &json!({})).json();
    assert_eq!(letters["count"], 0);
    let journal = http.get("/api/v1/journal").body;
    assert!(journal.contains("\"purged\"") && journal.contains("\"exported\""), "{journal}");
    assert_eq!(journal.matches("\"purged\"").count(), 1, "once: {journal}");
}

#[test]
fn an_upstream_that_is_paused_gets_its_status_alone_also_after_a_restart_and_then_all_in_order() {
    let (dir, pty) = (tempfile::tempdir().unwrap(), Pty::open());
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("#"));
    let values = |tap: &Tap| {
        let of = tap.messages().into_iter().filter(|message| message.topic.ends_with("data/weather"));
        of.map(|message| message.json()["values"]["t"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let config = json_device("weather", pty.path()) + &upstream(mosquitto.port);
    let (mut gateway, mut http, _) = with_page("", &config);
    http.claim(&gateway);
    gateway.wait_online();
    pty.write(b"{\"t\": 1}\n");
    eventually("the first arrives", || (values(&tap) == [1]).then_some(()));

    assert_eq!(http.post("/api/v1/upstreams/nobody/pause", &json!({})).status, 400);
    let paused = http.post("/api/v1/upstreams/up/pause", &json!({})).json();
    assert_eq!(paused["state"], "online", "{paused}");
    assert!(paused["paused"].is_string(), "{paused}");
    tap.wait("upstream is told", |message| {
        message.topic.ends_with("/status") && message.json()["paused"] == true
    });
    pty.write(b"{\"t\": 2}\n{\"t\": 3}\n");
    let waits = |status: &Json| {
        let up = &status["upstreams"][0];
        up["state"] == "online" && up["backlog"]["messages"].as_u64() >= Some(2)
    };
    let status = gateway.wait("both wait, and the link stays", waits);
    assert!(
        status["problems"].to_string().contains("upstream up is paused since 20"),
        "{}",
        status["problems"]
    );
    let page = http.get("/buffer").body;
    assert!(
        page.contains("Paused") && page.contains("/upstreams/up/resume") && !page.contains("/up/pause"),
        "{page}"
    );
    assert!(http.get("/metrics").body.contains("fieldgate_upstream_paused{upstream=\"up\"} 1"));
    assert_eq!(values(&tap), [1]);

    gateway.stop();
    gateway.start_again();
    let status = gateway.wait("it is online again, and they wait", waits);
    assert_eq!(status["upstreams"][0]["paused"], paused["paused"], "since when it was");
    assert_eq!(values(&tap), [1], "a restart is no reason to send");
    let config = gateway.config();
    let output = fieldgate()
        .args(["upstream", "up", "resume", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.trim() == "upstream up: online", "{text}");
    eventually("all arrive, in order", || (values(&tap).len() >= 3).then_some(()));
    assert_eq!(values(&tap), [1, 2, 3]);
    eventually("the page can be opened", || std::net::TcpStream::connect(("127.0.0.1", http.port)).ok());
    http.log_in("anna");
    let maps = eventually("the map has counted", || {
        let maps = http.get("/api/v1/maps").json();
        (maps[0]["maps"][0]["sent"].as_u64() >= Some(2)).then_some(maps)
    });
    assert_eq!((&maps[0]["name"], &maps[0]["maps"][0]["direction"]), (&json!("up"), &json!("out")), "{maps}");
    assert!(maps[0]["maps"][0]["sent_bytes"].as_u64() > Some(100), "{maps}");
    let metrics = http.get("/metrics").body;
    let line =
        metrics.lines().find(|line| line.starts_with("fieldgate_map_sent_total{upstream=\"up\",map=\"0\","));
    assert!(line.is_some_and(|line| line.ends_with(" 2")), "{metrics}");
    let page = http.get("/upstreams").body;
    assert!(page.contains("What goes over each mapping"), "{page}");
    let journal = http.get("/api/v1/journal").body;
    assert!(journal.contains("upstream_resumed") && journal.contains("control socket"), "{journal}");
}
