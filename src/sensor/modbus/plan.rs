//! Which registers one request reads together: neighbours are merged as far as the device's limits allow.

use std::collections::BTreeSet;

use super::pdu::{ReadFunction, Request};

/// Coils in the space of one register.
const BITS_PER_REGISTER: u16 = 16;

/// What one point needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Its table.
    pub function: ReadFunction,
    /// Its first register or coil, from 0.
    pub address: u16,
    /// How many; at least 1.
    pub count: u16,
    /// Which point it is.
    pub point: usize,
}

impl Item {
    /// The register after its last: up to 65536.
    fn end(self) -> u32 {
        u32::from(self.address).saturating_add(u32::from(self.count))
    }
}

/// What a device bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Registers between two points that may be read along with them.
    pub hole_max: u16,
    /// Registers of one request; of coils sixteen times as many.
    pub registers_max: u16,
}

/// One request and the points that it serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Sorted by address, of one table.
    pub items: Vec<Item>,
}

impl Block {
    /// The request.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        let first = self.items.first()?;
        let end = self.items.iter().map(|item| item.end()).max()?;
        let count = u16::try_from(end.saturating_sub(u32::from(first.address))).ok()?;
        Some(Request::Read { function: first.function, address: first.address, count })
    }

    /// Where the values of an item begin in the answer: its first register or coil, counted from the first of the block.
    #[must_use]
    pub fn offset(&self, item: Item) -> u16 {
        let first = self.items.first().map_or(item.address, |first| first.address);
        item.address.saturating_sub(first)
    }

    /// Two halves, to find which point it is that the device refuses; `None` of a single point.
    #[must_use]
    pub fn halves(&self) -> Option<(Self, Self)> {
        let (first, second) = self.items.split_at_checked(self.items.len() / 2)?;
        let is_split = !first.is_empty() && !second.is_empty();
        is_split.then(|| (Self { items: first.to_vec() }, Self { items: second.to_vec() }))
    }
}

/// Merges what may be read together. A point of `cuts` begins a request of its own; one of `alone` shares none.
#[must_use]
pub fn plan(items: &[Item], limits: Limits, cuts: &BTreeSet<usize>, alone: &BTreeSet<usize>) -> Vec<Block> {
    let mut sorted = items.to_vec();
    sorted.sort();
    let mut blocks: Vec<Block> = Vec::new();
    for item in sorted {
        match blocks.last_mut() {
            Some(block) if !cuts.contains(&item.point) && fits(block, item, limits, alone) => {
                block.items.push(item);
            }
            _ => blocks.push(Block { items: vec![item] }),
        }
    }
    blocks
}

fn fits(block: &Block, item: Item, limits: Limits, alone: &BTreeSet<usize>) -> bool {
    let Some(first) = block.items.first() else { return true };
    let end = block.items.iter().map(|item| item.end()).max().unwrap_or_default();
    let max = if first.function.is_bits() {
        limits.registers_max.saturating_mul(BITS_PER_REGISTER)
    } else {
        limits.registers_max
    };
    let max = max.min(first.function.count_max());
    let new_end = end.max(item.end());
    first.function == item.function
        && u32::from(item.address) <= end.saturating_add(u32::from(limits.hole_max))
        && new_end.saturating_sub(u32::from(first.address)) <= u32::from(max)
        && !alone.contains(&item.point)
        && !block.items.iter().any(|item| alone.contains(&item.point))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReadFunction::{Coils, HoldingRegisters, InputRegisters};

    fn items(list: &[(ReadFunction, u16, u16)]) -> Vec<Item> {
        let item = |(point, &(function, address, count))| Item { function, address, count, point };
        list.iter().enumerate().map(item).collect()
    }

    fn check(list: &[(ReadFunction, u16, u16)], limits: (u16, u16), expected: &[(ReadFunction, u16, u16)]) {
        let limits = Limits { hole_max: limits.0, registers_max: limits.1 };
        let blocks = plan(&items(list), limits, &BTreeSet::new(), &BTreeSet::new());
        let requests: Vec<Request> = blocks.iter().filter_map(Block::request).collect();
        let expected: Vec<Request> = expected
            .iter()
            .map(|&(function, address, count)| Request::Read { function, address, count })
            .collect();
        assert_eq!(requests, expected);
        let served: usize = blocks.iter().map(|block| block.items.len()).sum();
        assert_eq!(served, list.len());
    }

    #[test]
    fn neighbours_are_read_together_in_the_order_of_their_addresses() {
        check(
            &[
                (InputRegisters, 2, 2),
                (InputRegisters, 0, 2),
                (HoldingRegisters, 4, 1),
                (InputRegisters, 6, 2),
            ],
            (0, 60),
            &[(HoldingRegisters, 4, 1), (InputRegisters, 0, 4), (InputRegisters, 6, 2)],
        );
    }

    #[test]
    fn a_hole_is_read_along_up_to_its_limit() {
        let list = [(InputRegisters, 0, 2), (InputRegisters, 6, 2)];
        check(&list, (3, 60), &[(InputRegisters, 0, 2), (InputRegisters, 6, 2)]);
        check(&list, (4, 60), &[(InputRegisters, 0, 8)]);
    }

    #[test]
    fn a_request_has_at_most_so_many_registers_and_coils() {
        let list: Vec<_> = (0..70).map(|address| (InputRegisters, address, 1)).collect();
        check(&list, (0, 60), &[(InputRegisters, 0, 60), (InputRegisters, 60, 10)]);
        let list: Vec<_> = (0..40).map(|address| (Coils, address, 1)).collect();
        check(&list, (0, 2), &[(Coils, 0, 32), (Coils, 32, 8)]);
    }

    #[test]
    fn points_may_share_registers() {
        check(
            &[(InputRegisters, 5, 1), (InputRegisters, 5, 1), (InputRegisters, 4, 4), (InputRegisters, 8, 1)],
            (0, 60),
            &[(InputRegisters, 4, 5)],
        );
        check(&[(InputRegisters, 65_534, 2)], (0, 60), &[(InputRegisters, 65_534, 2)]);
    }

    #[test]
    fn a_suspect_is_asked_alone_and_a_cut_is_kept() {
        let list = items(&[(Coils, 0, 1), (Coils, 1, 1), (Coils, 2, 1), (Coils, 3, 1), (Coils, 4, 1)]);
        let limits = Limits { hole_max: 9, registers_max: 60 };
        let points = |cuts: &[usize], alone: &[usize]| -> Vec<Vec<usize>> {
            let set = |list: &[usize]| list.iter().copied().collect();
            let blocks = plan(&list, limits, &set(cuts), &set(alone));
            let points = |block: &Block| block.items.iter().map(|item| item.point).collect();
            blocks.iter().map(points).collect()
        };
        assert_eq!(points(&[], &[2]), [vec![0, 1], vec![2], vec![3, 4]]);
        assert_eq!(points(&[3], &[]), [vec![0, 1, 2], vec![3, 4]]);
    }
}
