//! Values of the kernel's drivers and of programs, from outside: files and processes to a broker.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Gateway, Mosquitto, Tap, eventually, find, upstream};

/// A folder as the 1-Wire driver makes one for each sensor.
fn sensor(dir: &Path, id: &str, text: &str) -> PathBuf {
    let folder = dir.join(format!("28-{id}"));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("temperature");
    std::fs::write(&file, text).unwrap();
    file
}

fn script(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn sensors_of_a_bus_are_devices_that_come_and_go_and_one_that_hangs_holds_up_none() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let bus = dir.path().join("w1");
    sensor(&bus, "00a1", "21562\n");
    sensor(&bus, "00a2", "85000\n");
    // A pipe that nobody writes to hangs in open, as a driver may.
    let hangs = bus.join("28-00a0");
    std::fs::create_dir_all(&hangs).unwrap();
    assert!(Command::new("mkfifo").arg(hangs.join("temperature")).status().unwrap().success());
    let config = format!(
        "[[file]]\nname = \"cellar\"\nprofile = \"ds18b20\"\npath = \"{}/28-*/temperature\"\nevery = \"200ms\"\n\
         timeout = \"300ms\"\nstale_after = \"2s\"\n{}",
        bus.display(),
        upstream(mosquitto.port)
    );
    let mut gateway = Gateway::start(&config);
    gateway.wait_online();
    let first = tap.wait("the first sensor", |message| message.topic.ends_with("data/cellar-00a1"));
    assert_eq!(first.json()["values"]["temperature"], 21.562);
    let invalid = tap.wait("the second sensor", |message| message.topic.ends_with("data/cellar-00a2"));
    assert!(invalid.json()["values"]["temperature"].is_null(), "{invalid:?}");
    assert_eq!(invalid.json()["quality"]["temperature"], "invalid", "{invalid:?}");
    let status = gateway.wait_readings("cellar-00a1", 5);
    assert!(
        find(&status["devices"], "cellar-00a0")["last_error"]
            .as_str()
            .unwrap()
            .contains("no answer within 0.3 s")
    );
    assert_eq!(find(&status["ports"], "cellar")["state"], "open");

    sensor(&bus, "00a3", "-1250\n");
    let new = tap.wait("a sensor that is connected later", |message| message.topic.ends_with("cellar-00a3"));
    assert_eq!(new.json()["values"]["temperature"], -1.25);
    std::fs::remove_dir_all(bus.join("28-00a3")).unwrap();
    gateway.wait("the one that has gone is stale", |status| {
        find(&status["devices"], "cellar-00a3")["state"] == "stale"
    });
    std::fs::remove_dir_all(&bus).unwrap();
    let status = gateway.wait("without a file the source is down", |status| {
        find(&status["ports"], "cellar")["state"] == "down"
    });
    assert!(status["problems"].to_string().contains("is the sensor connected"), "{}", status["problems"]);
    // The read that hangs doesn't hang the end.
    gateway.stop();
}

/// Whole numbers in thousandths, but for the pressure, which drivers give as kilopascal with a point.
#[test]
fn files_of_the_kernels_drivers_are_read_as_their_documents_say() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        ("hwmon-temperature", "hwmon*/temp*_input", "hwmon0/temp1_input", "45123\n", "temperature", 45.123),
        ("thermal-zone", "thermal_zone*/temp", "thermal_zone0/temp", "52050\n", "temperature", 52.05),
        (
            "iio-temperature",
            "iio:device*/in_temp_input",
            "iio:device0/in_temp_input",
            "-3450\n",
            "temperature",
            -3.45,
        ),
        (
            "iio-humidity",
            "iio:device*/in_humidityrelative_input",
            "iio:device0/in_humidityrelative_input",
            "45678\n",
            "humidity",
            45.678,
        ),
        (
            "iio-pressure",
            "iio:device*/in_pressure_input",
            "iio:device0/in_pressure_input",
            "101.325000000\n",
            "pressure",
            1013.25,
        ),
    ];
    let mut config = String::new();
    for (profile, path, file, content, ..) in cases {
        let folder = dir.path().join(profile);
        std::fs::create_dir_all(folder.join(file).parent().unwrap()).unwrap();
        std::fs::write(folder.join(file), content).unwrap();
        config += &format!(
            "[[file]]\nname = \"{profile}\"\nprofile = \"{profile}\"\npath = \"{}/{path}\"\nevery = \"200ms\"\n",
            folder.display()
        );
    }
    let mut gateway = Gateway::start(&config);
    let data = Tap::subscribe(gateway.lan_port, &Gateway::topic("data/#"));
    for (profile, .., point, value) in cases {
        let reading = data.wait(profile, |message| message.topic.contains(&format!("/data/{profile}")));
        assert_eq!(reading.json()["values"][point], value, "{profile}");
    }
    gateway.stop();
}

