//! Meters that are simulated: they answer whoever asks them, as real ones do, at the rate that was agreed on. Pure: who
//! carries the bytes waits for as long as an answer says.

use std::time::Duration;

use super::bus::config::Ask;
use super::codec::{MbusAddress, MeterAsk, is_selected_by, long_frame};
use super::config::DeviceConfig;

/// From a request to its answer an IEC 62056-21 meter rests for 200 to 1,500 ms (6.3.14).
const IEC62056_REST: Duration = Duration::from_millis(400);

/// A slave of an M-Bus answers after 11 to 330 bits and 50 ms.
const MBUS_REST: Duration = Duration::from_millis(10);

/// Bytes of a request that isn't whole yet; a longer one is none.
const HEARD_BYTES_MAX: usize = 512;

/// The rate that the IEC 62056-21 meter proposes, and its digit.
const PROPOSED: u8 = b'5';

/// The rates of the digits.
const RATES: [u32; 7] = [300, 600, 1_200, 2_400, 4_800, 9_600, 19_200];

/// Wake-up characters without which a sleeping meter hears nothing: half of what is sent in two seconds.
const WAKING: usize = 30;

/// What a meter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterAnswer {
    /// How long after the request.
    pub after: Duration,
    /// The rate that it is sent at; `None` where it is that of the line, which never changes.
    pub baud: Option<u32>,
    /// What is sent.
    pub bytes: Vec<u8>,
}

impl MeterAnswer {
    /// What somebody reads whose line has this rate.
    #[must_use]
    pub fn read_at(&self, baud: u32) -> Vec<u8> {
        let is_right = self.baud.is_none_or(|own| own == baud);
        // With another rate other bits are seen; which ones doesn't matter.
        self.bytes.iter().map(|byte| if is_right { *byte } else { (byte ^ 0x55) & 0x7f }).collect()
    }
}

/// A meter that answers.
#[derive(Debug)]
pub struct MeterSimulator {
    protocol: Protocol,
    heard: Vec<u8>,
    /// Readouts so far: the values grow with them.
    readouts: u32,
}

#[derive(Debug)]
enum Protocol {
    Iec62056 { ask: MeterAsk, baud: u32, identified: bool },
    Mbus { primary: u8, secondary: [u8; 8], selected: bool, last: Option<bool>, telegram: usize },
}

impl MeterSimulator {
    /// The meter that this device is asked for; `None` if it is none. `baud` is the rate of an IEC 62056-21 sign-on.
    #[must_use]
    pub fn new(config: &DeviceConfig, baud: u32) -> Option<Self> {
        let protocol = match &config.poll.as_ref()?.ask {
            Ask::Meter(ask) => Protocol::Iec62056 { ask: ask.clone(), baud, identified: false },
            Ask::Mbus(address) => {
                let (primary, secondary) = addresses(*address);
                Protocol::Mbus { primary, secondary, selected: false, last: None, telegram: 0 }
            }
            Ask::Registers { .. } | Ask::Bytes(_) => return None,
        };
        Some(Self { protocol, heard: Vec::new(), readouts: 0 })
    }

    /// Hears bytes that were sent at this rate; what it says to them.
    pub fn hear(&mut self, baud: u32, bytes: &[u8]) -> Vec<MeterAnswer> {
        self.heard.extend_from_slice(bytes);
        let surplus = self.heard.len().saturating_sub(HEARD_BYTES_MAX);
        self.heard.drain(..surplus);
        match self.protocol {
            Protocol::Iec62056 { .. } => self.hear_iec62056(baud, bytes.len()).into_iter().collect(),
            Protocol::Mbus { .. } => std::iter::from_fn(|| self.hear_mbus()).flatten().collect(),
        }
    }

