//! Listeners with users and rules of their own, with the built gateway: who gets in where, what may be done there, files
//! that change, and files that can't be used.

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

use std::path::{Path, PathBuf};

use raw::{Client, Connect, Publish, V};
use rustix::process::Signal;
use support::{Gateway, Process, client, eventually, fieldgate, free_port};

fn passwd(file: &Path, user: &str, password: &str) {
    let mut command = fieldgate();
    command.args(["passwd", "-b"]);
    if !file.exists() {
        command.arg("-c");
    }
    command.arg(file).args([user, password]);
    Process::run_well("fieldgate passwd", &mut command);
}

/// A gateway with the broker's users and rules, and two listeners with their own.
struct Three {
    gateway: Gateway,
    shop: u16,
    office: u16,
}

impl Three {
    fn file(&self, name: &str) -> PathBuf {
        self.gateway.dir.path().join(name)
    }

    /// Files as given, and a config that names them; not started.
    fn new() -> Self {
        let gateway = Gateway::new("");
        let three = Self { gateway, shop: free_port(), office: free_port() };
        for (name, user) in [("passwd", "ann"), ("passwd-shop", "ann"), ("passwd-shop", "bob")] {
            passwd(&three.file(name), user, &format!("{user} of {name}"));
        }
        std::fs::write(three.file("acl"), "pattern readwrite all/#\n").unwrap();
        std::fs::write(three.file("acl-shop"), "pattern readwrite shop/#\n").unwrap();
        std::fs::write(three.file("secret"), "ann of office").unwrap();
        three.gateway.configure(&three.config());
        three
    }

    fn config(&self) -> String {
        let file = |name: &str| self.file(name).display().to_string();
        format!(
            "allow_anonymous = false\n\
             [[broker.listener]]\nname = \"shop\"\nbind = \"127.0.0.1:{}\"\nallow_anonymous = false\n\
             password_file = \"{}\"\nacl_file = \"{}\"\n\
             [[broker.listener]]\nname = \"office\"\nbind = \"127.0.0.1:{}\"\nallow_anonymous = false\n\
             [[broker.listener.user]]\nname = \"ann\"\npassword = {{ file = \"{}\" }}\n\
             [[broker.listener.acl]]\nuser = \"ann\"\nallow = [{{ topic = \"office/#\" }}]\n\
             [broker]\npassword_file = \"{}\"\nacl_file = \"{}\"\n",
            self.shop,
            file("passwd-shop"),
            file("acl-shop"),
            self.office,
            file("secret"),
            file("passwd"),
            file("acl"),
        )
    }

    fn started() -> Self {
        let mut three = Self::new();
        three.gateway.start_again();
        three
    }

    /// What CONNACK says.
    fn code(&self, port: u16, user: &str, password: &str) -> u8 {
        // One name for each attempt: the one before may not be gone yet.
        let id = format!("{user}-{port}-{}", password.replace(' ', "-"));
        let mut client = Client::open(port, V::V5);
        client.send(&Connect::new(V::V5, id).user(user, password).bytes());
        client.packet()[3]
    }

    fn wait_problem(&mut self, parts: &[&str]) {
        self.gateway.wait(&format!("a problem says {parts:?}"), |status| {
            let mut problems = status["problems"].as_array().into_iter().flatten().filter_map(|p| p.as_str());
            problems.any(|text| parts.iter().all(|part| text.contains(part)))
        });
    }
}

fn named(id: &str, user: &str, password: &str) -> Connect {
    Connect::new(V::V5, id).user(user, password)
}

const BAD: u8 = 0x86;
const BUSY: u8 = 0x89;

