//! A running gateway that reads its config again, with clients that are connected meanwhile: who stays and who has to
//! go, listeners that come and go, and configs that are refused as a whole.

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

use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use raw::{Client, Connect, Publish, V};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use serde_json::{Value as Json, json};
use support::{
    Certificates, Gateway, Process, client, eventually, fieldgate, free_port, json_device, publish_with,
    upstream,
};

/// `fieldgate reload`, as a person calls it.
fn reload(gateway: &Gateway) -> (ExitStatus, String) {
    let mut command = fieldgate();
    command.arg("reload").arg("--config").arg(gateway.config());
    Process::run("fieldgate reload", &mut command)
}

/// A config that is taken; returns what is said.
#[track_caller]
fn take(gateway: &Gateway, rest: &str) -> String {
    gateway.configure(rest);
    let (status, text) = reload(gateway);
    assert!(status.success(), "{text}\n{}", gateway.log());
    text
}

/// A config that is refused with these words, and changes nothing.
#[track_caller]
fn refuse(gateway: &Gateway, rest: &str, words: &[&str]) {
    gateway.configure(rest);
    let (status, text) = reload(gateway);
    assert_eq!(status.code(), Some(2), "{text}");
    for words in words {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    assert!(text.contains("nothing has changed"), "{text}");
}

fn open(port: u16, connect: &Connect) -> Client {
    Client::connect(port, connect)
}

/// What CONNACK says to whom.
fn code(port: u16, connect: &Connect) -> u8 {
    let mut client = Client::open(port, connect.v);
    client.send(&connect.bytes());
    client.packet()[3]
}

fn named(id: &str, user: &str, password: &str) -> Connect {
    Connect::new(V::V5, id).user(user, password)
}

/// Users whose passwords are files.
struct Users {
    dir: tempfile::TempDir,
}

impl Users {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, user: &str) -> PathBuf {
        self.dir.path().join(user)
    }

    /// A `[[broker.user]]`.
    fn user(&self, name: &str, password: &str) -> String {
        std::fs::write(self.file(name), password).unwrap();
        format!("[[broker.user]]\nname = {name:?}\npassword = {{ file = {:?} }}\n", self.file(name))
    }
}

fn listener(name: &str, address: &str, more: &str) -> String {
    format!("[[broker.listener]]\nname = {name:?}\nbind = {address:?}\n{more}\n")
}

/// What the gateway logs is here a little later.
fn wait_log(gateway: &Gateway, words: &str) {
    eventually(&format!("the log says {words:?}"), || gateway.log().contains(words).then_some(()));
}

