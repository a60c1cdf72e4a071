//! Hashes of other programs, files, and attempts with invented time.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use super::*;

/// Made by mosquitto_passwd 2.0; the password is "secret".
const PBKDF2: &str = "$7$101$0GCvxkoTnZ6C18rg$UaIAM/DL+FZG5APHeNUXvKKNDvadxz3oB1b68X0oyhCweqyGvFSlmIwqMOd0oBeQ7N53YZ9s/2zDV9muTPP+8g==";
const SHA512: &str = "$6$BkWvifVnHQxgKbAL$nQxoBaE57KHrcpTZdSpBHsE1UeIvMtRMp/W4U5U9FqUeSs3mqSwm2GTHfU3Du0UUmK/yQedlEHc4PmBoniXp4g==";
/// The reference implementation's own test vector: password "password", salt "somesalt".
const ARGON2ID: &str =
    "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";

#[test]
fn hashes_that_other_programs_made_match_their_password_alone() {
    for (text, password, weak) in
        [(PBKDF2, "secret", true), (SHA512, "secret", true), (ARGON2ID, "password", false)]
    {
        let hash = Hash::parse(text).unwrap();
        assert_eq!(hash.to_string(), text);
        assert_eq!(hash.is_weak(), weak, "{text}");
        assert!(hash.matches(password.as_bytes()), "{text}");
        for wrong in ["", "Secret", "secret ", "secrets", "secre", "Password"] {
            assert!(!hash.matches(wrong.as_bytes()), "{text} {wrong:?}");
        }
    }
}

#[test]
fn a_salt_of_64_bytes_as_newer_mosquittos_write_is_taken() {
    let salt = [7u8; 64];
    let mut output = [0u8; 64];
    let iterations = std::num::NonZeroU32::new(1_000).unwrap();
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA512, iterations, &salt, b"long", &mut output);
    let hash = Hash::Pbkdf2 { iterations, salt: salt.to_vec(), output: output.to_vec() };
    let read = Hash::parse(&hash.to_string()).unwrap();
    assert_eq!(read, hash);
    assert!(read.matches(b"long") && !read.matches(b"short"));
}

