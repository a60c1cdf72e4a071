//! `fieldgate pub` and `fieldgate sub` against a real Mosquitto and against the gateway, beside mosquitto_pub and
//! mosquitto_sub.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests and their helpers"
)]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use support::{
    Certificates, Gateway, Mosquitto, PATIENCE, Process, Tap, client, eventually, fieldgate, publish_with,
};

/// The command with what every run needs.
fn command(which: &str, port: u16, arguments: &[&str]) -> Command {
    let mut command = fieldgate();
    command.args([which, "-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    command
}

/// Runs a command to its end with this on its standard input.
fn run_with(command: &mut Command, stdin: &[u8]) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    let writer = std::thread::spawn(move || {
        // Whoever wants no input may be gone already.
        let _ = pipe.write_all(&stdin);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Runs a command that must succeed; returns what it printed.
fn well(command: &mut Command) -> Vec<u8> {
    let output = run_with(command, b"");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    output.stdout
}

/// `fieldgate sub`, subscribed.
fn listen(port: u16, arguments: &[&str]) -> Process {
    let mut process = Process::start("fieldgate sub", command("sub", port, arguments).arg("-d"));
    process.wait_line("< SUBACK");
    process
}

/// What a listener has printed of messages.
fn printed(process: &Process) -> Vec<String> {
    process.parsed(|line| (!line.text.starts_with("fieldgate: ")).then(|| line.text.clone()))
}

fn wait_printed(process: &Process, count: usize) -> Vec<String> {
    eventually(&format!("{count} messages are printed"), || {
        let lines = printed(process);
        (lines.len() >= count).then_some(lines)
    })
}

fn with_brokers(test: impl Fn(u16)) {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    test(mosquitto.port);
    let gateway = Gateway::start("");
    test(gateway.lan_port);
}

#[test]
fn both_ways_with_mosquittos_clients_in_every_version_and_qos() {
    with_brokers(|port| {
        let tap = Tap::subscribe_with(port, "from/#", &["-V", "5"]);
        let ours = listen(port, &["-t", "to/#", "-q", "2", "-F", "%t %q %p"]);
        let mut expected = Vec::new();
        for version in ["31", "311", "5"] {
            for qos in ["0", "1", "2"] {
                let topic = format!("from/{version}/{qos}");
                well(&mut command("pub", port, &["-V", version, "-q", qos, "-t", &topic, "-m", &topic]));
                let got = tap.wait_payload(&topic);
                assert_eq!((got.topic.as_str(), got.qos.to_string().as_str()), (topic.as_str(), qos));
                let topic = format!("to/{version}/{qos}");
                publish_with(port, &topic, &topic, &["-V", &format!("mqttv{version}"), "-q", qos]);
                expected.push(format!("{topic} {qos} {topic}"));
            }
        }
        assert_eq!(wait_printed(&ours, 9), expected);
        for version in ["mqttv31", "mqttv311", "mqttv5"] {
            let ours = listen(port, &["-V", version, "-t", "a", "-t", "b", "-q", "1", "-C", "2", "-v"]);
            well(&mut command("pub", port, &["-t", "b", "-m", "1", "-q", "2", "-V", version]));
            well(&mut command("pub", port, &["-t", "a", "-m", "2"]));
            assert_eq!(wait_printed(&ours, 2), ["b 1", "a 2"], "{version}");
        }
    });
}

/// Retained messages that a format can be tried on.
fn retain_samples(port: u16) {
    let properties: Vec<&str> = "-V 5 -q 2 -D publish user-property k v -D publish user-property k2 v2 \
                                 -D publish content-type text/plain -D publish correlation-data abc \
                                 -D publish response-topic r/t -D publish payload-format-indicator 1"
        .split_whitespace()
        .collect();
    let none: &[&str] = &[];
    for (topic, payload, more) in [
        ("f/1", "{\"b\": \"1 50\", \"a\":[1, 2]}", none),
        ("f/2", "12", &properties),
        ("f/3", "h\u{e9}\"\\\t\u{1}x", none),
        ("f/4", "a long payload that is cut where a width says so", &["-q", "1"]),
    ] {
        publish_with(port, topic, payload, &[&["-r"], more].concat());
    }
}

#[test]
fn formats_print_what_mosquitto_sub_prints() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    retain_samples(mosquitto.port);
    for arguments in [
        &["-F", "%t|%p|%q|%r|%l|%m|%x|%X|%%"][..],
        &["-F", "%8p|%-8p|%08p|%60p|%-60p|%7x|%-9X|%90x"],
        &["-F", "%8t|%-8t|%.2t|%6.2t|%-6.2t|%6l|%06l|%-6l|%4m|%04m"],
        &["-F", "[%A][%C][%D][%E][%F][%P][%R][%S]"],
        &["-F", "[%5A][%14C][%-14C][%.4C][%5E][%5F][%05F][%6S][%06S][%-5R]"],
        &["-F", r"\\|\n|\t|\r|\a|\e|\v|\0|@@"],
        &["-F", "%j"],
        &["-F", "%J", "-T", "f/3", "-T", "f/4"],
        &["-F", "%t", "-N"],
        &["-v"],
        &["-v", "-N"],
        &[],
        &["-N"],
    ] {
        let count = if arguments.contains(&"-T") { "2" } else { "4" };
        for version in ["311", "5"] {
            let common = ["-V", version, "-q", "2", "-t", "f/#", "-C", count];
            let mut theirs = client("mosquitto_sub");
            theirs.env("TZ", "UTC").args(["-h", "127.0.0.1", "-p", &mosquitto.port.to_string()]);
            let theirs = well(theirs.args(common).args(arguments));
            let ours = well(command("sub", mosquitto.port, &common).args(arguments));
            let text = |bytes: Vec<u8>| without_times(&String::from_utf8(bytes).unwrap());
            let (ours, theirs) = (text(ours), text(theirs));
            assert!(!theirs.is_empty());
            assert_eq!(ours, theirs, "{version} {arguments:?}");
        }
    }
}

/// Takes the digits out of each `"tst":"…"`.
fn without_times(text: &str) -> String {
    let mut parts = text.split("\"tst\":\"");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        let (time, rest) = part.split_at("2026-11-20T18:23:08.263360Z+0000".len());
        out += "\"tst\":\"";
        out.extend(time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }));
        out += rest;
    }
    out
}