fn problems(gateway: &Gateway) -> Vec<String> {
    let status = gateway.ask("status");
    status["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn users_come_and_go_and_those_who_may_stay_notice_nothing() {
    let users = Users::new();
    let gateway =
        Gateway::start(&[users.user("ann", "a"), users.user("bob", "b"), users.user("cyd", "c")].concat());
    let port = gateway.lan_port;
    let mut ann = open(port, &named("ann", "ann", "a"));
    let mut bob = open(port, &named("bob", "bob", "b"));
    let mut cyd = open(port, &named("cyd", "cyd", "c"));
    let mut nameless = open(port, &Connect::new(V::V5, "nameless"));
    ann.subscribe("t", 1);
    assert_eq!(code(port, &named("dan", "dan", "d")), 0x86);
    // Bob is gone, Cyd has another password, Dan is new.
    let rest = [users.user("ann", "a"), users.user("cyd", "other"), users.user("dan", "d")].concat();
    let text = take(&gateway, &rest);
    assert!(text.contains("broker.user.dan (new)") && text.contains("broker.user.bob (removed)"), "{text}");
    assert!(text.contains("2 clients had to go"), "{text}");
    bob.closed(0x87);
    cyd.closed(0x87);
    let mut dan = open(port, &named("dan", "dan", "d"));
    open(port, &named("cyd", "cyd", "other"));
    dan.say("t", 1, "hello");
    ann.take_text("hello");
    nameless.nothing();
    // Nobody without a name any more, and only certain identifiers.
    let text = take(
        &gateway,
        &format!("allow_anonymous = false\n{rest}[broker]\nclient_id_prefixes = [\"an\", \"cy\"]\n"),
    );
    assert!(text.contains("broker.client_id_prefixes"), "{text}");
    nameless.closed(0x87);
    dan.closed(0x87);
    ann.nothing();
}

#[test]
fn rules_count_for_subscriptions_that_are_there_and_for_publishing() {
    let mut gateway = Gateway::start("");
    let port = gateway.lan_port;
    let mut reader = open(port, &Connect::new(V::V5, "reader"));
    let mut writer = open(port, &Connect::new(V::V5, "writer"));
    reader.subscribe("#", 0);
    writer.say("a", 1, "1");
    reader.take_text("1");
    take(&gateway, "[[broker.acl]]\nallow = [{ topic = \"b\" }, { topic = \"a\", access = \"write\" }]\n");
    writer.say("a", 1, "2");
    writer.say("b", 1, "3");
    reader.take_text("3");
    writer.send(&Publish::new("c", "4").qos(1, 9).bytes(V::V5));
    writer.expect_ack(0x40, 9, 0x87);
    // A file in their place, and another content of it without being asked.
    let file = gateway.dir.path().join("acl");
    let named = format!("[broker]\nacl_file = {file:?}\n");
    refuse(&gateway, &named, &["can't read the ACL file", "No such file"]);
    std::fs::write(&file, "topic c\n").unwrap();
    take(&gateway, &named);
    writer.say("c", 1, "5");
    reader.take_text("5");
    assert_eq!(problems(&gateway), Vec::<String>::new());
    std::fs::write(&file, "topic d\n").unwrap();
    eventually("the file's new content counts", || {
        writer.send(&Publish::new("d", "6").qos(1, 10).bytes(V::V5));
        (writer.packet().get(4).copied().unwrap_or(0) != 0x87).then_some(())
    });
    reader.take_text("6");
    // Without rules everything is allowed again, and the file means nothing more.
    take(&gateway, "");
    writer.say("x", 1, "7");
    reader.take_text("7");
    std::fs::write(&file, "nonsense\n").unwrap();
    gateway.stop();
    assert!(!gateway.log().contains("can't be used; the rules"), "{}", gateway.log());
}

#[test]
fn a_password_file_is_taken_up_and_put_down() {
    let users = Users::new();
    let gateway = Gateway::start(&users.user("ann", "a"));
    let port = gateway.lan_port;
    let file = gateway.dir.path().join("passwd");
    let mut command = fieldgate();
    command.args(["passwd", "-c", "-b"]).arg(&file).args(["eve", "secret"]);
    Process::run_well("fieldgate passwd", &mut command);
    let mut ann = open(port, &named("ann", "ann", "a"));
    assert_eq!(code(port, &named("e", "eve", "secret")), 0x86);
    let with_file = users.user("ann", "a") + &format!("[broker]\npassword_file = {file:?}\n");
    take(&gateway, &with_file);
    // Whoever failed lately waits a little.
    let mut eve = open(port, &named("e", "eve", "secret"));
    take(&gateway, &with_file);
    eve.nothing();
    take(&gateway, &users.user("ann", "a"));
    eve.closed(0x87);
    ann.nothing();
}

#[test]
fn limits_count_at_once_or_for_the_next_connection() {
    let gateway = Gateway::start("[broker]\nsys_interval = \"0s\"\n");
    let port = gateway.lan_port;
    let mut old = open(port, &Connect::new(V::V5, "old"));
    let mut sleeper = open(port, &Connect::new(V::V311, "sleeper").resume());
    sleeper.subscribe("t", 1);
    sleeper.cut();
    for number in 0..10 {
        old.say("t", 1, &number.to_string());
    }
    take(
        &gateway,
        "[broker]\nsys_interval = \"1s\"\npacket_max = \"2 KiB\"\nfirst_packet_max = \"1 KiB\"\nsubscriptions_max = 1\nconnections_max = 2\n\
         queue_messages_max = 3\n",
    );
    // It was told 256 KiB.
    old.say("other", 1, &"x".repeat(10_000));
    let new = open(port, &Connect::new(V::V5, "new"));
    assert_eq!(new.connack_property(0x27).unwrap()[..4], 2_048u32.to_be_bytes());
    new.disconnect();
    let mut sleeper = open(port, &Connect::new(V::V311, "sleeper").resume());
    assert_eq!(sleeper.connack[2] & 1, 1, "its session is there");
    for number in 7..10 {
        sleeper.take_text(&number.to_string());
    }
    assert_eq!(sleeper.subscribe_with(&[], b"two", 0), 0x80);
    assert_eq!(code(port, &Connect::new(V::V5, "third")), 0x97);
    // $SYS is published again.
    old.subscribe("$SYS/broker/uptime", 0);
    assert!(old.take().text().ends_with(" seconds"));
}

#[test]
fn listeners_come_and_go_and_others_are_undisturbed() {
    let gateway = Gateway::start("");
    let (first, second) = (gateway.lan_port, free_port());
    let mut stays = open(first, &Connect::new(V::V5, "stays"));
    stays.subscribe("t", 1);
    let second_on = |address: &str| listener("second", &format!("{address}:{second}"), "");
    let text = take(&gateway, &second_on("127.0.0.1"));
    assert!(text.contains("broker.listener.second (new)"), "{text}");
    let mut guest = open(second, &Connect::new(V::V5, "guest"));
    guest.say("t", 1, "1");
    stays.take_text("1");
    // The same port on all addresses: the narrower one gives way without a gap.
    take(&gateway, &listener("second", &format!("0.0.0.0:{second}"), "allow_anonymous = true"));
    guest.closed(0x98);
    let mut guest = open(second, &Connect::new(V::V5, "guest"));
    // Back, and with another MQTT version: that is a rule, not another socket.
    take(
        &gateway,
        &listener("second", &format!("0.0.0.0:{second}"), "allow_anonymous = true\nversions = [\"5\"]"),
    );
    guest.nothing();
    assert_eq!(code(second, &Connect::new(V::V311, "three")), 1);
    let socket = gateway.dir.path().join("mqtt.sock");
    take(&gateway, &listener("second", &format!("0.0.0.0:{second}"), "allow_anonymous = true"));
    guest.nothing();
    let unix = listener("unix", &format!("unix:{}", socket.display()), "");
    take(&gateway, &(unix.clone() + &second_on("127.0.0.1")));
    guest.closed(0x98);
    assert!(UnixStream::connect(&socket).is_ok());
    let mut guest = open(second, &Connect::new(V::V5, "guest"));
    take(&gateway, &(unix + &second_on("127.0.0.1")));
    guest.nothing();
    let text = take(&gateway, "");
    assert!(
        text.contains("broker.listener.second (removed), broker.listener.unix (removed)")
            || text.contains("broker.listener.unix (removed), broker.listener.second (removed)"),
        "{text}"
    );
    eventually("the socket is taken away", || (!socket.exists()).then_some(()));
    guest.closed(0x98);
    eventually("nobody listens", || TcpStream::connect(("127.0.0.1", second)).err());
    let listeners = gateway.ask("status")["listeners"].clone();
    assert_eq!(listeners, json!([{"name": "mqtt", "address": format!("127.0.0.1:{first}"), "error": null}]));
    stays.nothing();
}

#[test]
fn two_listeners_that_swap_their_addresses_keep_the_sockets() {
    let (a, b) = (free_port(), free_port());
    let at = |name: &str, port: u16, more: &str| listener(name, &format!("127.0.0.1:{port}"), more);
    let gateway = Gateway::start(&(at("a", a, "") + &at("b", b, "versions = [\"5\"]")));
    take(&gateway, &(at("b", a, "versions = [\"5\"]") + &at("a", b, "")));
    assert_eq!(code(a, &Connect::new(V::V311, "x")), 1);
    assert_eq!(code(b, &Connect::new(V::V311, "x")), 0);
    // Another order alone changes nothing.
    let mut stays = open(b, &Connect::new(V::V311, "stays"));
    take(&gateway, &(at("a", b, "") + &at("b", a, "versions = [\"5\"]")));
    stays.nothing();
    assert_eq!(code(a, &Connect::new(V::V311, "x")), 1);
}

#[test]
fn a_listener_gets_tls_and_is_never_open_in_clear_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Certificates::new(dir.path(), "ours");
    let issued = authority.issue("server", "DNS:localhost");
    let port = free_port();
    let gateway = Gateway::start(&listener("lan", &format!("127.0.0.1:{port}"), ""));
    let mut other = open(gateway.lan_port, &Connect::new(V::V5, "other"));
    let mut plain = open(port, &Connect::new(V::V5, "plain"));
    let tls = |key: &PathBuf| format!("tls = {{ cert = {:?}, key = {key:?} }}", issued.certificate);
    let secure = |key: &PathBuf| listener("lan", &format!("127.0.0.1:{port}"), &tls(key));
    refuse(&gateway, &secure(&dir.path().join("missing")), &["listener lan", "missing"]);
    plain.nothing();
    take(&gateway, &secure(&issued.key));
    plain.closed(0x98);
    let publish = |more: &[&str]| {
        let mut command = client("mosquitto_pub");
        command
            .args(["-h", "localhost", "-p", &port.to_string(), "-t", "t", "-m", "x", "-q", "1"])
            .args(more);
        Process::run("mosquitto_pub", &mut command).0.success()
    };
    assert!(publish(&["--cafile", authority.authority().to_str().unwrap()]));
    assert!(!publish(&[]));
    other.nothing();
    // Another certificate in the same file, and a new name that a client insists on.
    let renewed = authority.issue("renewed", "DNS:localhost,DNS:other.example");
    std::fs::copy(&renewed.key, &issued.key).unwrap();
    std::fs::copy(&renewed.certificate, &issued.certificate).unwrap();
    take(&gateway, &secure(&issued.key));
    let mut command = client("openssl");
    command.args(["s_client", "-connect", &format!("localhost:{port}"), "-verify_hostname", "other.example"]);
    command.args(["-verify_return_error", "-CAfile"]).arg(authority.authority());
    eventually("the new certificate is shown", || {
        Process::run("openssl", &mut command).1.contains("Verify return code: 0 (ok)").then_some(())
    });
}

