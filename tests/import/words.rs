//! What the import says: each kind of remark with its place, and results that let in nobody whom Mosquitto wouldn't.

use std::path::Path;
use std::process::Command;

use crate::support::fieldgate;

/// Imports a text; gives the exit code, the config, and what was said.
fn import(text: &str) -> (i32, String, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("m.conf"), text).unwrap();
    run(fieldgate().current_dir(dir.path()).args(["import", "m.conf"]), dir.path())
}

fn run(command: &mut Command, dir: &Path) -> (i32, String, String) {
    let output = command.output().unwrap();
    let words = |bytes| String::from_utf8(bytes).unwrap().replace(&dir.display().to_string(), "DIR");
    (output.status.code().unwrap(), words(output.stdout), words(output.stderr))
}

/// What `fieldgate check` says of a config.
fn check(config: &str) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("c.toml");
    std::fs::write(&file, config).unwrap();
    let (code, _, text) = run(fieldgate().arg("check").arg(&file), dir.path());
    if code == 0 { Ok(()) } else { Err(text) }
}

/// The listeners of a config: where they are bound, and whether clients without a name, and with any name, get in.
fn doors(config: &str) -> Vec<(String, bool, bool)> {
    let read: toml::Table = toml::from_str(config).unwrap_or_else(|error| panic!("{error}\n{config}"));
    let listeners =
        read["broker"].get("listener").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let flag = |listener: &toml::Value, key: &str, default| {
        listener.get(key).map_or(default, |value| value.as_bool().unwrap())
    };
    listeners
        .iter()
        .map(|listener| {
            let bind = listener["bind"].as_str().unwrap().to_owned();
            (bind, flag(listener, "allow_anonymous", false), !flag(listener, "check_users", true))
        })
        .collect()
}

#[test]
fn what_a_listener_offers_and_how_it_names_its_clients_is_carried_over() {
    let (code, config, told) = import(
        "listener 1 127.0.0.1\nallow_anonymous true\nmax_qos 1\nuse_username_as_clientid true\n\
         listener 2 127.0.0.1\nmax_qos 2\nuse_username_as_clientid false\nretain_available false\n",
    );
    assert_eq!(code, 0, "{told}");
    let read: toml::Table = toml::from_str(&config).unwrap();
    let listeners = read["broker"]["listener"].as_array().unwrap();
    let number = |at: usize| listeners[at].get("max_qos").and_then(toml::Value::as_integer);
    let flag = |at: usize, key: &str| listeners[at].get(key).and_then(toml::Value::as_bool);
    assert_eq!((number(0), number(1)), (Some(1), None), "{config}");
    for (at, named) in [(0, Some(true)), (1, None)] {
        assert_eq!(flag(at, "client_id_from_user"), named, "{config}");
        assert_eq!(flag(at, "retain_available"), Some(false), "{config}");
    }
}

