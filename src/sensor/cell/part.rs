//! Writing cells that are some bits of their bytes: the others stay as they are.

use rust_decimal::Decimal;

use super::super::decode::Raw;
use super::{Cell, CellType, EncodeError};

impl Cell {
    /// Whether it is some bits of its bytes, so that these must be known to write it.
    pub(in crate::sensor) fn is_part(&self) -> bool {
        self.mask.is_some() || self.shift != 0 || self.kind == CellType::Bit
    }

    /// The same as [`Cell::encode`] for a cell that may be some bits of its bytes: the others stay as they are in `before`.
    ///
    /// # Errors
    /// The value doesn't fit.
    pub(in crate::sensor) fn encode_into(
        &self,
        before: &[u8],
        value: &Raw<'_>,
    ) -> Result<Vec<u8>, EncodeError> {
        if !self.is_part() {
            return self.encode(value);
        }
        let old = self.bits(before);
        let bits = match (self.kind, value) {
            (CellType::Bit, Raw::Bool(flag)) => {
                let bit = 1_u64.checked_shl(self.bit.into()).unwrap_or(0);
                if *flag { old | bit } else { old & !bit }
            }
            (kind, Raw::Decimal(number)) if kind.is_unsigned() => self.masked_bits(old, *number)?,
            _ => return Err(EncodeError::NotThisType),
        };
        let bytes = bits.to_be_bytes();
        let low = bytes.get(bytes.len().saturating_sub(self.bytes)..).unwrap_or_default();
        Ok(self.in_big_endian(low).into_owned())
    }

    fn masked_bits(&self, old: u64, number: Decimal) -> Result<u64, EncodeError> {
        let wanted = self.integer_bits(number)?;
        let width = u32::try_from(self.bytes.saturating_mul(8)).unwrap_or(64);
        let all = u64::MAX.checked_shr(64_u32.saturating_sub(width)).unwrap_or(u64::MAX);
        let above = u64::MAX.checked_shl(self.shift.into()).unwrap_or(0);
        let mask = self.mask.unwrap_or(u64::MAX) & above & all;
        let moved = wanted.checked_shl(self.shift.into()).unwrap_or(0);
        let is_whole = moved.checked_shr(self.shift.into()) == Some(wanted);
        if !is_whole || moved & !mask != 0 {
            let max = mask.checked_shr(self.shift.into()).unwrap_or(0);
            let value = number.normalize().to_string();
            return Err(EncodeError::OutOfRange { value, min: "0".to_owned(), max: max.to_string() });
        }
        Ok(old & !mask | moved)
    }
}
