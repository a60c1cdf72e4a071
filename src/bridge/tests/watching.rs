//! The own status upstream: late wills, and others under our name.

use super::rig::Rig;
use super::upstream::{Got, pingresp, write};
use super::*;
use crate::mqtt::{Disconnect, Packet, Properties, Publish, SubAck};

const TOPIC: &str = "fieldgate/gw/status";

fn rig(version: Version) -> Rig {
    Rig::new(Config { watch_status: true, ..config(version) }, Backlog::default())
}

fn online(version: Version) -> Rig {
    let mut rig = rig(version);
    rig.connect(false);
    rig.ack_slot();
    rig.clear();
    rig
}

impl Rig {
    fn status_says(&mut self, state: &str, epoch: &str, instance: &str) {
        let payload =
            format!(r#"{{"state":"{state}","epoch":"{epoch}","instance":"{instance}","version":"1"}}"#);
        let publish = Publish {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: TOPIC,
            packet_id: None,
            properties: Properties::EMPTY,
            payload: payload.as_bytes(),
        };
        let bytes = write(&Packet::Publish(publish), self.version);
        self.bytes(&bytes);
    }

    /// Births since `clear`.
    fn births(&self) -> usize {
        self.publishes().iter().filter(|seen| seen.topic == TOPIC && seen.payload.contains("online")).count()
    }
}

#[test]
fn the_status_is_asked_for_before_the_birth_is_sent() {
    for version in [Version::V311, Version::V5] {
        let mut rig = rig(version);
        rig.connect(false);
        let first = rig.got.iter().find(|got| !matches!(got, Got::Connect { .. }));
        let Some(Got::Other(text)) = first else { panic!("{:?}", rig.got) };
        assert!(text.starts_with("Subscribe") && text.contains(TOPIC), "{text}");
    }
}

#[test]
fn a_late_will_of_an_earlier_connection_is_overwritten_at_once_and_nothing_else_is() {
    for (state, epoch, instance, expected) in [
        ("offline", "7-0", "abcd", 1),
        ("offline", "6-9", "abcd", 1),
        ("offline", "7-1", "abcd", 0),
        ("online", "6-9", "abcd", 0),
        ("offline", "6-9", "other", 0),
        ("offline", "x", "abcd", 0),
        ("offline", "8-1", "abcd", 0),
    ] {
        let mut rig = online(Version::V311);
        rig.status_says(state, epoch, instance);
        assert_eq!(rig.births(), expected, "{state} {epoch} {instance}");
        assert_eq!(rig.status().status_repairs, expected as u64);
        assert_eq!(rig.status().inward.unmapped, 0);
    }
}

#[test]
fn what_stood_there_before_the_birth_is_no_news() {
    let mut rig = rig(Version::V311);
    rig.connect(false);
    rig.clear();
    rig.status_says("offline", "6-9", "abcd");
    rig.status_says("online", "2-3", "other");
    assert_eq!((rig.births(), rig.notices()), (0, vec![]));
    rig.puback(1);
    assert_eq!((rig.births(), rig.status().rival), (0, None));
}

#[test]
fn at_most_three_repairs_a_minute() {
    let mut rig = online(Version::V311);
    for _ in 0..10 {
        rig.status_says("offline", "6-9", "abcd");
        rig.ack_status();
    }
    assert_eq!((rig.births(), rig.status().status_repairs), (3, 3));
    for _ in 0..7 {
        rig.pass(10_000);
        rig.bytes(&pingresp(Version::V311));
    }
    rig.clear();
    rig.status_says("offline", "6-9", "abcd");
    assert_eq!(rig.births(), 1);
}

#[test]
fn another_instance_under_our_name_is_told_and_left_alone() {
    let mut rig = online(Version::V5);
    for _ in 0..3 {
        rig.status_says("online", "2-3", "other");
        rig.status_says("offline", "2-3", "other");
    }
    assert_eq!(rig.births(), 0);
    assert_eq!(rig.notices(), [Notice::Rival { instance: "other".into() }]);
    assert!(rig.status().rival.unwrap().contains("other"));
}

#[test]
fn three_takeovers_in_a_minute_are_told_and_waited_out() {
    for version in [Version::V311, Version::V5] {
        let mut rig = rig(version);
        for kick in 1..=4 {
            rig.connect(false);
            if version == Version::V5 {
                let reason = ReasonCode::SessionTakenOver;
                let disconnect = Disconnect { reason, properties: Properties::EMPTY };
                rig.bytes(&write(&Packet::Disconnect(disconnect), version));
            } else {
                rig.status_says("online", "2-3", "other");
                rig.input(Input::Closed { error: "closed" });
            }
            let told = rig.status().rival.is_some();
            assert_eq!(told, kick >= 3, "{version:?}, kick {kick}");
            let wait = rig.status().retry_in.unwrap();
            assert_eq!(wait >= Duration::from_secs(30), kick >= 3, "{version:?}, kick {kick}: {wait:?}");
            rig.attempt();
        }
        rig.connect(false);
        rig.ack_status();
        for _ in 0..7 {
            rig.pass(10_000);
            rig.bytes(&pingresp(version));
        }
        assert_eq!(rig.status().rival, None, "online for a minute");
    }
}

#[test]
fn a_link_that_only_flaps_is_no_rival() {
    let mut rig = rig(Version::V311);
    for _ in 0..10 {
        rig.connect(false);
        rig.cut();
        assert_eq!(rig.status().rival, None);
    }
}

#[test]
fn a_cloud_that_closes_at_the_subscription_is_not_asked_for_ever() {
    let mut rig = rig(Version::V311);
    let mut asked = 0;
    for _ in 0..6 {
        rig.connect(false);
        asked += rig.got.iter().filter(|got| matches!(got, Got::Other(_))).count();
        rig.cut();
    }
    assert_eq!(asked, 3);
    // One that says no is asked each time, and nothing is wrong with that.
    let mut rig = super::watching::rig(Version::V311);
    for _ in 0..6 {
        rig.connect(false);
        assert_eq!(rig.got.iter().filter(|got| matches!(got, Got::Other(_))).count(), 1);
        let packet_id = PacketId::new(u16::MAX).unwrap();
        let suback = SubAck { packet_id, properties: Properties::EMPTY, codes: &[0x80] };
        rig.bytes(&write(&Packet::SubAck(suback), Version::V311));
        assert!(rig.status().not_subscribed.is_empty());
        rig.cut();
    }
}
