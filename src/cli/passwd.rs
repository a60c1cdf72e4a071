//! `fieldgate passwd`: makes and changes a password file, with the habits of mosquitto_passwd. A gateway that runs
//! takes the change within seconds.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{DEFAULT_CONFIG, check, complain, say};
use crate::auth::{Hash, PasswordFile, SALT_BYTES, check_user_name};
use crate::io::{files, passwords};
use crate::people::{Role, Roll, check_password};
use crate::secret::Secret;
use crate::web::accounts_file;

/// The longest password that MQTT can carry.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// Arguments of `fieldgate passwd`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Create the file; one that exists is replaced.
    #[arg(short, long, conflicts_with_all = ["delete", "convert"])]
    create: bool,
    /// Take the password from the command line, where others on this machine can see it.
    #[arg(short, long, requires = "password", conflicts_with_all = ["delete", "convert"])]
    batch: bool,
    /// Delete the user.
    #[arg(short = 'D', long, requires = "user", conflicts_with = "convert")]
    delete: bool,
    /// Turn a file of plain passwords, `user:password` on each line, into one of hashes.
    #[arg(short = 'U', long = "convert", conflicts_with = "user")]
    convert: bool,
    /// Give an administrator of the page another password, or make one ("admin" unless another is named). No FILE then.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "admin",
        conflicts_with_all = ["create", "batch", "delete", "convert", "file"])]
    admin: Option<String>,
    /// With --admin: the config file, which says where the page's accounts are.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The password file.
    #[arg(value_name = "FILE", required_unless_present = "admin")]
    file: Option<PathBuf>,
    /// The user to add, change or delete. Without -b the password is asked for, or read from standard input.
    #[arg(value_name = "USER", required_unless_present_any = ["convert", "admin"])]
    user: Option<String>,
    /// The password, with -b; "-" reads it from standard input.
    #[arg(value_name = "PASSWORD", requires = "user", conflicts_with_all = ["delete", "convert"])]
    password: Option<String>,
}

