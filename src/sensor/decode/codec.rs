//! A codec's fields to a device's points: by name, and in the unit that the point has.

use std::borrow::Cow;

use rust_decimal::Decimal;

use super::{ALL_POINTS_MAX, Raw};
use crate::sensor::codec::{CodecKind, Role, in_unit};
use crate::sensor::config::{PointConfig, Points};
use crate::sensor::fault::LineError;

/// The protocol, and what its fields are taken for.
#[derive(Debug)]
pub(in crate::sensor) struct Named {
    kind: CodecKind,
    picks: Vec<Pick>,
}

#[derive(Debug)]
struct Pick {
    from: String,
    /// The unit that the value is turned into. A point with a scale of its own does that itself.
    unit: Option<String>,
}

impl Named {
    pub(super) fn new(kind: CodecKind, points: &Points) -> Self {
        let pick = |point: &PointConfig| {
            let is_plain = point.scale == Decimal::ONE && point.offset.is_zero();
            // A meter may print its code whole.
            let from = point.from.strip_suffix("*255").unwrap_or(&point.from).to_owned();
            Pick { from, unit: point.unit.as_deref().filter(|_| is_plain).map(str::to_owned) }
        };
        let picks = match points {
            Points::All => Vec::new(),
            Points::List(list) => list.iter().map(pick).collect(),
        };
        Self { kind, picks }
    }

    pub(super) fn is_partial(&self) -> bool {
        self.kind.is_partial()
    }

    pub(super) fn pick<'a>(&self, frame: &'a [u8]) -> Result<Vec<Raw<'a>>, LineError> {
        let fields = self.kind.decode(frame).map_err(LineError::Codec)?;
        let raw = |pick: &Pick| {
            let Some(field) = fields.iter().find(|field| field.name == pick.from) else {
                return Raw::Missing;
            };
            in_unit(field, pick.unit.as_deref())
        };
        Ok(self.picks.iter().map(raw).collect())
    }

    /// Each value once, by its best name.
    pub(super) fn all<'a>(&self, frame: &'a [u8]) -> Result<Vec<(Cow<'a, str>, Raw<'a>)>, LineError> {
        let fields = self.kind.decode(frame).map_err(LineError::Codec)?;
        let main = fields.into_iter().filter(|field| field.role == Role::Main);
        let rounded = main.map(|field| {
            let raw = in_unit(&field, None);
            (field.name, raw)
        });
        Ok(rounded.take(ALL_POINTS_MAX).collect())
    }
}
