//! A line that a regular expression matches: its groups have the points' values, written as the expression wants them, and
//! around them stands the least that it asks for.

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};
use rust_decimal::Decimal;

use super::*;
use crate::sensor::decode::Raw;

/// What a class is filled with, the first that it has.
const FILLING: &str = "0Aa .-_";

/// A line for the expression.
pub(super) fn line(regex: &Regex, actors: &[Actor], number: u64) -> Result<String, SimulateError> {
    let what = "a line of this regular expression";
    let hir = regex_syntax::parse(regex.as_str()).map_err(|_| SimulateError::NotFromConfig { what })?;
    let mut line = String::new();
    Maker { actors, number }.put(&hir, &mut line);
    if regex.is_match(&line) { Ok(line) } else { Err(SimulateError::NotFromConfig { what }) }
}

struct Maker<'a> {
    actors: &'a [Actor],
    number: u64,
}

impl Maker<'_> {
    fn put(&self, hir: &Hir, line: &mut String) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => line.push_str(&String::from_utf8_lossy(&literal.0)),
            HirKind::Class(class) => line.extend(filling(class)),
            HirKind::Repetition(repetition) => {
                let wanted = u32::from(self.wants(&repetition.sub));
                for _ in 0..repetition.min.max(wanted) {
                    self.put(&repetition.sub, line);
                }
            }
            HirKind::Capture(capture) => {
                let actor =
                    self.actors.iter().find(|actor| Some(&*actor.point.from) == capture.name.as_deref());
                match actor.and_then(|actor| self.value(actor, &capture.sub)) {
                    Some(text) => line.push_str(&text),
                    None => self.put(&capture.sub, line),
                }
            }
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.put(part, line)),
            HirKind::Alternation(ways) => {
                let way = ways.iter().find(|way| self.wants(way)).or(ways.first());
                if let Some(way) = way {
                    self.put(way, line);
                }
            }
        }
    }

    /// Whether a group in it is a point's.
    fn wants(&self, hir: &Hir) -> bool {
        match hir.kind() {
            HirKind::Repetition(repetition) => self.wants(&repetition.sub),
            HirKind::Capture(capture) => {
                let is_point = |name: &str| self.actors.iter().any(|actor| actor.point.from == name);
                capture.name.as_deref().is_some_and(is_point) || self.wants(&capture.sub)
            }
            HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(|part| self.wants(part)),
            _ => false,
        }
    }

    /// A value in the first form that the group takes; `None`: in none.
    fn value(&self, actor: &Actor, group: &Hir) -> Option<String> {
        let whole = Regex::new(&format!("^(?:{group})$")).ok()?;
        let forms = match actor.raw(self.number) {
            Raw::Decimal(number) => forms(number),
            Raw::Bool(flag) => ["true", "on", "ON", "1", "yes", "closed"]
                .iter()
                .zip(["false", "off", "OFF", "0", "no", "open"])
                .map(|(on, off)| if flag { (*on).to_owned() } else { off.to_owned() })
                .collect(),
            // What is called a unit says that of another point.
            Raw::String(_) if &*actor.point.name == "unit" && actor.fixed().is_none() => self
                .actors
                .iter()
                .filter_map(|actor| actor.point.unit.as_deref().map(str::to_owned))
                .collect(),
            Raw::String(word) => vec![word.into_owned()],
            _ => Vec::new(),
        };
        forms.into_iter().find(|form| whole.is_match(form))
    }
}

/// How devices write numbers.
fn forms(number: Decimal) -> Vec<String> {
    let plain = number.normalize();
    let sign = if number.is_sign_negative() { '-' } else { '+' };
    let (two, size) = (number.round_dp(2), number.abs().round_dp(2));
    vec![
        format!("{sign}{size:08.2}"),
        plain.to_string(),
        format!("{two:.2}"),
        format!("{sign}{}", plain.abs()),
        format!("{:.1}", number.round_dp(1)),
        number.round().to_string(),
        format!("{sign} {size:.2}"),
        format!("{size:07.2}"),
    ]
}

fn filling(class: &Class) -> Option<char> {
    let has = |wanted: char| match class {
        Class::Unicode(class) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&wanted))
        }
        Class::Bytes(class) => {
            let wanted = u8::try_from(wanted).unwrap_or(u8::MAX);
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&wanted))
        }
    };
    let first = || match class {
        Class::Unicode(class) => class.ranges().first().map(|range| range.start()),
        Class::Bytes(class) => class.ranges().first().map(|range| char::from(range.start())),
    };
    FILLING.chars().find(|wanted| has(*wanted)).or_else(first)
}
