//! Requests and answers without address and check (the protocol data unit, MAP 4.1 and 6).

use std::fmt;

/// Coils and discrete inputs of one read, at most (MAP 6.1, 6.2).
pub const READ_BITS_MAX: u16 = 2_000;
/// Registers of one read, at most (MAP 6.3, 6.4): 250 bytes of values.
pub const READ_REGISTERS_MAX: u16 = 125;
/// Coils of one write, at most (MAP 6.11).
pub const WRITE_BITS_MAX: u16 = 1_968;
/// Registers of one write, at most (MAP 6.12).
pub const WRITE_REGISTERS_MAX: u16 = 123;

/// The bit of the function that marks an exception (MAP 7).
const EXCEPTION: u8 = 0x80;

/// The four tables of a slave, by the function that reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadFunction {
    /// 1: coils, which can be written.
    Coils,
    /// 2: discrete inputs.
    DiscreteInputs,
    /// 3: holding registers, which can be written.
    HoldingRegisters,
    /// 4: input registers.
    InputRegisters,
}

impl ReadFunction {
    /// The function of that number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Coils),
            2 => Some(Self::DiscreteInputs),
            3 => Some(Self::HoldingRegisters),
            4 => Some(Self::InputRegisters),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Coils => 1,
            Self::DiscreteInputs => 2,
            Self::HoldingRegisters => 3,
            Self::InputRegisters => 4,
        }
    }

    /// Whether its items are single bits.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coils | Self::DiscreteInputs)
    }

    /// The most items of one request.
    #[must_use]
    pub const fn count_max(self) -> u16 {
        if self.is_bits() { READ_BITS_MAX } else { READ_REGISTERS_MAX }
    }
}

/// What is asked of a slave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Functions 1 to 4.
    Read {
        /// Which table.
        function: ReadFunction,
        /// The first item, from 0.
        address: u16,
        /// How many.
        count: u16,
    },
    /// Function 5.
    WriteCoil {
        /// Which coil.
        address: u16,
        /// On or off.
        on: bool,
    },
    /// Function 6.
    WriteRegister {
        /// Which register.
        address: u16,
        /// Its new content.
        value: u16,
    },
    /// Function 15.
    WriteCoils {
        /// The first coil.
        address: u16,
        /// On or off, one after the other.
        values: Vec<bool>,
    },
    /// Function 16.
    WriteRegisters {
        /// The first register.
        address: u16,
        /// Their new contents.
        values: Vec<u16>,
    },
}

/// Why a request can't be written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// Nothing is asked for, or more than one request may.
    Count {
        /// Items asked for.
        count: usize,
        /// The most of them.
        max: u16,
    },
    /// The last item lies beyond 65535.
    Address {
        /// The first item.
        address: u16,
        /// Items asked for.
        count: usize,
    },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { count, max } => write!(f, "{count} items in one request; 1 to {max} are allowed"),
            Self::Address { address, count } => {
                write!(f, "{count} items from address {address} end beyond 65535")
            }
        }
    }
}

impl std::error::Error for RequestError {}

impl Request {
    /// The number of its function.
    #[must_use]
    pub const fn function(&self) -> u8 {
        match self {
            Self::Read { function, .. } => function.code(),
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteCoils { .. } => 15,
            Self::WriteRegisters { .. } => 16,
        }
    }

    /// Whether it changes the slave.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }

    /// Its bytes.
    ///
    /// # Errors
    /// The number of items, or where they end.
    pub fn encode(&self) -> Result<Vec<u8>, RequestError> {
        let mut bytes = vec![self.function()];
        let put = |bytes: &mut Vec<u8>, word: u16| bytes.extend_from_slice(&word.to_be_bytes());
        match self {
            Self::Read { function, address, count } => {
                check_items(*address, usize::from(*count), function.count_max())?;
                put(&mut bytes, *address);
                put(&mut bytes, *count);
            }
            Self::WriteCoil { address, on } => {
                put(&mut bytes, *address);
                put(&mut bytes, if *on { 0xFF00 } else { 0 });
            }
            Self::WriteRegister { address, value } => {
                put(&mut bytes, *address);
                put(&mut bytes, *value);
            }
            Self::WriteCoils { address, values } => {
                put(&mut bytes, *address);
                put(&mut bytes, check_items(*address, values.len(), WRITE_BITS_MAX)?);
                let packed = pack(values);
                bytes.push(u8::try_from(packed.len()).unwrap_or(u8::MAX));
                bytes.extend_from_slice(&packed);
            }
            Self::WriteRegisters { address, values } => {
                put(&mut bytes, *address);
                put(&mut bytes, check_items(*address, values.len(), WRITE_REGISTERS_MAX)?);
                bytes.push(u8::try_from(values.len().saturating_mul(2)).unwrap_or(u8::MAX));
                for value in values {
                    put(&mut bytes, *value);
                }
            }
        }
        Ok(bytes)
    }