#[test]
fn each_listener_lets_in_its_own_users_and_lets_them_do_what_its_own_rules_say() {
    let three = Three::started();
    let lan = three.gateway.lan_port;
    for (port, good) in
        [(lan, "ann of passwd"), (three.shop, "ann of passwd-shop"), (three.office, "ann of office")]
    {
        // Twice: the second time it may be known from the first.
        assert_eq!(three.code(port, "ann", good), 0, "{good}");
        assert_eq!(three.code(port, "ann", good), 0, "{good}");
    }
    // A password that was right at another listener a moment ago isn't right here.
    assert_eq!(three.code(lan, "ann", "ann of passwd-shop"), BAD);
    assert_eq!(three.code(three.shop, "ann", "ann of passwd"), BAD);
    assert_eq!(three.code(three.office, "ann", "ann of passwd"), BAD);
    assert_eq!(three.code(three.office, "bob", "bob of passwd-shop"), BAD);
    assert_eq!(three.code(three.shop, "bob", "bob of passwd-shop"), 0);

    let mut of_shop = Client::connect(three.shop, &named("s", "bob", "bob of passwd-shop"));
    assert_eq!(of_shop.subscribe_with(&[], b"shop/#", 1), 1);
    assert_eq!(of_shop.subscribe_with(&[], b"all/#", 1), 0x87);
    assert_eq!(of_shop.subscribe_with(&[], b"#", 0), 0);
    of_shop.publish(&Publish::new("office/x", "x"));
    of_shop.send(&Publish::new("shop/x", "mine").bytes(V::V5));
    of_shop.take_text("mine");
    of_shop.nothing();
}

#[test]
fn mosquittos_clients_meet_the_rules_of_the_listener_they_come_to() {
    let three = Three::started();
    let run = |program: &str, port: u16, user: [&str; 2], more: &[&str]| {
        let mut command = client(program);
        command
            .args(["-p", &port.to_string(), "-V", "5", "-u", user[0], "-P", user[1], "-q", "1"])
            .args(more);
        Process::run(program, &mut command)
    };
    let ann = ["ann", "ann of office"];
    let retained = |topic: &'static str| ["-r", "-t", topic, "-m", "kept"];
    assert!(run("mosquitto_pub", three.office, ann, &retained("office/t")).0.success());
    let (_, text) = run("mosquitto_pub", three.office, ann, &retained("shop/t"));
    assert!(text.contains("Not authorized"), "{text}");
    let (status, text) = run("mosquitto_sub", three.office, ann, &["-t", "office/#", "-C", "1", "-W", "10"]);
    assert!(status.success() && text.contains("kept"), "{text}");
    let bob = ["bob", "bob of passwd-shop"];
    let (_, text) = run("mosquitto_sub", three.shop, bob, &["-t", "office/#", "-C", "1", "-W", "10"]);
    assert!(text.contains("denied") || text.contains("Not authorized") || !text.contains("kept"), "{text}");
    let (status, text) = run("mosquitto_sub", three.office, bob, &["-t", "office/#", "-C", "1", "-W", "10"]);
    assert!(!status.success() && text.contains("Connection error"), "{text}");
}

#[test]
fn a_session_belongs_to_the_user_of_its_listener_also_after_a_restart() {
    let mut three = Three::started();
    let own = named("mine", "ann", "ann of passwd-shop").resume();
    let mut owner = Client::connect(three.shop, &own);
    owner.subscribe("shop/t", 1);
    owner.cut();
    for again in [false, true] {
        if again {
            three.gateway.stop();
            three.gateway.start_again();
        }
        for (port, password) in [(three.gateway.lan_port, "ann of passwd"), (three.office, "ann of office")] {
            let mut thief = Client::open(port, V::V5);
            thief.send(&named("mine", "ann", password).resume().bytes());
            assert_eq!(thief.packet()[3], 0x85, "after a restart: {again}");
        }
    }
    let mut owner = Client::connect(three.shop, &own);
    assert_eq!(owner.connack[2] & 1, 1, "the session is there");
    owner.send(&Publish::new("shop/t", "still subscribed").bytes(V::V5));
    owner.take_text("still subscribed");
}

