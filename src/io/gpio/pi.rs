//! Lines of a Raspberry Pi by its registers: the crate rppal, for kernels without version 2 of the character device. Its
//! author retired it in 2025: it knows boards up to the Raspberry Pi 5, and will know no later ones.

use std::time::Duration;

use rppal::gpio::{Error, Gpio, InputPin, IoPin, Level, Mode as PinMode, Trigger};

use super::cdev::boot_time;
use super::{Event, Opened, Reports, Wire};
use crate::gpio::{Bias, Edge, EdgeKind, GpioConfig, LineName, Mode};

/// Whether this is a Raspberry Pi that rppal knows, and its registers can be reached.
pub(super) fn is_there() -> bool {
    Gpio::new().is_ok()
}

pub(super) fn open(config: &GpioConfig, reports: Reports) -> Result<Opened, String> {
    let number = number(&config.line)?;
    let line = &config.line;
    let wrong = |error: Error| words(&line.to_string(), &error);
    let pin = Gpio::new().and_then(|gpio| gpio.get(number)).map_err(wrong)?;
    let wanted = match &config.mode {
        Mode::Output(_) => return Ok(output(pin, config)),
        Mode::Input { .. } => EdgeKind::Both,
        Mode::Counter(counter) => counter.edge,
        Mode::Frequency { edge, .. } => *edge,
    };
    let mut pin = match config.bias {
        Bias::PullUp => pin.into_input_pullup(),
        Bias::PullDown => pin.into_input_pulldown(),
        Bias::AsIs | Bias::Disabled => pin.into_input(),
    };
    let (active_low, mut counted) = (config.active_low, 0_u32);
    let trigger = match (wanted, active_low) {
        (EdgeKind::Both, _) => Trigger::Both,
        (EdgeKind::Rising, false) | (EdgeKind::Falling, true) => Trigger::RisingEdge,
        (EdgeKind::Falling, false) | (EdgeKind::Rising, true) => Trigger::FallingEdge,
    };
    let debounce = (!config.debounce.is_zero()).then_some(config.debounce);
    let tell = move |event: rppal::gpio::Event| {
        // It numbers all changes; those that found no room before this one are a gap.
        counted = if event.seqno == 0 { counted.wrapping_add(1) } else { event.seqno };
        let at = boot_time(u64::try_from(event.timestamp.as_nanos()).unwrap_or(u64::MAX));
        let active = (event.trigger == Trigger::RisingEdge) != active_low;
        let edge = Edge { at, active, seqno: counted };
        let _ = reports.to.try_send((reports.line, reports.generation, Event::Edge(edge)));
    };
    pin.set_async_interrupt(trigger, debounce, tell).map_err(wrong)?;
    Ok(Opened { wire: Box::new(InputWire { pin, active_low }), debounced: true, backend: "rppal" })
}

/// An output stays as it is until it is set, and when it is released.
fn output(pin: rppal::gpio::Pin, config: &GpioConfig) -> Opened {
    let mode = if pin.mode() == PinMode::Output { PinMode::Output } else { PinMode::Input };
    let mut pin = pin.into_io(mode);
    pin.set_reset_on_drop(false);
    let wire = OutputWire { pin, active_low: config.active_low };
    Opened { wire: Box::new(wire), debounced: true, backend: "rppal" }
}

#[derive(Debug)]
struct InputWire {
    pin: InputPin,
    active_low: bool,
}

impl Wire for InputWire {
    fn set(&mut self, _: bool) -> Result<(), String> {
        Err("the line is an input".to_owned())
    }

    fn read(&mut self) -> Result<bool, String> {
        Ok(self.pin.is_high() != self.active_low)
    }
}

#[derive(Debug)]
struct OutputWire {
    pin: IoPin,
    active_low: bool,
}

impl Wire for OutputWire {
    fn set(&mut self, on: bool) -> Result<(), String> {
        // The level first: the line must not show another one for a moment when it becomes an output.
        self.pin.write(if on == self.active_low { Level::Low } else { Level::High });
        if self.pin.mode() != PinMode::Output {
            self.pin.set_mode(PinMode::Output);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<bool, String> {
        // The pad follows within nanoseconds; a read right behind the write may still see what was before.
        std::thread::sleep(Duration::from_micros(10));
        Ok(self.pin.is_high() != self.active_low)
    }
}

/// The BCM number: rppal knows neither names nor chips.
fn number(line: &LineName) -> Result<u8, String> {
    let number = match line {
        LineName::Name(name) => name.strip_prefix("GPIO").unwrap_or(name).parse().ok(),
        LineName::At { offset, .. } => u8::try_from(*offset).ok(),
    };
    number.ok_or_else(|| format!("rppal knows lines as GPIO0 to GPIO53, not as {line}"))
}

fn words(line: &str, error: &Error) -> String {
    match error {
        Error::PermissionDenied(path) => {
            format!("{path}: permission denied; add the service's user to the group gpio")
        }
        Error::UnknownModel => {
            "this is no Raspberry Pi that rppal knows (it was retired in 2025); write backend = \"gpiocdev\""
                .to_owned()
        }
        Error::PinUsed(_) => format!("{line} is used by another [[gpio]]"),
        Error::PinNotAvailable(_) => format!("{line}: this board has no such line"),
        _ => format!("{line}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_bcm_number() {
        let name = |name: &str| number(&LineName::Name(name.to_owned())).ok();
        assert_eq!(
            (name("GPIO17"), name("4"), name("LED"), name("GPIO300")),
            (Some(17), Some(4), None, None)
        );
        assert_eq!(number(&LineName::At { chip: "gpiochip0".into(), offset: 5 }), Ok(5));
    }
}
