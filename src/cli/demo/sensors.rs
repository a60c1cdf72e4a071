//! The sensors: pseudo-terminals into which the lines of `fixtures/lines` are played, as a serial adapter would
//! deliver them; a meter that sends telegrams, and one that is asked over Modbus.

use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::MissedTickBehavior;

use super::ledger::Ledger;
use crate::config::TimeTrust;
use crate::io::clock::Clock;
use crate::sensor::{Asked, DeviceConfig, Faults, Simulator, Slave, Transport};

/// A terminal that takes nothing more (the gateway doesn't read) is tried again after this.
const FULL_RETRY: Duration = Duration::from_millis(20);

/// How often it is looked whether a device is asked: a runtime can't wait for a terminal.
const LISTEN_EVERY: Duration = Duration::from_millis(5);

/// What a device sends and how the gateway is told to read it.
#[derive(Debug)]
pub(super) struct Sensor {
    /// Port and device.
    pub(super) name: &'static str,
    /// For people.
    pub(super) what: &'static str,
    /// What comes from it.
    pub(super) source: Source,
    /// From line to line, and from value to value.
    pub(super) every: Duration,
    /// Of no effect on a pseudo-terminal; what such a device has.
    pub(super) baud: u32,
    /// The rest of its `[[device]]`.
    pub(super) device: &'static str,
}

/// What comes from a sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// These lines with their ends, each a good one, in a loop.
    Recording(&'static str),
    /// Frames made up by its config.
    Made,
    /// Answers of a Modbus slave.
    Asked,
}

/// Those of the demo.
pub(super) const SENSORS: [Sensor; 5] = [
    Sensor {
        name: "weather",
        what: "weather station, JSON lines",
        source: Source::Recording(include_str!("../../../fixtures/lines/weather-station.jsonl")),
        every: Duration::from_secs(1),
        baud: 115_200,
        device: r#"decode = "json"
points = [
  { name = "temperature", unit = "Cel" },
  { name = "humidity", unit = "%RH" },
  { name = "pressure", unit = "hPa" },
  { name = "wind", from = "/wind/speed", unit = "m/s" },
  { name = "rain", unit = "mm" },
]
"#,
    },
    Sensor {
        name: "scale",
        what: "platform scale, text lines",
        source: Source::Recording(include_str!("../../../fixtures/lines/scale.txt")),
        every: Duration::from_millis(200),
        baud: 9_600,
        device: r#"decode = { kind = "regex", pattern = '^(?<state>[A-Z]{2}),[A-Z]{2},(?<weight>[-+] *[0-9.]+)kg' }
points = [
  { name = "weight", unit = "kg" },
  { name = "state", type = "text" },
]
"#,
    },
    Sensor {
        name: "arduino",
        what: "Arduino sketch, key=value lines",
        source: Source::Recording(include_str!("../../../fixtures/lines/arduino.txt")),
        every: Duration::from_millis(500),
        baud: 115_200,
        device: r#"decode = "key-value"
points = [
  { name = "temperature", from = "t", unit = "Cel" },
  { name = "humidity", from = "h", unit = "%RH" },
  { name = "light", type = "integer" },
  { name = "door", type = "bool" },
  { name = "soil", type = "integer" },
]
"#,
    },
    Sensor {
        name: "meter",
        what: "smart meter, DSMR telegrams with a CRC",
        source: Source::Made,
        every: Duration::from_secs(2),
        baud: 115_200,
        device: r#"decode = "dsmr"
points = [
  { name = "power_import", unit = "W" },
  { name = "energy_import_1", unit = "kWh" },
  { name = "gas", unit = "m3" },
]
"#,
    },
    Sensor {
        name: "heat-pump",
        what: "energy meter that is asked, Modbus RTU",
        source: Source::Asked,
        every: Duration::from_secs(1),
        baud: 9_600,
        device: "profile = \"pzem-016\"\nevery = \"1s\"\n",
    },
];

/// A sensor with its line.
#[derive(Debug)]
pub(super) struct Line {
    /// What hangs on it.
    pub(super) sensor: &'static Sensor,
    /// What the gateway opens.
    pub(super) path: String,
    sensor_end: OwnedFd,
    /// Held, or writing would fail while the gateway hasn't the port open.
    _gateway_end: OwnedFd,
}

impl Line {
    /// Opens a pseudo-terminal for a sensor.
    ///
    /// # Errors
    /// In words.
    pub(super) fn open(sensor: &'static Sensor) -> Result<Self, String> {
        let wrong = |error: Errno| format!("can't open a pseudo-terminal for {}: {error}", sensor.name);
        let sensor_end =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(wrong)?;
        grantpt(&sensor_end).map_err(wrong)?;
        unlockpt(&sensor_end).map_err(wrong)?;
        fcntl_setfl(&sensor_end, OFlags::RDWR | OFlags::NONBLOCK).map_err(wrong)?;
        let path = ptsname(&sensor_end, Vec::new()).map_err(wrong)?.to_string_lossy().into_owned();
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let gateway_end = rustix::fs::open(path.as_str(), flags, Mode::empty()).map_err(wrong)?;
        // Nothing is echoed or translated, from the very first byte.
        let mut settings = tcgetattr(&gateway_end).map_err(wrong)?;
        settings.make_raw();
        tcsetattr(&gateway_end, OptionalActions::Now, &settings).map_err(wrong)?;
        Ok(Self { sensor, path, sensor_end, _gateway_end: gateway_end })
    }