#[test]
fn an_address_that_is_taken_refuses_all_of_the_config() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (taken_port, free) = (taken.local_addr().unwrap().port(), free_port());
    let gateway = Gateway::start("");
    let mut stays = open(gateway.lan_port, &Connect::new(V::V5, "stays"));
    let rest = listener("free", &format!("127.0.0.1:{free}"), "")
        + &listener("taken", &format!("127.0.0.1:{taken_port}"), "")
        + "[broker]\nclient_id_prefixes = [\"none\"]\n";
    refuse(&gateway, &rest, &["listener taken", &taken_port.to_string(), "in use"]);
    assert!(TcpStream::connect(("127.0.0.1", free)).is_err(), "what could be bound is let go");
    stays.nothing();
    open(gateway.lan_port, &Connect::new(V::V5, "any name"));
    drop(taken);
    take(&gateway, &rest);
    stays.closed(0x87);
}

#[test]
fn a_broken_config_is_told_with_its_lines_until_it_is_repaired() {
    let mut gateway = Gateway::start("");
    let mut stays = open(gateway.lan_port, &Connect::new(V::V5, "stays"));
    refuse(
        &gateway,
        "[broker]\nqueue_maxx = 3\nconnections_max = 0\n",
        &["fieldgate.toml:13:1", "queue_maxx"],
    );
    let problem = problems(&gateway).concat();
    assert!(problem.contains("the config on disk is not what runs"), "{problem}");
    assert!(problem.contains("fieldgate.toml:13:1") && problem.contains("1 more"), "{problem}");
    // Status is asked with the broken config too.
    let mut command = fieldgate();
    command.arg("status").arg("--config").arg(gateway.config());
    let (status, text) = Process::run("fieldgate status", &mut command);
    assert_eq!((status.code(), text.contains("is not what runs")), (Some(3), true), "{text}");
    std::fs::write(gateway.config(), format!("[gateway\n{}", "x")).unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait("the syntax error is told", |status| status.to_string().contains("this is not TOML"));
    wait_log(&gateway, "queue_maxx");
    gateway.configure("");
    gateway.signal(Signal::HUP);
    gateway.wait("all is well", |status| {
        status["problems"] == json!([]) && status["config"]["error"] == Json::Null
    });
    stays.nothing();
}

