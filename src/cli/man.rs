//! `fieldgate man`: writes the man pages, of the commands from the commands, of the config from its schema, of the guide from
//! its pages. The package's build calls it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::CommandFactory;

use super::{Cli, complain, guide, man_config};

/// Arguments of `fieldgate man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where they are written; it is made.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Exit code 0 if all are written, 1 if not.
pub fn execute(args: &Args) -> ExitCode {
    match write_all(&args.folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("can't write the man pages into {}: {error}", args.folder.display()));
            ExitCode::FAILURE
        }
    }
}

fn write_all(folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), folder)?;
    let mut page = std::fs::OpenOptions::new().append(true).open(folder.join("fieldgate.1"))?;
    page.write_all(FURTHER.as_bytes())?;
    for (name, page) in guide::man_pages() {
        std::fs::write(folder.join(name), page)?;
    }
    std::fs::write(folder.join("fieldgate.toml.5"), man_config::page())
}

/// What stands in no command's help.
const FURTHER: &str = r#".SH FILES
.TP
/etc/fieldgate/fieldgate.toml
The config; the *.toml files of conf.d beside it are read after it.
.TP
/etc/fieldgate/secrets
One file for each secret; only root reads them. The service has them as credentials: the file upstream.key is
{ credential = "secrets_upstream.key" } in the config.
.TP
/var/lib/fieldgate
What waits on disk, and what the gateway remembers.
.TP
/run/fieldgate/control.sock
Where the commands reach the running gateway: root and the members of the group fieldgate.
.SH SEE ALSO
.BR fieldgate.toml (5),
.BR systemctl (1),
.BR journalctl (1)
"#;
