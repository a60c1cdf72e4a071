//! Upstreams that are not wanted all the time.

use super::rig::Rig;
use super::upstream::{Got, pingresp};
use super::*;
use crate::record::RecordNo;

const LAZY: Start = Start::Lazy { threshold: 3, idle_timeout: Duration::from_secs(60) };

fn rig(start: Start, version: Version) -> Rig {
    Rig::new(Config { start, receipts: true, ..config(version) }, Backlog::default())
}

fn attempts(rig: &Rig) -> usize {
    rig.done.iter().filter(|output| matches!(output, Output::Connect { .. })).count()
}

#[test]
fn a_lazy_upstream_is_connected_when_enough_waits_and_left_when_nothing_went_for_long() {
    for version in [Version::V311, Version::V5] {
        let mut rig = rig(LAZY, version);
        rig.append("1");
        rig.append("2");
        rig.pass(600_000);
        assert_eq!((attempts(&rig), rig.status().state), (0, LinkState::Idle));
        rig.append("3");
        assert_eq!(attempts(&rig), 1);
        rig.connect(false);
        rig.ack_slot();
        assert_eq!(rig.payloads(), ["1", "2", "3"]);
        for (_, id, _) in rig.records() {
            rig.puback(id);
        }
        // A message now and then keeps it.
        for n in 0..3 {
            rig.pass(25_000);
            rig.bytes(&pingresp(version));
            rig.pass(25_000);
            rig.bytes(&pingresp(version));
            rig.append(&n.to_string());
            let id = rig.records().last().unwrap().1;
            rig.puback(id);
        }
        rig.clear();
        rig.pass(30_000);
        rig.bytes(&pingresp(version));
        rig.pass(29_900);
        assert_eq!(rig.slots(), []);
        rig.bytes(&pingresp(version));
        rig.pass(100);
        let status = rig.slots().last().unwrap().payload.clone();
        assert!(status.contains(r#""state":"offline","reason":"idle""#), "{status}");
        assert!(!rig.closes(), "before that is acknowledged");
        rig.ack_slot();
        assert!(rig.closes());
        assert_eq!(rig.got.last(), Some(&Got::Disconnect(ReasonCode::Success)));
        assert_eq!((rig.status().state, rig.status().error), (LinkState::Idle, None));
        assert!(rig.notices().iter().all(|notice| !matches!(notice, Notice::Offline { .. })));
        assert_eq!(rig.status().receipt, None, "it is no outage");
        // And again.
        rig.clear();
        rig.append("4");
        rig.append("5");
        assert_eq!(attempts(&rig), 0);
        rig.append("6");
        assert_eq!(attempts(&rig), 1);
        rig.connect(false);
        assert_eq!(rig.payloads(), ["4", "5", "6"]);
    }
}

#[test]
fn a_lazy_upstream_that_gets_a_message_while_leaving_stays_online_and_says_so() {
    let mut rig = rig(LAZY, Version::V311);
    rig.input(Input::ConnectNow);
    rig.connect(false);
    rig.ack_slot();
    rig.pass(30_000);
    rig.bytes(&pingresp(Version::V311));
    rig.pass(30_000);
    rig.bytes(&pingresp(Version::V311));
    assert!(rig.slots().last().unwrap().payload.contains("offline"));
    rig.append("1");
    rig.ack_slot();
    let id = rig.records()[0].1;
    rig.puback(id);
    assert!(rig.slots().last().unwrap().payload.contains("online"), "{:?}", rig.slots());
    assert_eq!(rig.status().state, LinkState::Online);
}

#[test]
fn a_lazy_upstream_is_tried_while_anything_waits_and_then_no_more() {
    let mut rig = rig(LAZY, Version::V311);
    for n in 0..3 {
        rig.append(&n.to_string());
    }
    for _ in 0..5 {
        rig.clear();
        rig.input(Input::ConnectFailed { error: "refused", permanent: false });
        rig.pass(60_000);
        assert!(attempts(&rig) >= 1);
    }
    rig.input(Input::ConnectFailed { error: "refused", permanent: false });
    rig.input(Input::Committed { up_to: RecordNo(3) });
    rig.input(Input::Purge { before: None });
    rig.input(Input::Purged);
    rig.input(Input::Dropped { up_to: RecordNo(3), records: 3, bytes: 3, expired: 0, purged: 3 });
    rig.clear();
    rig.pass(600_000);
    assert_eq!((attempts(&rig), rig.status().state), (0, LinkState::Idle));
    // A person may want a connection nevertheless.
    rig.input(Input::ConnectNow);
    assert_eq!(attempts(&rig), 1);
    rig.clear();
    rig.input(Input::ConnectFailed { error: "refused", permanent: false });
    rig.pass(60_000);
    assert!(attempts(&rig) >= 1, "until it is there");
}

#[test]
fn once_is_tried_until_it_is_there_and_not_again_after_it_ended_unless_a_person_says_so() {
    let mut rig = rig(Start::Once, Version::V311);
    rig.input(Input::ConnectFailed { error: "refused", permanent: false });
    rig.attempt();
    rig.connect(false);
    rig.ack_slot();
    rig.clear();
    rig.input(Input::Closed { error: "reset by peer" });
    rig.append("1");
    rig.pass(3_600_000);
    let status = rig.status();
    assert_eq!((attempts(&rig), status.state, status.retry_in), (0, LinkState::Ended, None));
    assert_eq!((status.error.as_deref(), status.backlog_records), (Some("reset by peer"), 1));
    rig.input(Input::ConnectNow);
    assert_eq!(attempts(&rig), 1);
    rig.connect(false);
    assert_eq!(rig.payloads(), ["1"]);
}

#[test]
fn a_person_need_not_wait_for_the_next_attempt() {
    let mut rig = Rig::new(config(Version::V311), Backlog::default());
    rig.input(Input::ConnectFailed { error: "bad certificate", permanent: true });
    assert!(rig.status().retry_in.unwrap() > Duration::from_secs(20));
    rig.clear();
    rig.input(Input::ConnectNow);
    assert_eq!(attempts(&rig), 1);
    // It changes nothing while there is one.
    rig.connect(false);
    rig.clear();
    rig.input(Input::ConnectNow);
    assert_eq!((attempts(&rig), rig.status().state), (0, LinkState::Online));
}