#[test]
fn a_new_hash_is_argon2id_and_matches_what_it_was_made_of() {
    let hash = Hash::make("pässword".as_bytes(), &[3; SALT_BYTES]).unwrap();
    assert!(hash.to_string().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    assert_eq!(Hash::parse(&hash.to_string()), Ok(hash.clone()));
    assert!(hash.matches("pässword".as_bytes()) && !hash.matches(b"password"));
    assert!(!Hash::of_nobody().matches(b""));
    assert_eq!(format!("{hash:?}"), "Argon2id(***)");
}

#[test]
fn a_damaged_or_costly_hash_is_refused_in_words_that_do_not_repeat_it() {
    for (text, words) in [
        ("", "no password hash"),
        ("hunter2", "no password hash"),
        ("$5$abc$def", "no password hash"),
        ("$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFh", "no password hash"),
        ("$6$", "it has no salt"),
        ("$6$BkWvifVnHQxgKbAL", "it has no salt"),
        ("$6$BkWvifVnHQxgKbAL$", "its hash isn't base64 of 64 bytes"),
        ("$6$BkWvifVnHQxgKbA$nQxo", "its salt isn't base64"),
        ("$6$!!$nQxo", "its salt isn't base64"),
        ("$7$101$0GCvxkoTnZ6C18rg$UaIAM", "its hash isn't base64 of 64 bytes"),
        ("$7$0$0GCvxkoTnZ6C18rg$UaIAM", "the number of iterations"),
        ("$7$-5$0GCvxkoTnZ6C18rg$UaIAM", "the number of iterations"),
        ("$7$x$0GCvxkoTnZ6C18rg$UaIAM", "the number of iterations"),
        ("$7$10000001$0GCvxkoTnZ6C18rg$UaIAM", "more than 10,000,000 iterations"),
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ", "three costs, a salt and a hash"),
        ("$argon2id$v=16$m=65536,t=2,p=1$c29tZXNhbHQ$CTFh", "its version isn't v=19"),
        ("$argon2id$v=19$m=65536,t=2$c29tZXNhbHQ$CTFh", "its costs aren't m="),
        ("$argon2id$v=19$m=65536,p=1,t=2$c29tZXNhbHQ$CTFh", "its costs aren't m="),
        ("$argon2id$v=19$m=4294967295,t=2,p=1$c29tZXNhbHQ$CTFh", "more than 65,536 KiB"),
        ("$argon2id$v=19$m=65536,t=17,p=1$c29tZXNhbHQ$CTFh", "more than 16 passes"),
        ("$argon2id$v=19$m=65536,t=2,p=1$c29t$CTFh", "its salt isn't base64 of 8 to 64 bytes"),
        ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFh", "its hash isn't base64 of 16 to 64 bytes"),
        (
            "$argon2id$v=19$m=1,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "its costs are too small",
        ),
        (
            "$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "its costs are too small",
        ),
    ] {
        let error = Hash::parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
        assert!(text.len() < 6 || !error.contains(&text[3..]), "{error}");
    }
}

#[test]
fn a_password_file_keeps_comments_and_order_through_a_change() {
    let text = format!("# who\n\nann:{PBKDF2}\n#bob:{PBKDF2}\r\ncy d:{ARGON2ID}\nä:{SHA512}");
    let mut file = PasswordFile::parse(text.as_bytes()).unwrap();
    assert_eq!((file.len(), file.weak()), (3, 2));
    assert_eq!(file.to_string(), text.replace('\r', "") + "\n");
    let new = Hash::parse(ARGON2ID).unwrap();
    assert!(file.set("ann", new.clone()));
    assert!(!file.set("eve", new.clone()));
    assert!(file.remove("ä") && !file.remove("ä") && !file.remove("bob"));
    let expected = format!("# who\n\nann:{ARGON2ID}\n#bob:{PBKDF2}\ncy d:{ARGON2ID}\neve:{ARGON2ID}\n");
    assert_eq!(file.to_string(), expected);
    let other = Hash::parse(PBKDF2).unwrap();
    assert!(!file.replace("eve", &other, other.clone()), "it is not what it was");
    assert!(file.replace("eve", &new, other));
}

#[test]
fn a_malformed_line_is_told_with_its_number() {
    for (text, line, cause) in [
        ("ann", 1, "has no ':'"),
        ("# x\n\nann", 3, "has no ':'"),
        (&*format!("ann:{PBKDF2}\nann:{PBKDF2}"), 2, "user \"ann\" stands in the file twice"),
        (&*format!(":{PBKDF2}"), 1, "the user name is empty"),
        (&*format!("a\tb:{PBKDF2}"), 1, "a control character"),
        (&*format!("ann:{PBKDF2}\nbob:"), 2, "no password hash"),
        ("ann:plain", 1, "fieldgate passwd -U"),
        (&*format!("ann:{PBKDF2}:more"), 1, "damaged"),
    ] {
        let mistake = PasswordFile::parse(text.as_bytes()).unwrap_err();
        assert_eq!(mistake.line, line, "{text}");
        assert!(mistake.to_string().contains(cause), "{text}: {mistake}");
    }
    let mistake = PasswordFile::parse(b"# \xff\n").unwrap_err();
    assert_eq!(mistake.to_string(), "line 1: is not UTF-8 text");
    for empty in ["", "\n", "# nobody\n"] {
        assert!(PasswordFile::parse(empty.as_bytes()).unwrap().is_empty());
    }
}

/// An authenticator, and a clock that stands still until it is moved.
struct Bench {
    auth: Authenticator,
    now: Mono,
    last: u64,
}

/// What became of an attempt.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Answer(Verdict),
    Check(String),
    Waits,
}

impl Bench {
    fn new(configured: &[(&str, &str)], file: Option<&str>) -> Self {
        let secret = |(name, secret): &(&str, &str)| {
            ((*name).to_owned(), Some(Secret::new(secret.as_bytes().to_vec())))
        };
        let mut auth = Authenticator::new(configured.iter().map(secret).collect(), &[1; 32]);
        if let Some(file) = file {
            auth.set_users(PasswordFile::parse(file.as_bytes()).unwrap());
        }
        Self { auth, now: Mono::from_nanos(1_000_000_000), last: 0 }
    }

    fn attempt(&mut self, address: &str, user: &str, password: &str) -> Seen {
        self.last += 1;
        let attempt = Attempt {
            ticket: Ticket(self.last),
            address: address.into(),
            user: user.into(),
            password: Secret::new(password.as_bytes().to_vec()),
        };
        self.auth.attempt(self.now, attempt);
        self.seen(self.last)
    }