    /// Plays until told to stop; each line counts when all of it is written. `config` is what the gateway knows of it.
    pub(super) fn play(
        self: Rc<Self>,
        config: DeviceConfig,
        ledger: Rc<RefCell<Ledger>>,
        mut stop: watch::Receiver<bool>,
    ) -> JoinHandle<Result<(), String>> {
        spawn_local(async move {
            match self.sensor.source {
                Source::Recording(lines) => {
                    let mut lines = lines.split_inclusive('\n').cycle();
                    let next = || Ok(lines.next().unwrap_or_default().as_bytes().to_vec());
                    self.send(next, &ledger, &mut stop).await
                }
                Source::Made => {
                    let clock = Clock::new(TimeTrust::Auto);
                    let mut simulator = Simulator::new(config).map_err(|error| error.to_string())?;
                    let next = || simulator.frame(clock.now().wall).map_err(|error| error.to_string());
                    self.send(next, &ledger, &mut stop).await
                }
                Source::Asked => self.answer(&config, &mut stop).await,
            }
        })
    }

    /// Sends what is next at each turn, until told to stop.
    async fn send(
        &self,
        mut next: impl FnMut() -> Result<Vec<u8>, String>,
        ledger: &RefCell<Ledger>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), String> {
        let mut due = tokio::time::interval(self.sensor.every);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // The line in hand is finished before the stop is looked at.
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = due.tick() => {}
            }
            self.write(&next()?).await?;
            ledger.borrow_mut().wrote(self.sensor.name);
        }
    }

    /// Answers the gateway until told to stop.
    async fn answer(&self, config: &DeviceConfig, stop: &mut watch::Receiver<bool>) -> Result<(), String> {
        let wrong = |error: String| format!("{}: {error}", self.sensor.name);
        let clock = Clock::new(TimeTrust::Auto);
        let slave = Slave::new(config, self.sensor.every).map_err(|error| wrong(error.to_string()))?;
        let mut asked = Asked::slave(slave, Transport::Rtu, Faults::default(), 0);
        let mut look = tokio::time::interval(LISTEN_EVERY);
        let mut bytes = [0; 256];
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = look.tick() => {}
            }
            match rustix::io::read(&self.sensor_end, &mut bytes) {
                Ok(read) => {
                    let heard = bytes.get(..read).unwrap_or_default();
                    asked.push(clock.now(), 0, heard).map_err(|error| wrong(error.to_string()))?;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(wrong(error.to_string())),
            }
            while let Some((_, answer)) = asked.poll(clock.now().mono) {
                self.write(&answer).await?;
            }
        }
    }

    async fn write(&self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.sensor_end, bytes) {
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(Errno::AGAIN | Errno::INTR) => tokio::time::sleep(FULL_RETRY).await,
                Err(error) => {
                    return Err(format!("{}: can't send to {}: {error}", self.sensor.name, self.path));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use tokio::task::LocalSet;

    use super::*;

    /// The lines that are played.
    fn recordings() -> impl Iterator<Item = (&'static Sensor, &'static str)> {
        SENSORS.iter().filter_map(|sensor| match sensor.source {
            Source::Recording(lines) => Some((sensor, lines)),
            Source::Made | Source::Asked => None,
        })
    }

    #[test]
    fn every_line_of_a_recording_ends_and_says_something() {
        assert_eq!(recordings().count(), 3);
        for (sensor, recording) in recordings() {
            assert!(recording.ends_with('\n'), "{}", sensor.name);
            assert!(recording.lines().all(|line| !line.trim().is_empty()), "{}", sensor.name);
        }
    }

    #[test]
    fn the_port_gives_exactly_the_recorded_bytes() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let script = async {
            for (sensor, recording) in recordings() {
                let line = Rc::new(Line::open(sensor).unwrap());
                let ledger = Rc::new(RefCell::new(Ledger::new([sensor.name])));
                let (stop, stopping) = watch::channel(false);
                let config = crate::cli::decode::device(None, None, Some("json-lines")).unwrap();
                let player = line.clone().play(config, ledger.clone(), stopping);
                while ledger.borrow().readings() < 2 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                stop.send_replace(true);
                player.await.unwrap().unwrap();
                let written = usize::try_from(ledger.borrow().readings()).unwrap();
                let expected: String = recording.split_inclusive('\n').take(written).collect();
                let mut got = vec![0; expected.len()];
                std::fs::File::open(&line.path).unwrap().read_exact(&mut got).unwrap();
                assert_eq!(String::from_utf8(got).unwrap(), expected, "{}", sensor.name);
            }
        };
        let script = async { tokio::time::timeout(Duration::from_secs(20), script).await.unwrap() };
        LocalSet::new().block_on(&runtime, script);
    }
}