#[test]
fn a_program_is_a_port_is_started_again_and_ends_with_all_that_it_has_started() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let tap = Tap::subscribe(mosquitto.port, &Gateway::topic("data/#"));
    let pids = dir.path().join("pids");
    // Its first words have no beginning that could be missing; then it tells what it has, and crashes once.
    let text = format!(
        "echo $$ >> {0}\necho \"t=$START\"\necho \"$(pwd) $SECRET $(ls -l /proc/self/fd | grep -c socket)\" >&2\n\
         n=$(wc -l < {0})\nif [ $n -lt 2 ]; then exit 3; fi\nsleep 1000 &\necho $! >> {0}\nwait",
        pids.display()
    );
    let program = script(dir.path(), "meter", &text);
    let config = format!(
        "[[exec]]\nname = \"meter\"\ncommand = [\"{}\"]\ncwd = \"/tmp\"\nenv = {{ START = 7.5 }}\n\n\
         [[device]]\nname = \"grid\"\nport = \"meter\"\ndecode = \"key-value\"\npoints = [{{ name = \"t\" }}]\n\n{}",
        program.display(),
        upstream(mosquitto.port)
    );
    let mut gateway = Gateway::new(&config);
    gateway.set_env("SECRET", "hunter2");
    gateway.start_again();
    gateway.wait_online();
    // Between the two a reading without values says that it had ended.
    let second = tap.wait("the program was started again", |message| {
        message.json()["seq"].as_str().is_some_and(|seq| seq.ends_with("-3"))
    });
    assert_eq!(second.json()["values"]["t"], 7.5);
    let log = gateway.log();
    assert!(log.contains("the program has ended: exit status: 3"), "{log}");
    assert!(log.contains("a program complains") && log.contains("/tmp  0"), "{log}");
    assert!(!log.contains("hunter2"), "what the gateway knows is not the program's");
    let started = eventually("the program has started another", || {
        let text = std::fs::read_to_string(&pids).ok()?;
        let pids: Vec<String> = text.lines().map(str::to_owned).collect();
        (pids.len() == 3).then_some(pids)
    });
    gateway.stop();
    for pid in &started {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "{pid} still runs: {stat}");
    }
}

#[test]
fn a_flood_of_a_program_waits_and_a_program_that_is_not_there_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let flood = script(dir.path(), "flood", "exec yes a=1");
    let complain = script(dir.path(), "complain", "while :; do echo it is bad >&2; done");
    let exec = |name: &str, path: &Path| {
        format!("[[exec]]\nname = \"{name}\"\ncommand = [\"{}\"]\n", path.display())
    };
    let mut config =
        exec("flood", &flood) + &exec("complain", &complain) + &exec("gone", Path::new("/no/such"));
    config +=
        "[[device]]\nname = \"d\"\nport = \"flood\"\ndecode = \"key-value\"\npoints = [{ name = \"a\" }]\n";
    let mut gateway = Gateway::start(&config);
    let bytes = |status: &serde_json::Value| find(&status["ports"], "flood")["bytes"].as_u64().unwrap();
    let first = gateway.wait("the flood has begun", |status| bytes(status) > 0);
    let began = std::time::Instant::now();
    let last = gateway.wait("more of the flood", |status| bytes(status) > bytes(&first) + 200_000);
    let rate = (bytes(&last) - bytes(&first)) as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} bytes a second were taken");
    assert!(rate < 200_000.0, "{rate}");
    let gone = find(&last["ports"], "gone");
    assert!(gone["error"].as_str().unwrap().contains("can't start /no/such"), "{gone}");
    let complaints = gateway.log().matches("it is bad").count();
    assert!((1..=60).contains(&complaints), "{complaints} lines in a minute");
    gateway.stop();
}

#[test]
fn a_program_runs_as_the_user_that_is_named() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can start a program as another user");
        return;
    }
    let exec = |user: &str| {
        format!(
            "[[exec]]\nname = \"{user}\"\ncommand = [\"/bin/sh\", \"-c\", \"echo u=$(id -u) g=$(id -G); sleep 1000\"]\n\
             user = \"{user}\"\n"
        )
    };
    let mut config = exec("nobody") + &exec("no-such-user");
    config += "[[device]]\nname = \"who\"\nport = \"nobody\"\ndecode = \"key-value\"\npoints = \"*\"\n";
    let mut gateway = Gateway::start(&config);
    gateway.wait_readings("who", 1);
    let nobody = Command::new("id").args(["-u", "nobody"]).output().unwrap();
    let nobody = String::from_utf8(nobody.stdout).unwrap().trim().parse::<u64>().unwrap();
    let values = &gateway.ask("readings")[0]["values"];
    assert_eq!(values["u"], nobody);
    assert!(values["g"].as_u64().unwrap() != 0, "{values}");
    let status = gateway.ask("status");
    let error = find(&status["ports"], "no-such-user")["error"].as_str().unwrap().to_owned();
    assert!(error.contains("there is no user \"no-such-user\""), "{error}");
    gateway.stop();
}
