//! Twelve secrets, of every kind that a gateway holds or is told, are never found again: not in the API, the pages, the log,
//! the metrics, the support bundle, the history, a diff, a backup that isn't encrypted, an answer over MQTT, or a `Debug`.

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

use base64ct::{Base64, Encoding};
use fieldgate::io::{backup, config_files};
use fieldgate::secret::Secret;
use fieldgate::web::routes::{self, Method};
use raw::{Client, Connect, V};
use serde_json::{Value as Json, json};
use support::http::{Http, web_config};
use support::{Gateway, Tap, eventually, free_port, publish_with};

const UPSTREAM: &str = "canary-upstream-1f3a";
const ENVIRONMENT: &str = "canary-environment-2b4c";
const USER: &str = "canary-lan-user-77b2";
const WRONG_USER: &str = "canary-lan-wrong-8c1d";
const CLAIM: &str = "CANARYCLAIM234567";
const ADMIN: &str = "canary-admin-pass-9c";
const TYPED: &str = "canary-typed-5e";
const PASSPHRASE: &str = "canary-passphrase-6f";
const IN_CONFIG: &str = "canary-in-config-4d";

/// What was said, and where.
type Said = Vec<(String, String)>;

struct Place {
    gateway: Gateway,
    admin: Http,
    plain: Http,
    said: Said,
    /// Those that only the running gateway knows.
    made: Vec<String>,
}

fn place() -> Place {
    let mut gateway = Gateway::new("");
    let secret = |name: &str, value: &str| {
        let file = gateway.dir.path().join(name);
        std::fs::write(&file, format!("{value}\n")).unwrap();
        file
    };
    let (upstream, user, claim) = (secret("up", UPSTREAM), secret("user", USER), secret("claim", CLAIM));
    let plain = free_port();
    let web = web_config(plain, free_port(), &format!("claim_code = {{ file = {claim:?} }}"));
    let dial = |name: &str, password: &str| {
        format!(
            "[[upstream]]\nname = \"{name}\"\nhost = \"127.0.0.1\"\nport = 9\nclient_id = \"{name}\"\nuser_name = \"u\"\npassword = {password}\n"
        )
    };
    gateway.configure(&format!(
        "{web}[config]\nmqtt = true\n[[broker.user]]\nname = \"dev\"\npassword = {{ file = {user:?} }}\n\
         [[broker.acl]]\nuser = \"dev\"\nallow = [{{ topic = \"#\" }}, {{ topic = \"$SYS/#\", access = \"read\" }}]\n{}{}",
        dial("up", &format!("{{ file = {upstream:?} }}")),
        dial("by-env", "{ env = \"CANARY_ENV\" }"),
    ));
    gateway.set_env("CANARY_ENV", ENVIRONMENT);
    gateway.start_again();
    eventually("the page can be opened", || std::net::TcpStream::connect(("127.0.0.1", plain)).ok());
    let plain = Http::new(plain, None);
    let mut admin = plain.clone();
    let claimed = admin.post("/api/v1/claim", &json!({"code": CLAIM, "name": "anna", "password": ADMIN}));
    assert_eq!(claimed.status, 200, "{claimed:?}");
    admin.cookie = claimed.cookie();
    admin.csrf = claimed.json()["csrf"].as_str().unwrap().to_owned();
    let login = plain.post("/api/v1/login", &json!({"name": "anna", "password": TYPED}));
    assert_eq!(login.status, 401);
    let token = admin.post("/api/v1/tokens", &json!({"name": "grafana", "role": "viewer"})).json();
    let made = vec![
        admin.cookie.split_once('=').unwrap().1.to_owned(),
        token["token"].as_str().unwrap().to_owned(),
        eventually("the page has a key", || {
            let key = std::fs::read_to_string(gateway.data_dir().join("web/certificate.key")).ok()?;
            key.lines().nth(1).map(str::to_owned)
        }),
    ];
    let said = vec![("the claim".into(), claimed.body), ("a wrong login".into(), login.body)];
    Place { gateway, admin, plain, said, made }
}

impl Place {
    fn note(&mut self, place: &str, text: impl Into<String>) {
        self.said.push((place.to_owned(), text.into()));
    }

    fn post(&mut self, path: &str, body: &Json) -> Json {
        let answer = self.admin.post(path, body);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        self.note(path, answer.body.clone());
        answer.json()
    }

    /// Whoever has a wrong password, and somebody who wrote one into the config.
    fn slips(&mut self) {
        let mut wrong = Client::open(self.gateway.lan_port, V::V5);
        wrong.send(&Connect::new(V::V5, "wrong").user("dev", WRONG_USER).bytes());
        wrong.rest();
        let text = std::fs::read_to_string(self.gateway.config()).unwrap();
        let typed =
            text.replace("password = { env = \"CANARY_ENV\" }", &format!("password = \"{IN_CONFIG}\""));
        assert!(typed.contains(IN_CONFIG));
        for what in ["look", "probe", "apply"] {
            let refused = self.post(&format!("/api/v1/config/{what}"), &json!({ "text": typed }));
            assert_eq!(refused["outcome"], "refused", "{refused}");
        }
    }