#[test]
fn each_option_of_sub_does_what_it_says() {
    with_brokers(|port| {
        for (topic, payload) in [("o/1", "one"), ("o/2", "two"), ("o/3", "three")] {
            publish_with(port, topic, payload, &["-r", "-q", "1"]);
        }
        for (arguments, code, expected) in [
            (&["-t", "o/#", "-C", "2"][..], 0, "one\ntwo\n"),
            (&["-t", "o/1", "-t", "o/3", "-C", "2", "-v"], 0, "o/1 one\no/3 three\n"),
            (&["-t", "o/#", "-W", "1"], 27, "one\ntwo\nthree\n"),
            (&["-t", "o/#", "-W", "1", "-C", "4"], 27, "one\ntwo\nthree\n"),
            (&["-t", "o/#", "-T", "o/2", "-T", "+/3", "-C", "1"], 0, "one\n"),
            (&["-t", "o/#", "-R", "-W", "1"], 27, ""),
            (&["-t", "o/#", "-C", "1", "-N"], 0, "one"),
            (&["-t", "o/#", "-E"], 0, ""),
            (&["-t", "o/2", "-C", "1", "-F", "%r%q", "-q", "1"], 0, "11\n"),
            (&["-U", "o/#", "-E"], 0, ""),
            (&["-t", "o/2", "-C", "1", "--quiet", "--nodelay"], 0, "two\n"),
            (
                &["-t", "o/3", "-C", "1", "-F", "%S", "-D", "subscribe", "subscription-identifier", "42"],
                0,
                "42\n",
            ),
            (&["-t", "o/2", "--retained-only", "-W", "1"], 27, "two\n"),
        ] {
            let output = run_with(&mut command("sub", port, arguments), b"");
            let (out, errors) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(
                (output.status.code(), out.as_ref()),
                (Some(code), expected),
                "{arguments:?}: {errors}"
            );
        }
        // The first message that was not retained ends it, unprinted.
        let mut sub = listen(port, &["-t", "o/#", "--retained-only"]);
        wait_printed(&sub, 3);
        publish_with(port, "o/1", "new", &[]);
        assert!(sub.wait_end(PATIENCE).success());
        assert_eq!(printed(&sub).len(), 3);
        // What comes retained is removed, but for what -T leaves alone.
        well(&mut command("sub", port, &["-t", "o/#", "-T", "o/3", "--remove-retained", "-C", "2"]));
        let left = run_with(&mut command("sub", port, &["-t", "o/#", "-v", "-W", "1"]), b"");
        assert_eq!(String::from_utf8_lossy(&left.stdout), "o/3 three\n");
        // Without Retain As Published a live message never has the flag (MQTT 5, 3.3.1-12).
        let plain = listen(port, &["-t", "live", "-F", "%r"]);
        let kept = listen(port, &["-t", "live", "-F", "%r", "--retain-as-published"]);
        publish_with(port, "live", "x", &["-r"]);
        assert_eq!((wait_printed(&plain, 1), wait_printed(&kept, 1)), (vec!["0".into()], vec!["1".into()]));
    });
}