#[test]
fn no_config_opens_more_than_mosquitto_would() {
    let closed = ("127.0.0.1:1883", false, false);
    for (text, expected) in [
        // Mosquitto without a listener is for this machine.
        ("", vec![("127.0.0.1:1883", true, true)]),
        ("persistence true\n", vec![("127.0.0.1:1883", true, true)]),
        ("allow_anonymous false\npassword_file /p\n", vec![closed]),
        ("listener 1 0.0.0.0\nallow_anonymous true\n", vec![("0.0.0.0:1", true, true)]),
        ("listener 1 0.0.0.0\nallow_anonymous true\npassword_file /p\n", vec![("0.0.0.0:1", true, false)]),
        ("listener 1 0.0.0.0\npassword_file /p\n", vec![("0.0.0.0:1", false, false)]),
        ("port 2\nsocket_domain ipv4\npassword_file /p\n", vec![("0.0.0.0:2", false, false)]),
        ("bind_address 127.0.0.1\npassword_file /p\n", vec![("127.0.0.1:1883", false, false)]),
        // What stands above any listener opens the default one beside it.
        (
            "max_connections 3\nsocket_domain ipv4\nlistener 1 127.0.0.1\nallow_anonymous true\n",
            vec![("127.0.0.1:1", true, true), ("0.0.0.0:1883", true, true)],
        ),
        // A setting of one listener isn't another's.
        (
            "per_listener_settings true\nallow_anonymous true\nlistener 1 127.0.0.1\npassword_file /p\n\
             listener 2 127.0.0.1\nallow_anonymous true\n",
            vec![("127.0.0.1:1", false, false), ("127.0.0.1:2", true, true)],
        ),
        // Its users are others, or there are none: then it stays closed.
        (
            "per_listener_settings true\nlistener 1 127.0.0.1\npassword_file /p\nlistener 2 127.0.0.1\n\
             password_file /q\nlistener 3 127.0.0.1\n",
            vec![("127.0.0.1:1", false, false), ("127.0.0.1:2", false, false)],
        ),
        ("listener 1 127.0.0.1\nallow_anonymous true\nmount_point a/\n", vec![closed]),
        ("listener 1 127.0.0.1\nallow_anonymous true\nbind_interface eth0\n", vec![closed]),
        ("listener 1 127.0.0.1\nallow_anonymous true\npsk_hint x\npsk_file /k\n", vec![closed]),
        ("listener 1\nallow_anonymous true\nsocket_domain ipv6\n", vec![closed]),
        ("listener 1 127.0.0.1\nallow_anonymous true\nprotocol http_api\n", vec![closed]),
        (
            "listener 1 127.0.0.1\nallow_anonymous true\ncertfile /c\nkeyfile /k\nrequire_certificate true\n",
            vec![closed],
        ),
        (
            "listener 1 127.0.0.1\nallow_anonymous true\ncertfile /c\nkeyfile /k\ncafile /a\nrequire_certificate true\n\
             use_subject_as_username true\n",
            vec![closed],
        ),
        ("listener 1 127.0.0.1\nallow_anonymous true\ncertfile /c\n", vec![closed]),
        ("listener 1 127.0.0.1\nallow_anonymous true\nlistener 70000\n", vec![("127.0.0.1:1", true, true)]),
        ("listener 1 127.0.0.1\nallow_anonymous true\nplugin /x.so\n", vec![("127.0.0.1:1", true, false)]),
    ] {
        let (code, config, told) = import(text);
        let mut expected: Vec<_> =
            expected.into_iter().map(|(bind, anonymous, any)| (bind.to_owned(), anonymous, any)).collect();
        let mut found = doors(&config);
        // A machine may speak IPv6 or not.
        found.retain(|(bind, ..)| !bind.starts_with("[::1]"));
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{text}\n{told}\n{config}");
        let is_less = config.contains("left out") || config.contains("plugin");
        assert_eq!(code != 0, is_less, "{text}\n{told}");
        assert_eq!(is_less, told.contains("before this config runs"), "{text}\n{told}");
    }
}

#[test]
fn a_listener_that_lets_nobody_in_is_named_and_check_says_what_to_do() {
    let (code, config, told) = import("listener 1883\n");
    assert_eq!(code, 3);
    assert!(
        told.starts_with("m.conf:1: listener: NOT CARRIED OVER (security): nobody gets in there"),
        "{told}"
    );
    let wrong = check(&config).unwrap_err();
    assert!(wrong.contains("there is no [[broker.user]] to let in"), "{wrong}");
}

