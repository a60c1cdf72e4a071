//! `fieldgate trace`: what passes over a port of a running gateway, as it passes.

use std::process::ExitCode;

use serde_json::{Value as Json, json};

use super::running::Running;
use super::style::{Style, Tone};
use super::{complain, say};
use crate::io::control;

/// Bytes in a row.
const ROW: usize = 16;

/// Arguments of `fieldgate trace`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of the [[port]] or [[exec]].
    port: String,
    /// End after so many pieces; a piece is what was read or written in one go.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Which gateway.
    #[command(flatten)]
    running: Running,
}

/// Exit code 0 at the end, 1 if the gateway doesn't answer or has no such port.
pub fn execute(args: &Args) -> ExitCode {
    let style = Style::of_stdout();
    let mut left = args.count;
    let done = args.running.control_socket().and_then(|socket| {
        control::stream(&socket, &json!({"op": "trace", "port": args.port}), |piece| {
            if args.running.json {
                say(piece);
            } else {
                show(piece, style);
            }
            if piece.get("bytes").is_some() {
                left = left.map(|left| left.saturating_sub(1));
            }
            left != Some(0)
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

fn show(piece: &Json, style: Style) {
    let text = |key: &str| piece.get(key).and_then(Json::as_str);
    // Of 2026-11-21T18:30:00.123Z the time of day.
    let time = text("time").and_then(|time| time.split('T').nth(1)).unwrap_or_default();
    let time = style.paint(Tone::Faint, &format!("{time:<13}"));
    if let Some(lost) = piece.get("lost").and_then(Json::as_u64).filter(|lost| *lost > 0) {
        say(style.paint(Tone::Bad, &format!("{lost} pieces were left out: this terminal was too slow")));
    }
    match (text("event"), text("error"), text("bytes")) {
        (Some("open"), ..) => say(format_args!("{time} {}", style.paint(Tone::Good, "-- open"))),
        (Some(_), error, _) => {
            let words = format!("-- down: {}", error.unwrap_or_default());
            say(format_args!("{time} {}", style.paint(Tone::Bad, &words)));
        }
        (None, _, Some(hex)) => {
            let (arrow, tone) =
                if text("direction") == Some("out") { (">", Tone::Doubtful) } else { ("<", Tone::Good) };
            for row in rows(hex) {
                say(format_args!("{time} {}", style.paint(tone, &format!("{arrow} {row}"))));
            }
        }
        _ => {}
    }
}

/// Hexadecimal digits, sixteen bytes in a row, with their characters behind.
fn rows(hex: &str) -> Vec<String> {
    let pairs: Vec<&str> =
        (0..hex.len()).step_by(2).filter_map(|at| hex.get(at..at.saturating_add(2))).collect();
    let shown = |pair: &&str| match u8::from_str_radix(pair, 16) {
        Ok(byte @ b' '..=b'~') => char::from(byte),
        _ => '.',
    };
    pairs
        .chunks(ROW)
        .map(|row| format!("{:<47}  {}", row.join(" "), row.iter().map(shown).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stand_in_rows_of_sixteen_with_their_characters() {
        let hex: String = (0x3d..0x4e).map(|byte: u8| format!("{byte:02x}")).collect();
        assert_eq!(
            rows(&hex),
            [
                "3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b 4c  =>?@ABCDEFGHIJKL".to_owned(),
                format!("{:<47}  M", "4d")
            ]
        );
        assert_eq!(rows("000a"), [format!("{:<47}  ..", "00 0a")]);
        assert_eq!(rows(""), Vec::<String>::new());
    }
}
