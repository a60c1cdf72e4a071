//! Backup: the whole config in one file, and back.

use askama::Template;

use super::{Frame, rendered};
use crate::io::backup::PASSPHRASE_BYTES_MIN;
use crate::web::call::Call;
use crate::web::reply::{Refusal, Reply};
use crate::web::routes::RESTORE_BYTES_MAX;

#[derive(Template)]
#[template(path = "config_backup.html", config = "src/web/askama.toml")]
struct Backup {
    frame: Frame,
    passphrase_min: usize,
    /// Of the file: in the request it takes some more, escaped.
    bytes_max: usize,
}

pub(in crate::web) async fn backup(call: Call) -> Result<Reply, Refusal> {
    let page = Backup {
        frame: Frame::of(&call, "config.title"),
        passphrase_min: PASSPHRASE_BYTES_MIN,
        bytes_max: RESTORE_BYTES_MAX / 2,
    };
    rendered(&call, &page)
}
