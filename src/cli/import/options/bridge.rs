//! The options of a bridge.

use super::Fate::{Carried, NotNeeded};
use super::Scope::{Bridge, NewBridge};
use super::Shape::{Flag, List, Number, Text};
use super::Weight::{Delivery, Security};
use super::{Row, new, refused};

pub(super) const ROWS: &[Row] = &[
    new("connection", List, NewBridge, Carried("an [[upstream]] of that name")),
    new("address", List, Bridge, Carried("host, port and fallback of the upstream")),
    new("addresses", List, Bridge, Carried("as address")),
    new(
        "topic",
        List,
        Bridge,
        Carried(
            "an [[upstream.map]]: filter (pattern with local prefix), direction, local_prefix, remote_prefix, qos; what goes out with QoS 2 goes with QoS 1",
        ),
    ),
    new(
        "remote_clientid",
        Text,
        Bridge,
        Carried("client_id; without it <connection>.<host name>, as Mosquitto has it"),
    ),
    new("clientid", Text, Bridge, Carried("as remote_clientid")),
    new("remote_username", Text, Bridge, Carried("user_name")),
    new("username", Text, Bridge, Carried("as remote_username")),
    new("remote_password", Text, Bridge, Carried("password, which names a file of its own for it")),
    new("password", Text, Bridge, Carried("as remote_password")),
    new("keepalive_interval", Number, Bridge, Carried("keep_alive")),
    new("restart_timeout", Text, Bridge, Carried("backoff_min and backoff_max")),
    new("bridge_protocol_version", Text, Bridge, Carried("version; mqttv31 becomes 3.1.1")),
    new("bridge_outgoing_retain", Flag, Bridge, Carried("retain = \"never\" of each map if it is false")),
    new("bridge_cafile", Text, Bridge, Carried("tls.ca")),
    new("bridge_certfile", Text, Bridge, Carried("tls.cert")),
    new("bridge_keyfile", Text, Bridge, Carried("tls.key")),
    new("bridge_tls_use_os_certs", Flag, Bridge, Carried("[upstream.tls] without ca")),
    new("bridge_capath", Text, Bridge, Carried("tls.ca, which may be a folder")),
    new(
        "bridge_insecure",
        Flag,
        Bridge,
        refused(
            Security,
            &["false"],
            "the name in the upstream's certificate is always checked; if it isn't the host, say it with tls.server_name",
        ),
    ),
    new("bridge_tls_version", Text, Bridge, Carried("tls.min_version; versions before 1.2 are refused")),
    new("bridge_alpn", Text, Bridge, Carried("tls.alpn")),
    new(
        "bridge_ciphers",
        Text,
        Bridge,
        NotNeeded("only suites with forward secrecy and authenticated encryption are offered"),
    ),
    new("bridge_ciphers_tls1.3", Text, Bridge, NotNeeded("all suites of TLS 1.3 are good")),
    new(
        "bridge_identity",
        Text,
        Bridge,
        refused(
            Security,
            &[],
            "TLS with pre-shared keys isn't available; use bridge_certfile and bridge_keyfile. This bridge is left out",
        ),
    ),
    new(
        "bridge_psk",
        Text,
        Bridge,
        refused(
            Security,
            &[],
            "TLS with pre-shared keys isn't available; use bridge_certfile and bridge_keyfile. This bridge is left out",
        ),
    ),
    new(
        "bridge_require_ocsp",
        Flag,
        Bridge,
        refused(
            Security,
            &["false"],
            "revocation isn't asked for over OCSP; trust an authority of your own with tls.ca",
        ),
    ),
    new(
        "cleansession",
        Flag,
        Bridge,
        Carried("clean_session; what goes out is kept through an outage either way"),
    ),
    new("local_cleansession", Flag, Bridge, NotNeeded("what goes out is kept through an outage either way")),
    new("start_type", Text, Bridge, Carried("start")),
    new("idle_timeout", Number, Bridge, Carried("idle_timeout")),
    new("threshold", Number, Bridge, Carried("threshold, at which it is connected; Mosquitto's is one less")),
    new("round_robin", Flag, Bridge, Carried("failover: in-order, which goes back to the first, or shuffle")),
    new(
        "try_private",
        Flag,
        Bridge,
        Carried(
            "watch_status = false if it is false, as a cloud broker may forbid more than what the maps name; loops are prevented either way",
        ),
    ),
    new(
        "notifications",
        Flag,
        Bridge,
        Carried("notification_topic, for the LAN; upstream is told by fieldgate/<id>/status and its will"),
    ),
    new("notifications_local_only", Flag, Bridge, NotNeeded("notification_topic is for the LAN alone")),
    new("notification_topic", Text, Bridge, Carried("notification_topic")),
    new("local_clientid", Text, Bridge, NotNeeded("an upstream is no client of the broker")),
    new(
        "local_username",
        Text,
        Bridge,
        NotNeeded("an upstream is no client of the broker; its maps alone say what it gets"),
    ),
    new("local_password", Text, Bridge, NotNeeded("an upstream is no client of the broker")),
    new("bridge_attempt_unsubscribe", Flag, Bridge, NotNeeded("nothing is subscribed to that isn't wanted")),
    new("bridge_bind_address", Text, Bridge, Carried("bind of the upstream")),
    new(
        "bridge_max_packet_size",
        Number,
        Bridge,
        refused(
            Delivery,
            &["0"],
            "a broker that speaks MQTT 5 says itself what it takes (version = \"5\"); for others packet_max bounds what comes in",
        ),
    ),
    new("bridge_max_topic_alias", Number, Bridge, NotNeeded("aliases save bytes and change nothing else")),
    new("bridge_receive_maximum", Number, Bridge, Carried("inflight_max of the upstream")),
    new("bridge_session_expiry_interval", Number, Bridge, Carried("session_expiry, at most 30 days")),
    new("bridge_tcp_keepalive", Text, Bridge, NotNeeded("keep_alive finds a dead link")),
    new("bridge_tcp_user_timeout", Number, Bridge, NotNeeded("keep_alive finds a dead link")),
    new(
        "bridge_reload_type",
        Text,
        Bridge,
        NotNeeded("an upstream is changed by a restart of the gateway, which loses nothing"),
    ),
];