    fn hear_iec62056(&mut self, line: u32, came: usize) -> Option<MeterAnswer> {
        let Protocol::Iec62056 { ask, baud, identified } = &mut self.protocol else { return None };
        if !self.heard.ends_with(b"\r\n") {
            return None;
        }
        let heard = std::mem::take(&mut self.heard);
        // A pseudo-terminal hands on at once what takes its time on a line.
        let bits = u32::try_from(came).unwrap_or(u32::MAX).saturating_mul(10);
        let after = IEC62056_REST + Duration::from_secs(bits.into()) / line.max(1);
        if line != *baud {
            return None;
        }
        if let [.., 0x06, b'0', digit, b'0', b'\r', b'\n'] = heard.as_slice()
            && std::mem::take(identified)
        {
            let rate = RATES.get(usize::from(digit.checked_sub(b'0')?)).copied()?;
            self.readouts = self.readouts.saturating_add(1);
            return Some(MeterAnswer { after, baud: Some(rate), bytes: readout(self.readouts) });
        }
        let at = heard.windows(2).rposition(|two| two == b"/?")?;
        let (before, sign_on) = heard.split_at_checked(at)?;
        let address = sign_on.strip_prefix(b"/?")?.strip_suffix(b"!\r\n")?;
        let is_awake = !ask.wake_up || before.iter().filter(|byte| **byte == 0).count() >= WAKING;
        let is_meant = address.is_empty() || address == ask.address.as_bytes();
        if !is_awake || !is_meant {
            return None;
        }
        *identified = true;
        let line = [b"/FGT".as_slice(), &[PROPOSED], b"SIMULATED\r\n"].concat();
        Some(MeterAnswer { after, baud: Some(*baud), bytes: line })
    }

    /// The next request that was heard; `Some(None)`: it needs no answer.
    fn hear_mbus(&mut self) -> Option<Option<MeterAnswer>> {
        let Protocol::Mbus { primary, secondary, selected, last, telegram } = &mut self.protocol else {
            return None;
        };
        let start = self.heard.iter().position(|byte| matches!(byte, 0x10 | 0x68));
        self.heard.drain(..start.unwrap_or(self.heard.len()));
        let say = |bytes| Some(MeterAnswer { after: MBUS_REST, baud: None, bytes });
        match *self.heard.as_slice() {
            [0x10, control, address, sum, 0x16, ..] if sum == control.wrapping_add(address) => {
                self.heard.drain(..5);
                let is_meant = address == *primary || address == 254 || (address == 253 && *selected);
                match control {
                    _ if !is_meant => Some(None),
                    0x40 => {
                        (*last, *telegram) = (None, 0);
                        *selected = *selected && address != 253;
                        Some(say(vec![0xe5]))
                    }
                    0x5b | 0x7b => {
                        let count = control == 0x7b;
                        if *last != Some(count) {
                            *telegram = last.map_or(0, |_| (*telegram + 1) % 2);
                            self.readouts = self.readouts.saturating_add(u32::from(*telegram == 0));
                            *last = Some(count);
                        }
                        Some(say(answer(*primary, *secondary, *telegram, self.readouts)))
                    }
                    _ => Some(None),
                }
            }
            [0x68, 11, 11, 0x68, _, 253, 0x52, a, b, c, d, e, f, g, h, _, 0x16, ..] => {
                self.heard.drain(..17);
                *selected = is_selected_by(&[a, b, c, d, e, f, g, h], secondary);
                (*last, *telegram) = (None, 0);
                Some(if *selected { say(vec![0xe5]) } else { None })
            }
            [0x10, _, _, _, _, ..] | [0x68, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, ..] => {
                self.heard.drain(..1);
                Some(None)
            }
            _ => None,
        }
    }
}

/// Its primary and its secondary address: what isn't said is made up.
fn addresses(address: MbusAddress) -> (u8, [u8; 8]) {
    // Number 123456 and the address, maker FGT, version 1, heat.
    let own = |last: u8| [last, 0x56, 0x34, 0x12, 0xf4, 0x18, 1, 4];
    match address {
        MbusAddress::Primary(MbusAddress::ANY) => (1, own(1)),
        MbusAddress::Primary(primary) => (primary, own((primary % 10) | ((primary / 10 % 10) << 4))),
        MbusAddress::Secondary(wanted) => {
            let digit = |wanted: u8, own: u8, mask: u8| {
                if wanted & mask == mask { own & mask } else { wanted & mask }
            };
            let mut secondary = own(0);
            for (index, (own, wanted)) in secondary.iter_mut().zip(wanted).enumerate() {
                *own = match index {
                    0..4 => digit(wanted, *own, 0xf0) | digit(wanted, *own, 0x0f),
                    _ if wanted == 0xff => *own,
                    _ => wanted,
                };
            }
            (0, secondary)
        }
    }
}

