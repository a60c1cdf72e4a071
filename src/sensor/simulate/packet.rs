//! Packets of bytes: cells at their places, what marks beginning, length and end, and the check.

use super::super::cell::Endian;
use super::super::check::place;
use super::super::config::PacketLength;
use super::*;

impl Simulator {
    pub(super) fn packet(&self, number: u64) -> Vec<u8> {
        let mut frame = vec![0; self.packet_bytes()];
        for actor in &self.actors {
            let Some(cell) = actor.point.cell else { continue };
            let Some(start) = place(actor.point.at, frame.len()) else { continue };
            let (bytes, _) = actor.bytes(&cell, number);
            // Several points may be parts of one byte.
            for (to, from) in frame.iter_mut().skip(start).zip(bytes) {
                *to |= from;
            }
        }
        match &self.config.framing {
            FramingConfig::Packet { sync, length, end, .. } => {
                put_bytes(&mut frame, 0, sync);
                let tail = frame.len().saturating_sub(end.len());
                put_bytes(&mut frame, tail, end);
                if let PacketLength::Field { at, bytes, endian, add } = length {
                    let told = i64::try_from(frame.len()).unwrap_or(0).saturating_sub((*add).into());
                    let told = u16::try_from(told).unwrap_or(0);
                    let field = match (bytes, endian) {
                        (1, _) => told.to_le_bytes().get(..1).unwrap_or_default().to_vec(),
                        (_, Endian::Big) => told.to_be_bytes().to_vec(),
                        (_, Endian::Little) => told.to_le_bytes().to_vec(),
                    };
                    put_bytes(&mut frame, *at, &field);
                }
            }
            FramingConfig::Telegram { start, end, tail, .. } => {
                put_bytes(&mut frame, 0, start);
                let at = frame.len().saturating_sub(end.len().saturating_add(*tail));
                put_bytes(&mut frame, at, end);
            }
            _ => {}
        }
        self.stamp(&mut frame);
        match &self.config.framing {
            FramingConfig::Stuffed { flag, escape, xor, .. } => stuff(&frame, *flag, *escape, *xor),
            FramingConfig::Line { .. } => self.wrap(frame),
            _ => frame,
        }
    }

    /// As long as it is told to be, or as its values, its check and its end want.
    fn packet_bytes(&self) -> usize {
        let end_of = |point: &PointConfig| {
            let bytes = point.cell.map_or(0, |cell| cell.bytes);
            usize::try_from(point.at).map_or(bytes, |at| at.saturating_add(bytes))
        };
        let values = self.actors.iter().map(|actor| end_of(&actor.point)).max().unwrap_or(0);
        let check = self.config.check.map_or(0, |check| match usize::try_from(check.at) {
            Ok(_) => 0,
            Err(_) => usize::try_from(check.at.unsigned_abs()).unwrap_or(0),
        });
        match &self.config.framing {
            FramingConfig::Packet { length: PacketLength::Fixed(bytes), .. } => *bytes,
            FramingConfig::Packet { sync, length: PacketLength::Field { at, bytes, .. }, end, .. } => {
                let head = at.saturating_add(*bytes).max(sync.len());
                values.max(head).saturating_add(check.max(end.len()))
            }
            FramingConfig::Stuffed { length: Some(length), .. } => *length,
            FramingConfig::Telegram { end, tail, .. } => {
                values.saturating_add(end.len()).saturating_add(*tail).max(check)
            }
            _ => values.saturating_add(check).max(1),
        }
    }
}

fn put_bytes(frame: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in frame.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn stuff(frame: &[u8], flag: u8, escape: u8, xor: u8) -> Vec<u8> {
    let mut out = vec![flag];
    for byte in frame {
        // XON and XOFF are escaped as well, which is never wrong.
        if [flag, escape, 0x11, 0x13].contains(byte) {
            out.extend([escape, byte ^ xor]);
        } else {
            out.push(*byte);
        }
    }
    out.push(flag);
    out
}