#[test]
fn every_remark_has_its_place_its_reason_and_a_way() {
    let (code, config, told) = import(
        "# a comment\nport 1883\nbind_address 127.0.0.1\nallow_anonymous true\nautosave_interval 60\npersistance on\n\
         queue_qos0_messages true\nlog_dest dlt\nmax_inflight_messages 0\npid_file relative.pid\n\
         acl_file relative/acl\nmax_keepalive -1\n",
    );
    assert_eq!(code, 2, "{told}");
    let expected = [
        "m.conf:6: persistance: MISTAKE: Mosquitto has no such option; did you mean persistence?",
        "m.conf:12: max_keepalive: MISTAKE: -1 is not between 0 and 65535",
        "m.conf:7: queue_qos0_messages: NOT CARRIED OVER (delivery): messages with QoS 0 don't wait",
        "m.conf:8: log_dest: not carried over: it is no destination",
        "m.conf:9: max_inflight_messages: carried over, with a difference: 0 means no limit; the largest that can be set \
         is 65535",
        "m.conf:11: acl_file: carried over, with a difference: a relative path begins where Mosquitto is started; taken \
         as DIR/relative/acl",
        "m.conf:5: autosave_interval: not needed: what was acknowledged is on disk already",
    ];
    let mut rest = told.as_str();
    for part in expected {
        let at =
            rest.find(part).unwrap_or_else(|| panic!("{part:?} is not said, or not in its turn:\n{told}"));
        rest = &rest[at..];
    }
    assert!(config.contains("inflight_max = 65535  # m.conf:9"), "{config}");
    assert!(config.contains("bind = \"127.0.0.1:1883\"  # m.conf:2"), "{config}");
}

#[test]
fn bridges_that_would_send_other_things_are_left_out_with_their_reason() {
    for (bridge, why) in [
        ("address h\n", "it has no topic"),
        ("topic a\n", "it has no address"),
        (
            "address h\ntopic a out\nbridge_psk 00\nbridge_identity x\n",
            "bridge_identity (m.conf:7) can't be carried over",
        ),
        ("address h\ntopic a out\nremote_password hush\n", "it has a password and no user name"),
        (
            "address h\ntopic a out\nremote_clientid {a}\n",
            "a brace in remote_clientid (m.conf:6) begins a placeholder",
        ),
        (
            "address h\ntopic a out\nbridge_certfile /c\nbridge_keyfile /k\n",
            "bridge_certfile needs bridge_cafile",
        ),
    ] {
        let (code, config, told) =
            import(&format!("listener 1 127.0.0.1\nallow_anonymous true\nconnection c\n{bridge}"));
        assert!(code >= 2, "{told}");
        assert!(
            !config.contains("[[upstream]]") && config.contains(&format!("is left out: {why}")),
            "{config}"
        );
        assert!(told.contains(why) && !told.contains("hush") && !config.contains("hush"), "{told}");
        check(&config).unwrap();
    }
    let (code, config, told) = import(
        "listener 1 127.0.0.1\nallow_anonymous true\nconnection a/b\naddress [2001:db8::1]:1884 other:1885\n\
         topic a out 2\ntopic a out 1\ntopic a in 2\ntopic \"x y\" out\ntopic {a} both\nrestart_timeout 20\nbridge_protocol_version mqttv50\n",
    );
    assert_eq!(code, 3, "{told}");
    let read: toml::Table = toml::from_str(&config).unwrap();
    let upstream = &read["upstream"][0];
    let text = |key: &str| upstream[key].as_str().unwrap();
    assert_eq!((text("name"), text("host"), text("version")), ("a-b", "2001:db8::1", "5"));
    assert_eq!((text("backoff_min"), text("backoff_max"), text("keep_alive")), ("20s", "20s", "60s"));
    assert_eq!(upstream["port"].as_integer(), Some(1884));
    let filters: Vec<_> =
        upstream["map"].as_array().unwrap().iter().map(|map| map["filter"].as_str().unwrap()).collect();
    assert_eq!(filters, ["a", "a", "x y"]);
    check(&config).unwrap();
}