#[test]
fn each_source_of_payloads_arrives_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let port = mosquitto.port;
    let tap = Tap::subscribe_with(port, "p/#", &["-V", "5"]);
    let file = dir.path().join("payload");
    std::fs::write(&file, "from a file").unwrap();
    for (topic, arguments, stdin, expected) in [
        ("p/m", &["-m", "text"][..], "", &["text"][..]),
        ("p/f", &["-f", file.to_str().unwrap()], "", &["from a file"]),
        ("p/s", &["-s"], "all of it", &["all of it"]),
        ("p/l", &["-l", "-q", "1"], "one\n\nthree\r\nlast", &["one", "", "three\r", "last"]),
        ("p/l2", &["-l", "-q", "2", "-M", "1"], "1\n2\n3\n", &["1", "2", "3"]),
        ("p/l0", &["-l"], "", &[]),
        ("p/n", &["-n"], "", &[""]),
        ("p/r", &["-m", "again", "--repeat", "3", "--repeat-delay", "0.05"], "", &["again"; 3]),
    ] {
        let output = run_with(command("pub", port, &["-t", topic]).args(arguments), stdin.as_bytes());
        assert!(output.status.success(), "{topic}: {}", String::from_utf8_lossy(&output.stderr));
        publish_with(port, topic, "end", &["-q", "2"]);
        let end = format!("{topic}: end");
        tap.wait(&end, |message| message.topic == topic && message.payload == "end");
        let got: Vec<String> =
            tap.messages().into_iter().filter(|m| m.topic == topic).map(|m| m.payload).collect();
        // The tap's lines lose a carriage return at their end.
        let expected: Vec<&str> =
            expected.iter().map(|payload| payload.trim_end_matches('\r')).chain(["end"]).collect();
        assert_eq!(got, expected, "{topic}");
    }
}

