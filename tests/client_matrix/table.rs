//! What the clients did, as a table.

use std::collections::BTreeMap;
use std::fmt;

const TRANSPORTS: [&str; 5] = ["tcp", "tls", "ws", "wss", "unix"];

/// A client and what it can do: all of that must be in the table.
pub struct Row {
    /// How its name begins.
    pub name: String,
    versions: Vec<u8>,
    transports: Vec<String>,
    reasons: Vec<(String, String)>,
}

impl Row {
    pub fn new(name: &str, versions: &[u8], transports: &[&str]) -> Self {
        let transports = transports.iter().map(|&transport| transport.to_owned()).collect();
        Self { name: name.to_owned(), versions: versions.to_vec(), transports, reasons: Vec::new() }
    }

    /// Says what it can't do, and why.
    pub fn cannot(mut self, what: &str, why: &str) -> Self {
        self.reasons.push((what.to_owned(), why.to_owned()));
        self
    }
}

/// The result of one check.
pub struct Cell {
    pub client: String,
    pub version: u8,
    pub transport: String,
    pub qos: u8,
    pub check: String,
    /// `ok`, or what was wrong.
    pub result: String,
}

impl Cell {
    /// From `CELL|client|version|transport|qos|check|result`.
    pub fn parse(line: &str) -> Option<Self> {
        let mut parts = line.strip_prefix("CELL|")?.splitn(6, '|');
        let mut next = || parts.next().map(str::to_owned);
        Some(Self {
            client: next()?,
            version: next()?.parse().ok()?,
            transport: next()?,
            qos: next()?.parse().ok()?,
            check: next()?,
            result: next()?,
        })
    }

    pub fn is_ok(&self) -> bool {
        self.result == "ok"
    }
}

/// All of them.
#[derive(Default)]
pub struct Table {
    clients: Vec<(Row, Vec<Cell>)>,
}

/// The checks of a QoS: a session keeps no messages with QoS 0 that the table could ask for.
fn checks(qos: u8) -> Vec<&'static str> {
    if qos == 0 { vec!["echo", "retained", "will"] } else { vec!["echo", "retained", "will", "session"] }
}

impl Table {
    pub fn add(&mut self, row: Row, cells: Vec<Cell>) {
        self.clients.push((row, cells));
    }

    /// Every check that must be there is there once, and went well; there is none besides.
    pub fn assert_whole(&self) {
        let mut wrong = Vec::new();
        for (row, cells) in &self.clients {
            let mut seen: BTreeMap<_, Vec<&str>> = BTreeMap::new();
            for cell in cells {
                assert!(cell.client.starts_with(&row.name), "{} is not {}", cell.client, row.name);
                let key = (cell.version, cell.transport.as_str(), cell.qos, cell.check.as_str());
                seen.entry(key).or_default().push(&cell.result);
            }
            for version in &row.versions {
                for transport in &row.transports {
                    for qos in 0..=2 {
                        for check in checks(qos) {
                            let results = seen.remove(&(*version, transport, qos, check));
                            if results.as_deref() != Some(&["ok"]) {
                                let name = &row.name;
                                wrong.push(format!(
                                    "{name} {version} {transport} QoS {qos} {check}: {results:?}"
                                ));
                            }
                        }
                    }
                }
            }
            assert!(seen.is_empty(), "{} did what nobody expected: {seen:?}", row.name);
        }
        assert!(wrong.is_empty(), "{} checks failed:\n{}", wrong.len(), wrong.join("\n"));
    }
}

/// The QoS levels with which all went well, `-` where the client can't.
fn summary(row: &Row, cells: &[Cell], version: u8, transport: &str) -> String {
    if !row.transports.iter().any(|can| can == transport) {
        return "-".to_owned();
    }
    let here = |qos: u8| {
        let all = cells
            .iter()
            .filter(move |cell| cell.version == version && cell.transport == transport && cell.qos == qos);
        let good = all.filter(|cell| cell.is_ok()).count();
        if good == checks(qos).len() { char::from(b'0' + qos).to_string() } else { "!".to_owned() }
    };
    (0..=2).map(here).collect::<Vec<_>>().join(" ")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "QoS levels with which a client got its messages back byte for byte, a retained message, a will,"
        )?;
        writeln!(f, "and (QoS 1 and 2) what came while it was away:\n")?;
        write!(f, "| {:<34} | MQTT  |", "client")?;
        for transport in TRANSPORTS {
            write!(f, " {transport:<5} |")?;
        }
        writeln!(f, "\n|{:-<36}|-------|{}", "", "-------|".repeat(TRANSPORTS.len()))?;
        for (row, cells) in &self.clients {
            let name = cells.first().map_or(row.name.as_str(), |cell| &cell.client);
            for version in &row.versions {
                let spoken = match version {
                    3 => "3.1",
                    4 => "3.1.1",
                    _ => "5",
                };
                write!(f, "| {name:<34} | {spoken:<5} |")?;
                for transport in TRANSPORTS {
                    write!(f, " {:<5} |", summary(row, cells, *version, transport))?;
                }
                writeln!(f)?;
            }
        }
        writeln!(f, "\nNot there, because the client can't:")?;
        for (row, _) in &self.clients {
            for (what, why) in &row.reasons {
                writeln!(f, "- {}, {what}: {why}", row.name)?;
            }
        }
        let checks: usize = self.clients.iter().map(|(_, cells)| cells.len()).sum();
        writeln!(f, "\n{checks} checks")
    }
}
