//! Who may what on the page and its API: every route of the table, tried by everybody, from elsewhere, and without what
//! only the own page knows.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "tests and their helpers"
)]

mod support;

use fieldgate::people::Role;
use fieldgate::web::routes::{self, Access, Method, Route};
use serde_json::json;
use support::http::{Answer, Http, PASSWORD, claim_code, with_page};
use support::{Gateway, fieldgate};

const ACCOUNTS: [(&str, Role); 3] = [("vera", Role::Viewer), ("otto", Role::Operator), ("anna", Role::Admin)];

/// A gateway that is claimed, with an account of each role; and the session of each.
fn claimed(more: &str) -> (Gateway, Http, Vec<(Role, Http)>) {
    let (gateway, plain, _) = with_page(more, "");
    let mut admin = plain.clone();
    admin.claim(&gateway);
    for (name, role) in &ACCOUNTS[..2] {
        let account = json!({"name": name, "role": role.name(), "password": PASSWORD});
        assert_eq!(admin.post("/api/v1/accounts", &account).status, 200);
    }
    let log_in = |(name, role): (&str, Role)| {
        let mut http = plain.clone();
        http.log_in(name);
        (role, http)
    };
    let sessions = ACCOUNTS.into_iter().map(log_in).collect();
    (gateway, plain, sessions)
}

/// A path in the place of a pattern: what it names isn't there.
fn path(route: &Route) -> String {
    route.path.replace("{name}", "nobody").replace("{version}", "0").replace("{file}", "none.js")
}

fn is_page(route: &Route) -> bool {
    route.content == "text/html"
}

/// Whether somebody was kept out, for want of a login or a role.
fn kept_out(route: &Route, answer: &Answer) -> bool {
    match answer.status {
        303 if is_page(route) => answer.header("location").starts_with("/login"),
        401 => answer.code() == "login",
        403 => answer.code() == "role",
        _ => false,
    }
}

#[test]
fn every_route_lets_in_who_has_its_role_and_nobody_else() {
    let (_gateway, plain, sessions) = claimed("");
    let mut tried = 0;
    for route in routes::all() {
        let (method, path) = (route.method.name(), path(route));
        let guest = plain.send(method, &path, &[], "{}");
        let needed = match route.access {
            Access::Role(role) => Some(role),
            Access::Metrics => Some(Role::Viewer),
            Access::Unclaimed => {
                // What only the setup may do is over for everybody.
                let is_over = guest.code() == "claimed" || guest.header("location") == "/";
                assert!(is_over, "{method} {path}: {guest:?}");
                continue;
            }
            Access::Always | Access::Everybody | Access::Guest => None,
        };
        assert_eq!(kept_out(route, &guest), needed.is_some(), "{method} {path} without a session: {guest:?}");
        for (role, session) in &sessions {
            // A session of its own, since some routes end it.
            let mut session = session.clone();
            if path == "/api/v1/logout" {
                session = plain.clone();
                session.log_in(ACCOUNTS.iter().find(|(_, known)| known == role).unwrap().0);
            }
            let answer = session.send(method, &path, &[], "{}");
            let is_kept_out = needed.is_some_and(|needed| *role < needed);
            assert_eq!(kept_out(route, &answer), is_kept_out, "{method} {path} as {role:?}: {answer:?}");
            assert!(answer.status < 500, "{method} {path} as {role:?}: {answer:?}");
            tried += 1;
        }
    }
    assert!(tried >= 3 * (routes::all().count() - 2), "{tried} of {} routes", routes::all().count());
}