#[test]
fn a_bridge_is_connected_when_mosquitto_would_connect_it() {
    let bridge = "listener 1 127.0.0.1\nallow_anonymous true\nconnection c\naddress h\ntopic a out\n";
    for (lines, start, threshold, idle) in [
        ("", None, None, None),
        ("start_type automatic\n", Some("automatic"), None, None),
        ("start_type once\n", Some("once"), None, None),
        // More than the threshold, which is 10.
        ("start_type lazy\n", Some("lazy"), Some(11), None),
        ("start_type lazy\nthreshold 4\nidle_timeout 90\n", Some("lazy"), Some(5), Some("90s")),
        ("start_type lazy\nthreshold 0\nidle_timeout 0\n", Some("lazy"), Some(1), Some("1s")),
        ("threshold 4\nidle_timeout 90\n", None, None, None),
        ("start_type manual\n", None, None, None),
    ] {
        let (_, config, told) = import(&format!("{bridge}{lines}"));
        let read: toml::Table = toml::from_str(&config).unwrap();
        let upstream = &read["upstream"][0];
        let text = |key: &str| upstream.get(key).map(|value| value.as_str().unwrap());
        let count = upstream.get("threshold").map(|value| value.as_integer().unwrap());
        assert_eq!((text("start"), count, text("idle_timeout")), (start, threshold, idle), "{lines}");
        check(&config).unwrap();
        assert_eq!(told.contains("neither automatic nor lazy nor once"), lines.contains("manual"), "{told}");
    }
}

#[test]
fn a_file_that_is_not_there_or_no_text_is_an_error_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| run(fieldgate().current_dir(dir.path()).args(["import", name]), dir.path());
    let (code, config, told) = at("none.conf");
    assert!(code == 1 && config.is_empty() && told.contains("none.conf: No such file"), "{told}");
    std::fs::write(dir.path().join("binary.conf"), b"listener \xff\n").unwrap();
    let (code, _, told) = at("binary.conf");
    assert!(code == 1 && told.contains("is not UTF-8 text (byte 9)"), "{told}");
    std::fs::write(
        dir.path().join("m.conf"),
        "include_dir none.d\nlistener 1 127.0.0.1\nallow_anonymous true\n",
    )
    .unwrap();
    let (code, config, told) = at("m.conf");
    assert!(
        code == 2 && told.contains("m.conf:1: include_dir: MISTAKE: can't read the folder none.d"),
        "{told}"
    );
    assert_eq!(doors(&config).len(), 1, "the rest is read");
}

#[test]
fn a_value_cannot_write_a_line_of_its_own_into_the_config() {
    let (_, config, _) = import(
        "listener 1 127.0.0.1\nallow_anonymous true\nclientid_prefixes a\"]\\x\nconnection c\naddress h\n\
         topic a out\nremote_username \"quoted\" # no comment\n",
    );
    let read: toml::Table = toml::from_str(&config).unwrap();
    assert_eq!(read["broker"]["client_id_prefixes"][0].as_str(), Some("a\"]\\x"));
    assert_eq!(read["upstream"][0]["user_name"].as_str(), Some("\"quoted\" # no comment"));
}

