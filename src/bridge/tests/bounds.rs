//! Scripts for an outbox at its bounds: one that keeps what it has, records that grew too old, records that a person
//! wants gone.

use super::rig::Rig;
use super::*;
use crate::ranges::Ranges;
use crate::record::{self, RecordNo, StoredRecord};

fn stored(no: u64) -> StoredRecord {
    StoredRecord { no: RecordNo(no), bytes: record::encode(&message("data/a", &no.to_string())) }
}

fn backlog(last: u64) -> Backlog {
    let bytes = last * stored(1).bytes.len() as u64;
    Backlog {
        acked: RecordNo(0),
        last: RecordNo(last),
        records: last,
        bytes,
        oldest: Some(at(0).wall),
        ..Backlog::default()
    }
}

fn refused(rig: &Rig) -> Vec<u64> {
    let tokens = |output: &Output| match output {
        Output::Refused(tokens) => tokens.iter().map(|token| token.0).collect(),
        _ => Vec::new(),
    };
    rig.done.iter().flat_map(tokens).collect()
}

fn commit_sizes(rig: &Rig) -> Vec<usize> {
    let size =
        |output: &Output| if let Output::Commit(records) = output { Some(records.len()) } else { None };
    rig.done.iter().filter_map(size).collect()
}

#[test]
fn a_full_outbox_that_keeps_what_it_has_refuses_the_new_at_once() {
    let mut rig = Rig::new(config(Version::V5), backlog(10));
    rig.append_token("a", 1);
    rig.append("b");
    rig.pass(250);
    assert_eq!(commit_sizes(&rig), [2]);
    rig.append_token("c", 2);
    rig.input(Input::Full);
    assert_eq!(refused(&rig), [1, 2], "also what came meanwhile");
    assert_eq!(rig.status().drops.disk_full, 3);
    assert_eq!((rig.status().backlog_records, rig.status().store_error), (10, None));
    assert_eq!(rig.notices(), [Notice::Dropping { reason: "disk_full" }]);
    rig.clear();
    // Within the next second nothing is tried.
    rig.pass(900);
    rig.append_token("d", 3);
    assert_eq!((refused(&rig), commit_sizes(&rig)), (vec![3], vec![]));
    // After it, a commit finds out whether there is room again.
    rig.pass(100);
    rig.append_token("e", 4);
    rig.pass(250);
    assert_eq!((refused(&rig), commit_sizes(&rig)), (vec![3], vec![1]));
    rig.input(Input::Committed { up_to: RecordNo(14) });
    rig.append_token("f", 5);
    assert_eq!(refused(&rig), [3]);
    assert_eq!(rig.status().drops.disk_full, 4);
    assert_eq!(rig.status().backlog_records, 12);
}

#[test]
fn what_is_in_flight_is_not_refused_by_a_full_outbox() {
    let mut rig = Rig::online(Version::V5);
    rig.append_token("a", 1);
    rig.pass(1000);
    assert_eq!(commit_sizes(&rig), [1]);
    rig.input(Input::Full);
    assert_eq!((refused(&rig), rig.status().drops.disk_full), (vec![], 0));
    assert_eq!(commit_sizes(&rig), [1], "not asked again at once");
    let id = rig.records()[0].1;
    rig.puback(id);
    assert!(rig.done.contains(&Output::Safe(vec![SafeToken(1)])), "upstream has it");
    assert_eq!(rig.status().elided, 1);
    assert_eq!(rig.status().backlog_records, 0);
}

#[test]
fn a_purge_is_told_what_is_done_and_what_it_takes_is_counted_apart() {
    let mut rig = Rig::new(config(Version::V311), backlog(20));
    rig.connect(false);
    rig.input(Input::Read { from: RecordNo(1), records: (1..=4).map(stored).collect() });
    rig.puback(2);
    rig.puback(3);
    rig.clear();
    rig.input(Input::Purge { before: None });
    let ack = Output::Ack { up_to: RecordNo(2), beyond: Ranges::default() };
    assert_eq!(rig.done[..], [ack, Output::Purge { before: None }]);
    rig.input(Input::Purged);
    let bytes = 18 * stored(1).bytes.len() as u64;
    rig.input(Input::Dropped { up_to: RecordNo(20), records: 18, bytes, expired: 0, purged: 18 });
    // Two of the eighteen are in flight: they may still arrive.
    let drops = rig.status().drops;
    assert_eq!((drops.purged, drops.disk_full, drops.damaged), (16, 0, 0));
    assert_eq!(rig.status().backlog_records, 2);
    rig.append("new");
    for id in [4, 5] {
        rig.puback(id);
    }
    assert_eq!(rig.payloads(), ["new"]);
    assert_eq!(rig.status().drops.damaged, 0, "what was purged isn't missed");
}

#[test]
fn records_that_grew_too_old_count_as_expired_and_the_rest_as_full() {
    let mut rig = Rig::new(config(Version::V311), backlog(20));
    rig.append("new");
    rig.pass(1000);
    rig.input(Input::Committed { up_to: RecordNo(21) });
    let bytes = 12 * stored(1).bytes.len() as u64;
    rig.input(Input::Dropped { up_to: RecordNo(12), records: 12, bytes, expired: 5, purged: 0 });
    let drops = rig.status().drops;
    assert_eq!((drops.expired, drops.disk_full), (5, 7));
    assert_eq!(rig.status().backlog_records, 9);
}
