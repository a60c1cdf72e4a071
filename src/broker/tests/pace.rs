//! How often the state is written, and who is held up by it.

use super::persistence::{Kept, persistent};
use super::*;

/// Batches in a hundred seconds, where a client publishes that often and the disk takes a millisecond.
fn commits_in_100_seconds(every: Duration) -> usize {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(2, connect(V311, "publisher"));
    let mut commits = 0;
    for number in 0..secs(100).as_millis() / every.as_millis() {
        k.bench.send(2, message("t/a", Q1, number as u16 + 1, "x"));
        for _ in 0..every.as_millis() {
            k.wait(millis(1));
            if let Some(number) = k.write() {
                commits += 1;
                k.bench.handle(Input::Persisted { number });
            }
        }
        while k.bench.next(2).is_some() {}
    }
    commits
}

#[test]
fn commits_of_those_who_do_not_press_are_rare_in_the_long_run() {
    assert_eq!(commits_in_100_seconds(secs(1)), 100);
    // 2,000 messages: 300 at once, then ten a second.
    let commits = commits_in_100_seconds(millis(50));
    assert!((1_200..=1_305).contains(&commits), "{commits}");
}

/// A client with a window of one, and a disk that takes 5 ms.
fn acknowledged_in_a_second(k: &mut Kept) -> u16 {
    let end = k.bench.now.mono + secs(1);
    let mut acknowledged = 0_u16;
    while k.bench.now.mono < end {
        k.bench.send(2, message("t/a", Q1, acknowledged + 1, "x"));
        while k.bench.next(2).is_none() {
            k.wait(millis(1));
            if !k.bench.batches.is_empty() {
                k.wait(millis(4));
                let number = k.write().unwrap();
                k.bench.handle(Input::Persisted { number });
            }
        }
        acknowledged += 1;
    }
    acknowledged
}

const BY_THE_DISK_ALONE: std::ops::RangeInclusive<u16> = 190..=200;

#[test]
fn whoever_sends_as_soon_as_it_is_acknowledged_is_held_up_by_the_disk_alone() {
    for (pressed_interval, expected) in [(Duration::ZERO, BY_THE_DISK_ALONE), (millis(20), 48..=60)] {
        let mut k = Kept::with(Config { commit_interval_pressed: pressed_interval, ..persistent() });
        k.sleeper(V311, Q1);
        k.join(2, connect(V311, "publisher"));
        let acknowledged = acknowledged_in_a_second(&mut k);
        assert!(expected.contains(&acknowledged), "{acknowledged}");
    }
}

#[test]
fn another_pace_counts_from_the_next_batch_on() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(2, connect(V311, "publisher"));
    for (pressed_interval, expected) in
        [(millis(20), 48..=60), (Duration::ZERO, BY_THE_DISK_ALONE), (secs(10), 1..=4), (millis(20), 48..=60)]
    {
        k.bench.handle(Input::Reconfigure(Box::new(Reconfigure {
            config: Config { commit_interval_pressed: pressed_interval, ..persistent() },
            moved: vec![Some(ListenerId(0)), Some(ListenerId(1))],
            users: std::collections::HashSet::new(),
            own_users: Default::default(),
        })));
        let acknowledged = acknowledged_in_a_second(&mut k);
        assert!(expected.contains(&acknowledged), "{pressed_interval:?}: {acknowledged}");
    }
}

/// One session is away, the other one is there and acknowledges: what was for it never touches the disk.
#[test]
fn batches_for_an_absent_session_leave_out_what_its_neighbour_is_about_to_acknowledge() {
    let mut k = Kept::new();
    k.sleeper(V311, Q1);
    k.join(3, resume(V311, "awake"));
    k.subscribe(3, "t/#", Q1);
    k.join(2, connect(V311, "publisher"));
    k.settle();
    let before = k.writes;
    for id in 1..=100 {
        k.bench.send(2, message("t/a", Q1, id, "x"));
        k.wait(millis(12));
        if let Some(number) = k.write() {
            k.bench.handle(Input::Persisted { number });
        }
        k.bench.expect(3, message("t/a", Q1, id, "x"));
        k.bench.send(3, puback(id));
    }
    k.settle();
    for id in 1..=100 {
        k.bench.expect(2, puback(id));
    }
    k.settle();
    assert_eq!(k.writes - before, 100, "one for each message, for the one that is away");
}
