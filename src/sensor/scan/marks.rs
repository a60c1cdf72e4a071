//! Bytes as a terminal hands them over that marks what came damaged (PARMRK): FF 00 before a byte with a wrong parity or
//! stop bit, FF FF for a byte FF.

/// Takes the marks out. Lives as long as the line is open: a mark may come in two pieces.
#[derive(Debug, Default)]
pub struct Marks {
    state: State,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Plain,
    /// Behind FF.
    Escape,
    /// Behind FF 00.
    Damaged,
}

impl Marks {
    /// The bytes without marks, and how many of them were marked.
    pub fn take(&mut self, bytes: &[u8]) -> (Vec<u8>, usize) {
        let (mut plain, mut damaged) = (Vec::with_capacity(bytes.len()), 0_usize);
        for byte in bytes {
            self.state = match (self.state, byte) {
                (State::Plain, 0xff) => State::Escape,
                (State::Escape, 0) => State::Damaged,
                (State::Damaged, byte) => {
                    damaged = damaged.saturating_add(1);
                    plain.push(*byte);
                    State::Plain
                }
                (State::Plain | State::Escape, byte) => {
                    plain.push(*byte);
                    State::Plain
                }
            };
        }
        (plain, damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_out_wherever_the_stream_is_cut() {
        let bytes = [b'a', 0xff, 0, 0x41, 0xff, 0xff, b'b', 0xff, 0, 0, 0xff, 0, 0xff, b'c'];
        for cut in 0..bytes.len() {
            let mut marks = Marks::default();
            let (first, second) = bytes.split_at(cut);
            let (mut plain, mut damaged) = marks.take(first);
            let (rest, more) = marks.take(second);
            plain.extend(rest);
            damaged += more;
            assert_eq!((plain, damaged), (vec![b'a', 0x41, 0xff, b'b', 0, 0xff, b'c'], 3), "{cut}");
        }
    }
}