    fn seen(&mut self, number: u64) -> Seen {
        let seen = match self.auth.poll_output() {
            Some(Output::Answer(ticket, verdict)) => {
                assert_eq!(ticket, Ticket(number));
                Seen::Answer(verdict)
            }
            Some(Output::Check(check)) => {
                assert_eq!(check.ticket, Ticket(number));
                Seen::Check(check.hash.to_string())
            }
            None => return Seen::Waits,
        };
        assert!(self.auth.poll_output().is_none());
        seen
    }

    fn checked(&mut self, number: u64, matches: bool) {
        self.auth.checked(self.now, Outcome { ticket: Ticket(number), matches, renewed: None });
    }

    fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        self.auth.tick(self.now);
    }
}

fn file(users: &[(&str, &str)]) -> String {
    users.iter().map(|(user, hash)| format!("{user}:{hash}\n")).collect()
}

const RIGHT: Seen = Seen::Answer(Verdict::Right);
const WRONG: Seen = Seen::Answer(Verdict::Wrong);
const UNKNOWN: Seen = Seen::Answer(Verdict::Unknown);

#[test]
fn users_of_the_config_need_no_hash() {
    let mut t = Bench::new(&[("plc", "pw")], None);
    assert_eq!(t.attempt("a", "plc", "pw"), RIGHT);
    assert_eq!(t.attempt("a", "plc", "pW"), WRONG);
    assert_eq!(t.attempt("b", "other", "pw"), WRONG);
    assert_eq!(t.attempt("b", "", ""), WRONG);
    let mut t = Bench { auth: Authenticator::new(vec![("x".into(), None)], &[1; 32]), ..t };
    t.last = 0;
    assert_eq!(t.attempt("a", "x", ""), WRONG, "a user whose password can't be read");
}

#[test]
fn a_right_password_is_hashed_once_in_ten_minutes_and_again_after_a_change() {
    let mut t = Bench::new(&[], Some(&file(&[("ann", PBKDF2)])));
    assert_eq!(t.attempt("a", "ann", "secret"), Seen::Check(PBKDF2.into()));
    t.checked(1, true);
    assert_eq!(t.seen(1), RIGHT);
    for address in ["a", "b", "c"] {
        assert_eq!(t.attempt(address, "ann", "secret"), RIGHT);
    }
    assert_eq!(t.attempt("a", "ann", "Secret"), Seen::Check(PBKDF2.into()), "another password");
    t.checked(5, false);
    assert_eq!(t.seen(5), WRONG);
    t.auth.set_users(PasswordFile::parse(file(&[("ann", PBKDF2), ("bob", SHA512)]).as_bytes()).unwrap());
    assert_eq!(t.attempt("b", "ann", "secret"), RIGHT, "the file changed, but not for her");
    t.auth.set_users(PasswordFile::parse(file(&[("ann", SHA512)]).as_bytes()).unwrap());
    assert_eq!(t.attempt("b", "ann", "secret"), Seen::Check(SHA512.into()));
    t.checked(7, true);
    assert_eq!(t.seen(7), RIGHT);
    t.pass(Duration::from_secs(600));
    assert_eq!(t.attempt("b", "ann", "secret"), Seen::Check(SHA512.into()));
    t.checked(8, true);
    assert_eq!(t.seen(8), RIGHT);
    t.auth.set_users(PasswordFile::default());
    assert_eq!(t.attempt("b", "ann", "secret"), Seen::Check(Hash::of_nobody().to_string()), "she is gone");
}

#[test]
fn a_user_who_does_not_exist_costs_a_hash_as_well() {
    let mut t = Bench::new(&[("plc", "pw")], Some(&file(&[("ann", PBKDF2)])));
    let nobody = Seen::Check(Hash::of_nobody().to_string());
    assert_eq!(t.attempt("a", "eve", "x"), nobody);
    assert_eq!(t.attempt("a", "plc", "wrong"), nobody, "nor can the config's users be told from others");
    t.checked(1, false);
    assert_eq!(t.seen(1), WRONG);
}

#[test]
fn a_renewed_hash_keeps_the_password_known() {
    let mut t = Bench::new(&[], Some(&file(&[("ann", PBKDF2)])));
    t.attempt("a", "ann", "secret");
    let renewed = Hash::parse(ARGON2ID).unwrap();
    t.auth.checked(t.now, Outcome { ticket: Ticket(1), matches: true, renewed: Some(renewed) });
    assert_eq!(t.seen(1), RIGHT);
    assert_eq!(t.attempt("a", "ann", "secret"), RIGHT);
    // As it is then read from the file.
    t.auth.set_users(PasswordFile::parse(file(&[("ann", ARGON2ID)]).as_bytes()).unwrap());
    assert_eq!(t.attempt("a", "ann", "secret"), RIGHT);
}

