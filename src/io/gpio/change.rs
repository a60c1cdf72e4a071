//! Other lines while the gateway runs. One that is as it was isn't touched: an output holds its level. One that goes, or is
//! changed, ends as it does when the gateway stops, so that a total is on disk and an output is as it is to be then; a
//! changed one then begins as at the start.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Found, GpioConfig, Input, Kept, Place, STOP_MAX, Task, error, open_kept};

/// Other lines from now on.
#[derive(Debug)]
pub struct Change {
    /// All of them.
    pub configs: Vec<GpioConfig>,
    /// Told when they are so.
    pub done: oneshot::Sender<()>,
}

/// What a new line finds on disk.
type Opened = Vec<(GpioConfig, Option<Kept>, Found)>;

enum Step {
    /// Lines end.
    Ending { until: Instant },
    /// What the new ones keep on disk is looked at.
    Looking(oneshot::Receiver<Opened>),
    /// It was looked at.
    Found(Opened),
}

/// A change that is under way.
pub(super) struct Changing {
    configs: Vec<GpioConfig>,
    done: oneshot::Sender<()>,
    ending: Vec<usize>,
    /// What ended lines were last to keep, by their names: should the disk not tell.
    last: HashMap<Arc<str>, Vec<u8>>,
    step: Step,
}

/// Waits for whatever the change waits for. Cancel safe: what came is kept in it.
pub(super) async fn progress(changing: &mut Option<Changing>) {
    match changing {
        Some(Changing { step: Step::Ending { until }, .. }) => tokio::time::sleep_until(*until).await,
        Some(Changing { step, .. }) => {
            if let Step::Looking(found) = step {
                // Should it have been cut short, there is nothing.
                let found = found.await.unwrap_or_default();
                *step = Step::Found(found);
            }
        }
        None => std::future::pending().await,
    }
}

impl Task {
    /// Ends what isn't wanted as it is.
    pub(super) fn begin(&mut self, change: Change) -> Changing {
        let Change { configs, done } = change;
        let leaves = self.places.iter().filter(|(_, place)| !configs.contains(&place.config));
        let ending: Vec<usize> = leaves.map(|(number, _)| *number).collect();
        for number in &ending {
            self.input(*number, Input::Stop);
        }
        let until = Instant::now() + STOP_MAX;
        Changing { configs, done, ending, last: HashMap::new(), step: Step::Ending { until } }
    }

    /// Goes on as far as it goes; `None` when all is as wanted.
    pub(super) fn go_on(&mut self, mut changing: Changing) -> Option<Changing> {
        match changing.step {
            Step::Ending { until } => {
                let late = Instant::now() >= until;
                let has_ended =
                    |number: &usize| self.places.get(number).is_none_or(|place| place.stopped || late);
                if !changing.ending.iter().all(has_ended) {
                    return Some(changing);
                }
                for number in std::mem::take(&mut changing.ending) {
                    self.part_with(number, &mut changing);
                }
                changing.step = Step::Looking(self.look(&changing.configs));
            }
            Step::Looking(_) => {}
            Step::Found(found) => {
                self.add(found, &changing.last);
                let names: Vec<Arc<str>> =
                    changing.configs.iter().map(|config| config.name.clone()).collect();
                self.setup.bank.borrow_mut().order(&names);
                self.carry_out();
                // Whoever asked may have gone.
                let _ = changing.done.send(());
                return None;
            }
        }
        Some(changing)
    }

    fn part_with(&mut self, number: usize, changing: &mut Changing) {
        self.setup.bank.borrow_mut().remove(number);
        let Some(place) = self.places.remove(&number) else { return };
        let name = place.config.name.clone();
        if !place.stopped {
            error!(device = %name, "it was ended before its last total was on disk");
        }
        if !changing.configs.iter().any(|config| config.name == name) {
            self.setup.sim.remove(&name);
        }
        if let Some(last) = place.last {
            changing.last.insert(name, last);
        }
    }

    /// Has what new lines keep looked at, off this thread.
    fn look(&self, configs: &[GpioConfig]) -> oneshot::Receiver<Opened> {
        let is_new = |config: &&GpioConfig| !self.places.values().any(|place| place.config == **config);
        let new: Vec<GpioConfig> = configs.iter().filter(is_new).cloned().collect();
        let (answer, found) = oneshot::channel();
        let data_dir = self.setup.data_dir.clone();
        tokio::task::spawn_blocking(move || {
            let open = |config: GpioConfig| {
                let (kept, found) = open_kept(&data_dir, &config);
                (config, kept, found)
            };
            // The task may have ended.
            let _ = answer.send(new.into_iter().map(open).collect());
        });
        found
    }

    fn add(&mut self, found: Opened, last: &HashMap<Arc<str>, Vec<u8>>) {
        let now = self.setup.clock.now();
        for (config, kept, found) in found {
            let found = match (found, last.get(&config.name)) {
                (Found::Unavailable(_), Some(last)) => Found::Kept(last.clone()),
                (found, _) => found,
            };
            let number = self.setup.bank.borrow_mut().add(now, config.clone(), &found);
            self.places.insert(number, Place::new(config, kept));
        }
    }
}
