//! A disk as the system calls of a trace have left it, and what a power cut leaves of it. Promises no more than
//! POSIX does: content is certain once its file was synced after it, a name once its directory was.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::strace::Call;

/// What is done with writes that were never synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// All are lost.
    Dropped,
    /// Each is kept or lost as a whole.
    AtRandom,
    /// Each sector of 512 bytes is kept or lost.
    Torn,
    /// All are kept: what `kill -9` leaves.
    Kept,
}

/// All ways.
pub const WAYS: [Unsynced; 4] = [Unsynced::Dropped, Unsynced::AtRandom, Unsynced::Torn, Unsynced::Kept];

const SECTOR: usize = 512;

type Inode = usize;

/// A change of one inode.
#[derive(Debug)]
enum Change {
    Write { at: usize, data: Vec<u8> },
    Truncate(usize),
    Link { name: String, inode: Inode },
    Unlink(String),
    Rename { from: String, to: String },
}

/// One file or directory.
#[derive(Debug, Default)]
struct Node {
    is_dir: bool,
    /// The name that it was made under.
    name: String,
    /// With the line at which each was done.
    changes: Vec<(usize, Change)>,
    /// Where syncs of it began and ended.
    syncs: Vec<(usize, usize)>,
}

/// The disk, with its whole history.
#[derive(Debug)]
pub struct Disk {
    nodes: Vec<Node>,
    /// What was written to the standard output, with the line at which it was.
    pub said: Vec<(usize, String)>,
    /// The last line.
    pub lines: usize,
}

/// An open descriptor.
#[derive(Clone, Copy, Debug)]
struct Open {
    inode: Inode,
    at: usize,
}

/// Follows a trace.
struct Replay<'a> {
    disk: Disk,
    root: &'a str,
    descriptors: HashMap<i64, Open>,
}

impl Disk {
    /// Follows the calls that concern what is below `root`, which exists and is empty at the beginning.
    pub fn replay(root: &Path, calls: &[Call]) -> Self {
        let disk = Self {
            nodes: vec![Node { is_dir: true, ..Node::default() }],
            said: Vec::new(),
            lines: calls.iter().map(|call| call.end).max().unwrap_or(0),
        };
        let mut replay = Replay { disk, root: root.to_str().unwrap(), descriptors: HashMap::new() };
        for call in calls {
            replay.call(call);
        }
        replay.disk
    }

    /// Writes into the empty directory `to` what is left after a cut behind line `cut`. Without `data_syncs`, syncs
    /// of sled's data files are taken out of the history.
    pub fn image(&self, to: &Path, cut: usize, way: Unsynced, data_syncs: bool, rng: &mut fastrand::Rng) {
        self.write_dir(0, to, cut, way, data_syncs, rng);
    }

    /// The changes up to the cut, and how many of them are certain.
    fn history(&self, inode: Inode, cut: usize, data_syncs: bool) -> (Vec<&Change>, usize) {
        let node = &self.nodes[inode];
        let ignored = !data_syncs && node.name == "db";
        let synced =
            node.syncs.iter().filter(|(_, end)| *end <= cut && !ignored).map(|(start, _)| *start).max();
        let done = node.changes.iter().filter(|(line, _)| *line <= cut);
        let certain = done.clone().filter(|(line, _)| Some(*line) < synced).count();
        (done.map(|(_, change)| change).collect(), certain)
    }

    /// The names in a directory after the first `count` changes of it.
    fn names(changes: &[&Change]) -> BTreeMap<String, Inode> {
        let mut names = BTreeMap::new();
        for change in changes {
            match change {
                Change::Link { name, inode } => {
                    names.insert(name.clone(), *inode);
                }
                Change::Unlink(name) => {
                    names.remove(name);
                }
                Change::Rename { from, to } => {
                    let inode = names.remove(from).unwrap();
                    names.insert(to.clone(), inode);
                }
                Change::Write { .. } | Change::Truncate(_) => panic!("a directory was written to"),
            }
        }
        names
    }