#[test]
fn no_route_answers_another_host_and_no_change_is_taken_from_another_page() {
    let (_gateway, plain, sessions) = claimed("hosts = [\"gate.example.com\"]");
    let (_, admin) = sessions.last().unwrap();
    for route in routes::all() {
        let (method, path) = (route.method.name(), path(route));
        for host in ["evil.example", "127.0.0.1.evil.example", "10.99.99.99", ""] {
            let answer = admin.send(method, &path, &[("host", host)], "{}");
            // Without any, HTTP itself is broken.
            let expected = (answer.status, answer.code());
            assert!(
                expected == (421, "wrong_host".into()) || (host.is_empty() && answer.status == 400),
                "{method} {path} {host}: {answer:?}"
            );
        }
        if route.method == Method::Get {
            continue;
        }
        let check = |what: &str, headers: &[(&str, &str)], status: u16, code: &str| {
            let answer = admin.send(method, &path, headers, "{}");
            // Over or not, a route that only the setup may use tells so first.
            let is_over = route.access == Access::Unclaimed && answer.code() == "claimed";
            assert!(
                (answer.status, answer.code().as_str()) == (status, code) || is_over,
                "{method} {path} {what}: {answer:?}"
            );
        };
        check("without Origin", &[("origin", "")], 403, "origin");
        check("from elsewhere", &[("origin", "https://evil.example")], 403, "origin");
        check("from another port", &[("origin", "http://127.0.0.1:1")], 403, "origin");
        check("from nowhere", &[("origin", "null")], 403, "origin");
        check("cross-site", &[("sec-fetch-site", "cross-site")], 403, "origin");
        check("same-site", &[("sec-fetch-site", "same-site")], 403, "origin");
        check("without the header", &[("x-fg-csrf", "")], 403, "csrf");
        // Before the login there is no session that it could belong to.
        check("with another's header", &[("x-fg-csrf", &"0".repeat(64))], 403, "csrf");
        check("as a form", &[("content-type", "application/x-www-form-urlencoded")], 415, "content_type");
        check("as text", &[("content-type", "text/plain")], 415, "content_type");
        check("without a type", &[("content-type", "")], 415, "content_type");
    }
    for host in ["gate.example.com", "localhost:1234", "barn.local", "[::1]:8443"] {
        assert_eq!(plain.send("GET", "/healthz", &[("host", host)], "").status, 200, "{host}");
    }
    let elsewhere = plain.send("GET", "/no/such/page", &[("host", "evil.example")], "");
    assert_eq!(elsewhere.status, 421);
    assert_eq!((plain.get("/no/such").status, plain.get("/no/such").code()), (404, "not_found".into()));
    let wrong = plain.send("PUT", "/api/v1/login", &[], "{}");
    assert_eq!((wrong.status, wrong.code(), wrong.header("allow")), (405, "method".into(), "POST"));
}

#[test]
fn a_gateway_is_claimed_with_its_code_and_nothing_else_answers_before() {
    let (mut gateway, plain, tls) = with_page("", "");
    for route in routes::all().filter(|route| !matches!(route.access, Access::Always | Access::Everybody)) {
        let (method, path) = (route.method.name(), path(route));
        let answer = plain.send(method, &path, &[], "{}");
        let is_setup = route.access == Access::Unclaimed;
        let is_closed = answer.code() == "unclaimed" || answer.header("location") == "/setup";
        assert_eq!(is_closed, !is_setup, "{method} {path}: {answer:?}");
    }
    let code = claim_code(&gateway);
    assert!(gateway.log().contains(&format!("claim code {code}")), "the console shows it");
    assert_eq!(code.len(), 24, "twenty letters in groups of four");
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        std::fs::metadata(gateway.dir.path().join("claim")).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode, 0o600);
    let claim =
        |code: &str, password: &str| tls.post("/api/v1/claim", &json!({"code": code, "password": password}));
    let wrong = claim("AAAA-BBBB-CCCC-DDDD-EEEE", PASSWORD);
    assert_eq!((wrong.status, wrong.json()["error"]["field"].as_str()), (400, Some("code")));
    let weak = claim(&code, "1234567890");
    assert_eq!((weak.status, weak.json()["error"]["field"].as_str()), (400, Some("password")));
    let told = fieldgate().args(["claim", "--label", "--socket"]).arg(gateway.socket()).output().unwrap();
    let label = String::from_utf8(told.stdout).unwrap();
    assert!(label.contains(&format!("claim code {code}")) && label.contains('█'), "{label}");
    let done = claim(&code, PASSWORD);
    assert_eq!(done.status, 200, "{done:?}");
    let cookie = done.header("set-cookie");
    for part in ["__Host-fg=", "Path=/", "Secure", "HttpOnly", "SameSite=Strict"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let again = claim(&code, PASSWORD);
    assert_eq!((again.status, again.code().as_str()), (403, "claimed"));
    assert!(!gateway.dir.path().join("claim").exists(), "the code opens nothing any more");
    assert!(!gateway.data_dir().join("web/claim-code").exists());
    // It stays claimed, also over a restart; sessions don't.
    let mut session = tls.clone();
    session.cookie = done.cookie();
    assert_eq!(session.get("/api/v1/session").json()["name"], "admin");
    gateway.stop();
    gateway.start_again();
    support::eventually("the page is back", || (tls.get("/healthz").status == 200).then_some(()));
    assert_eq!(session.get("/api/v1/session").status, 401);
    assert_eq!(claim(&code, PASSWORD).code(), "claimed");
    let mut session = tls.clone();
    session.log_in("admin");
    assert_eq!(session.get("/").status, 200);
    let told = fieldgate().args(["claim", "--socket"]).arg(gateway.socket()).output().unwrap();
    assert!(!told.status.success() && String::from_utf8_lossy(&told.stderr).contains("has been claimed"));
}