    /// The bytes of values in its answer: `2 × asked` of registers, one bit each of coils. 0 for a write.
    #[must_use]
    pub fn value_bytes(&self) -> u8 {
        let bytes = match self {
            Self::Read { function, count, .. } if function.is_bits() => count.div_ceil(8),
            Self::Read { count, .. } => count.saturating_mul(2),
            _ => 0,
        };
        u8::try_from(bytes).unwrap_or(u8::MAX)
    }

    /// The length of its answer if it is no exception.
    #[must_use]
    pub fn answer_len(&self) -> usize {
        match self {
            Self::Read { .. } => 2 + usize::from(self.value_bytes()),
            _ => 5,
        }
    }

    /// Whether an answer that begins with these bytes may be its own; what hasn't come yet may be right.
    #[must_use]
    pub fn is_answer_start(&self, bytes: &[u8]) -> bool {
        let Some((&function, rest)) = bytes.split_first() else { return true };
        if function == self.function() | EXCEPTION {
            return rest.first().is_none_or(|code| Exception::from_code(*code).is_some());
        }
        if function != self.function() {
            return false;
        }
        match self {
            Self::Read { .. } => rest.first().is_none_or(|count| *count == self.value_bytes()),
            _ => self
                .echoed()
                .get(1..)
                .is_some_and(|wanted| wanted.iter().zip(rest).all(|(wanted, got)| wanted == got)),
        }
    }

    /// What the slave says again when it has written: function, address, and value or count.
    fn echoed(&self) -> Vec<u8> {
        let mut bytes = self.encode().unwrap_or_default();
        bytes.truncate(5);
        bytes
    }

    /// Takes an answer apart. `None`: it is none to this request.
    #[must_use]
    pub fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        if !self.is_answer_start(bytes) {
            return None;
        }
        if let [function, code] = bytes
            && *function == self.function() | EXCEPTION
        {
            return Exception::from_code(*code).map(Answer::Exception);
        }
        if bytes.len() != self.answer_len() {
            return None;
        }
        match self {
            Self::Read { .. } => bytes.get(2..).map(|values| Answer::Values(values.to_vec())),
            _ => Some(Answer::Written),
        }
    }
}

/// The number of items as it is sent.
fn check_items(address: u16, count: usize, max: u16) -> Result<u16, RequestError> {
    let items = u16::try_from(count).unwrap_or(u16::MAX);
    if items == 0 || items > max {
        return Err(RequestError::Count { count, max });
    }
    address.checked_add(items.saturating_sub(1)).ok_or(RequestError::Address { address, count })?;
    Ok(items)
}

/// Bits as they are sent: the first is the lowest of the first byte (MAP 6.11).
fn pack(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().rev().fold(0_u8, |byte, bit| (byte << 1) | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

/// What a slave answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The bytes of the values, as sent.
    Values(Vec<u8>),
    /// It is written.
    Written,
    /// It can't, or won't.
    Exception(Exception),
}

/// Why a slave refuses (MAP 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exception {
    /// 1
    IllegalFunction,
    /// 2
    IllegalAddress,
    /// 3
    IllegalValue,
    /// 4
    DeviceFailure,
    /// 5
    Acknowledge,
    /// 6
    Busy,
    /// 7, of older devices
    NegativeAcknowledge,
    /// 8
    MemoryParity,
    /// 10
    GatewayPathUnavailable,
    /// 11
    GatewayTargetSilent,
}

