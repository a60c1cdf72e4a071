//! Who switches an RS-485 transceiver between sending and listening: the adapter, the kernel's driver, or, where the driver
//! can't, this program.

use std::time::Duration;

use serial2::rs4xx::{Rs485Config, TransceiverMode};
use tokio::io::AsyncWriteExt;
use tokio_serial::{SerialPort, SerialStream};
use tracing::info;

use super::plugged;
use crate::sensor::PortConfig;

/// How often the driver is asked whether it has sent all.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// Who switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    /// Not we.
    Others,
    /// We, by RTS.
    Program,
}

/// Tells the driver of a port that is about to be opened. The port stays open until the second value is dropped, so that
/// what was told holds until the caller has opened it.
pub(super) fn prepare(config: &PortConfig) -> Result<(Switch, Option<serial2::SerialPort>), String> {
    let Some(rs485) = config.rs485 else { return Ok((Switch::Others, None)) };
    let path = plugged::resolve(config)?;
    // A port that can't be opened is the business of whoever opens it next.
    let Ok(port) = serial2::SerialPort::open(&path, serial2::KeepSettings) else {
        return Ok((Switch::Others, None));
    };
    let mut mode = Rs485Config::new();
    mode.set_invert_rts(!rs485.rts_on_send);
    mode.set_delay_before_send(rs485.delay_before);
    mode.set_delay_after_send(rs485.delay_after);
    mode.set_full_duplex(config.echo);
    match port.set_rs4xx_mode(TransceiverMode::Rs485(mode)) {
        Ok(()) => Ok((Switch::Others, Some(port))),
        Err(error) => {
            info!(port = %config.name, %error, "the driver can't switch the transceiver; the gateway does it by RTS");
            Ok((Switch::Program, Some(port)))
        }
    }
}

impl Switch {
    /// Writes all of it. Where we switch, it returns when the last bit has left and the line listens again.
    pub(super) async fn send(
        self,
        config: &PortConfig,
        stream: &mut SerialStream,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        let (Self::Program, Some(rs485)) = (self, config.rs485) else { return stream.write_all(bytes).await };
        stream.write_request_to_send(rs485.rts_on_send)?;
        wait(rs485.delay_before).await;
        let begin = tokio::time::Instant::now();
        let written = stream.write_all(bytes).await;
        // The driver knows what it has not yet given to the chip; the chip has the time of its bytes.
        while written.is_ok() && stream.bytes_to_write()? > 0 {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        tokio::time::sleep_until(begin + config.line_rate().time_of(bytes.len())).await;
        wait(rs485.delay_after).await;
        stream.write_request_to_send(!rs485.rts_on_send)?;
        written
    }
}

async fn wait(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}