#[test]
fn what_counts_at_the_next_start_is_named_and_what_is_opened_anew() {
    let mut gateway = Gateway::start("");
    let kept = |kept: bool| format!("[broker]\npersistence = {kept}\ninflight_max = 9\n");
    let (rest, port) = (upstream(1), json_device("scale", std::path::Path::new("/dev/no-such-port")));
    let text = take(&gateway, &(kept(false) + &rest + &port));
    for words in [
        "changed: broker.inflight_max, port.scale-port (new), device.scale (new), upstream.up (new)",
        "opened anew, added or ended: upstream up, port scale-port",
        "takes effect at the next start: broker.persistence",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    let status = gateway.ask("status");
    assert_eq!(status["config"]["next_start"], json!(["broker.persistence"]));
    assert_eq!(
        (&status["upstreams"][0]["name"], &status["ports"][0]["name"]),
        (&json!("up"), &json!("scale-port"))
    );
    // That a port isn't there is no mistake of the config: it is tried as at the start.
    assert!(problems(&gateway).concat().contains("port scale-port is down"));
    wait_log(&gateway, "takes effect at the next start");
    // It stays to be told until it is so, or is taken back.
    assert!(
        take(&gateway, &(kept(false) + &rest)).contains("takes effect at the next start: broker.persistence")
    );
    assert!(!take(&gateway, &(kept(true) + &rest)).contains("next start"));
    take(&gateway, &(kept(false) + &rest));
    gateway.stop();
    gateway.start_again();
    assert_eq!(gateway.ask("status")["config"]["next_start"], json!([]));
}

#[test]
fn who_the_gateway_is_stays_as_it_was_and_all_that_depends_on_it() {
    let gateway = Gateway::start(&upstream(1));
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    let other = text.replace("id = \"gw\"", "id = \"other\"\nsite = \"barn\"");
    std::fs::write(gateway.config(), other).unwrap();
    let (status, text) = reload(&gateway);
    assert!(status.success(), "{text}");
    assert!(text.contains("changed: gateway.site\n") && text.contains("next start: gateway.id"), "{text}");
    // Its client identifier and its maps come from it.
    assert!(!text.contains("opened anew"), "{text}");
    let mut listener = client("mosquitto_sub");
    listener.args(["-p", &gateway.lan_port.to_string(), "-t", "fieldgate/+/health", "-C", "1", "-F", "%t"]);
    let (_, topic) = Process::run("mosquitto_sub", &mut listener);
    assert!(topic.contains("fieldgate/gw/health"), "{topic}");
}

#[test]
fn log_level_site_and_health_follow_the_config() {
    let mut gateway = Gateway::start("[health]\nevery = \"1h\"\n[log]\nlevel = \"warn\"\n");
    let mut watcher = client("mosquitto_sub");
    let health = Gateway::topic("health");
    watcher.args(["-p", &gateway.lan_port.to_string(), "-t", &health]);
    let mut watcher = Process::start("mosquitto_sub", &mut watcher);
    publish_with(gateway.lan_port, "t", "x", &["-i", "quiet-client"]);
    assert!(!gateway.log().contains("quiet-client"));
    gateway.configure("[health]\nevery = \"1s\"\n[log]\nlevel = \"debug\"\n");
    let text = std::fs::read_to_string(gateway.config()).unwrap();
    std::fs::write(gateway.config(), text.replace("[gateway]\n", "[gateway]\nsite = \"the barn\"\n"))
        .unwrap();
    let (status, text) = reload(&gateway);
    assert!(status.success() && text.contains("gateway.site, log.level, health.every"), "{text}");
    publish_with(gateway.lan_port, "t", "x", &["-i", "loud-client"]);
    gateway.wait("the site is told", |status| status["site"] == "the barn");
    wait_log(&gateway, "loud-client");
    let told = |watcher: &Process| watcher.parsed(|line| line.text.contains("the barn").then_some(())).len();
    eventually("health comes every second", || (told(&watcher) >= 3).then_some(()));
    assert!(watcher.is_running());
}

#[test]
fn a_hundred_broken_configs_under_load_disconnect_nobody() {
    let users = Users::new();
    let good = users.user("ann", "a");
    let mut gateway = Gateway::start(&good);
    let port = gateway.lan_port;
    let mut reader = open(port, &named("reader", "ann", "a"));
    reader.subscribe("load/#", 1);
    let (stop, got) = (AtomicBool::new(false), AtomicUsize::new(0));
    let sent = std::thread::scope(|scope| {
        let writers: Vec<_> = ["w1", "w2"]
            .map(|id| {
                let (stop, got) = (&stop, &got);
                scope.spawn(move || {
                    let mut writer = open(port, &named(id, "ann", "a"));
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        // No more than a queue takes.
                        if 2 * sent < got.load(Ordering::Relaxed) + 200 {
                            writer.say(&format!("load/{id}"), 1, &sent.to_string());
                            sent += 1;
                        }
                        std::thread::yield_now();
                    }
                    sent
                })
            })
            .into();
        let reading = scope.spawn(|| {
            while reader.take().text() != "end" {
                got.fetch_add(1, Ordering::Relaxed);
            }
        });
        for number in 0..100 {
            let broken = match number % 4 {
                0 => "[broker]\nqueue_max = 3\n".to_owned(),
                1 => "[".to_owned(),
                2 => format!("{good}[broker]\nacl_file = \"/nowhere/acl\"\n"),
                _ => users.user("bob", ""),
            };
            gateway.configure(&broken);
            let answer = gateway.ask("reload");
            assert_eq!(answer["outcome"], "refused", "{answer}");
        }
        stop.store(true, Ordering::Relaxed);
        let sent: usize = writers.into_iter().map(|writer| writer.join().unwrap()).sum();
        open(port, &named("last", "ann", "a")).say("load/end", 1, "end");
        reading.join().unwrap();
        assert_eq!(got.load(Ordering::Relaxed), sent);
        sent
    });
    assert!(sent > 100, "only {sent} messages");
    gateway.wait("only the reader is left", |status| status["broker"]["clients"] == 1);
    gateway.configure(&good);
    assert_eq!(
        gateway.ask("reload"),
        json!({"outcome": "applied", "applied": [], "reopened": [], "next_start": [], "disconnected": 0, "mistakes": []})
    );
    reader.nothing();
}

