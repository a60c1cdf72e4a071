//! The options of the whole broker.

use super::super::values;
use super::Fate::{Carried, Key, NotNeeded};
use super::Scope::{Global, Plugin, Security};
use super::Shape::{Flag, List, Number, Text};
use super::Weight::{Delivery, Minor, Security as Safety};
use super::{Row, new, refused};

pub(super) const ROWS: &[Row] = &[
    // Who gets in, and who may do what.
    new(
        "per_listener_settings",
        Flag,
        Global,
        Carried(
            "allow_anonymous and check_users of each listener, and password_file and acl_file where they differ",
        ),
    ),
    new("allow_anonymous", Flag, Security, Carried("allow_anonymous of each listener")),
    new(
        "password_file",
        Text,
        Security,
        Carried("broker.password_file, the same file; password_file of each listener where they differ"),
    ),
    new(
        "acl_file",
        Text,
        Security,
        Carried("broker.acl_file, the same file; acl_file of each listener where they differ"),
    ),
    new(
        "psk_file",
        Text,
        Security,
        refused(
            Safety,
            &[],
            "TLS with pre-shared keys isn't available; give each device a certificate and its listener client_ca",
        ),
    ),
    new(
        "auth_plugin",
        List,
        Plugin,
        Carried(
            "password_file and acl_file if it is Mosquitto's own plugin for one of them; any other plugin is refused",
        ),
    ),
    new("plugin", List, Plugin, Carried("as auth_plugin")),
    new("global_plugin", List, Plugin, Carried("as auth_plugin")),
    new(
        "plugin_load",
        List,
        Plugin,
        refused(Safety, &[], "plugins of Mosquitto can't be loaded; use password_file and acl_file"),
    ),
    new(
        "plugin_use",
        List,
        Plugin,
        refused(Safety, &[], "plugins of Mosquitto can't be loaded; use password_file and acl_file"),
    ),
    new(
        "auth_opt_*",
        List,
        Plugin,
        Carried("the file of Mosquitto's own plugins for password and ACL files"),
    ),
    new(
        "plugin_opt_*",
        List,
        Plugin,
        Carried("the file of Mosquitto's own plugins for password and ACL files"),
    ),
    new(
        "auth_plugin_deny_special_chars",
        Flag,
        Global,
        NotNeeded("a name with + # or / in it never stands for %u or %c of a rule"),
    ),
    new("clientid_prefixes", Text, Global, Key("client_id_prefixes", values::one_text)),
    new(
        "check_retain_source",
        Flag,
        Global,
        refused(
            Safety,
            &["false"],
            "retained messages stay when their publisher's rights are withdrawn; who may read them is still checked; clear them by hand",
        ),
    ),
    new(
        "enable_control_api",
        Flag,
        Global,
        refused(
            Minor,
            &["false"],
            "there is no $CONTROL/broker; `fieldgate status` shows how the broker does",
        ),
    ),
    new(
        "allow_zero_length_clientid",
        Flag,
        Security,
        refused(
            Safety,
            &["true"],
            "clients without an identifier are given one, as MQTT has it; client_id_prefixes keeps out others",
        ),
    ),
    new(
        "auto_id_prefix",
        Text,
        Security,
        refused(Minor, &[], "identifiers that the broker gives begin with auto-"),
    ),
    // Bounds.
    new("max_inflight_messages", Number, Global, Key("inflight_max", values::inflight)),
    new(
        "max_inflight_bytes",
        Number,
        Global,
        refused(
            Minor,
            &["0"],
            "messages on their way to a client are counted, not weighed; inflight_max and out_buffer_max bound them",
        ),
    ),
    new("max_queued_messages", Number, Global, Key("queue_messages_max", values::queued_messages)),
    new("max_queued_bytes", Number, Global, Key("queue_max", values::queued_bytes)),
    new("max_packet_size", Number, Global, Key("packet_max", values::packet)),
    new(
        "message_size_limit",
        Number,
        Global,
        Carried("broker.packet_max, larger by what stands around the payload"),
    ),
    new("max_keepalive", Number, Global, Key("keep_alive_max", values::keep_alive)),
    new("global_max_clients", Number, Global, Key("sessions_max", values::sessions)),
    new("global_max_connections", Number, Global, Key("connections_max", values::connections)),
    new("memory_limit", Number, Global, Key("memory_max", values::memory)),
    new("persistent_client_expiration", Text, Global, Key("session_expiry_max", values::expiration)),
    new("packet_buffer_size", Number, Global, NotNeeded("buffers grow and shrink with the packets")),
    new("websockets_headers_size", Number, Global, NotNeeded("headers up to 16 KiB are taken")),
    // How messages are handled.
    new(
        "allow_duplicate_messages",
        Flag,
        Global,
        NotNeeded("overlapping subscriptions are handled as each client's MQTT version has it"),
    ),
    new(
        "queue_qos0_messages",
        Flag,
        Global,
        refused(
            Delivery,
            &["false"],
            "messages with QoS 0 don't wait for absent clients; publish with QoS 1 what must arrive",
        ),
    ),
    new("retain_available", Flag, Global, Carried("retain_available of each listener")),
    new(
        "retain_expiry_interval",
        Number,
        Global,
        NotNeeded("retained messages that have expired go by themselves"),
    ),
    new(
        "upgrade_outgoing_qos",
        Flag,
        Global,
        refused(
            Delivery,
            &["false"],
            "a message is never delivered with a higher QoS than it was published with; publish with that QoS",
        ),
    ),
    new("set_tcp_nodelay", Flag, Global, NotNeeded("small packets are always sent at once")),
    new("sys_interval", Number, Global, Key("sys_interval", values::seconds)),
    // What is kept.
    new("persistence", Flag, Global, Key("persistence", values::flag)),
    new("persistence_file", Text, Global, NotNeeded("the store is a folder: gateway.data_dir")),
    new(
        "persistence_location",
        Text,
        Global,
        NotNeeded(
            "the store is gateway.data_dir, /var/lib/fieldgate; Mosquitto's file isn't read, so sessions and retained messages begin anew",
        ),
    ),
    new("autosave_interval", Number, Global, NotNeeded("what was acknowledged is on disk already")),
    new("autosave_on_changes", Flag, Global, NotNeeded("what was acknowledged is on disk already")),
    // The log, the process.
    new("log_dest", List, Global, Carried("log.to and log.file; dlt and android are refused")),
    new("log_type", List, Global, Carried("log.level, the most talkative of them, and log.events")),
    new("log_facility", Number, Global, Carried("log.syslog.facility")),
    new("log_timestamp", Flag, Global, Carried("log.timestamp")),
    new("log_timestamp_format", Text, Global, Carried("log.timestamp")),
    new("connection_messages", Flag, Global, Carried("log.events, with or without \"connection\"")),
    new(
        "websockets_log_level",
        Number,
        Global,
        NotNeeded("log.events with \"websockets\" has what there is to tell"),
    ),
    new("pid_file", Text, Global, Carried("gateway.pid_file")),
    new(
        "user",
        Text,
        Global,
        NotNeeded("the service manager starts the gateway as its user: User= of the unit"),
    ),
    new("include_dir", List, Global, Carried("the files are read where it stands, in their order")),
];