#[test]
fn a_stream_of_lines_and_a_large_payload_lose_nothing() {
    const LINES: usize = 20_000;
    let dir = tempfile::tempdir().unwrap();
    let mosquitto = Mosquitto::start(dir.path());
    let port = mosquitto.port;
    for qos in ["0", "1", "2"] {
        let lines: String = (0..LINES).map(|line| format!("line {line} of many\n")).collect();
        let mut sub = command("sub", port, &["-t", "stream", "-q", "2", "-C", &LINES.to_string(), "-d"]);
        let (out, errors) = (dir.path().join("out"), dir.path().join("errors"));
        sub.stdout(std::fs::File::create(&out).unwrap()).stderr(std::fs::File::create(&errors).unwrap());
        let mut sub = sub.spawn().unwrap();
        eventually("subscribed", || {
            std::fs::read_to_string(&errors).unwrap().contains("SUBACK").then_some(())
        });
        let output =
            run_with(&mut command("pub", port, &["-t", "stream", "-l", "-q", qos]), lines.as_bytes());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(sub.wait().unwrap().success());
        assert!(
            std::fs::read_to_string(&out).unwrap() == lines,
            "QoS {qos}: something is missing or out of order"
        );
    }
    let large: Vec<u8> = (0..5_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let output = run_with(&mut command("pub", port, &["-t", "large", "-s", "-r"]), &large);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(well(&mut command("sub", port, &["-t", "large", "-C", "1", "-N"])) == large);
}

#[test]
fn properties_and_sessions_reach_the_broker() {
    with_brokers(|port| {
        let format = "%C|%P|%R|%D|%F|%p";
        let mut theirs = client("mosquitto_sub");
        theirs.args([
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-V",
            "5",
            "-t",
            "props",
            "-F",
            format,
            "-C",
            "1",
        ]);
        let mut words = vec!["-t", "props", "-m", "x", "-r"];
        words.extend(
            "-D publish content-type a/b -D PUBLISH user-property k v -D publish response-topic r \
             -D publish correlation-data c -D publish payload-format-indicator 1"
                .split_whitespace(),
        );
        well(&mut command("pub", port, &words));
        assert_eq!(String::from_utf8(well(&mut theirs)).unwrap(), "a/b|k:v|r|c|1|x\n");
        for (version, more) in
            [("31", None), ("311", None), ("5", None), ("5", Some("60")), ("5", Some("-1"))]
        {
            let id = format!("kept-{version}{}", more.unwrap_or(""));
            let mut session = vec!["-V", version, "-c", "-i", &id, "-t", "kept", "-q", "1"];
            if let Some(seconds) = more {
                session.extend(["-x", seconds]);
            }
            well(command("sub", port, &session).arg("-E"));
            well(&mut command("pub", port, &["-t", "kept", "-m", &id, "-q", "1"]));
            let got = well(command("sub", port, &session).args(["-C", "1"]));
            assert_eq!(String::from_utf8(got).unwrap(), format!("{id}\n"));
            // Leaves the session without the subscription.
            well(&mut command("sub", port, &["-V", version, "-c", "-i", &id, "-U", "kept", "-E"]));
            well(&mut command("pub", port, &["-t", "kept", "-m", "nobody", "-q", "1"]));
            let got = run_with(
                &mut command("sub", port, &["-V", version, "-c", "-i", &id, "-t", "none", "-W", "1"]),
                b"",
            );
            assert_eq!((got.status.code(), got.stdout.len()), (Some(27), 0), "{id}");
        }
    });
}

#[test]
fn debug_shows_the_packets_that_options_make() {
    with_brokers(|port| {
        for (arguments, part) in [
            (&["-i", "someone"][..], "> CONNECT 3.1.1 \"someone\", clean 1, keep alive 60"),
            (&["-I", "some-"], "> CONNECT 3.1.1 \"some-"),
            (&["-k", "17"], "keep alive 17"),
            (&["-V", "mqttv5"], "> CONNECT 5.0"),
            (&["-u", "me", "-P", "secret-word"], "user \"me\""),
            (
                &["--will-topic", "w/t", "--will-payload", "bye", "--will-qos", "1", "--will-retain"],
                "will \"w/t\" q1 r1, 3 bytes",
            ),
            (&["-q", "2"], "> PUBREL m1"),
            (&["-r"], "> PUBLISH \"d/t\" q0 r1 d0, 1 bytes"),
        ] {
            let output = run_with(command("pub", port, &["-d", "-t", "d/t", "-m", "x"]).args(arguments), b"");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.contains(part), "{arguments:?}: {text}");
            assert!(!text.contains("secret-word"), "{text}");
        }
    });
}

#[test]
fn a_will_is_published_when_sub_dies() {
    with_brokers(|port| {
        let tap = Tap::subscribe(port, "will/#");
        for version in ["31", "311", "5"] {
            let (topic, payload) = (format!("will/{version}"), format!("{version} died"));
            let will = ["--will-topic", &topic, "--will-payload", &payload, "--will-qos", "1"];
            let arguments = [&["-V", version, "-t", "none"][..], &will].concat();
            listen(port, &arguments).kill9();
            assert_eq!(tap.wait_payload(&payload).qos, 1);
        }
    });
}