#[test]
fn good_configs_one_after_the_other_under_load_lose_nothing() {
    let users = Users::new();
    let ann = users.user("ann", "a");
    let gateway = Gateway::start(&ann);
    let (port, other) = (gateway.lan_port, free_port());
    let mut reader = open(port, &named("reader", "ann", "a"));
    reader.subscribe("load", 1);
    let (stop, got) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut writer = open(port, &named("writer", "ann", "a"));
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                // No more than a queue takes.
                if sent < got.load(Ordering::Relaxed) + 100 {
                    writer.say("load", 1, &sent.to_string());
                    sent += 1;
                }
                std::thread::yield_now();
            }
            writer.say("load", 1, "end");
            sent
        });
        let reading = scope.spawn(|| {
            loop {
                let message = reader.take();
                if message.text() == "end" {
                    return;
                }
                let number = got.fetch_add(1, Ordering::Relaxed);
                assert_eq!(message.text(), number.to_string(), "in order, none left out, none twice");
            }
        });
        for number in 0..40 {
            let address = ["127.0.0.1", "0.0.0.0"][number % 2];
            let inflight = 1 + number % 7;
            gateway.configure(
                &[
                    &*ann,
                    &users.user("bob", &number.to_string()),
                    &listener("other", &format!("{address}:{other}"), ""),
                    "[[broker.acl]]\nallow = [{ topic = \"load\" }]\n",
                    &format!("[broker]\ninflight_max = {inflight}\nreceive_max = {inflight}\n"),
                ]
                .concat(),
            );
            let answer = gateway.ask("reload");
            assert_eq!(answer["outcome"], "applied", "{answer}");
            let bob = open(other, &named("bob", "bob", &number.to_string()));
            assert_eq!(bob.connack[3], 0);
        }
        stop.store(true, Ordering::Relaxed);
        let sent: usize = writing.join().unwrap();
        reading.join().unwrap();
        assert_eq!(got.load(Ordering::Relaxed), sent);
        assert!(sent > 40, "only {sent} messages");
    });
}

