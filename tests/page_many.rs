//! The page with much to show and for a long time: 500 sensors in a browser; an hour with pages open, while the service's
//! memory stays what it is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests and their helpers"
)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::browser::{begin, browse, finish};
use support::http::{claim_code, with_page};
use support::{Gateway, Pty, eventually, free_port, json_device, upstream, within};

/// How long pages stay open; MINUTES says otherwise.
const MINUTES: u64 = 60;
/// The service's memory may grow by this between the first quarter and the last: 2 MB. A leak of one event a second of
/// 1 KB would be seen in an hour.
const GROWTH_BYTES_MAX: u64 = 2_000_000;

#[test]
fn a_table_of_500_sensors_stays_usable_while_all_of_them_send() {
    let folder = tempfile::tempdir().unwrap();
    let config = support::sensors_of_files(folder.path(), "0");
    let (gateway, mut plain, tls) = with_page("", &config);
    plain.claim(&gateway);
    eventually("all have sent", || {
        let sensors = plain.get("/api/v1/sensors").json();
        let all: &Vec<Json> = sensors.as_array().unwrap();
        (all.len() == 500 && all.iter().all(|sensor| sensor["points"][0]["value"] == 0)).then_some(())
    });
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                for group in 0..10 {
                    for one in 0..50 {
                        // Whole, or not there yet: never half.
                        let (new, file) =
                            (folder.path().join("new"), folder.path().join(format!("g{group}-{one:02}")));
                        std::fs::write(&new, format!("{number}\n")).unwrap();
                        std::fs::rename(&new, &file).unwrap();
                    }
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            println!("{}", browse("many.mjs", &gateway, &tls, json!({})));
        }));
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Err(cause) = ended {
            std::panic::resume_unwind(cause);
        }
    });
}

#[test]
fn every_page_can_be_read_in_german_on_a_phone_and_at_a_desk_and_used_by_keyboard() {
    let (pty, silent) = (Pty::open(), Pty::open());
    let device = |name: &str, pty: &Pty| {
        let points = "points = [{ name = \"temperature\", unit = \"Cel\", max = 50 }, { name = \"humidity\", unit = \"%RH\" }]";
        json_device(name, pty.path()).replace("points = \"*\"", points)
    };
    let config = device("wetterstation", &pty)
        + &device("keller", &silent)
        + &upstream(free_port())
        + "[[gpio]]\nname = \"pumpe\"\nline = \"pumpe\"\nbackend = \"sim\"\nmode = \"output\"\n\
           [[gpio]]\nname = \"tuer\"\nline = \"tuer\"\nbackend = \"sim\"\nmode = \"input\"\n";
    let (mut gateway, _, tls) = with_page("", &config);
    for number in 0..30 {
        pty.write(
            format!("{{\"temperature\": {}, \"humidity\": {}}}\n", 20 + number % 7, 50 + number).as_bytes(),
        );
        gateway.wait_readings("wetterstation", number + 1);
    }
    let settings = json!({
        "code": claim_code(&gateway),
        "locale": "de-DE",
        "common": "passwordpassword",
        "more": ["/sensors/wetterstation", "/sensors/keller", "/config/history"],
        "shots": std::env::var("FIELDGATE_SHOTS").ok(),
    });
    browse("pages.mjs", &gateway, &tls, settings);
}

fn resident_bytes(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "takes an hour"]
fn pages_that_stay_open_for_an_hour_cost_the_service_nothing() {
    let minutes = std::env::var("MINUTES").map_or(MINUTES, |text| text.parse().unwrap());
    let pty = Pty::open();
    let (gateway, mut plain, tls) = with_page("", &json_device("weather", pty.path()));
    plain.claim(&gateway);
    let mut script = begin("hour.mjs", &gateway, &tls, json!({"minutes": minutes}));
    let mut number = 0;
    let mut sends = |count: u32| {
        for _ in 0..count {
            number += 1;
            pty.write(format!("{{\"t\": {number}}}\n").as_bytes());
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    within(Duration::from_secs(120), "the pages are open", || {
        sends(1);
        let text = script.text();
        assert!(script.is_running(), "{text}");
        text.contains("open").then_some(())
    });
    let (mut samples, began) = (Vec::new(), Instant::now());
    while began.elapsed() < Duration::from_secs(minutes * 60) && script.is_running() {
        sends(50);
        samples.push(resident_bytes(&gateway));
        println!("{:>5} s: {} kB", began.elapsed().as_secs(), samples.last().unwrap() / 1000);
    }
    finish("hour.mjs", &gateway, script);
    let quarter = samples.len() / 4;
    let mean = |part: &[u64]| part.iter().sum::<u64>() / u64::try_from(part.len().max(1)).unwrap();
    let (first, last) = (mean(&samples[..quarter]), mean(&samples[samples.len() - quarter..]));
    println!("{minutes} minutes: {first} bytes became {last}");
    assert!(last < first + GROWTH_BYTES_MAX, "{first} bytes became {last}");
}
