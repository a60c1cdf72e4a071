//! What a person holds back, and what went over which map.

use super::rig::Rig;
use super::upstream::pingresp;
use super::*;
use crate::record::RecordNo;

/// Time passes while upstream answers.
fn pass(rig: &mut Rig, seconds: u64) {
    for _ in 0..seconds.div_ceil(25) {
        rig.pass(25_000);
        let version = rig.version;
        rig.bytes(&pingresp(version));
    }
}

fn pause(rig: &mut Rig, paused: bool) {
    rig.input(Input::Pause { paused });
}

fn kept(rig: &Rig) -> Option<Vec<u8>> {
    rig.done.iter().rev().find_map(|output| match output {
        Output::Keep { name: notes::PAUSED, content } => Some(content.clone()),
        _ => None,
    })
}

#[test]
fn what_is_paused_waits_and_goes_on_in_order_while_the_link_and_the_status_stay() {
    for version in [Version::V311, Version::V5] {
        let mut rig = Rig::online(version);
        rig.append("1");
        rig.append("2");
        pause(&mut rig, true);
        let status = rig.slots().last().unwrap().payload.clone();
        assert!(status.contains(r#""state":"online","health":"ok","paused":true"#), "{status}");
        assert_eq!(rig.status().paused, Some(rig.now.wall));
        assert!(!kept(&rig).unwrap().is_empty());
        // What is on its way arrives; what comes is kept on disk.
        for (_, id, _) in rig.records() {
            rig.puback(id);
        }
        rig.ack_slot();
        rig.append("3");
        rig.append("4");
        pass(&mut rig, 3_600);
        assert!(rig.done.iter().any(|output| matches!(output, Output::Commit(_))), "it is written");
        rig.input(Input::Committed { up_to: RecordNo(4) });
        assert_eq!((rig.payloads(), rig.status().delivered), (vec!["1".to_owned(), "2".to_owned()], 2));
        assert_eq!((rig.status().state, rig.status().backlog_records), (LinkState::Online, 2));
        rig.clear();
        // Twice is as once.
        pause(&mut rig, true);
        assert!(rig.got.is_empty() && kept(&rig).is_none());
        pause(&mut rig, false);
        assert_eq!(kept(&rig).unwrap(), b"");
        assert_eq!(rig.payloads(), ["3", "4"]);
        let status = rig.slots().last().unwrap().payload.clone();
        assert!(!status.contains("paused"), "{status}");
        assert_eq!(rig.status().paused, None);
        rig.append("5");
        for (_, id, _) in rig.records() {
            rig.puback(id);
        }
        assert_eq!((rig.payloads().len(), rig.status().backlog_records), (3, 0));
    }
}

#[test]
fn a_pause_outlives_a_cut_and_a_restart_and_nothing_is_sent_again_meanwhile() {
    let mut rig = Rig::online(Version::V5);
    rig.append("1");
    pause(&mut rig, true);
    let note = kept(&rig);
    rig.clear();
    rig.cut();
    rig.connect(true);
    assert!(rig.slots()[0].payload.contains("\"paused\":true"), "{:?}", rig.slots());
    rig.ack_slot();
    pass(&mut rig, 100);
    assert_eq!(rig.payloads(), Vec::<String>::new(), "not even again");
    pause(&mut rig, false);
    assert_eq!(rig.records(), [("1".to_owned(), rig.records()[0].1, true)]);

    let mut later = Rig::new(config(Version::V5), Backlog::default());
    later.bridge.restore(later.now, &Notes { paused: note, ..Notes::default() });
    later.append("2");
    later.connect(false);
    assert!(later.slots()[0].payload.contains("\"paused\":true"));
    later.ack_slot();
    pass(&mut later, 100);
    assert_eq!(later.payloads(), Vec::<String>::new());
    pause(&mut later, false);
    assert_eq!(later.payloads(), ["2"]);
    for nothing in [&b""[..], b"rubbish"] {
        let mut rig = Rig::new(config(Version::V5), Backlog::default());
        rig.bridge.restore(rig.now, &Notes { paused: Some(nothing.to_vec()), ..Notes::default() });
        assert_eq!(rig.status().paused, None);
    }
}

#[test]
fn a_pace_that_holds_a_backlog_back_is_no_deadline_while_it_is_paused() {
    let slow = Config { drain_messages_max: Some(1), ..config(Version::V5) };
    let mut rig = Rig::new(slow, Backlog::default());
    for n in 0..5 {
        rig.append(&n.to_string());
    }
    rig.connect(false);
    rig.ack_slot();
    let sent = rig.payloads().len();
    assert!(sent < 5, "{sent}");
    pause(&mut rig, true);
    // Ends only if no deadline stays due.
    pass(&mut rig, 50);
    assert_eq!(rig.payloads().len(), sent);
}

#[test]
fn nobody_connects_for_what_is_paused() {
    let lazy = Start::Lazy { threshold: 2, idle_timeout: Duration::from_secs(60) };
    let mut rig = Rig::new(Config { start: lazy, ..config(Version::V311) }, Backlog::default());
    pause(&mut rig, true);
    for n in 0..5 {
        rig.append(&n.to_string());
    }
    rig.pass(600_000);
    assert_eq!(rig.status().state, LinkState::Idle);
    pause(&mut rig, false);
    assert_eq!(rig.status().state, LinkState::Connecting);
}

#[test]
fn each_map_counts_what_goes_over_it_and_keeps_its_counts_where_others_change() {
    let short = Mapping { expiry: Some(Duration::from_secs(60)), ..mapping("data/short", "", "") };
    let back = Mapping {
        direction: Direction::In,
        remote_filter: Some(TopicFilter::parse("to/#").unwrap()),
        ..mapping("to/#", "", "")
    };
    let maps = vec![short, mapping("data/#", "data/", "site/"), back];
    let mut rig = Rig::new(Config { maps: maps.clone(), ..config(Version::V5) }, Backlog::default());
    rig.input(Input::Append { message: message("data/short", "old"), token: None });
    rig.pass(61_000);
    rig.attempt();
    rig.connect(false);
    rig.ack_slot();
    rig.append("1");
    rig.append("2");
    rig.append("3");
    let ids: Vec<u16> = rig.records().iter().map(|(_, id, _)| *id).collect();
    rig.puback(ids[0]);
    rig.refuse(ids[1], ReasonCode::NotAuthorized);
    rig.cut();
    rig.connect(true);
    rig.ack_status();
    let passed: Vec<Passed> = rig.bridge.maps().into_iter().map(|map| map.passed).collect();
    assert_eq!(passed[0], Passed { expired: 1, ..Passed::default() });
    // The third was sent twice: it counts once, its bytes twice.
    assert_eq!((passed[1].sent, passed[1].refused, passed[1].expired), (3, 1, 0));
    let one = passed[1].sent_bytes / 4;
    assert!((10..60).contains(&one), "{passed:?}");
    assert_eq!(rig.bridge.maps()[1].remote_prefix, "site/");

    // Other maps: the one that stays keeps its count.
    let other = Config { maps: vec![maps[1].clone(), mapping("x/#", "", "")], ..config(Version::V5) };
    rig.input(Input::Reconfigure { config: Box::new(other), backlogs: Vec::new() });
    rig.pass(10_000);
    let maps = rig.bridge.maps();
    assert_eq!((maps[0].passed.sent, maps[1].passed), (3, Passed::default()), "{maps:?}");
}