/// A data block of mode C.
fn readout(number: u32) -> Vec<u8> {
    let watt_hours = 12_345_678_u32.saturating_add(number.saturating_mul(100));
    let kilo = |watt_hours: u32| format!("{:06}.{:03}", watt_hours / 1_000, watt_hours % 1_000);
    let (day, night) = (kilo(watt_hours / 2), kilo(watt_hours - watt_hours / 2));
    let text = format!(
        "F.F(00)\r\n0.0.0(12345678)\r\n1.8.0({}*kWh)\r\n1.8.1({day}*kWh)\r\n1.8.2({night}*kWh)\r\n2.8.0(000000.000*kWh)\r\n\
         1.7.0(00.{:03}*kW)\r\n32.7.0(230.4*V)\r\n!\r\n\x03",
        kilo(watt_hours),
        100 + number % 900
    );
    let check = text.bytes().fold(0, |sum, byte| sum ^ byte);
    [&[0x02], text.as_bytes(), &[check]].concat()
}

/// One of the two telegrams of a heat meter.
fn answer(primary: u8, secondary: [u8; 8], telegram: usize, number: u32) -> Vec<u8> {
    let mut content = vec![0x08, primary, 0x72];
    content.extend(secondary);
    let access = number.to_le_bytes().first().copied().unwrap_or_default();
    content.extend([access, 0, 0, 0]);
    let mut put = |head: &[u8], value: &[u8]| {
        content.extend(head);
        content.extend(value);
    };
    if telegram == 0 {
        // kWh, 10 l, W, a tenth of a degree twice, l/h.
        put(&[0x04, 0x06], &37_351_u32.saturating_add(number).to_le_bytes());
        put(&[0x04, 0x14], &70_307_u32.saturating_add(number).to_le_bytes());
        put(&[0x04, 0x2b], &34_700_u32.to_le_bytes());
        put(&[0x02, 0x5a], &1_016_u16.to_le_bytes());
        put(&[0x02, 0x5e], &467_u16.to_le_bytes());
        put(&[0x04, 0x3b], &543_u32.to_le_bytes());
        // More records follow.
        put(&[0x1f], &[]);
    } else {
        // Of the last reading day: 31 December 2025 and the energy.
        put(&[0x42, 0x6c], &[0x3f, 0x3c]);
        put(&[0x44, 0x06], &36_000_u32.to_le_bytes());
    }
    long_frame(&content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sensor::CodecKind;

    #[test]
    fn a_readout_at_the_wrong_rate_is_none() {
        let answer = MeterAnswer { after: IEC62056_REST, baud: Some(9_600), bytes: readout(1) };
        assert!(
            CodecKind::Iec62056.decode(answer.read_at(9_600).get(1..).unwrap()).is_err(),
            "with its frame"
        );
        let content = |bytes: Vec<u8>| bytes[1..bytes.len() - 2].to_vec();
        assert!(CodecKind::Iec62056.decode(&content(answer.read_at(9_600))).is_ok());
        assert!(CodecKind::Iec62056.decode(&content(answer.read_at(300))).is_err());
    }

    #[test]
    fn the_last_reading_day_is_what_it_says() {
        let frame = answer(1, [1, 0x56, 0x34, 0x12, 0xf4, 0x18, 1, 4], 1, 1);
        let fields = CodecKind::Mbus.decode(&frame[4..frame.len() - 2]).unwrap();
        let shown: Vec<String> =
            fields.iter().map(|field| format!("{} {:?}", field.name, field.raw)).collect();
        let has = |text: &str| shown.iter().any(|field| field.contains(text));
        assert!(has("date_s1") && has("2025-12-31") && has("FGT") && has("12345601"), "{shown:?}");
    }
}