#[test]
fn failures_make_the_next_attempt_wait_longer_and_longer() {
    let mut t = Bench::new(&[("plc", "pw")], None);
    assert_eq!(t.attempt("a", "plc", "0"), WRONG);
    for seconds in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(t.attempt("a", "plc", "x"), Seen::Waits);
        let due = t.now + Duration::from_secs(seconds);
        assert_eq!(t.auth.next_deadline(), Some(due));
        t.pass(Duration::from_millis(seconds * 1_000 - 1));
        assert_eq!(t.seen(t.last), Seen::Waits);
        t.pass(Duration::from_millis(1));
        assert_eq!(t.seen(t.last), WRONG);
        assert_eq!(t.auth.next_deadline(), None);
    }
    assert_eq!(t.attempt("b", "plc", "pw"), RIGHT, "from elsewhere");
    assert_eq!(t.attempt("a", "other", "pw"), WRONG, "another user");
    assert_eq!(t.attempt("a", "plc", "pw"), Seen::Waits, "the right one waits too, or it could be guessed");
    t.pass(Duration::from_secs(30));
    assert_eq!(t.seen(t.last), RIGHT);
    assert_eq!(t.attempt("a", "plc", "x"), WRONG, "a right one starts anew");
}

#[test]
fn attempts_of_one_user_from_one_address_are_checked_one_after_another() {
    let mut t = Bench::new(&[], Some(&file(&[("ann", PBKDF2)])));
    assert_eq!(t.attempt("a", "ann", "secret"), Seen::Check(PBKDF2.into()));
    for _ in 0..100 {
        assert_eq!(t.attempt("a", "ann", "secret"), Seen::Waits);
    }
    assert_eq!(t.auth.next_deadline(), Some(t.now + HELD_FOR), "it is the check that they wait for");
    t.checked(1, true);
    let mut answers = 0;
    while let Some(output) = t.auth.poll_output() {
        assert!(matches!(output, Output::Answer(_, Verdict::Right)), "{output:?}");
        answers += 1;
    }
    assert_eq!(answers, 101, "one hash for all");
}

#[test]
fn what_waits_is_bounded() {
    let mut t = Bench::new(&[], Some(&file(&[("ann", PBKDF2)])));
    for number in 0..CHECKS_MAX {
        let seen = t.attempt(&number.to_string(), "ann", "secret");
        assert_eq!(seen, Seen::Check(PBKDF2.into()));
    }
    assert_eq!(t.attempt("more", "ann", "secret"), UNKNOWN);
    for address in ["0", "1"] {
        for _ in 0..HELD_OF_ONE_MAX {
            assert_eq!(t.attempt(address, "ann", "secret"), Seen::Waits);
        }
        assert_eq!(t.attempt(address, "ann", "secret"), UNKNOWN, "one takes half of the places at most");
    }
    assert_eq!(t.attempt("2", "ann", "secret"), UNKNOWN, "all places are taken");
    t.checked(1, false);
    assert!(matches!(t.auth.poll_output(), Some(Output::Answer(Ticket(1), Verdict::Wrong))));
    assert_eq!(t.attempt("more", "ann", "secret"), Seen::Check(PBKDF2.into()));
}

#[test]
fn a_file_that_cannot_be_read_lets_nobody_of_it_in_at_the_start_and_changes_nothing_later() {
    let mut t = Bench::new(&[("plc", "pw")], None);
    t.auth.users_unreadable();
    assert_eq!(t.attempt("a", "ann", "secret"), UNKNOWN);
    assert_eq!(t.attempt("a", "plc", "pw"), RIGHT);
    assert_eq!(t.attempt("a", "plc", "no"), WRONG);
    t.auth.set_users(PasswordFile::parse(file(&[("ann", PBKDF2)]).as_bytes()).unwrap());
    t.auth.users_unreadable();
    assert_eq!(t.attempt("a", "ann", "secret"), Seen::Check(PBKDF2.into()));
}