#[test]
fn logins_are_taken_from_options_files_environment_and_url() {
    let mut gateway = Gateway::new("");
    let secret = gateway.dir.path().join("secret");
    std::fs::write(&secret, "p@ss:word\n").unwrap();
    gateway.configure(&format!(
        "allow_anonymous = false\n\n[[broker.user]]\nname = \"plc\"\npassword = {{ file = \"{}\" }}\n",
        secret.display()
    ));
    gateway.start_again();
    let port = gateway.lan_port;
    let from_file = format!("file:{}", secret.display());
    let from_env = "env:FIELDGATE_TEST_SECRET";
    let url = format!("mqtt://plc:p%40ss%3aword@127.0.0.1:{port}/a/b");
    for (arguments, well) in [
        (vec!["-u", "plc", "-P", "p@ss:word"], true),
        (vec!["-u", "plc", "--pw", "p@ss:word"], true),
        (vec!["-u", "plc", "--pw-from", &from_file], true),
        (vec!["-u", "plc", "--pw-from", from_env], true),
        (vec!["-u", "plc", "-P", "wrong"], false),
        (vec!["-u", "nobody", "-P", "p@ss:word"], false),
        (vec![], false),
    ] {
        let mut publish = command("pub", port, &["-t", "a/b", "-m", "x", "-q", "1"]);
        let output = run_with(publish.env("FIELDGATE_TEST_SECRET", "p@ss:word").args(&arguments), b"");
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(!well)), "{arguments:?}: {text}");
        assert!(well || text.contains("the broker refused the connection: "), "{text}");
    }
    let mut publish = fieldgate();
    well(publish.args(["pub", "-L", &url, "-m", "by url", "-q", "1", "-r"]));
    // Retained, so that a subscriber by the same URL gets it.
    let mut subscribe = fieldgate();
    let got = well(subscribe.args(["sub", "-L", &url, "-C", "1", "-v"]));
    assert_eq!(String::from_utf8(got).unwrap(), "a/b by url\n");
}

/// A certificate of the authority that any server accepts from a client.
fn client_certificate(authority: &Certificates) -> (String, String) {
    let ca = authority.authority();
    let dir = ca.parent().unwrap();
    let mut request = Command::new("openssl");
    request.current_dir(dir).args(
        "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout me.key -out me.csr -subj /CN=me \
         -config openssl.cnf"
            .split_whitespace(),
    );
    Process::run_well("openssl", &mut request);
    // Extensions make it a certificate of version 3, the only one that is used today.
    std::fs::write(dir.join("me.ext"), "extendedKeyUsage = clientAuth\n").unwrap();
    let mut sign = Command::new("openssl");
    sign.current_dir(dir).args(
        "x509 -req -in me.csr -CA ca.pem -CAkey ca.key -days 1 -set_serial 77 -extfile me.ext -out me.pem"
            .split_whitespace(),
    );
    Process::run_well("openssl", &mut sign);
    let path = |file| dir.join(file).to_str().unwrap().to_owned();
    (path("me.pem"), path("me.key"))
}

