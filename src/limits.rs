//! Bounds that no config changes, each with its unit, its reason, the worst memory it means and what happens
//! there. Bounds that a config may change stand in the `Config` of their module.

/// Bytes read from a connection or a port in one go: one shared scratch buffer per runtime thread. Longer input
/// takes another turn.
pub const READ_SCRATCH_BYTES: usize = 64 * 1024;

/// The longest config file, in bytes. A longer one is refused unread: nobody writes one by hand.
pub const CONFIG_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The user's own device profiles, in files. Those beyond, in the order of their names, aren't read: nobody has so many
/// kinds of sensor.
pub const PROFILES_MAX: usize = 1_024;

/// Bytes that may wait on the way from the service thread to the broker thread, and back. Worst memory: twice
/// this. At the bound readings, and messages for which nobody waits, are dropped and counted (`handover_full`):
/// some 40,000 readings, minutes of a thread that stands still.
pub const HANDOVER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Connections that are accepted beyond the broker's own limit, so that it can refuse them in words.
pub const CONNECTIONS_REFUSED_AT_ONCE_MAX: usize = 64;

/// Connections of one listener that are being greeted: proxy header, TLS handshake, WebSocket request. Each costs up to
/// some 30 KB, so 8 MB a listener at worst. At the bound the one that has been at it for longest is dropped and
/// counted: whoever is slow makes room for whoever comes, and a storm of slow ones keeps nobody out.
pub const GREETINGS_MAX: usize = 256;

/// Steps of TLS handshakes that are computed between two turns of the broker thread. Each takes up to some
/// milliseconds, tens on a small board with an RSA key, and the clients that are connected wait that long. Further
/// steps wait for their turn, bounded by [`GREETINGS_MAX`].
pub const HANDSHAKE_STEPS_AT_ONCE_MAX: usize = 1;

/// Panics that are caught within [`PANICS_WITHIN`]; each costs one connection, or one line. Beyond them the gateway stops
/// in order, to be started anew: whoever can make it panic at will harms the others no more often than that, and what
/// half-done work leaves behind doesn't add up.
pub const PANICS_MAX: usize = 30;

/// The span in which [`PANICS_MAX`] are counted.
pub const PANICS_WITHIN: std::time::Duration = std::time::Duration::from_secs(60);

/// Certificates in the list of the built-in authority. The list is read and written as a whole, some 400 bytes for each,
/// so 2 MB at worst. At the bound those that have expired are forgotten; if none has, no further one is issued.
pub const CERTIFICATES_MAX: usize = 5_000;

/// Names and addresses in one listener's certificate, 253 bytes each: handshakes carry them. More are refused.
pub const CERTIFICATE_NAMES_MAX: usize = 64;

/// Files that one `[[file]]` takes in, those that have gone included: each is a device of some 2 KB. Those beyond are left
/// out, and told.
pub const FILES_OF_SOURCE_MAX: usize = 256;

/// Bytes that are read of a file: drivers print a line or two. What is longer is cut off.
pub const FILE_BYTES_MAX: usize = 4 * 1024;

/// Reads of files that may be under way at once, those that hang included; each takes a thread, with some 20 KB. One that
/// would be beyond fails, and is counted as a bad line: the driver of a whole bus stands still then.
pub const FILE_READS_MAX: usize = 64;

/// Bytes that are taken from a program of an `[[exec]]` in a second: as from ten serial lines at 115200 baud. A program
/// that writes more waits, so nothing is lost, and the others have their turn.
pub const EXEC_BYTES_PER_SECOND: u32 = 128 * 1024;

/// Lines of a program's standard error that are logged in a minute, of 256 bytes each at most. Those beyond are counted,
/// and the count is told.
pub const EXEC_STDERR_LINES_MAX: u32 = 30;

/// Who may look on at lines through the control socket at once, each with [`TRACE_PIECES_MAX`] pieces of up to 4 KiB that
/// wait for a slow terminal: 4 MiB at worst. At the bounds nobody more may look on, and pieces are left out and counted.
pub const TRACES_MAX: usize = 4;

/// Pieces that wait for one who looks on.
pub const TRACE_PIECES_MAX: usize = 256;

/// Scans that are under way for the page at once, and as many are kept to be looked at. At the bound another one is refused,
/// and the oldest that has ended is forgotten.
pub const SCANS_MAX: usize = 4;

/// Findings that are kept of one scan, each of some 300 bytes (registers up to 2 KiB): 250 KiB, 1.6 MiB at worst. Those
/// beyond are counted.
pub const SCAN_FINDINGS_MAX: usize = 800;

/// Configs that were in use and are kept, to look at and to go back to.
pub const CONFIG_VERSIONS_MAX: usize = 20;

/// Bytes that they may take on disk. Beyond it the oldest go, but for the newest two: 20 configs of 400 devices fit.
pub const CONFIG_HISTORY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The longest request that changes the config; one at a time is read, so this is the worst memory, twice with what it is
/// made into. A longer one is refused.
pub const CONFIG_REQUEST_BYTES_MAX: u64 = 6 * 1024 * 1024;

/// For how long a try of a new config may borrow a port from what runs.
pub const PROBE_BORROW_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a line may be lent to a scan or a probe: 247 Modbus addresses at a few rates take minutes. Then the gateway
/// takes it back, whoever forgot it.
pub const LOAN_MAX: std::time::Duration = std::time::Duration::from_secs(1_800);

/// Streams that an upstream may have had since the start, with those that the config has no longer: each holds a queue and an
/// outbox that is open, some 10 KiB. A config that brings more is refused until the gateway is started anew.
pub const STREAMS_RUN_MAX: usize = 32;
