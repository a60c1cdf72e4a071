//! One round through the points of a device: which of them are due, in which requests, and what came.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::reading::Sample;
use crate::sensor::cell::CellType;
use crate::sensor::config::PointConfig;
use crate::sensor::decode::Raw;
use crate::sensor::modbus::pdu::Exception;
use crate::sensor::modbus::plan::{Block, Item, Limits, plan};
use crate::sensor::point;
use crate::time::Mono;

/// A point that the device refuses is asked for again after this long: somebody may have changed the device.
const REFUSED_AGAIN: Duration = Duration::from_secs(600);

/// The points of a Modbus device, and what is known of its registers.
#[derive(Debug)]
pub(in crate::sensor) struct Registers {
    points: Vec<PointConfig>,
    items: Vec<Item>,
    limits: Limits,
    /// When each point takes part again.
    due: Vec<Mono>,
    /// Points that can't be read in one request with the one before, although the limits would allow it.
    cuts: BTreeSet<usize>,
    /// Points that the device refuses, each with when to try again.
    refused: BTreeMap<usize, Mono>,
}

/// A round.
#[derive(Debug, Default)]
pub(in crate::sensor) struct Round {
    /// Requests that are still to be made.
    pub(in crate::sensor) todo: VecDeque<Block>,
    /// What came, by point.
    raws: BTreeMap<usize, Raw<'static>>,
    /// The points that take part.
    part: BTreeSet<usize>,
}

impl Registers {
    /// Without any point that has a register there is nothing to ask.
    pub(in crate::sensor) fn new(points: &[PointConfig], limits: Limits) -> Self {
        let item = |(point, config): (usize, &PointConfig)| {
            let register = config.register?;
            let bytes = config.cell.map_or(2, |cell| cell.bytes);
            let count = if register.function.is_bits() { 1 } else { bytes.div_ceil(2).max(1) };
            let count = u16::try_from(count).unwrap_or(u16::MAX);
            Some(Item { function: register.function, address: register.address, count, point })
        };
        Self {
            items: points.iter().enumerate().filter_map(item).collect(),
            due: vec![Mono::ZERO; points.len()],
            points: points.to_vec(),
            limits,
            cuts: BTreeSet::new(),
            refused: BTreeMap::new(),
        }
    }

    /// The point of that name that can be written, and where it stands.
    pub(super) fn target(&self, name: &str) -> Option<(&PointConfig, Item)> {
        let item = self.items.iter().find(|item| {
            let point = self.points.get(item.point);
            point.is_some_and(|point| *point.name == *name && point.write.is_some())
        })?;
        Some((self.points.get(item.point)?, *item))
    }

    /// The points that can be written.
    pub(super) fn writable(&self) -> impl Iterator<Item = &PointConfig> {
        self.points.iter().filter(|point| point.write.is_some())
    }

    /// A round of what is due. `nominal` is when it should have begun: by it the slower points keep their pace.
    pub(in crate::sensor) fn begin(&mut self, now: Mono, nominal: Mono) -> Round {
        let is_due = |item: &Item| self.due.get(item.point).is_none_or(|due| *due <= nominal);
        let due: Vec<Item> = self.items.iter().copied().filter(is_due).collect();
        for item in &due {
            let every = self.points.get(item.point).and_then(|point| point.every);
            if let (Some(every), Some(due)) = (every, self.due.get_mut(item.point)) {
                *due = nominal + every;
            }
        }
        let is_asked = |item: &Item| self.refused.get(&item.point).is_none_or(|again| *again <= now);
        let asked: Vec<Item> = due.iter().copied().filter(is_asked).collect();
        let alone = self.refused.keys().copied().collect();
        let todo = plan(&asked, self.limits, &self.cuts, &alone).into();
        Round { todo, raws: BTreeMap::new(), part: due.iter().map(|item| item.point).collect() }
    }

    /// All of them take part in the next round.
    pub(in crate::sensor) fn all_due(&mut self) {
        self.due.fill(Mono::ZERO);
    }

    /// The round came to nothing: its slower points are due again at once.
    pub(super) fn again(&mut self, round: &Round) {
        for point in &round.part {
            if let Some(due) = self.due.get_mut(*point) {
                *due = Mono::ZERO;
            }
        }
    }

    /// The values of a block came.
    pub(in crate::sensor) fn take(&mut self, round: &mut Round, block: &Block, values: &[u8]) {
        for item in &block.items {
            self.refused.remove(&item.point);
            if let Some(point) = self.points.get(item.point) {
                round.raws.insert(item.point, raw(point, *item, block.offset(*item), values));
            }
        }
    }

    /// The device refuses a block: its halves are asked for. Of a single point, or where the device doesn't know the
    /// function, the points are refused; those of which that is news.
    pub(super) fn refuse(
        &mut self,
        now: Mono,
        round: &mut Round,
        block: &Block,
        exception: Exception,
    ) -> Vec<Arc<str>> {
        if exception != Exception::IllegalFunction
            && let Some((first, second)) = block.halves()
        {
            self.cuts.extend(second.items.first().map(|item| item.point));
            round.todo.push_front(second);
            round.todo.push_front(first);
            return Vec::new();
        }
        // The search for them has cut what may be read together.
        self.cuts.clear();
        let mut news = Vec::new();
        for item in &block.items {
            round.raws.insert(item.point, Raw::Null);
            if self.refused.insert(item.point, now + REFUSED_AGAIN).is_none() {
                news.extend(self.points.get(item.point).map(|point| point.name.clone()));
            }
        }
        news
    }

    /// The line was closed: whoever answers then may be another device.
    pub(super) fn forget(&mut self) {
        self.cuts.clear();
        self.refused.clear();
    }

    /// The values of a round in the order of the points; a refused point reads invalid.
    pub(in crate::sensor) fn samples(&self, round: &Round) -> Vec<Sample> {
        let sample = |point: &usize| {
            let config = self.points.get(*point)?;
            let raw = round.raws.get(point);
            let raw = raw.or_else(|| self.refused.contains_key(point).then_some(&Raw::Null))?;
            point::sample(config, raw)
        };
        // A round in which nothing was said has no values.
        if round.raws.is_empty() { Vec::new() } else { round.part.iter().filter_map(sample).collect() }
    }

    /// The points that are refused.
    pub(super) fn refused(&self) -> impl Iterator<Item = &PointConfig> {
        self.refused.keys().filter_map(|point| self.points.get(*point))
    }
}

/// The raw value of a point within a block's values.
pub(super) fn raw(point: &PointConfig, item: Item, offset: u16, values: &[u8]) -> Raw<'static> {
    let offset = usize::from(offset);
    if item.function.is_bits() {
        let bit = values.get(offset / 8).map(|byte| byte >> (offset % 8) & 1 == 1);
        return bit.map_or(Raw::Missing, Raw::Bool);
    }
    let Some(cell) = &point.cell else { return Raw::Missing };
    let start = offset.saturating_mul(2);
    let end = start.saturating_add(cell.bytes);
    let bytes = values.get(start..end).unwrap_or_default();
    // A bool and a bit of one byte stand in the low byte of their register.
    match (cell.kind, bytes) {
        (CellType::Bit | CellType::Bool, [_]) => {
            let register = values.get(start.saturating_add(1)..start.saturating_add(2)).unwrap_or_default();
            cell.decode(register)
        }
        _ => cell.decode(bytes),
    }
}