    fn config(&mut self) {
        let edits = json!([{"path": "upstream.up.password", "value": {"env": "CANARY_ENV"}}]);
        let look = self.post("/api/v1/config/look", &json!({ "edits": edits }));
        assert_eq!(look["outcome"], "right", "{look}");
        let done = self.post("/api/v1/config/apply", &json!({"edits": edits, "probe": false}));
        assert_eq!(done["outcome"], "applied", "{done}");
        let open = self.post("/api/v1/config/backup", &json!({}));
        assert_eq!(open["encrypted"], false);
        let sealed = self.post("/api/v1/config/backup", &json!({ "passphrase": PASSPHRASE }));
        let content = sealed["content"].as_str().unwrap();
        let look = self.post("/api/v1/config/restore", &json!({"backup": content, "passphrase": PASSPHRASE}));
        assert_eq!(look["outcome"], "right", "{look}");
        let opened = backup::open(content, Some(&Secret::new(PASSPHRASE.into()))).unwrap();
        self.note("Debug of a backup", format!("{opened:?}"));
        let read = config_files::parse(&config_files::read(&self.gateway.config()).unwrap()).unwrap();
        self.note("Debug of a config", format!("{read:?}"));
        self.note("Debug of a secret", format!("{:?}", Secret::new(UPSTREAM.into())));
        let request = fieldgate::io::operations::Request {
            passphrase: Some(Secret::new(PASSPHRASE.into())),
            ..Default::default()
        };
        self.note("Debug of a request", format!("{request:?}"));
    }

    fn over_mqtt(&mut self) {
        let login = ["-u", "dev", "-P", USER];
        let port = self.gateway.lan_port;
        let tap = Tap::subscribe_with(port, "fieldgate/gw/#", &login);
        let sys = Tap::subscribe_with(port, "$SYS/#", &login);
        for (asked, payload) in
            [("get", ""), ("history", ""), ("history", r#"{"version": 1}"#), ("pending", "")]
        {
            let mut all = vec!["-q", "1"];
            all.extend(login);
            publish_with(port, &Gateway::topic(&format!("config/{asked}")), payload, &all);
        }
        eventually("all is answered", || {
            let results =
                tap.messages().into_iter().filter(|message| message.topic.ends_with("config/result"));
            (results.count() == 4).then_some(())
        });
        for message in tap.messages().into_iter().chain(sys.messages()) {
            self.note(&message.topic.clone(), message.payload);
        }
    }

    fn looks(&mut self) {
        let all = routes::all().filter(|route| route.method == Method::Get && !route.path.contains('{'));
        for route in all {
            // The stream of events never ends.
            if !route.content.contains("event-stream") {
                let answer = self.admin.get(route.path);
                self.note(route.path, answer.body);
            }
        }
        for path in
            ["/api/v1/config/history?version=1", "/config/history?version=1", "/config?path=upstream.up"]
        {
            let answer = self.admin.get(path);
            assert_eq!(answer.status, 200, "{path}");
            self.note(path, answer.body);
        }
        let metrics = self.plain.get("/metrics").body;
        self.note("/metrics of nobody", metrics);
        let status = self.gateway.ask("status").to_string();
        self.note("the control socket", status);
        // The console shows the claim code, on purpose, and nothing else of them.
        let log = self.gateway.log();
        let log: Vec<&str> = log.lines().filter(|line| !line.contains("enter the claim code")).collect();
        self.note("the log", log.join("\n"));
        let history = self.gateway.data_dir().join("config-history");
        for entry in std::fs::read_dir(history).unwrap() {
            let path = entry.unwrap().path();
            self.note(&path.display().to_string(), std::fs::read_to_string(&path).unwrap_or_default());
        }
    }
}

#[test]
fn no_secret_is_ever_found_again() {
    let mut place = place();
    place.slips();
    place.config();
    place.over_mqtt();
    place.looks();
    let mut canaries: Vec<String> =
        [UPSTREAM, ENVIRONMENT, USER, WRONG_USER, CLAIM, ADMIN, TYPED, PASSPHRASE, IN_CONFIG]
            .map(str::to_owned)
            .to_vec();
    canaries.append(&mut place.made);
    assert_eq!(canaries.len(), 12);
    assert!(place.said.len() > 60, "{} outlets", place.said.len());
    for canary in &canaries {
        assert!(canary.len() > 10, "{canary}");
        // Neither as it is nor as a file is kept in a backup.
        let file = Base64::encode_string(format!("{canary}\n").as_bytes());
        for (place, text) in &place.said {
            assert!(!text.contains(canary) && !text.contains(&file), "{canary} stands in {place}: {text}");
        }
    }
}