impl Exception {
    /// The exception of that number.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::IllegalFunction,
            2 => Self::IllegalAddress,
            3 => Self::IllegalValue,
            4 => Self::DeviceFailure,
            5 => Self::Acknowledge,
            6 => Self::Busy,
            7 => Self::NegativeAcknowledge,
            8 => Self::MemoryParity,
            10 => Self::GatewayPathUnavailable,
            11 => Self::GatewayTargetSilent,
            _ => return None,
        })
    }

    /// Whether it is the request that the slave dislikes: asking again is of no use, asking for less may be.
    #[must_use]
    pub const fn blames_request(self) -> bool {
        matches!(self, Self::IllegalFunction | Self::IllegalAddress | Self::IllegalValue)
    }

    /// Whether a gateway on the way says that the slave is silent.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::GatewayPathUnavailable | Self::GatewayTargetSilent)
    }

    const fn words(self) -> (u8, &'static str) {
        match self {
            Self::IllegalFunction => (1, "illegal function: the device doesn't know it"),
            Self::IllegalAddress => (2, "illegal address: the device has no such register"),
            Self::IllegalValue => (3, "illegal value: the device refuses the count or the value"),
            Self::DeviceFailure => (4, "device failure"),
            Self::Acknowledge => (5, "acknowledged, not done yet"),
            Self::Busy => (6, "device busy"),
            Self::NegativeAcknowledge => (7, "the device can't do it"),
            Self::MemoryParity => (8, "the device's memory is damaged"),
            Self::GatewayPathUnavailable => (10, "the Modbus gateway has no way to the device"),
            Self::GatewayTargetSilent => (11, "the device does not answer the Modbus gateway"),
        }
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, words) = self.words();
        write!(f, "exception {code}, {words}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(function: ReadFunction, address: u16, count: u16) -> Request {
        Request::Read { function, address, count }
    }

    #[test]
    fn requests_are_written_as_the_specification_shows_them() {
        // The examples of MAP 6.1 to 6.4, 6.5, 6.6, 6.11, 6.12.
        let check = |request: Request, expected: &[u8], answer_len| {
            assert_eq!(request.encode().unwrap(), expected);
            assert_eq!(request.answer_len(), answer_len);
        };
        check(read(ReadFunction::Coils, 0x13, 0x13), &[1, 0, 0x13, 0, 0x13], 5);
        check(read(ReadFunction::DiscreteInputs, 0xC4, 0x16), &[2, 0, 0xC4, 0, 0x16], 5);
        check(read(ReadFunction::HoldingRegisters, 0x6B, 3), &[3, 0, 0x6B, 0, 3], 8);
        check(read(ReadFunction::InputRegisters, 8, 1), &[4, 0, 8, 0, 1], 4);
        check(Request::WriteCoil { address: 0xAC, on: true }, &[5, 0, 0xAC, 0xFF, 0], 5);
        check(Request::WriteRegister { address: 1, value: 3 }, &[6, 0, 1, 0, 3], 5);
        let coils = [true, false, true, true, false, false, true, true, true, false];
        let request = Request::WriteCoils { address: 0x13, values: coils.to_vec() };
        check(request, &[15, 0, 0x13, 0, 0x0A, 2, 0xCD, 1], 5);
        let request = Request::WriteRegisters { address: 1, values: vec![0x0A, 0x0102] };
        check(request, &[16, 0, 1, 0, 2, 4, 0, 0x0A, 1, 2], 5);
    }

    #[test]
    fn a_request_keeps_to_the_bounds() {
        let count = |count, max| Err(RequestError::Count { count, max });
        assert_eq!(read(ReadFunction::InputRegisters, 0, 126).encode(), count(126, 125));
        assert_eq!(read(ReadFunction::InputRegisters, 0, 0).encode(), count(0, 125));
        assert_eq!(read(ReadFunction::Coils, 0, 2_001).encode(), count(2_001, 2_000));
        assert_eq!(Request::WriteRegisters { address: 0, values: vec![0; 124] }.encode(), count(124, 123));
        assert_eq!(Request::WriteCoils { address: 0, values: Vec::new() }.encode(), count(0, 1_968));
        assert!(read(ReadFunction::InputRegisters, 65_534, 2).encode().is_ok());
        assert_eq!(
            read(ReadFunction::InputRegisters, 65_535, 2).encode(),
            Err(RequestError::Address { address: 65_535, count: 2 })
        );
    }

    #[test]
    fn an_answer_must_have_the_function_and_the_byte_count_that_were_asked_for() {
        let request = read(ReadFunction::InputRegisters, 0, 2);
        assert_eq!(request.answer(&[4, 4, 1, 2, 3, 4]), Some(Answer::Values(vec![1, 2, 3, 4])));
        for wrong in [
            &[3, 4, 1, 2, 3, 4][..],
            &[4, 2, 1, 2],
            &[4, 4, 1, 2, 3],
            &[4, 4, 1, 2, 3, 4, 5],
            &[4],
            &[],
            &[0x84, 9],
            &[0x83, 2],
            &[0x84],
        ] {
            assert_eq!(request.answer(wrong), None, "{wrong:?}");
        }
        assert_eq!(request.answer(&[0x84, 2]), Some(Answer::Exception(Exception::IllegalAddress)));
    }

    #[test]
    fn a_write_is_done_when_the_slave_says_the_same_again() {
        let request = Request::WriteRegister { address: 1, value: 3 };
        assert_eq!(request.answer(&[6, 0, 1, 0, 3]), Some(Answer::Written));
        assert_eq!(request.answer(&[6, 0, 1, 0, 4]), None);
        let request = Request::WriteRegisters { address: 1, values: vec![7, 8] };
        assert_eq!(request.answer(&[16, 0, 1, 0, 2]), Some(Answer::Written));
        assert_eq!(request.answer(&[16, 0, 1, 0, 1]), None);
        assert_eq!(request.answer(&[0x90, 6]), Some(Answer::Exception(Exception::Busy)));
    }
}
