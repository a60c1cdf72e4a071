//! Sessions: whose they are, who takes them over, how many there may be, and what becomes of their wills.

use std::fmt::Write;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::exhaustion::{fds_return, not_grown};
use crate::raw::{BOTH, Client, Connect, Lan, Publish, V, Will, ack, subscribe};

/// Users of these names, each with the password `<name>'s`; the folder holds the passwords.
pub fn users(names: &[&str]) -> (TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for name in names {
        let path = dir.path().join(name);
        std::fs::write(&path, format!("{name}'s")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let file = path.display();
        write!(text, "[[broker.user]]\nname = \"{name}\"\npassword = {{ file = \"{file}\" }}\n").unwrap();
    }
    (dir, text)
}

fn login(id: &str, name: &str) -> Connect {
    Connect::new(V::V5, id).user(name, &format!("{name}'s")).resume()
}

#[test]
fn fault_45_another_user_does_not_get_a_session_by_its_id() {
    let (_dir, users) = users(&["owner", "thief"]);
    let lan = Lan::start(&users);
    let mut owner = lan.connect(&login("same", "owner"));
    owner.subscribe("t", 1);
    for connect in [login("same", "thief"), Connect::new(V::V5, "same").resume(), Connect::new(V::V5, "same")]
    {
        let answer = lan.answer(&connect.bytes());
        assert_eq!((answer[0], answer[3]), (0x20, 0x85));
    }
    owner.nothing();
    owner.cut();
    lan.connect(&login("other", "thief")).say("t", 1, "secret");
    for connect in [login("same", "thief"), Connect::new(V::V5, "same")] {
        assert_eq!(lan.answer(&connect.bytes())[3], 0x85);
    }
    let mut owner = lan.connect(&login("same", "owner"));
    assert_eq!(owner.connack[2], 1);
    owner.take_text("secret");
}

#[test]
fn fault_46_a_failed_login_does_not_touch_the_session() {
    let (_dir, users) = users(&["owner"]);
    let lan = Lan::start(&users);
    let mut owner = lan.connect(&login("same", "owner"));
    owner.subscribe("t", 1);
    let wrong = Connect::new(V::V5, "same").user("owner", "guess").bytes();
    assert_eq!(lan.answer(&wrong)[3], 0x86);
    owner.nothing();
    owner.cut();
    assert_eq!(lan.answer(&wrong)[3], 0x86);
    let mut owner = lan.connect(&login("same", "owner"));
    assert_eq!(owner.connack[2], 1);
    owner.say("other", 0, "x");
}

#[test]
fn fault_47_a_client_id_is_no_path_and_no_key() {
    let lan = Lan::start("client_id_max = \"65535 B\"\nfirst_packet_max = \"128 KiB\"");
    let names = || {
        let mut names: Vec<_> =
            std::fs::read_dir(lan.gateway.dir.path()).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = names();
    let long = "x".repeat(65_535);
    for id in
        ["../../x", "..", ".", "/etc/x", "a/b", "a\\b", "#", "+", "$SYS", "%u", "\u{1}", "é", " ", &long]
    {
        for v in BOTH {
            let id = format!("{id}{}", if id.len() < 1_000 { format!("{v:?}") } else { String::new() });
            let (mut client, present) = lan.resume(v, &id);
            assert!(!present, "{id} {v:?}");
            client.subscribe("t", 1);
            client.say("other", 1, "x");
            client.cut();
            let (client, present) = lan.resume(v, &id);
            assert!(present, "{id}");
            client.cut();
            lan.join(v, &id).cut();
        }
    }
    assert!(lan.answer(&Connect::new(V::V311, "a\0b").bytes()).is_empty());
    assert_eq!(names(), before, "nothing was written outside the data folder");
}

#[test]
fn fault_48_many_that_fight_for_one_id_leave_the_last_one_served() {
    let lan = Lan::start("");
    let base = lan.fds();
    let connect = |v| Connect::new(v, "same").resume().will(Will::new("will", "x"));
    lan.connect(&connect(V::V5)).cut();
    let round = |rounds: usize| {
        let port = lan.port;
        std::thread::scope(|scope| {
            for n in 0..10 {
                scope.spawn(move || {
                    for _ in 0..rounds {
                        let mut held: Vec<Client> = (0..5).map(|_| Client::open(port, version(n))).collect();
                        held.iter_mut().for_each(|client| client.try_send(&connect(version(n)).bytes()));
                    }
                });
            }
        });
    };
    round(10);
    fds_return(&lan, base);
    let before = lan.rss();
    round(40);
    fds_return(&lan, base);
    not_grown(&lan, before, 1024 * 1024);
    let mut last = lan.connect(&connect(V::V5));
    last.subscribe("t", 1);
    lan.join(V::V311, "publisher").say("t", 1, "alive");
    last.take_text("alive");
}

fn version(n: usize) -> V {
    if n.is_multiple_of(2) { V::V5 } else { V::V311 }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Cut,
    Disconnect,
    DisconnectWithWill,
    TakenOverClean,
    TakenOver,
}

/// After how many seconds the will comes.
fn expected(delay: u32, expiry: u32, end: End) -> Option<u32> {
    match end {
        End::Disconnect => None,
        End::Cut | End::DisconnectWithWill => Some(delay.min(expiry)),
        // The session ends.
        End::TakenOverClean => Some(0),
        // The session goes on, if it was to outlive its connection at all.
        End::TakenOver if delay > 0 && expiry > 0 => None,
        End::TakenOver => Some(0),
    }
}

#[test]
fn fault_49_a_will_comes_when_delay_expiry_and_end_say_so() {
    const WATCHED: Duration = Duration::from_millis(2_500);
    // What a will waits for is told by time here; no CONNACK must wait for a disk that others use.
    let lan = Lan::start("persistence = false\n");
    let mut witness = lan.join(V::V5, "witness");
    witness.subscribe("will/#", 0);
    let mut rows = Vec::new();
    for delay in [0, 1, 60] {
        for expiry in [0, 1, 60] {
            for end in
                [End::Cut, End::Disconnect, End::DisconnectWithWill, End::TakenOverClean, End::TakenOver]
            {
                rows.push((delay, expiry, end));
            }
        }
    }
    let mut starts = Vec::new();
    let mut successors = Vec::new();
    for (n, (delay, expiry, end)) in rows.iter().enumerate() {
        let connect = Connect::new(V::V5, format!("{n}")).expiry(*expiry);
        let with_will = connect.clone().will(Will::new(format!("will/{n}"), "x").delay(*delay));
        let client = lan.connect(&with_will);
        starts.push(Instant::now());
        match end {
            End::Cut => client.cut(),
            End::Disconnect => client.disconnect(),
            End::DisconnectWithWill => client.disconnect_with(&[4]),
            End::TakenOverClean => successors.push((client, lan.connect(&connect))),
            End::TakenOver => successors.push((client, lan.connect(&Connect { clean: false, ..connect }))),
        }
    }
    let mut came: Vec<Option<Duration>> = vec![None; rows.len()];
    let end = Instant::now() + WATCHED;
    // A PINGREQ at the end of the time makes the last packet.
    std::thread::scope(|scope| {
        let mut pinger = lan.join(V::V5, "pinger");
        scope.spawn(move || {
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            pinger.say("will/end", 0, "x");
        });
        loop {
            let message = witness.message();
            let name = String::from_utf8(message.topic).unwrap();
            let Ok(n) = name["will/".len()..].parse::<usize>() else { break };
            assert!(came[n].replace(starts[n].elapsed()).is_none(), "a second will of {:?}", rows[n]);
        }
    });
    for (n, row) in rows.iter().enumerate() {
        let wanted = expected(row.0, row.1, row.2).filter(|seconds| *seconds < 60);
        let right = match (wanted, came[n]) {
            (None, None) => true,
            (Some(0), Some(after)) => after < Duration::from_millis(900),
            (Some(1), Some(after)) => after >= Duration::from_secs(1),
            _ => false,
        };
        assert!(right, "{row:?}: {:?}, not {wanted:?} s", came[n]);
    }
}

#[test]
fn fault_50_open_qos_2_exchanges_are_bounded() {
    let lan = Lan::start("");
    let before = lan.rss();
    for (v, bound) in [(V::V5, 32), (V::V311, 4_096)] {
        let mut client = lan.join(v, "a");
        for id in 1..=bound {
            client.send(&Publish::new("t", "x").qos(2, id).bytes(v));
            client.expect_accepted(0x50, id);
        }
        client.nothing();
        client.send(&Publish::new("t", "x").qos(2, bound + 1).bytes(v));
        client.closed(0x93);
    }
    not_grown(&lan, before, 2 * 1024 * 1024);
    // Who answers goes on for ever.
    let mut client = lan.join(V::V311, "b");
    for id in 1..=5_000 {
        client.send(&[Publish::new("t", "x").qos(2, id).bytes(V::V311), ack(0x62, id)].concat());
        client.expect_ack(0x50, id, 0);
        client.expect_ack(0x70, id, 0);
    }
}

#[test]
fn fault_51_sessions_have_a_bound_and_the_longest_absent_goes() {
    let lan = Lan::start("sessions_max = 50");
    let mut staying = lan.resume(V::V5, "staying").0;
    staying.subscribe("t", 0);
    let come_and_go = |from: usize, to: usize| {
        // Some at a time: new sessions go to the disk together.
        for first in (from..to).step_by(20) {
            let clients: Vec<_> = (first..first + 20)
                .map(|n| {
                    let v = version(n);
                    let mut client = Client::open(lan.port, v);
                    client.send(&Connect::new(v, format!("client-{n}")).resume().bytes());
                    let filter = format!("topic/{n}/#");
                    client.send(&subscribe(v, 1, &[], &[(filter.as_bytes(), 1)]));
                    client
                })
                .collect();
            for mut client in clients {
                let connack = client.packet();
                assert_eq!((connack[0], connack[2], connack[3]), (0x20, 0, 0), "a new session");
                let suback = client.packet();
                assert_eq!((suback[0], suback.last()), (0x90, Some(&1)));
                client.cut();
            }
        }
    };
    come_and_go(0, 500);
    let before = lan.rss();
    come_and_go(500, 2_000);
    not_grown(&lan, before, 1024 * 1024);
    assert!(lan.count("sessions_offline") <= 50);
    assert!(lan.count("subscriptions") <= 51);
    assert!(!lan.resume(V::V311, "client-1").1, "gone long since");
    assert!(lan.resume(V::V311, "client-1999").1);
    staying.nothing();
}