#[test]
fn tls_trusts_whom_it_was_told_to_and_says_why_not_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ours");
    let other = Certificates::new(dir.path(), "other");
    let issued = authority.issue("server", "DNS:localhost");
    let (me, key) = client_certificate(&authority);
    let (tls, mutual, plain) = (support::free_port(), support::free_port(), support::free_port());
    let server = format!("certfile {}\nkeyfile {}\n", issued.certificate.display(), issued.key.display());
    let ca = authority.authority();
    let ca_text = ca.display();
    let listeners = format!(
        "allow_anonymous true\nlistener {plain} 127.0.0.1\nlistener {tls}\n{server}\
         listener {mutual}\n{server}cafile {ca_text}\nrequire_certificate true\n"
    );
    let _mosquitto = Mosquitto::start_with(dir.path(), plain, &listeners);
    let capath = dir.path().join("capath");
    std::fs::create_dir(&capath).unwrap();
    std::fs::copy(&ca, capath.join("ca.pem")).unwrap();
    std::fs::write(capath.join("README"), "no certificate").unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (ca, capath, empty, other) = (text(&ca), text(&capath), text(&empty), text(&other.authority()));
    let cafile = ["--cafile", &ca];
    for (host, port, arguments, error) in [
        ("localhost", tls, vec!["--cafile", &ca], None),
        ("localhost", tls, vec!["--capath", &capath], None),
        ("127.0.0.1", tls, vec!["--cafile", &ca, "--insecure"], None),
        ("localhost", mutual, [&cafile[..], &["--cert", &me, "--key", &key]].concat(), None),
        ("127.0.0.1", tls, vec!["--cafile", &ca], Some("for another name than \"127.0.0.1\" (--insecure")),
        ("localhost", tls, vec!["--cafile", &other], Some("not issued by the CA in")),
        ("127.0.0.1", tls, vec!["--cafile", &other, "--insecure"], Some("not issued by the CA in")),
        ("localhost", tls, vec!["--tls"], Some("--cafile names your own")),
        ("localhost", tls, vec!["--capath", &empty], Some("file in it has a certificate in PEM form")),
        ("localhost", tls, vec!["--cafile", "/nowhere/ca.pem"], Some("/nowhere/ca.pem: can't read")),
        ("localhost", plain, vec!["--cafile", &ca], Some("speak TLS")),
        ("localhost", mutual, vec!["--cafile", &ca], Some("refused our TLS connection: CertificateRequired")),
        // Closed or reset, as it happens.
        ("localhost", tls, vec![], Some("the connection")),
    ] {
        let mut publish = fieldgate();
        publish.args(["pub", "-h", host, "-p", &port.to_string(), "-t", "t", "-m", "x", "-q", "1"]);
        let output = run_with(publish.args(&arguments), b"");
        let words = String::from_utf8(output.stderr).unwrap();
        match error {
            None => assert!(output.status.success(), "{host} {arguments:?}: {words}"),
            Some(part) => {
                assert_eq!(output.status.code(), Some(1), "{host} {arguments:?}: {words}");
                assert!(words.contains(part), "{host} {arguments:?}: {words}");
            }
        }
    }
    let url = format!("mqtts://localhost:{tls}/by/url");
    let mut publish = fieldgate();
    well(publish.args(["pub", "-L", &url, "--cafile", &ca, "-m", "x", "-q", "1"]));
}

#[test]
fn sub_and_a_stream_of_lines_outlive_a_restart_of_the_broker() {
    let dir = tempfile::tempdir().unwrap();
    let mut mosquitto = Mosquitto::start(dir.path());
    let port = mosquitto.port;
    let sub = listen(port, &["-t", "s/#", "-q", "1", "-c", "-i", "patient"]);
    let mut publish = command("pub", port, &["-t", "s/l", "-l", "-q", "1"]);
    let mut publish =
        publish.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = publish.stdin.take().unwrap();
    lines.write_all(b"before\n").unwrap();
    assert_eq!(wait_printed(&sub, 1), ["before"]);
    mosquitto.stop();
    lines.write_all(b"meanwhile\n").unwrap();
    mosquitto.start_again();
    lines.write_all(b"after\n").unwrap();
    assert_eq!(wait_printed(&sub, 3), ["before", "meanwhile", "after"]);
    drop(lines);
    assert!(publish.wait().unwrap().success());
    // One message is no stream: its publisher gives up and says so.
    mosquitto.stop();
    let output = run_with(&mut command("pub", port, &["-t", "s/l", "-m", "x"]), b"");
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && words.contains("connection refused"), "{words}");
    let output = run_with(&mut command("pub", port, &["-t", "s/l", "-m", "x", "--quiet"]), b"");
    assert!(output.status.code() == Some(1) && output.stderr.is_empty());
}

#[test]
fn what_the_broker_refuses_is_told_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let acl = dir.path().join("acl");
    std::fs::write(&acl, "topic read open/#\ntopic write open/#\n").unwrap();
    let port = support::free_port();
    let listeners = format!("listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {}\n", acl.display());
    let _mosquitto = Mosquitto::start_with(dir.path(), port, &listeners);
    for (which, arguments, code, part) in [
        (
            "pub",
            &["-V", "5", "-q", "1", "-t", "closed", "-m", "x"][..],
            1,
            "\"closed\": not authorized (0x87)",
        ),
        ("pub", &["-V", "5", "-q", "2", "-t", "closed", "-m", "x"], 1, "\"closed\": not authorized (0x87)"),
        ("pub", &["-V", "5", "-q", "1", "-t", "open/x", "-m", "x"], 0, ""),
        ("sub", &["-t", "open/#", "-E"], 0, ""),
        ("sub", &["-t", "$share/a", "-E"], 2, "no topic filter"),
    ] {
        let output = run_with(&mut command(which, port, arguments), b"");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {words}");
        assert!(words.contains(part), "{arguments:?}: {words}");
    }
    // The gateway keeps its own topics to itself, and takes filters of 128 levels at most.
    let gateway = Gateway::start("");
    let own = Gateway::topic("status");
    let deep = vec!["a"; 200].join("/");
    for (which, arguments, part) in [
        ("pub", &["-V", "5", "-q", "1", "-t", &own, "-m", "x"][..], "not authorized"),
        ("sub", &["-t", &deep], "refused 1 of 1 subscriptions"),
    ] {
        let output = run_with(&mut command(which, gateway.lan_port, arguments), b"");
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && words.contains(part), "{arguments:?}: {words}");
    }
    let both = ["-t", deep.as_str(), "-t", "a", "-E"];
    let output = run_with(&mut command("sub", gateway.lan_port, &both), b"");
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && words.contains("refused 1 of 2"), "{words}");
}

