//! The options of a listener.

use super::Fate::{Carried, NotNeeded};
use super::Scope::{DefaultListener, Listener, NewListener};
use super::Shape::{Flag, List, Number, Text};
use super::Weight::{Minor, Security};
use super::{Row, new, refused};

pub(super) const ROWS: &[Row] = &[
    new(
        "listener",
        List,
        NewListener,
        Carried("a [[broker.listener]] with its bind; a host name becomes one for each of its addresses"),
    ),
    new("port", Number, DefaultListener, Carried("bind of a [[broker.listener]]")),
    new("bind_address", Text, DefaultListener, Carried("bind of a [[broker.listener]]")),
    new(
        "bind_interface",
        Text,
        Listener,
        refused(
            Security,
            &[],
            "a listener is bound to an address, not to an interface; write that address behind listener. This listener is left out",
        ),
    ),
    new(
        "socket_domain",
        Text,
        Listener,
        Carried("ipv4: bind to 0.0.0.0; ipv6 for all addresses is refused, as [::] takes IPv4 too"),
    ),
    new("protocol", Text, Listener, Carried("websockets: websocket, with any path; http_api is refused")),
    new("websockets_origin", List, Listener, Carried("websocket.origins; without it every page may connect")),
    new("http_dir", Text, Listener, refused(Minor, &[], "files are not served; a web server can do it")),
    new("max_connections", Number, Listener, Carried("connections_max of the listener")),
    new("listener_allow_anonymous", Flag, Listener, Carried("allow_anonymous of the listener")),
    new(
        "listener_auto_id_prefix",
        Text,
        Listener,
        refused(Minor, &[], "identifiers that the broker gives begin with auto-"),
    ),
    new("accept_protocol_versions", Text, Listener, Carried("versions of the listener")),
    new("max_topic_alias", Number, Listener, Carried("broker.topic_alias_max, the largest of all listeners")),
    new("max_topic_alias_broker", Number, Listener, NotNeeded("topic_alias_max is for both directions")),
    new("max_qos", Number, Listener, Carried("max_qos of the listener")),
    new(
        "mount_point",
        Text,
        Listener,
        refused(
            Security,
            &[],
            "clients of a listener can't be put below a topic; rules of an ACL file keep them apart. This listener is left out",
        ),
    ),
    new("use_username_as_clientid", Flag, Listener, Carried("client_id_from_user of the listener")),
    new(
        "enable_proxy_protocol",
        Number,
        Listener,
        Carried("proxy_protocol of the listener, which takes both versions"),
    ),
    new(
        "proxy_protocol_v2_require_tls",
        Flag,
        Listener,
        refused(
            Security,
            &["false"],
            "what a proxy says of TLS isn't read; let the proxy refuse connections without it. This listener is left out",
        ),
    ),
    // TLS
    new("certfile", Text, Listener, Carried("tls.cert")),
    new("keyfile", Text, Listener, Carried("tls.key")),
    new(
        "cafile",
        Text,
        Listener,
        Carried("tls.client_ca if require_certificate is true; else no client is asked for one"),
    ),
    new("capath", Text, Listener, Carried("tls.client_ca, which may be a folder, unless there is a cafile")),
    new("require_certificate", Flag, Listener, Carried("tls.client_cert = \"required\"")),
    new("use_identity_as_username", Flag, Listener, Carried("tls.user_from_cert = \"cn\"")),
    new(
        "use_subject_as_username",
        Flag,
        Listener,
        refused(
            Security,
            &["false"],
            "a user is named by the common name or an alternative name of the certificate (tls.user_from_cert), not by its whole subject. This listener is left out",
        ),
    ),
    new("crlfile", Text, Listener, Carried("tls.crl")),
    new(
        "disable_client_cert_date_checks",
        Flag,
        Listener,
        refused(Security, &["false"], "a certificate that has expired is refused; issue a new one"),
    ),
    new("tls_version", Text, Listener, Carried("tls.min_version; versions before 1.2 are refused")),
    new(
        "ciphers",
        Text,
        Listener,
        NotNeeded("only suites with forward secrecy and authenticated encryption are offered"),
    ),
    new("ciphers_tls1.3", Text, Listener, NotNeeded("all suites of TLS 1.3 are good")),
    new("dhparamfile", Text, Listener, NotNeeded("keys are agreed upon with elliptic curves")),
    new(
        "tls_engine",
        Text,
        Listener,
        refused(
            Security,
            &[],
            "a key is a PEM file; engines of OpenSSL can't be used. This listener is left out",
        ),
    ),
    new("tls_engine_kpass_sha1", Text, Listener, refused(Minor, &[], "there are no engines, see tls_engine")),
    new("tls_keyform", Text, Listener, refused(Minor, &["pem"], "there are no engines, see tls_engine")),
    new(
        "psk_hint",
        Text,
        Listener,
        refused(
            Security,
            &[],
            "TLS with pre-shared keys isn't available; give each device a certificate and the listener client_ca. This listener is left out",
        ),
    ),
];
