//! Has the linker lay what a gateway runs from its start on side by side. The kernel maps a program 64 KiB at a time, so
//! functions that lie scattered between those that only commands, imports or rare devices need cost a box three times
//! their size in resident memory.
//!
//! Which functions: `.cargo/first-functions.txt`, a beginning of a section's name a line, without what differs from one
//! compiler or processor to the next. `tests/heavy/first_functions` writes it anew; one that is out of date costs memory
//! and nothing else. The scripts of GNU ld and lld understand each other here; for another linker, `FIELDGATE_PLAIN_LINK=1`
//! leaves it out.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

const LIST: &str = ".cargo/first-functions.txt";
const PLAIN: &str = "FIELDGATE_PLAIN_LINK";

fn main() -> Result<(), Box<dyn Error>> {
    for trigger in ["changed=build.rs", &format!("changed={LIST}"), &format!("env-changed={PLAIN}")] {
        println!("cargo:rerun-if-{trigger}");
    }
    let is_linux = env::var("CARGO_CFG_TARGET_OS")? == "linux";
    // Others are built to be looked at, not to be left alone for years.
    let is_release = env::var("PROFILE")? == "release";
    if !is_linux || !is_release || env::var_os(PLAIN).is_some() {
        return Ok(());
    }
    let mut script = String::from("SECTIONS\n{\n  .text.first :\n  {\n");
    for name in fs::read_to_string(LIST)?.lines().filter(|line| !line.starts_with('#')) {
        // Functions that are seldom called have a place of their own, but for those that run at each start.
        writeln!(script, "    *(.text.{name}* .text.unlikely.{name}*)")?;
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    let file = Path::new(&env::var("OUT_DIR")?).join("first.ld");
    fs::write(&file, script)?;
    println!("cargo:rustc-link-arg-bins=-Wl,-T,{}", file.display());
    Ok(())
}