#[test]
fn nobody_waits_longer_than_a_client_would() {
    let mut t = Bench::new(&[], Some(&file(&[("ann", PBKDF2)])));
    t.attempt("a", "ann", "secret");
    assert_eq!(t.attempt("a", "ann", "secret"), Seen::Waits);
    t.pass(HELD_FOR - Duration::from_nanos(1));
    assert_eq!(t.seen(2), Seen::Waits);
    assert_eq!(t.auth.next_deadline(), Some(t.now + Duration::from_nanos(1)));
    t.pass(Duration::from_nanos(1));
    assert_eq!(t.seen(2), UNKNOWN);
    assert_eq!(t.auth.next_deadline(), None);
}

proptest::proptest! {
    /// CVE-2018-12551: a line that is no user with a hash must never become a user.
    #[test]
    fn whatever_stands_in_a_file_becomes_a_mistake_or_users_with_hashes(
        lines in proptest::collection::vec("(# ?)?[a-c:$67é ]{0,6}(:\\$6\\$[A-Za-z0-9+/=]{4}\\$[A-Za-z0-9]{0,3})?\r?", 0..6),
        good in 0usize..3,
        noise in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
    ) {
        let _ = PasswordFile::parse(&noise);
        let good: String = (0..good).map(|number| format!("user{number}:{SHA512}\n")).collect();
        let text = good.clone() + &lines.join("\n");
        let is_empty = |line: &String| line.trim().is_empty() || line.starts_with('#');
        match PasswordFile::parse(text.as_bytes()) {
            Ok(file) => {
                assert!(lines.iter().all(is_empty), "{text:?}");
                assert_eq!(file.len(), good.lines().count());
                let again = PasswordFile::parse(file.to_string().as_bytes()).unwrap();
                assert_eq!(again.to_string(), file.to_string());
            }
            Err(mistake) => {
                let bad = lines.iter().position(|line| !is_empty(line));
                assert_eq!(Some(mistake.line), bad.map(|at| good.lines().count() + at + 1), "{text:?}");
            }
        }
    }
}

#[test]
fn an_outcome_that_nobody_asked_for_is_ignored() {
    let mut t = Bench::new(&[], Some(""));
    t.checked(7, true);
    assert!(t.auth.poll_output().is_none());
}

fn configured(users: &[(&str, &str)]) -> Vec<(String, Option<Secret>)> {
    users.iter().map(|(user, text)| ((*user).to_owned(), Some(Secret::new((*text).into())))).collect()
}

#[test]
fn after_another_config_those_may_stay_whose_password_is_the_same() {
    let mut t = Bench::new(&[("same", "1"), ("other", "1"), ("gone", "1"), ("moves", "1")], None);
    let users = PasswordFile::parse(file(&[("ann", PBKDF2), ("moves", PBKDF2)]).as_bytes()).unwrap();
    let mut stay: Vec<String> = t
        .auth
        .reconfigure(configured(&[("same", "1"), ("other", "2"), ("new", "1")]), Some(users))
        .into_iter()
        .collect();
    stay.sort();
    assert_eq!(stay, ["ann", "new", "same"]);
    assert_eq!(t.attempt("a", "other", "1"), Seen::Check(Hash::of_nobody().to_string()));
    t.checked(1, false);
    assert_eq!(t.seen(1), WRONG);
    assert_eq!(t.attempt("b", "other", "2"), RIGHT);
    // A renewed hash is no other password.
    let renewed = PasswordFile::parse(file(&[("ann", SHA512)]).as_bytes()).unwrap();
    assert!(t.auth.reconfigure(Vec::new(), Some(renewed)).contains("ann"));
    assert!(t.auth.reconfigure(Vec::new(), None).is_empty());
    assert_eq!(t.attempt("c", "ann", "secret"), WRONG, "there is no file any more");
}

#[test]
fn a_check_that_was_under_way_when_the_user_went_lets_nobody_in() {
    let mut t = Bench::new(&[], Some(&file(&[("ann", PBKDF2), ("bob", PBKDF2)])));
    assert_eq!(t.attempt("a", "ann", "secret"), Seen::Check(PBKDF2.into()));
    assert_eq!(t.attempt("a", "bob", "secret"), Seen::Check(PBKDF2.into()));
    let users = PasswordFile::parse(file(&[("bob", SHA512)]).as_bytes()).unwrap();
    t.auth.reconfigure(Vec::new(), Some(users));
    t.checked(1, true);
    assert_eq!(t.seen(1), Seen::Check(Hash::of_nobody().to_string()), "it takes as long as for any name");
    t.checked(1, false);
    assert_eq!(t.seen(1), WRONG);
    t.checked(2, true);
    assert_eq!(t.seen(2), Seen::Check(SHA512.into()), "he has another password now");
}