    fn write_dir(
        &self,
        inode: Inode,
        to: &Path,
        cut: usize,
        way: Unsynced,
        data_syncs: bool,
        rng: &mut fastrand::Rng,
    ) {
        let (changes, certain) = self.history(inode, cut, data_syncs);
        // A directory's changes reach the disk in order, through the journal; how many is open.
        let kept = match way {
            Unsynced::Dropped => certain,
            Unsynced::AtRandom | Unsynced::Torn => rng.usize(certain..=changes.len()),
            Unsynced::Kept => changes.len(),
        };
        for (name, inode) in Self::names(&changes[..kept]) {
            let to = to.join(name);
            if self.nodes[inode].is_dir {
                std::fs::create_dir(&to).unwrap();
                self.write_dir(inode, &to, cut, way, data_syncs, rng);
            } else {
                std::fs::write(&to, self.content(inode, cut, way, data_syncs, rng)).unwrap();
            }
        }
    }

    fn content(
        &self,
        inode: Inode,
        cut: usize,
        way: Unsynced,
        data_syncs: bool,
        rng: &mut fastrand::Rng,
    ) -> Vec<u8> {
        let (changes, certain) = self.history(inode, cut, data_syncs);
        let mut content = Vec::new();
        for (index, change) in changes.into_iter().enumerate() {
            let whole = index < certain
                || match way {
                    Unsynced::Dropped => false,
                    Unsynced::AtRandom => rng.bool(),
                    Unsynced::Torn => false,
                    Unsynced::Kept => true,
                };
            match change {
                Change::Write { at, data } if whole => put(&mut content, *at, data),
                Change::Write { at, data } if way == Unsynced::Torn => {
                    for (sector, data) in sectors(*at, data) {
                        if rng.bool() {
                            put(&mut content, sector, data);
                        }
                    }
                }
                Change::Truncate(len) if whole || (way == Unsynced::Torn && rng.bool()) => {
                    content.resize(*len, 0)
                }
                Change::Write { .. } | Change::Truncate(_) => {}
                _ => panic!("a file was used as a directory"),
            }
        }
        content
    }
}

/// The data cut where sectors begin.
fn sectors(at: usize, data: &[u8]) -> Vec<(usize, &[u8])> {
    let mut out = Vec::new();
    let (mut at, mut data) = (at, data);
    while !data.is_empty() {
        let (sector, rest) = data.split_at((SECTOR - at % SECTOR).min(data.len()));
        out.push((at, sector));
        at += sector.len();
        data = rest;
    }
    out
}

fn put(content: &mut Vec<u8>, at: usize, data: &[u8]) {
    if content.len() < at + data.len() {
        content.resize(at + data.len(), 0);
    }
    content[at..at + data.len()].copy_from_slice(data);
}