#[test]
fn fault_43_without_file_descriptors_the_old_security_settings_stay() {
    let users = Users::new();
    let rules = "[[broker.acl]]\nallow = [{ topic = \"open\" }]\n";
    let good = format!("allow_anonymous = false\n{}{rules}", users.user("ann", "a"));
    let mut gateway = Gateway::start(&good);
    let port = gateway.lan_port;
    let mut ann = open(port, &named("ann", "ann", "a"));
    let pid = Pid::from_raw(i32::try_from(gateway.pid()).unwrap()).unwrap();
    // From the first free number on there is none.
    let is_free = |fd: &u64| !std::path::Path::new(&format!("/proc/{}/fd/{fd}", gateway.pid())).exists();
    let none = Rlimit { current: (0..).find(is_free), maximum: getrlimit(Resource::Nofile).maximum };
    let before = prlimit(Some(pid), Resource::Nofile, none).unwrap();
    // What must not come to count: everyone may do everything.
    gateway.configure("allow_anonymous = true\n");
    gateway.signal(Signal::HUP);
    wait_log(&gateway, "Too many open files");
    let mut denied = |id: u16| {
        ann.send(&Publish::new("closed", "x").qos(1, id).bytes(V::V5));
        ann.expect_ack(0x40, id, 0x87);
    };
    denied(1);
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    gateway
        .wait("status says so", |status| status.to_string().contains("the config on disk is not what runs"));
    denied(2);
    assert_eq!(code(port, &Connect::new(V::V5, "nameless")), 0x87);
    gateway.configure(&good);
    gateway.signal(Signal::HUP);
    gateway.wait("all is well", |status| status["problems"] == json!([]));
    denied(3);
}
