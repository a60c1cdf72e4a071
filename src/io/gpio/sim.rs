//! Lines that exist only here: for the demo, for tests, and for trying a config on a desk. A person moves them by
//! `fieldgate gpio set` and `fieldgate gpio pulse`. They bounce as much as they are told to, and lose changes when asked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::super::clock::mono;
use super::{Event, Opened, Reports, Wire};
use crate::gpio::{Edge, EdgeKind, GpioConfig, Mode};

/// The simulated lines, by the names of their `[[gpio]]`.
#[derive(Debug, Default)]
pub struct Sim {
    lines: Rc<RefCell<HashMap<Arc<str>, SimLine>>>,
}

#[derive(Debug, Default)]
struct SimLine {
    level: bool,
    /// It doesn't follow what it is set to.
    stuck: bool,
    seqno: u32,
    /// Whom to tell of which changes, while the line is open.
    open: Option<(Reports, EdgeKind)>,
}

impl Sim {
    /// Opens a line; its level is what it was.
    pub(super) fn open(&self, config: &GpioConfig, reports: Reports) -> Opened {
        let mut lines = self.lines.borrow_mut();
        let line = lines.entry(config.name.clone()).or_default();
        let wanted = match &config.mode {
            // As the kernel would: without debouncing of its own it passes on everything.
            _ if !config.debounce.is_zero() => EdgeKind::Both,
            Mode::Counter(counter) => counter.edge,
            Mode::Frequency { edge, .. } => *edge,
            Mode::Input { .. } | Mode::Output(_) => EdgeKind::Both,
        };
        line.seqno = 0;
        // Nobody wants to be told of an output's changes.
        line.open = (!matches!(config.mode, Mode::Output(_))).then_some((reports, wanted));
        let wire = SimWire { name: config.name.clone(), lines: self.lines.clone() };
        Opened { wire: Box::new(wire), debounced: false, backend: "sim" }
    }

    /// The line is no more.
    pub(super) fn remove(&self, name: &str) {
        self.lines.borrow_mut().remove(name);
    }

    /// Whether there is such a line.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.lines.borrow().contains_key(name)
    }

    /// Gives a line a level. Waits where changes aren't taken as fast.
    pub async fn set(&self, name: &str, level: bool) {
        let report = {
            let mut lines = self.lines.borrow_mut();
            let Some(line) = lines.get_mut(name).filter(|line| line.level != level) else { return };
            line.level = level;
            let Some((reports, _)) = line.open.clone().filter(|(_, wanted)| wanted.takes(level)) else {
                return;
            };
            line.seqno = line.seqno.wrapping_add(1);
            (reports, Edge { at: mono(), active: level, seqno: line.seqno })
        };
        let (reports, edge) = report;
        // The task may have ended.
        let _ = reports.to.send((reports.line, reports.generation, Event::Edge(edge))).await;
    }

    /// Loses so many changes, as a kernel does whose buffer is full.
    pub fn lose(&self, name: &str, changes: u32) {
        if let Some(line) = self.lines.borrow_mut().get_mut(name) {
            line.seqno = line.seqno.wrapping_add(changes);
        }
    }

    /// From now on an output follows what it is set to, or doesn't.
    pub fn stick(&self, name: &str, stuck: bool) {
        if let Some(line) = self.lines.borrow_mut().get_mut(name) {
            line.stuck = stuck;
        }
    }
}

#[derive(Debug)]
struct SimWire {
    name: Arc<str>,
    lines: Rc<RefCell<HashMap<Arc<str>, SimLine>>>,
}

impl Wire for SimWire {
    fn set(&mut self, on: bool) -> Result<(), String> {
        if let Some(line) = self.lines.borrow_mut().get_mut(&self.name).filter(|line| !line.stuck) {
            line.level = on;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<bool, String> {
        Ok(self.lines.borrow().get(&self.name).is_some_and(|line| line.level))
    }
}
