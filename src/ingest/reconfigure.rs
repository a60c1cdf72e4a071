//! Other devices, and other rules of what is published of them, while the gateway runs. What hasn't changed isn't touched.
//! What was taken before is published as it would have been; numbers go on, also of a device that was away for a while.

use std::collections::HashMap;
use std::sync::Arc;

use super::{DeviceFacts, Ingest, Outlet, Publishing, forms};
use crate::message::Message;
use crate::time::Now;

/// Devices that are gone and whose numbers are remembered, at most: some 100 bytes each. Beyond them nobody's is: all that
/// come anew begin above the highest.
const GONE_MAX: usize = 4_096;

/// What may change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The devices that the config names.
    pub devices: Vec<(DeviceFacts, Publishing)>,
    /// Of devices that it doesn't name.
    pub default: Publishing,
    /// The prefix of Home Assistant's discovery, if devices are announced.
    pub home_assistant: Option<String>,
    /// Devices that it doesn't name and that are no more.
    pub gone: Vec<Arc<str>>,
}

/// Where the numbers of devices go on that were there before.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    of: HashMap<Arc<str>, u64>,
    floor: u64,
}

impl Numbers {
    fn keep(&mut self, device: Arc<str>, published: u64) {
        if self.of.len() >= GONE_MAX {
            self.floor = self.of.drain().map(|(_, number)| number).max().unwrap_or(0).max(self.floor);
        }
        self.of.insert(device, published);
    }

    /// How many of it were published.
    pub(super) fn take(&mut self, device: &str) -> u64 {
        self.of.remove(device).unwrap_or(self.floor)
    }
}

impl Ingest {
    /// Goes by other settings from the next reading on.
    pub fn reconfigure(&mut self, now: Now, settings: Settings) {
        let Settings { devices, default, home_assistant, gone } = settings;
        let is_named = |name: &Arc<str>| devices.iter().any(|(facts, _)| facts.name == *name);
        let leaves = |outlet: &&Outlet| {
            let name = &outlet.facts.name;
            !is_named(name) && (outlet.is_named || gone.contains(name))
        };
        let left: Vec<Arc<str>> =
            self.outlets.values().filter(leaves).map(|outlet| outlet.facts.name.clone()).collect();
        for name in left {
            self.part_with(now, &name);
        }
        let announces_otherwise = self.home_assistant != home_assistant;
        let mut wanted: Vec<(DeviceFacts, Arc<Publishing>, bool)> = Vec::new();
        let default = if *self.default == default { self.default.clone() } else { Arc::new(default) };
        for outlet in self.outlets.values().filter(|outlet| !is_named(&outlet.facts.name)) {
            wanted.push((outlet.facts.clone(), default.clone(), false));
        }
        let new_forms = Arc::new(forms(&self.gateway, &devices, &default));
        self.named = devices.len();
        wanted.extend(devices.into_iter().map(|(facts, publishing)| (facts, Arc::new(publishing), true)));
        let mut changed = Vec::new();
        for (facts, publishing, is_named) in wanted {
            let name = facts.name.clone();
            let is_same = self.outlets.get(&name).is_some_and(|outlet| {
                outlet.facts == facts && outlet.publishing == publishing && outlet.is_named == is_named
            });
            if !is_same {
                self.renew(now, facts, publishing, is_named);
            }
            if !is_same || announces_otherwise {
                changed.push(name);
            }
        }
        // What was held back is written by now, as it was to be.
        (self.forms, self.default, self.home_assistant) = (new_forms, default, home_assistant);
        for name in changed {
            self.tell(&name);
        }
    }

    /// What is known of each device, for an upstream that is new.
    #[must_use]
    pub fn infos(&self) -> Vec<Message> {
        let told = self.outlets.values().filter(|outlet| outlet.told.is_some());
        told.map(|outlet| self.about(outlet).0).collect()
    }

    /// Another device under the same name, or a new one.
    fn renew(&mut self, now: Now, facts: DeviceFacts, publishing: Arc<Publishing>, is_named: bool) {
        let name = facts.name.clone();
        self.with(now, &name, |filter, out| filter.flush(now.mono, out));
        let before = self.outlets.remove(&name);
        let (seen, topics) = match before {
            Some(outlet) => {
                self.numbers.keep(name.clone(), outlet.filter.published());
                let is_open = facts.points.is_none() && outlet.facts.points.is_none();
                (if is_open { outlet.filter.points().to_vec() } else { Vec::new() }, outlet.topics)
            }
            None => Default::default(),
        };
        self.add(facts, publishing, is_named, seen);
        if let Some(outlet) = self.outlets.get_mut(&name) {
            outlet.topics = topics;
        }
    }

    /// The device is gone: what was told of it is taken back.
    fn part_with(&mut self, now: Now, name: &Arc<str>) {
        self.with(now, name, |filter, out| filter.flush(now.mono, out));
        let Some(outlet) = self.outlets.remove(name) else { return };
        self.numbers.keep(name.clone(), outlet.filter.published());
        self.clear(&outlet.topics);
    }

    /// Takes back what was told of a device and isn't any more.
    pub(super) fn take_back(&mut self, before: &[Arc<str>], now_told: &[Arc<str>]) {
        let gone: Vec<Arc<str>> = before.iter().filter(|topic| !now_told.contains(topic)).cloned().collect();
        self.clear(&gone);
    }
}