/// Exit code 0 if it is done, 1 if it failed, 2 for wrong arguments.
pub fn execute(args: &Args) -> ExitCode {
    if args.password.as_deref().is_some_and(|password| password != "-") && !args.batch {
        complain("a password on the command line needs -b; without it the password is asked for");
        return ExitCode::from(2);
    }
    match run(args) {
        Ok(done) => {
            say(done);
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<String, String> {
    if let Some(name) = &args.admin {
        return administrator(name, &args.config);
    }
    let user = args.user.as_deref().unwrap_or_default();
    let file = args.file.clone().unwrap_or_default();
    if args.convert {
        return convert(&file);
    }
    check_user_name(user)?;
    if args.delete {
        return files::rewrite(&file, |old| {
            let mut users = users(&file, old)?;
            if !users.remove(user) {
                return Err(format!("there is no user {user:?} in {}", file.display()));
            }
            Ok((users.to_string().into_bytes(), format!("user {user:?} deleted")))
        });
    }
    if !args.create && !file.exists() {
        return Err(no_such_file(&file));
    }
    let password = match args.password.as_deref() {
        Some(password) if password != "-" => password.as_bytes().to_vec(),
        Some(_) => line_from_stdin()?,
        None => asked()?,
    };
    let hash = hash(&password)?;
    files::rewrite(&file, |old| {
        let mut users = if args.create { PasswordFile::default() } else { users(&file, old)? };
        let existed = users.set(user, hash);
        let done = if existed { "updated" } else { "added" };
        Ok((users.to_string().into_bytes(), format!("user {user:?} {done}")))
    })
}

/// A password that is typed, or read from standard input.
fn asked() -> Result<Vec<u8>, String> {
    if io::stdin().is_terminal() { typed_twice() } else { line_from_stdin() }
}

/// Gives an administrator of the page a password. A gateway that runs takes it within seconds, and ends his sessions.
fn administrator(name: &str, config: &Path) -> Result<String, String> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
    let data_dir = check::load(config)?.gateway.data_dir;
    let owner = std::fs::metadata(&data_dir).map_err(|error| {
        format!("{}: {error}; start the gateway once, it makes its folder", data_dir.display())
    })?;
    let folder = data_dir.join("web");
    let in_words = |error: io::Error| format!("can't make {}: {error}", folder.display());
    if !folder.exists() {
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(in_words)?;
        chown(&folder, Some(owner.uid()), Some(owner.gid())).map_err(in_words)?;
    }
    let password = String::from_utf8(asked()?).map_err(|_| "the password is not UTF-8")?;
    check_password(&password, name).map_err(|error| error.to_string())?;
    let hash = passwords::make(&Secret::new(password.into_bytes()))?;
    let file = accounts_file(&folder);
    let is_new = !file.exists();
    let existed = files::rewrite(&file, |old| {
        let parsed = old.map_or_else(|| Ok(Roll::default()), |old| Roll::parse(&old));
        let mut roll =
            parsed.map_err(|error| format!("{}: {error}; remove it to begin anew", file.display()))?;
        let existed = roll.set(name, Role::Admin, hash).map_err(|error| error.to_string())?;
        Ok((roll.to_bytes(), existed))
    })?;
    if is_new {
        // Root makes the file of the user as whom the gateway runs.
        chown(&file, Some(owner.uid()), Some(owner.gid())).map_err(in_words)?;
    }
    let done = if existed { "has another password" } else { "was made" };
    Ok(format!("administrator {name:?} {done}"))
}

fn convert(path: &Path) -> Result<String, String> {
    files::rewrite(path, |old| {
        let old = old.ok_or_else(|| no_such_file(path))?;
        let users = PasswordFile::convert(&old, |password| hash(password.as_bytes()))
            .map_err(|mistake| format!("{}, {mistake}", path.display()))?;
        Ok((users.to_string().into_bytes(), format!("{} users have hashes", users.len())))
    })
}

fn users(path: &Path, content: Option<Vec<u8>>) -> Result<PasswordFile, String> {
    let content = content.ok_or_else(|| no_such_file(path))?;
    PasswordFile::parse(&content).map_err(|mistake| format!("{}, {mistake}", path.display()))
}

fn no_such_file(path: &Path) -> String {
    format!("there is no {}; -c creates it", path.display())
}

fn hash(password: &[u8]) -> Result<Hash, String> {
    if password.is_empty() {
        return Err("the password is empty".into());
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("the password has more than {PASSWORD_BYTES_MAX} bytes"));
    }
    let salt = passwords::random::<SALT_BYTES>()?;
    Hash::make(password, &salt).ok_or_else(|| "the password can't be hashed".into())
}

/// The first line of standard input.
fn line_from_stdin() -> Result<Vec<u8>, String> {
    let mut line = Vec::new();
    let limit = u64::try_from(PASSWORD_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(2);
    io::stdin()
        .lock()
        .take(limit)
        .read_until(b'\n', &mut line)
        .map_err(|error| format!("can't read the password: {error}"))?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    Ok(line)
}

fn typed_twice() -> Result<Vec<u8>, String> {
    let first = typed("Password: ")?;
    if first.is_empty() {
        return Err("the password is empty".into());
    }
    if typed("Again: ")? != first {
        return Err("the two passwords differ; nothing was changed".into());
    }
    Ok(first)
}

/// A terminal that doesn't show what is typed, until it is dropped.
struct Silent {
    before: Termios,
}

impl Silent {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        // Key by key and without signals: an interrupt, too, must leave the terminal as it was.
        silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Asks for a line without showing it.
fn typed(prompt: &str) -> Result<Vec<u8>, String> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const KILL_LINE: u8 = 21;
    let in_words = |error: io::Error| format!("can't read the password: {error}");
    // Before the prompt: whoever sees it may type.
    let silent = Silent::new().map_err(in_words)?;
    let mut stderr = io::stderr();
    stderr.write_all(prompt.as_bytes()).map_err(in_words)?;
    let mut password = Vec::new();
    let result = loop {
        let mut key = [0];
        if io::stdin().lock().read(&mut key).map_err(in_words)? == 0 {
            break Err("there is no password".to_owned());
        }
        match key {
            [b'\n' | b'\r'] => break Ok(()),
            [INTERRUPT] => break Err("interrupted; nothing was changed".into()),
            [END] if password.is_empty() => break Err("there is no password".into()),
            [0x7F | 0x08] => backspace(&mut password),
            [KILL_LINE] => password.clear(),
            [byte] if password.len() < PASSWORD_BYTES_MAX => password.push(byte),
            _ => break Err(format!("the password has more than {PASSWORD_BYTES_MAX} bytes")),
        }
    };
    drop(silent);
    // The line end was not shown either.
    let _ = stderr.write_all(b"\n");
    result.map(|()| password)
}

/// Takes the last character away, not only the last byte of it.
fn backspace(password: &mut Vec<u8>) {
    while let Some(byte) = password.pop() {
        if byte & 0xC0 != 0x80 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backspace_takes_a_whole_character() {
        let mut password = "aß€".as_bytes().to_vec();
        for expected in ["aß", "a", "", ""] {
            backspace(&mut password);
            assert_eq!(password, expected.as_bytes());
        }
    }
}
