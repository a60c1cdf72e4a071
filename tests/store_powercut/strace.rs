//! Reads what `strace -f -xx` has written: one call per item, with the lines at which it began and ended. Knows
//! system calls, not files.

use std::collections::HashMap;

/// One finished system call.
#[derive(Debug)]
pub struct Call {
    /// The line at which it was entered.
    pub start: usize,
    /// The line at which it had returned.
    pub end: usize,
    /// Its name.
    pub name: String,
    /// Its arguments; strings are unquoted.
    pub args: Vec<Arg>,
    /// What it returned.
    pub result: i64,
}

/// An argument.
#[derive(Debug)]
pub enum Arg {
    /// A string's or a buffer's bytes.
    Bytes(Vec<u8>),
    /// Anything else, as printed.
    Word(String),
}

impl Call {
    /// The argument as a number: a file descriptor, a length, an offset.
    pub fn number(&self, index: usize) -> i64 {
        let Some(Arg::Word(word)) = self.args.get(index) else { panic!("{self:?}") };
        if word == "AT_FDCWD" { -100 } else { word.parse().unwrap_or_else(|_| panic!("{word} in {self:?}")) }
    }

    /// The argument as bytes.
    pub fn bytes(&self, index: usize) -> &[u8] {
        match self.args.get(index) {
            Some(Arg::Bytes(bytes)) => bytes,
            _ => panic!("{self:?}"),
        }
    }

    /// The argument as a path.
    pub fn path(&self, index: usize) -> &str {
        std::str::from_utf8(self.bytes(index)).unwrap()
    }

    /// Whether the argument, a set of flags, has this one.
    pub fn has_flag(&self, index: usize, flag: &str) -> bool {
        matches!(self.args.get(index), Some(Arg::Word(word)) if word.split('|').any(|one| one == flag))
    }
}

/// All successful calls, in the order in which they took effect: at their end, except that a descriptor is free as
/// soon as its close begins.
pub fn parse(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let (pid, text) = text.split_once(' ').unwrap();
        let text = text.trim_start();
        if let Some(entered) = text.strip_suffix("<unfinished ...>") {
            begun.insert(pid, (line, entered));
        } else if let Some(resumed) = text.strip_prefix("<... ") {
            let (_, rest) = resumed.split_once("resumed>").unwrap();
            let (start, entered) = begun.remove(pid).unwrap();
            calls.extend(call(start, line, &format!("{entered}{rest}")));
        } else {
            calls.extend(call(line, line, text));
        }
    }
    calls.sort_by_key(|call| if call.name == "close" { call.start } else { call.end });
    calls
}

fn call(start: usize, end: usize, text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let (args, rest) = arguments(rest);
    let result = rest.trim_start().strip_prefix('=')?.split_whitespace().next()?.parse().ok()?;
    (result >= 0).then(|| Call { start, end, name: name.to_owned(), args, result })
}

/// Arguments up to the closing parenthesis, and what follows it.
fn arguments(text: &str) -> (Vec<Arg>, &str) {
    let (mut args, mut rest) = (Vec::new(), text);
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(after) = rest.strip_prefix(')') {
            return (args, after);
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let (hex, after) = quoted.split_once('"').unwrap();
            assert!(!after.starts_with("..."), "strace has cut a buffer");
            args.push(Arg::Bytes(unhex(hex)));
            rest = after;
        } else {
            let len = rest.find([',', ')']).unwrap();
            args.push(Arg::Word(rest[..len].trim_end().to_owned()));
            rest = &rest[len..];
        }
    }
}

/// `\x66\x67` to bytes.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => panic!("not a hexadecimal digit: {byte}"),
    };
    text.as_bytes().chunks(4).map(|one| digit(one[2]) << 4 | digit(one[3])).collect()
}

#[test]
fn calls_are_put_together_from_what_strace_prints() {
    let trace = concat!(
        "10 openat(AT_FDCWD, \"\\x2f\\x61\", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 5\n",
        "10 pwrite64(5, \"\\x00\\xff\", 2, 512 <unfinished ...>\n",
        "11 fdatasync(5) = 0\n",
        "10 <... pwrite64 resumed>) = 2\n",
        "10 unlink(\"\\x62\") = -1 ENOENT (No such file or directory)\n",
        "10 --- SIGCHLD {si_signo=SIGCHLD} ---\n",
        "10 +++ exited with 0 +++\n",
    );
    let calls = parse(trace);
    let names: Vec<(&str, usize, usize)> =
        calls.iter().map(|call| (call.name.as_str(), call.start, call.end)).collect();
    assert_eq!(names, [("openat", 0, 0), ("fdatasync", 2, 2), ("pwrite64", 1, 3)]);
    assert_eq!((calls[0].path(1), calls[0].result), ("/a", 5));
    assert!(calls[0].has_flag(2, "O_CREAT") && !calls[0].has_flag(2, "O_TRUNC"));
    assert_eq!((calls[2].bytes(1), calls[2].number(3)), ([0, 255].as_slice(), 512));
}
