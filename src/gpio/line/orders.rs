//! What commands want of a line, and whether it may be.

use rust_decimal::Decimal;

use super::{Kind, Line, State};
use crate::command::{CommandId, Outcome};
use crate::gpio::switch::Cause;
use crate::gpio::{Output, decimal};
use crate::reading::Value;
use crate::time::Now;

impl Line {
    pub(super) fn command(
        &mut self,
        now: Now,
        id: CommandId,
        point: Option<&str>,
        value: &Value,
        held_by: Option<&str>,
    ) {
        match self.judge(point, value, held_by) {
            Ok(Wanted::State(on)) => {
                if let Kind::Output(switch) = &mut self.kind {
                    switch.aim(on);
                }
                self.out.push_back(Output::Set { on, cause: Cause::Command, command: Some(id) });
            }
            Ok(Wanted::Total(total)) => {
                if let Kind::Counter(counter) = &mut self.kind {
                    counter.set_total(total);
                    if let Some(bytes) = counter.write(now.mono, true) {
                        self.out.push_back(Output::Persist(bytes));
                    }
                }
                let outcome = Outcome::Done(Some(Value::Number(decimal(total))));
                self.out.push_back(Output::Done { id, outcome });
            }
            Err(words) => self.out.push_back(Output::Done { id, outcome: Outcome::Refused(words) }),
        }
    }

    fn judge(&self, point: Option<&str>, value: &Value, held_by: Option<&str>) -> Result<Wanted, String> {
        let (name, wanted) = match &self.kind {
            Kind::Output(_) => ("state", state(value)),
            Kind::Counter(_) => ("total", total(value)),
            Kind::Input { .. } | Kind::Frequency { .. } => {
                return Err(format!(
                    "{} is an {}: it can't be set",
                    self.config.name,
                    self.config.mode.as_str()
                ));
            }
        };
        if let Some(point) = point.filter(|point| *point != name) {
            return Err(format!(
                "{} has no point {point:?} that can be set; it has {name:?}",
                self.config.name
            ));
        }
        let wanted = wanted?;
        if self.stopping.is_some() {
            return Err("the gateway is stopping".to_owned());
        }
        if let Some(error) = self.error.as_ref().filter(|_| matches!(self.kind, Kind::Output(_))) {
            return Err(format!("the line is down: {error}"));
        }
        if self.state != State::Open && matches!(self.kind, Kind::Output(_)) {
            return Err("the line is not open yet".to_owned());
        }
        match (&wanted, held_by) {
            (Wanted::State(true), Some(other)) => Err(format!("interlock: {other} is on")),
            _ => Ok(wanted),
        }
    }
}

/// What a command wants.
enum Wanted {
    State(bool),
    Total(Decimal),
}

/// Only absolute values: a toggle that comes twice would do the opposite.
fn state(value: &Value) -> Result<Wanted, String> {
    let state = match value {
        Value::Bool(state) => Some(*state),
        Value::Integer(1) => Some(true),
        Value::Integer(0) => Some(false),
        Value::Text(text) if text.eq_ignore_ascii_case("on") => Some(true),
        Value::Text(text) if text.eq_ignore_ascii_case("off") => Some(false),
        _ => None,
    };
    state.map(Wanted::State).ok_or_else(|| "expected on, off, true, false, 1 or 0".to_owned())
}

fn total(value: &Value) -> Result<Wanted, String> {
    let text = match value {
        Value::Integer(number) => number.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => text.clone(),
        Value::Bool(_) => String::new(),
    };
    let total = text.parse::<Decimal>().ok().filter(|total| !total.is_sign_negative());
    total.map(Wanted::Total).ok_or_else(|| "expected the meter's reading, such as 1234.5".to_owned())
}
