//! What people may do, and when no longer.

use super::*;
use crate::auth::SALT_BYTES;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 4, 9));
const CODE: &str = "ABCD-EFGH-IJKL-MNOP-QRST";

fn at(seconds: u64) -> Mono {
    Mono::from_nanos(seconds * 1_000_000_000)
}

fn settings() -> Settings {
    Settings {
        enabled: true,
        session_idle: Duration::from_secs(1_800),
        session_max: Duration::from_secs(43_200),
        claim_window: Duration::from_secs(1_800),
    }
}

fn hash(password: &str) -> Hash {
    Hash::make(password.as_bytes(), &[7; SALT_BYTES]).unwrap()
}

fn roll() -> Roll {
    let mut roll = Roll::default();
    roll.set("anna", Role::Admin, hash("one")).unwrap();
    roll.set("otto", Role::Viewer, hash("two")).unwrap();
    roll
}

fn people() -> People {
    People::new(settings(), roll(), Some(CODE), at(0))
}

#[test]
fn a_session_ends_when_it_is_idle_or_old() {
    let mut people = people();
    let (hash, _) = people.hash_of("anna");
    let who = people.log_in(at(0), ADDRESS, "anna", &hash, &[1; 32]).unwrap();
    assert_eq!((who.name.as_str(), who.role), ("anna", Role::Admin));
    assert_eq!(who.csrf.as_ref().unwrap().len(), 64);
    assert_eq!(people.session(at(1_799), &[1; 32]), Some(who.clone()));
    assert_eq!(people.session(at(3_598), &[1; 32]), Some(who), "used in between");
    assert_eq!(people.session(at(5_398), &[1; 32]), None, "idle");
    people.log_in(at(10_000), ADDRESS, "anna", &hash, &[2; 32]).unwrap();
    for step in 1..43 {
        assert!(people.session(at(10_000 + step * 1_000), &[2; 32]).is_some(), "{step}");
    }
    assert_eq!(people.session(at(53_200), &[2; 32]), None, "old, though used");
}

#[test]
fn of_many_sessions_the_one_not_used_for_longest_ends() {
    let mut people = people();
    let (hash, _) = people.hash_of("anna");
    for number in 0..17 {
        people.log_in(at(number), ADDRESS, "anna", &hash, &[u8::try_from(number).unwrap(); 32]).unwrap();
    }
    assert_eq!(people.sessions(), 16);
    assert!(people.session(at(20), &[0; 32]).is_none());
    assert!(people.session(at(20), &[1; 32]).is_some());
    people.log_out(&[1; 32]);
    assert!(people.session(at(20), &[1; 32]).is_none());
}

#[test]
fn another_password_or_role_ends_the_sessions_of_that_account_alone() {
    let mut people = people();
    for (name, id) in [("anna", [1; 32]), ("otto", [2; 32])] {
        let (hash, _) = people.hash_of(name);
        people.log_in(at(0), ADDRESS, name, &hash, &id).unwrap();
    }
    let (old, _) = people.hash_of("anna");
    let mut changed = people.roll().clone();
    changed.set("anna", Role::Admin, hash("three")).unwrap();
    people.set_roll(changed);
    assert!(people.session(at(1), &[1; 32]).is_none());
    assert!(people.session(at(1), &[2; 32]).is_some());
    assert!(people.log_in(at(1), ADDRESS, "anna", &old, &[3; 32]).is_none(), "checked before the change");
}

#[test]
fn who_fails_often_waits_longer_each_time_and_others_do_not() {
    let mut people = people();
    for _ in 0..5 {
        assert_eq!(people.may_try(at(0), ADDRESS), Ok(()));
    }
    assert_eq!(people.may_try(at(0), ADDRESS), Err(Duration::from_secs(2)));
    assert_eq!(people.may_try(at(2), ADDRESS), Ok(()));
    assert_eq!(people.may_try(at(2), ADDRESS), Err(Duration::from_secs(4)));
    assert_eq!(people.may_try(at(2), "192.168.4.10".parse().unwrap()), Ok(()));
    let (hash, _) = people.hash_of("anna");
    people.log_in(at(2), ADDRESS, "anna", &hash, &[1; 32]).unwrap();
    assert_eq!(people.may_try(at(2), ADDRESS), Ok(()), "a right password starts anew");
}

#[test]
fn all_together_may_try_thirty_times_a_minute() {
    let mut people = people();
    for number in 0..30_u8 {
        assert_eq!(people.may_try(at(0), IpAddr::from([10, 0, 0, number])), Ok(()));
    }
    assert_eq!(people.may_try(at(20), ADDRESS), Err(Duration::from_secs(40)));
    assert_eq!(people.may_try(at(60), ADDRESS), Ok(()));
    let six = |last: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
    let mut people = self::people();
    for number in 0..5 {
        assert_eq!(people.may_try(at(0), six(number)), Ok(()));
    }
    assert!(people.may_try(at(0), six(99)).is_err(), "one network of IPv6 counts as one");
}

#[test]
fn a_gateway_is_claimed_once_with_its_code_while_the_window_is_open() {
    let mut people = People::new(settings(), Roll::default(), Some(CODE), at(0));
    assert!(people.is_unclaimed() && people.is_claim_open(at(1_799)) && !people.is_claim_open(at(1_800)));
    assert_eq!(people.check_claim(at(1_800), ADDRESS, CODE), Err(Refused::Closed));
    assert_eq!(people.open_claim(at(5_000)), Some((CODE.to_owned(), Duration::from_secs(1_800))));
    assert_eq!(people.check_claim(at(5_001), ADDRESS, CODE), Ok(()));
    for _ in 0..5 {
        assert_eq!(people.check_claim(at(5_001), ADDRESS, "ABCD"), Err(Refused::Wrong));
    }
    assert_eq!(people.check_claim(at(5_001), ADDRESS, CODE), Err(Refused::Later(Duration::from_secs(2))));
    people.set_roll(roll());
    assert_eq!(people.check_claim(at(5_010), ADDRESS, CODE), Err(Refused::Closed));
    assert_eq!(people.open_claim(at(5_010)), None);
}

#[test]
fn accounts_and_tokens_come_back_from_the_file() {
    let mut roll = roll();
    let token = Token {
        name: "grafana".into(),
        role: Role::Viewer,
        digest: digest_of(b"secret"),
        made: crate::time::Timestamp::from_millis(5),
        used: None,
    };
    roll.add_token(token.clone()).unwrap();
    assert!(roll.add_token(token).unwrap_err().to_string().contains("already"));
    assert_eq!(Roll::parse(&roll.to_bytes()), Ok(roll.clone()));
    let mut people = People::new(settings(), roll, Some(CODE), at(0));
    assert_eq!(people.token(Now::default(), b"other"), None);
    let who = people.token(Now::default(), b"secret").unwrap();
    assert_eq!((who.name.as_str(), who.role, who.csrf), ("grafana", Role::Viewer, None));
    for bad in ["", "{}", "{\"layout\": 2}", "{\"layout\": 1, \"accounts\": [{}]}"] {
        assert!(Roll::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn a_password_is_long_and_not_the_first_that_is_tried() {
    for good in ["correct horse", "gewitter7-x", "äöüßäöüß12"] {
        assert_eq!(check_password(good, "anna"), Ok(()), "{good}");
    }
    for bad in ["", "short", "1234567890", "Password123", "aaaaaaaaaaaa", "ababababab", &"x1y2z".repeat(60)] {
        assert!(check_password(bad, "anna").is_err(), "{bad}");
    }
    assert!(check_password("anna-the-admin", "Anna-The-Admin").is_err());
}