/// Each option with a value that asks for something, so that it must be found again: in the config or in the words.
const SAMPLES: &str = "\
accept_protocol_versions 4,5|acl_file /p|address h:1|addresses h:1|allow_anonymous true|allow_duplicate_messages false|\
allow_zero_length_clientid false|auth_opt_password_file /p|auth_plugin /x.so|auth_plugin_deny_special_chars false|\
auto_id_prefix x-|autosave_interval 1|autosave_on_changes true|bind_address 127.0.0.1|bind_interface eth0|\
bridge_alpn mqtt|bridge_attempt_unsubscribe false|bridge_bind_address 1.2.3.4|bridge_cafile /a|bridge_capath /a|\
bridge_certfile /c|bridge_ciphers X|bridge_ciphers_tls1.3 X|bridge_identity x|bridge_insecure true|bridge_keyfile /k|\
bridge_max_packet_size 9|bridge_max_topic_alias 9|bridge_outgoing_retain false|bridge_protocol_version mqttv50|\
bridge_psk 00|bridge_receive_maximum 9|bridge_reload_type lazy|bridge_require_ocsp true|\
bridge_session_expiry_interval 9|bridge_tcp_keepalive 1 2 3|bridge_tcp_user_timeout 9|bridge_tls_use_os_certs true|\
bridge_tls_version tlsv1.1|cafile /a|capath /a|certfile /c|check_retain_source true|ciphers X|ciphers_tls1.3 X|\
cleansession true|clientid x|clientid_prefixes x|connection_messages false|connection c|crlfile /r|dhparamfile /d|\
disable_client_cert_date_checks true|enable_control_api true|enable_proxy_protocol 2|global_max_clients 9|\
global_max_connections 9|global_plugin /x.so|http_dir /h|idle_timeout 9|include_dir none|keepalive_interval 9|keyfile /k|\
listener 5 127.0.0.1|listener_allow_anonymous true|listener_auto_id_prefix x|local_cleansession true|local_clientid x|\
local_password x|local_username x|log_dest syslog|log_facility 5|log_timestamp false|log_timestamp_format %F|\
log_type error|max_connections 9|max_inflight_bytes 9|max_inflight_messages 9|max_keepalive 9|max_packet_size 9000|\
max_qos 1|max_queued_bytes 9000|max_queued_messages 9|max_topic_alias 9|max_topic_alias_broker 9|memory_limit 9|\
message_size_limit 9|mount_point x/|notification_topic t|notifications true|notifications_local_only true|\
packet_buffer_size 9|password x|password_file /p|per_listener_settings true|persistence true|persistence_file x|\
persistence_location /x|persistent_client_expiration 9d|pid_file /p|plugin /x.so|plugin_load x /x.so|\
plugin_opt_password_file /p|plugin_use x|port 7|protocol websockets|proxy_protocol_v2_require_tls true|psk_file /p|\
psk_hint x|queue_qos0_messages true|remote_clientid x|remote_password x|remote_username x|require_certificate true|\
restart_timeout 9|retain_available false|retain_expiry_interval 9|round_robin true|set_tcp_nodelay false|\
socket_domain ipv6|start_type lazy|sys_interval 9|threshold 9|tls_engine x|tls_engine_kpass_sha1 x|tls_keyform engine|\
tls_version tlsv1.3|topic b|try_private false|upgrade_outgoing_qos true|use_identity_as_username true|\
use_subject_as_username true|use_username_as_clientid true|user x|username x|websockets_headers_size 9|\
websockets_log_level 9|websockets_origin http://x";

/// Options that turn others on, and stand for nothing themselves.
const SWITCHES: [&str; 3] = ["per_listener_settings", "include_dir", "cleansession"];

#[test]
fn no_option_of_the_table_is_dropped_without_a_word() {
    let output = fieldgate().args(["import", "--options"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    let mut untried: Vec<&str> = table.lines().skip(2).map(|line| line.split('`').nth(1).unwrap()).collect();
    let mut dropped = Vec::new();
    for sample in SAMPLES.split('|') {
        let (name, _) = sample.split_once(' ').unwrap();
        untried.retain(|row| {
            row.strip_suffix('*').map_or(*row != name, |beginning| !name.starts_with(beginning))
        });
        if SWITCHES.contains(&name) {
            continue;
        }
        let around = [
            "plugin /x/mosquitto_password_file.so",
            "listener 1 127.0.0.1",
            "allow_anonymous true",
            "certfile /c",
            "keyfile /k",
            "cafile /a",
            "require_certificate true",
            "protocol websockets",
            "connection c",
            "address h",
            "remote_username u",
            "topic a",
            "bridge_cafile /a",
        ];
        // Where it can stand: behind the plugin for a plugin's, at the end for all others.
        let mut lines: Vec<&str> = around
            .into_iter()
            .filter(|line| {
                let other = line.split_once(' ').unwrap().0;
                let is_instead =
                    matches!((name, other), ("addresses", "address") | ("username", "remote_username"));
                other != name && !is_instead || name == "topic"
            })
            .collect();
        let at = if name.contains("_opt_") { 1 } else { lines.len() };
        lines.insert(at, sample);
        let text = lines.join("\n") + "\n";
        let (_, config, told) = import(&text);
        let place = format!("m.conf:{}", at + 1);
        let is_named = |text: &str| {
            text.match_indices(&place)
                .any(|(at, _)| !text[at + place.len()..].starts_with(|c: char| c.is_ascii_digit()))
        };
        if !is_named(&config) && !is_named(&told) {
            dropped.push(sample);
        }
    }
    assert!(dropped.is_empty(), "left no trace: {dropped:?}");
    assert!(untried.is_empty(), "no sample for {untried:?}");
}