#[test]
fn a_password_that_is_changed_ends_the_sessions_and_root_can_always_set_one() {
    let (gateway, plain, sessions) = claimed("");
    let (_, vera) = &sessions[0];
    let mut second = plain.clone();
    second.log_in("vera");
    let change =
        |old: &str| vera.post("/api/v1/password", &json!({"old": old, "password": "another password 7"}));
    let wrong = change("not that one");
    assert_eq!((wrong.status, wrong.json()["error"]["field"].as_str()), (400, Some("old")));
    assert_eq!(change(PASSWORD).status, 200);
    for session in [vera, &second] {
        assert_eq!(session.get("/api/v1/session").status, 401);
    }
    let (_, anna) = &sessions[2];
    assert_eq!(anna.get("/api/v1/session").status, 200, "others stay");
    let remove = anna.send("DELETE", "/api/v1/accounts/anna", &[], "{}");
    assert_eq!((remove.status, remove.code().as_str()), (409, "refused"), "the last administrator");
    // As root does who has lost it.
    let mut child = fieldgate()
        .args(["passwd", "--admin", "anna", "--config"])
        .arg(gateway.config())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"set by root 99\n").unwrap();
    assert!(child.wait().unwrap().success());
    support::eventually("the session of before has ended", || {
        (anna.get("/api/v1/session").status == 401).then_some(())
    });
    let login = plain.post("/api/v1/login", &json!({"name": "anna", "password": "set by root 99"}));
    assert_eq!(login.status, 200, "{login:?}");
    assert_ne!(login.cookie(), anna.cookie);
}

#[test]
fn a_token_is_shown_once_works_without_a_browser_and_can_be_taken_back() {
    let (gateway, plain, sessions) = claimed("");
    let (_, anna) = sessions.last().unwrap();
    let made = anna.post("/api/v1/tokens", &json!({"name": "grafana", "role": "viewer"}));
    let secret = made.json()["token"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("fg_") && secret.len() == 46, "256 bits: {}", secret.len());
    let program = Http { token: secret.clone(), ..plain.clone() };
    assert!(program.get("/metrics").body.contains("fieldgate_uptime_seconds"));
    assert_eq!(program.get("/api/v1/status").json()["gateway"], "gw");
    assert_eq!(program.get("/api/v1/tokens").code(), "role");
    // A change by a token needs no page.
    let login = program.send("POST", "/api/v1/accounts", &[], "{}");
    assert_eq!(login.code(), "role");
    let list = anna.get("/api/v1/tokens");
    assert!(list.json()[0]["used"].is_string() && !list.body.contains(&secret), "{list:?}");
    let kept = std::fs::read_to_string(gateway.data_dir().join("web/accounts.json")).unwrap();
    assert!(!kept.contains(&secret) && kept.contains("argon2id"), "only hashes are kept");
    assert_eq!(anna.send("DELETE", "/api/v1/tokens/grafana", &[], "{}").status, 200);
    assert_eq!(program.get("/api/v1/status").status, 401);
    let journal = anna.get("/api/v1/journal").json();
    let kinds: Vec<&str> =
        journal["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    for kind in ["claimed", "login", "account_made", "token_made", "token_removed"] {
        assert!(kinds.contains(&kind), "{kind} is missing: {kinds:?}");
    }
}

#[test]
fn wrong_passwords_are_slowed_down_and_told_when_to_come_back() {
    let (gateway, plain, _) = claimed("");
    let login = |password: &str| plain.post("/api/v1/login", &json!({"name": "anna", "password": password}));
    let mut codes = Vec::new();
    for _ in 0..12 {
        let answer = login("not that one");
        codes.push(answer.status);
        if answer.status == 429 {
            assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1, "{answer:?}");
            assert!(answer.body.contains("too many wrong passwords"), "{answer:?}");
            break;
        }
    }
    assert_eq!(codes, [401, 401, 401, 401, 401, 429]);
    assert_eq!(login(PASSWORD).status, 429, "the right one has to wait too");
    // Nobody learns which names there are.
    assert!(!gateway.log().contains("not that one"), "a password is never logged");
    support::eventually("the wait is over", || (login(PASSWORD).status == 200).then_some(()));
}
