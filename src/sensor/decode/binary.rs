//! Values at fixed places of a frame of bytes.

use super::Raw;
use crate::sensor::cell::Cell;
use crate::sensor::config::PointConfig;

/// The points' cells and where each begins.
#[derive(Debug)]
pub(in crate::sensor) struct Binary {
    cells: Vec<(i32, Cell)>,
}

impl Binary {
    pub(super) fn new(points: &[PointConfig]) -> Self {
        Self { cells: points.iter().filter_map(|point| Some((point.at, point.cell?))).collect() }
    }

    /// A cell that a shorter frame hasn't is missing.
    pub(super) fn pick(&self, frame: &[u8]) -> Vec<Raw<'static>> {
        let read = |(at, cell): &(i32, Cell)| {
            let start = match usize::try_from(*at) {
                Ok(start) => Some(start),
                Err(_) => frame.len().checked_sub(usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX)),
            };
            let bytes = start.and_then(|start| frame.get(start..start.checked_add(cell.bytes)?));
            bytes.map_or(Raw::Missing, |bytes| cell.decode(bytes))
        };
        self.cells.iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::cell::CellType;

    #[test]
    fn cells_are_found_from_both_ends_and_missing_beyond() {
        let point = |at: i32, kind: CellType| PointConfig {
            at,
            cell: Some(Cell::of(kind)),
            ..PointConfig::named("p")
        };
        let binary = Binary::new(&[
            point(0, CellType::U8),
            point(1, CellType::U16),
            point(-1, CellType::U8),
            point(-3, CellType::U24),
            point(2, CellType::U16),
            point(-4, CellType::U8),
        ]);
        let number = |n: i64| Raw::Decimal(n.into());
        let expected = [number(1), number(0x0203), number(3), number(0x01_0203), Raw::Missing, Raw::Missing];
        assert_eq!(binary.pick(&[1, 2, 3]), expected);
    }
}