#[test]
fn files_of_a_listener_that_change_count_there_and_bad_ones_leave_the_old_in_use() {
    let mut three = Three::started();
    let mut bob = Client::connect(three.shop, &named("bob", "bob", "bob of passwd-shop"));
    passwd(&three.file("passwd-shop"), "eve", "new here");
    eventually("eve gets in", || (three.code(three.shop, "eve", "new here") == 0).then_some(()));
    assert_eq!(three.code(three.gateway.lan_port, "eve", "new here"), BAD);
    assert_eq!(bob.subscribe_with(&[], b"news/#", 0), 0x87);
    std::fs::write(three.file("acl-shop"), "pattern readwrite shop/#\npattern readwrite news/#\n").unwrap();
    eventually("news may be read", || (bob.subscribe_with(&[], b"news/#", 0) == 0).then_some(()));
    // Broken: what was read before stays, and people are told which listener it is.
    std::fs::write(three.file("acl-shop"), "pattern readwrite shop/#\ntopik x\n").unwrap();
    three.wait_problem(&["listener shop", "acl-shop, line 2", "the rules read before it stay"]);
    std::fs::write(three.file("passwd-shop"), "bob\n").unwrap();
    three.wait_problem(&["listener shop", "passwd-shop, line 1", "the users read before it stay"]);
    assert_eq!(three.code(three.shop, "bob", "bob of passwd-shop"), 0);
    assert_eq!(bob.subscribe_with(&[], b"news/x", 0), 0);
    // A new config with files that can't be used changes nothing.
    let mut reload = fieldgate();
    reload.arg("reload").arg("--config").arg(three.gateway.config());
    let (status, text) = Process::run("fieldgate reload", &mut reload);
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(text.contains("passwd-shop, line 1") && text.contains("acl-shop, line 2"), "{text}");
    let mut check = fieldgate();
    check.arg("check").arg(three.gateway.config());
    let (status, text) = Process::run("fieldgate check", &mut check);
    assert!(!status.success() && text.contains("listener shop: password file"), "{text}");
    bob.say("shop/x", 1, "still here");
}

#[test]
fn files_of_a_listener_that_cannot_be_used_at_the_start_close_it_and_no_other() {
    let mut three = Three::new();
    std::fs::remove_file(three.file("passwd-shop")).unwrap();
    std::fs::write(three.file("acl-shop"), "no rule\n").unwrap();
    three.gateway.start_again();
    three.wait_problem(&["listener shop", "passwd-shop", "its users are refused"]);
    three.wait_problem(&["listener shop", "acl-shop, line 1", "everything is denied"]);
    assert_eq!(three.code(three.shop, "bob", "bob of passwd-shop"), BUSY);
    assert_eq!(three.code(three.shop, "ann", "ann of passwd"), BUSY, "the broker's users don't count there");
    assert_eq!(three.code(three.gateway.lan_port, "ann", "ann of passwd"), 0);
    assert_eq!(three.code(three.office, "ann", "ann of office"), 0);
    passwd(&three.file("passwd-shop"), "bob", "again");
    eventually("bob gets in", || (three.code(three.shop, "bob", "again") == 0).then_some(()));
    let mut bob = Client::connect(three.shop, &named("b", "bob", "again"));
    assert_eq!(bob.subscribe_with(&[], b"shop/#", 0), 0x87, "without the rules everything is denied");
    std::fs::write(three.file("acl-shop"), "pattern readwrite shop/#\n").unwrap();
    eventually("it may subscribe", || (bob.subscribe_with(&[], b"shop/#", 0) == 0).then_some(()));
}

#[test]
fn a_reload_gives_a_listener_users_of_its_own_and_takes_them_away() {
    let three = Three::started();
    let lan = three.gateway.lan_port;
    let mut ann = Client::connect(lan, &named("a", "ann", "ann of passwd"));
    let mut bob = Client::connect(three.shop, &named("b", "bob", "bob of passwd-shop"));
    // The shop has the broker's users and rules from now on: bob is none of them.
    let shop_file = format!("password_file = \"{}\"\n", three.file("passwd-shop").display());
    let shop_rules = format!("acl_file = \"{}\"\n", three.file("acl-shop").display());
    let without = three.config().replacen(&shop_file, "", 1).replacen(&shop_rules, "", 1);
    three.gateway.configure(&without);
    three.gateway.signal(Signal::HUP);
    bob.closed(0x87);
    ann.nothing();
    assert_eq!(three.code(three.shop, "ann", "ann of passwd"), 0);
    let mut visitor = Client::connect(three.shop, &named("v", "ann", "ann of passwd"));
    assert_eq!(visitor.subscribe_with(&[], b"all/#", 0), 0);
    assert_eq!(visitor.subscribe_with(&[], b"shop/#", 0), 0x87);
    three.gateway.configure(&three.config());
    three.gateway.signal(Signal::HUP);
    eventually("the shop has its users again", || {
        (three.code(three.shop, "bob", "bob of passwd-shop") == 0).then_some(())
    });
    assert_eq!(three.code(three.shop, "ann", "ann of passwd"), BAD);
    ann.nothing();
}