#[test]
fn wrong_options_are_told_before_anything_is_sent() {
    for (arguments, part) in [
        (&["pub", "-t", "a/#", "-m", "x"][..], "no topic to publish to"),
        (&["pub", "-t", "a"], "required"),
        (&["pub", "-m", "x"], "required"),
        (&["pub", "-t", "a", "-m", "x", "-n"], "cannot be used with"),
        (&["pub", "-t", "a", "-m", "x", "-q", "3"], "is 0, 1 or 2"),
        (&["pub", "-t", "a", "-m", "x", "-V", "4"], "possible values: 31, 311, 5"),
        (&["pub", "-t", "a", "-m", "x", "-V", "311", "-x", "5"], "-x needs MQTT 5"),
        (&["pub", "-t", "a", "-m", "x", "-D", "publish", "colour", "red"], "no such property"),
        (&["pub", "-t", "a", "-f", "/nowhere/file"], "/nowhere/file: can't be opened"),
        (&["pub", "-t", "a", "-m", "x", "-c"], "-c needs a client identifier"),
        (&["pub", "-t", "a", "-m", "x", "-P", "secret"], "needs a user name"),
        (&["pub", "-t", "a", "-m", "x", "-u", "me", "--pw-from", "secret"], "file:PATH"),
        (&["pub", "-t", "a", "-m", "x", "-u", "me", "--pw-from", "file:/nowhere/s"], "/nowhere/s"),
        (&["pub", "-L", "http://h/t", "-m", "x"], "mqtt://"),
        (&["pub", "-L", "mqtt://h/t", "-h", "x", "-m", "x"], "cannot be used with"),
        (&["pub", "-t", "a", "-m", "x", "--will-qos", "1"], "required"),
        (&["pub", "-t", "a", "-m", "x", "--will-topic", "#"], "no topic to publish to"),
        (&["pub", "-t", "a", "-m", "x", "--cert", "c.pem"], "--key"),
        (&["sub"], "a topic filter is missing"),
        (&["sub", "-t", "a/#/b"], "no topic filter"),
        (&["sub", "-t", "a", "-T", "#/b"], "no topic filter"),
        (&["sub", "-t", "a", "-F", "%k"], "no %k"),
        (&["sub", "-t", "a", "-C", "0"], "0 is not in"),
        (&["sub", "-t", "a", "-R", "--retained-only"], "cannot be used with"),
        (&["sub", "-t", "a", "-V", "31", "--retain-as-published"], "needs MQTT 5"),
    ] {
        let mut command = fieldgate();
        let output = run_with(command.args(arguments), b"");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {words}");
        assert!(words.contains(part), "{arguments:?}: {words}");
        assert!(output.stdout.is_empty());
    }
    for which in ["pub", "sub"] {
        let help = String::from_utf8(well(fieldgate().args([which, "--help"]))).unwrap();
        for option in ["-h, --host", "-L, --url", "--will-topic", "--cafile", "-D, --property", "--pw-from"] {
            assert!(help.contains(option), "{which}: {option}");
        }
    }
}

