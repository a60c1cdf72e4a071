//! The page: who may use it, what its thread is given, and its end.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::sync::watch;
use tokio::task::spawn_local;
use tracing::{error, warn};

use crate::config::Config;
use crate::health::Page;
use crate::io::clock::Clock;
use crate::io::lock::Locked;
use crate::io::operations::{self, Desk};
use crate::io::passwords::Order;
use crate::io::reporter::Reporter;
use crate::io::supervisor::Beat;
use crate::people::{People, Roll, Settings};
use crate::web::{self, claim, read_accounts};

/// Who may use the page, and how it does before it is open.
pub(super) fn people(
    config: &Config,
    clock: &Clock,
) -> (Arc<Mutex<People>>, Arc<Mutex<Page>>, Option<PathBuf>) {
    let web = &config.web;
    let settings = Settings {
        enabled: web.enabled,
        session_idle: web.session_idle,
        session_max: web.session_max,
        claim_window: web.claim_window,
    };
    let now = clock.now().mono;
    let mut page = Page::default();
    let mut claim_file = None;
    let people = if web.enabled {
        page.address = Some(web.bind.to_string());
        let folder = folder(config);
        match known(&folder) {
            Ok(Some(roll)) => People::new(settings, roll, None, now),
            Ok(None) => {
                let code = code(config, &folder, &mut claim_file, &mut page);
                People::new(settings, Roll::default(), code.as_deref(), now)
            }
            Err(error) => {
                // Nobody gets in, and above all nobody can claim what was claimed.
                error!(error, "the accounts of the page can't be read; `fieldgate passwd --admin` makes one");
                page.error = Some(error);
                People::new(settings, Roll::default(), None, now)
            }
        }
    } else {
        People::new(settings, Roll::default(), None, now)
    };
    page.unclaimed = people.is_unclaimed();
    (Arc::new(Mutex::new(people)), Arc::new(Mutex::new(page)), claim_file)
}

/// Where the page keeps its things.
pub(super) fn folder(config: &Config) -> PathBuf {
    config.gateway.data_dir.join("web")
}

fn known(folder: &Path) -> Result<Option<Roll>, String> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("can't make {}: {error}", folder.display()))?;
    Ok(read_accounts(folder)?.filter(|roll| !roll.accounts.is_empty()))
}

/// The claim code, shown to whoever has the console or is root.
fn code(config: &Config, folder: &Path, file: &mut Option<PathBuf>, page: &mut Page) -> Option<String> {
    let code = match claim::code(&config.web, folder) {
        Ok(code) => code,
        Err(error) => {
            error!(error, "the gateway can't be claimed");
            page.error = Some(error);
            return None;
        }
    };
    let runtime = config.gateway.control_socket.parent().unwrap_or(folder);
    let made = std::fs::create_dir_all(runtime).map_err(|error| error.to_string());
    match made.and_then(|()| claim::show(&code, runtime)) {
        Ok(shown) => *file = Some(shown),
        Err(error) => warn!(error, "the claim code stands in no file"),
    }
    claim::say(&code, config.web.bind.port());
    Some(code)
}

/// Starts the page's thread, if there is to be a page, and what answers its questions.
pub(super) fn start(
    config: &Config,
    desk: Desk,
    reporter: &Rc<Reporter>,
    orders: std::sync::mpsc::Sender<Order>,
    claim_file: Option<PathBuf>,
    stop: watch::Receiver<bool>,
    beat: Beat,
) -> Option<JoinHandle<()>> {
    if !config.web.enabled {
        return None;
    }
    let (asker, questions) = operations::asker();
    spawn_local(operations::serve(desk, questions));
    spawn_local(crate::io::live::run(reporter.clone(), stop.clone()));
    let given = web::Given {
        gateway: config.gateway.id.clone(),
        folder: folder(config),
        claim_file,
        asker,
        live: reporter.live.sender(),
        people: reporter.people.clone(),
        events: reporter.events.clone(),
        page: reporter.page.clone(),
        orders,
        clock: reporter.clock.clone(),
        panics: reporter.panics.clone(),
    };
    match web::start(given, config.web.clone(), reporter.page_orders.begin(), stop, beat) {
        Ok(thread) => Some(thread),
        Err(error) => {
            let error = format!("it can't be started: {error}");
            error!(error, "there is no page");
            reporter.page.locked().error = Some(error);
            None
        }
    }
}
