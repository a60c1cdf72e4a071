//! The task of one `[[file]]`: looks for its files and reads them on threads of their own, since a driver may take its
//! time, or never answer.

use std::cell::RefCell;
use std::io::Read;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::glob;
use super::source::Common;
use crate::limits::{FILE_BYTES_MAX, FILES_OF_SOURCE_MAX};
use crate::sensor::{FileInput, FileOutput, FileSource, FoundFile};

/// What the task is started with.
#[derive(Debug)]
pub struct Setup {
    /// The machine. Never borrowed across an await.
    pub machine: Rc<RefCell<FileSource>>,
    /// What all sources share.
    pub common: Common,
    /// Room for reads that are under way, of all sources together.
    pub room: Arc<Semaphore>,
}

/// What a thread answers.
enum Answer {
    Found(Result<Vec<FoundFile>, String>),
    Read { path: String, bytes: Result<Vec<u8>, String> },
}

/// Runs until the gateway stops.
pub async fn run(setup: Setup) {
    setup.common.panics.keep("files", || serve(&setup)).await;
}

async fn serve(setup: &Setup) {
    let mut stop = setup.common.stop.clone();
    // Each answer belongs to a read or a scan that has its room, so there are never more than these.
    let (answer, mut answers) = mpsc::unbounded_channel();
    input(setup, FileInput::Tick);
    loop {
        carry_out(setup, &answer);
        let now = setup.common.clock.now().mono;
        let deadline = setup.machine.borrow().next_deadline().map(|deadline| deadline.since(now));
        // All branches are cancel safe.
        tokio::select! {
            Some(answer) = answers.recv() => match &answer {
                Answer::Found(found) => {
                    input(setup, FileInput::Found(found.as_deref().map_err(String::as_str)));
                }
                Answer::Read { path, bytes } => {
                    let bytes = bytes.as_deref().map_err(String::as_str);
                    input(setup, FileInput::Read { path, bytes });
                }
            },
            () = tokio::time::sleep(deadline.unwrap_or_default()), if deadline.is_some() => {
                input(setup, FileInput::Tick);
            }
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn input(setup: &Setup, input: FileInput<'_>) {
    setup.machine.borrow_mut().handle(setup.common.clock.now(), input);
}

fn carry_out(setup: &Setup, answer: &mpsc::UnboundedSender<Answer>) {
    loop {
        let output = setup.machine.borrow_mut().poll_output();
        match output {
            None => return,
            Some(FileOutput::Scan) => {
                let pattern = setup.machine.borrow().config().path.clone();
                let full = Answer::Found(Err(FULL.to_owned()));
                on_a_thread(setup, answer, full, move || {
                    Answer::Found(glob::find(&pattern, FILES_OF_SOURCE_MAX.saturating_add(1)))
                });
            }
            Some(FileOutput::Read { path }) => {
                let full = Answer::Read { path: path.clone(), bytes: Err(FULL.to_owned()) };
                on_a_thread(setup, answer, full, move || {
                    let bytes = read(&path).map_err(|error| error.to_string());
                    Answer::Read { path, bytes }
                });
            }
            Some(FileOutput::Reading(reading)) => setup.common.give(reading),
            Some(FileOutput::Notice(notice)) => {
                let name = setup.machine.borrow().config().name.clone();
                setup.common.tell(&name, &notice);
            }
        }
    }
}

/// What is told when there is no thread for one more.
const FULL: &str = "too many reads are under way; drivers don't answer";

fn on_a_thread(
    setup: &Setup,
    answer: &mpsc::UnboundedSender<Answer>,
    full: Answer,
    work: impl FnOnce() -> Answer + Send + 'static,
) {
    let answer = answer.clone();
    match setup.room.clone().try_acquire_owned() {
        Ok(room) => {
            tokio::task::spawn_blocking(move || {
                // Whoever asked may be gone by now.
                let _ = answer.send(work());
                drop(room);
            });
        }
        Err(_) => {
            let _ = answer.send(full);
        }
    }
}

fn read(path: &str) -> std::io::Result<Vec<u8>> {
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}