impl Replay<'_> {
    fn call(&mut self, call: &Call) {
        match call.name.as_str() {
            "open" => self.open(call, -100, 0),
            "openat" => self.open(call, call.number(0), 1),
            "close" => drop(self.descriptors.remove(&call.number(0))),
            "write" | "pwrite64" => self.write(call),
            "lseek" => {
                if let Some(open) = self.descriptors.get_mut(&call.number(0)) {
                    open.at = call.result as usize;
                }
            }
            "read" => {
                if let Some(open) = self.descriptors.get_mut(&call.number(0)) {
                    open.at += call.result as usize;
                }
            }
            "ftruncate" => {
                if let Some(open) = self.descriptors.get(&call.number(0)).copied() {
                    self.change(open.inode, call.end, Change::Truncate(call.number(1) as usize));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(open) = self.descriptors.get(&call.number(0)) {
                    self.disk.nodes[open.inode].syncs.push((call.start, call.end));
                }
            }
            "mkdir" => self.mkdir(call, -100, 0),
            "mkdirat" => self.mkdir(call, call.number(0), 1),
            "unlink" | "rmdir" => self.unlink(call, -100, 0),
            "unlinkat" => self.unlink(call, call.number(0), 1),
            "rename" => self.rename(call, (-100, 0), (-100, 1)),
            "renameat" | "renameat2" => self.rename(call, (call.number(0), 1), (call.number(2), 3)),
            other => panic!("{other} was not to be traced"),
        }
    }

    fn change(&mut self, inode: Inode, line: usize, change: Change) {
        self.disk.nodes[inode].changes.push((line, change));
    }

    /// The directory that a path lies in, and the name in it. `None` if it isn't below the root.
    fn resolve(&self, at: i64, path: &str) -> Option<(Inode, String)> {
        let (mut dir, rest) = if path.starts_with('/') {
            (0, path.strip_prefix(self.root)?)
        } else {
            (self.descriptors.get(&at)?.inode, path)
        };
        let mut parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let name = parts.pop().unwrap_or_default();
        for part in parts {
            dir = *self.live(dir).get(part)?;
        }
        Some((dir, name.to_owned()))
    }

    fn live(&self, dir: Inode) -> BTreeMap<String, Inode> {
        let changes: Vec<&Change> = self.disk.nodes[dir].changes.iter().map(|(_, change)| change).collect();
        Disk::names(&changes)
    }

    fn make(&mut self, dir: Inode, name: String, line: usize, is_dir: bool) -> Inode {
        let inode = self.disk.nodes.len();
        self.disk.nodes.push(Node { is_dir, name: name.clone(), ..Node::default() });
        self.change(dir, line, Change::Link { name, inode });
        inode
    }

    fn open(&mut self, call: &Call, at: i64, arg: usize) {
        self.descriptors.remove(&call.result);
        let Some((dir, name)) = self.resolve(at, call.path(arg)) else { return };
        let inode = if name.is_empty() {
            dir
        } else {
            match self.live(dir).get(&name) {
                Some(inode) => *inode,
                None if call.has_flag(arg + 1, "O_CREAT") => self.make(dir, name, call.end, false),
                None => panic!("opened, but never made: {call:?}"),
            }
        };
        if call.has_flag(arg + 1, "O_TRUNC") {
            self.change(inode, call.end, Change::Truncate(0));
        }
        self.descriptors.insert(call.result, Open { inode, at: 0 });
    }

    fn write(&mut self, call: &Call) {
        let descriptor = call.number(0);
        let data = call.bytes(1)[..call.result as usize].to_vec();
        if descriptor == 1 {
            self.disk.said.push((call.end, String::from_utf8(data).unwrap()));
            return;
        }
        let Some(open) = self.descriptors.get_mut(&descriptor) else { return };
        let at = if call.name == "pwrite64" {
            call.number(3) as usize
        } else {
            let at = open.at;
            open.at += data.len();
            at
        };
        let inode = open.inode;
        self.change(inode, call.end, Change::Write { at, data });
    }

    fn mkdir(&mut self, call: &Call, at: i64, arg: usize) {
        if let Some((dir, name)) = self.resolve(at, call.path(arg)) {
            self.make(dir, name, call.end, true);
        }
    }

    fn unlink(&mut self, call: &Call, at: i64, arg: usize) {
        if let Some((dir, name)) = self.resolve(at, call.path(arg)) {
            self.change(dir, call.end, Change::Unlink(name));
        }
    }

    fn rename(&mut self, call: &Call, from: (i64, usize), to: (i64, usize)) {
        let Some((from_dir, from)) = self.resolve(from.0, call.path(from.1)) else { return };
        let (to_dir, to) = self.resolve(to.0, call.path(to.1)).unwrap();
        if from_dir == to_dir {
            self.change(from_dir, call.end, Change::Rename { from, to });
        } else {
            // Only what is set aside moves between directories. One of both names may be lost, or both kept.
            let inode = *self.live(from_dir).get(&from).unwrap();
            self.change(to_dir, call.end, Change::Link { name: to, inode });
            self.change(from_dir, call.end, Change::Unlink(from));
        }
    }
}