#[test]
fn run_with_v_logs_each_packet_without_its_payload() {
    for (arguments, expected) in [(&["-v"][..], true), (&[], false)] {
        let gateway = Gateway::new("");
        let mut run = fieldgate();
        run.arg("run").args(arguments).arg("--config").arg(gateway.config());
        let mut process = Process::start("fieldgate", &mut run);
        process.wait_line("listening for MQTT clients");
        let sub = listen(gateway.lan_port, &["-t", "a/b"]);
        well(&mut command("pub", gateway.lan_port, &["-t", "a/b", "-m", "hidden words", "-q", "1"]));
        assert_eq!(wait_printed(&sub, 1), ["hidden words"]);
        // Whatever was logged of the first ones is out when the last one is.
        well(&mut command("pub", gateway.lan_port, &["-t", "c", "-m", "x", "-i", "marker"]));
        process.wait_line("marker");
        let text = process.text();
        for part in [
            "received conn=1 packet=PUBLISH \"a/b\" m1 q1 r0 d0, 12 bytes",
            "sent conn=0 packet=PUBLISH \"a/b\" q0 r0 d0, 12 bytes",
            "sent conn=1 packet=PUBACK m1",
            "received conn=0 packet=SUBSCRIBE m1, \"a/b\" q0",
            "sent conn=0 packet=SUBACK m1, 0",
        ] {
            assert_eq!(text.contains(part), expected, "{part}\n{text}");
        }
        assert!(!text.contains("hidden words"), "{text}");
    }
}

/// A broker of bytes: says `answer` to whatever comes first, then closes or goes on saying `more`.
fn pretend(answer: &'static [u8], more: Option<&'static [u8]>) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut first = [0; 1_000];
        assert!(std::io::Read::read(&mut stream, &mut first).unwrap() > 0);
        stream.write_all(answer).unwrap();
        let Some(more) = more else { return };
        // Until the client has gone.
        while stream.write_all(more).is_ok() {
            std::thread::sleep(support::LOOK);
        }
    });
    port
}

#[test]
fn a_broker_that_misbehaves_is_told_in_words_and_never_waited_for() {
    const WELCOME: &[u8] = &[0x20, 0x02, 0x00, 0x00];
    const PUBLISH: &[u8] = &[0x30, 0x04, 0x00, 0x01, b't', b'x'];
    for (which, arguments, answer, more, code, part) in [
        ("sub", &["-t", "t"][..], &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], None, 1, "no MQTT broker"),
        ("sub", &["-t", "t"], &[], None, 1, "the broker closed the connection"),
        ("sub", &["-t", "t"], &[0x20, 0x02, 0x00, 0x05], None, 1, "refused the connection: not authorized"),
        ("sub", &["-t", "t"], &[0x20, 0x02, 0x00, 0x04], None, 1, "bad user name or password"),
        ("sub", &["-t", "t"], &[0x30, 0x03, 0x00, 0x01, b't'], None, 1, "no MQTT broker"),
        ("sub", &["-t", "t", "-V", "5"], &[0x20, 0x03, 0x00, 0x8A, 0x00], None, 1, "banned"),
        (
            "sub",
            &["-t", "t", "-V", "5"],
            &[0x20, 0x0A, 0x00, 0x9C, 0x07, 0x1F, 0x00, 0x04, b'm', b'o', b'v', b'e'],
            None,
            1,
            "move",
        ),
        (
            "sub",
            &["-t", "t", "-V", "5"],
            &[0x20, 0x03, 0x00, 0x00, 0x00, 0xE0, 0x02, 0x8E, 0x00],
            None,
            1,
            "ended the connection: session taken over",
        ),
        ("pub", &["-t", "t", "-m", "x", "-q", "1"], WELCOME, None, 1, "the connection"),
        // These never close the connection: the client does.
        ("pub", &["-t", "t", "-m", "x"], WELCOME, Some(PUBLISH), 0, ""),
        ("sub", &["-t", "t", "-C", "3"], WELCOME, Some(PUBLISH), 0, ""),
        ("sub", &["-t", "t", "-W", "1"], WELCOME, Some(PUBLISH), 27, "timed out"),
    ] {
        let start = std::time::Instant::now();
        let output = run_with(&mut command(which, pretend(answer, more), arguments), b"");
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?} {answer:?}: {words}");
        assert!(words.contains(part), "{arguments:?} {answer:?}: {words}");
        assert!(start.elapsed() < std::time::Duration::from_secs(10), "{arguments:?}");
    }
}
