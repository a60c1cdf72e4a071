//! `fieldgate sub`: prints the messages of an MQTT broker, with mosquitto_sub's options.

mod format;
mod json;
mod pretty;

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;

use super::client::connection::{self, Clock, Outcome, Task};
use super::client::message::{Event, Message};
use super::client::options::{self, Options};
use super::client::properties::Side;
use super::client::session::Session;
use super::complain;
use crate::mqtt::topic::TopicFilter;
use crate::mqtt::{PropertiesBuf, QoS, ReasonCode, RetainHandling, SubscribeOptions};
use crate::time::Mono;
use format::Format;

/// mosquitto_sub's exit code when the time of -W is over.
const TIMED_OUT: u8 = 27;

/// Arguments of `fieldgate sub`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, args_override_self = true)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    /// A topic filter to subscribe to; may be repeated.
    #[arg(short, long, value_name = "FILTER")]
    topic: Vec<String>,
    /// The highest QoS that messages come with.
    #[arg(short, long, value_name = "QOS", default_value = "0", value_parser = options::qos)]
    qos: QoS,
    /// A topic filter to unsubscribe from; may be repeated.
    #[arg(short = 'U', long, value_name = "FILTER")]
    unsubscribe: Vec<String>,
    /// Leave after this many messages.
    #[arg(short = 'C', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Leave after this many seconds, with exit code 27.
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// Leave when the broker has confirmed the subscriptions.
    #[arg(short = 'E', long)]
    exit_after_subscribe: bool,
    /// Print the topic before the payload.
    #[arg(short, long)]
    verbose: bool,
    /// Print no line end behind a message.
    #[arg(short = 'N', long)]
    no_eol: bool,
    /// How a message is printed: %t topic, %p payload, %x %X payload in hexadecimal, %q QoS, %r retain, %l payload
    /// length, %m packet identifier, %j JSON, %J JSON with the payload as JSON, %I time, %U seconds since 1970, %A
    /// topic alias, %C content type, %D correlation data, %E expiry, %F payload format, %P user properties, %R
    /// response topic, %S subscription identifier, %%; @ and a letter of strftime; \n \t \\ and the like. Widths
    /// as in %-20t and %.5t. Times are in UTC.
    #[arg(short = 'F', long, value_name = "FORMAT", conflicts_with = "verbose")]
    format: Option<String>,
    /// Print no messages whose topic matches this filter; may be repeated.
    #[arg(short = 'T', long, value_name = "FILTER")]
    filter_out: Vec<String>,
    /// Print no messages that were retained before we subscribed.
    #[arg(short = 'R', long = "no-retained", conflicts_with = "retained_only")]
    no_retained: bool,
    /// Print only retained messages; leave when the first other one comes.
    #[arg(long)]
    retained_only: bool,
    /// Delete the retained messages that come.
    #[arg(long)]
    remove_retained: bool,
    /// Keep the retain flag as it was published (MQTT 5).
    #[arg(long)]
    retain_as_published: bool,
    /// When retained messages are wanted (MQTT 5): always, new (only if the subscription is), never.
    #[arg(long, value_name = "WHEN", value_parser = retain_handling)]
    retain_handling: Option<RetainHandling>,
    /// Print only this percentage of the messages, chosen by chance; may have a fraction.
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    random_filter: Option<f64>,
    /// Print JSON (%j and %J) over several lines.
    #[arg(long)]
    pretty: bool,
}

/// Exit codes: 0 done or stopped by a signal, 1 failed, 2 wrong arguments, 27 the time of -W is over.
pub fn execute(args: &Args) -> ExitCode {
    let quiet = args.options.is_quiet();
    let (endpoint, mut session, mut subscriber) = match prepare(args) {
        Ok(prepared) => prepared,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    let time_max = args.timeout.map(Duration::from_secs);
    match connection::run(&endpoint, &mut session, &mut subscriber, time_max) {
        Ok(Outcome::Done | Outcome::Interrupted) => ExitCode::SUCCESS,
        Ok(Outcome::TimedOut) => {
            if !quiet {
                complain("timed out");
            }
            ExitCode::from(TIMED_OUT)
        }
        Err(error) => {
            if !quiet {
                complain(error);
            }
            ExitCode::FAILURE
        }
    }
}

fn prepare(args: &Args) -> Result<(options::Endpoint, Session, Subscriber), String> {
    let needs_5 = match args.retain_handling {
        Some(_) => Some("--retain-handling"),
        None => args.retain_as_published.then_some("--retain-as-published"),
    };
    let mut resolved = args.options.resolve(Side::Subscriber, needs_5)?;
    let filters: Vec<String> = args.topic.iter().cloned().chain(resolved.topic.take()).collect();
    if filters.is_empty() && args.unsubscribe.is_empty() {
        return Err("a topic filter is missing: -t, or -U to unsubscribe".into());
    }
    for filter in filters.iter().chain(&args.unsubscribe) {
        options::topic_filter(filter)?;
    }
    let filtered_out = args.filter_out.iter().map(|filter| options::topic_filter(filter));
    let options = SubscribeOptions {
        qos: args.qos,
        retain_as_published: args.retain_as_published,
        retain_handling: args.retain_handling.unwrap_or_default(),
        ..Default::default()
    };
    resolved.settings.subscribe = filters.into_iter().map(|filter| (filter, options)).collect();
    resolved.settings.unsubscribe.clone_from(&args.unsubscribe);
    let format = match &args.format {
        Some(format) if args.pretty => Format::parse(format, !args.no_eol)?.pretty(),
        Some(format) => Format::parse(format, !args.no_eol)?,
        None => Format::plain(args.verbose, !args.no_eol),
    };
    let subscriber = Subscriber {
        format,
        filtered_out: filtered_out.collect::<Result<_, _>>()?,
        share: args.random_filter.map(|percent| percent / 100.0),
        left: args.count,
        exit_after_subscribe: args.exit_after_subscribe,
        no_retained: args.no_retained,
        retained_only: args.retained_only,
        remove_retained: args.remove_retained,
        quiet: args.options.is_quiet(),
        confirmations: usize::from(!resolved.settings.subscribe.is_empty())
            + usize::from(!args.unsubscribe.is_empty()),
        unconfirmed: 0,
        done: false,
        out: Vec::new(),
    };
    Ok((resolved.endpoint, Session::new(resolved.settings), subscriber))
}

fn retain_handling(text: &str) -> Result<RetainHandling, String> {
    match text {
        "always" => Ok(RetainHandling::Always),
        "new" => Ok(RetainHandling::IfNew),
        "never" => Ok(RetainHandling::Never),
        _ => Err("is always, new or never".into()),
    }
}

fn percentage(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok().filter(|percent| (0.1..=100.0).contains(percent));
    percent.ok_or_else(|| "is a percentage from 0.1 to 100".into())
}

/// What is done with the messages.
#[derive(Debug)]
struct Subscriber {
    format: Format,
    filtered_out: Vec<TopicFilter>,
    /// The part of the messages that is printed, below 1.
    share: Option<f64>,
    /// Messages until the end, if there is one.
    left: Option<u64>,
    exit_after_subscribe: bool,
    no_retained: bool,
    retained_only: bool,
    remove_retained: bool,
    quiet: bool,
    /// SUBACK and UNSUBACK that a connection brings.
    confirmations: usize,
    unconfirmed: usize,
    done: bool,
    out: Vec<u8>,
}

impl Subscriber {
    fn message(&mut self, session: &mut Session, now: Mono, message: &Message) {
        if self.done {
            return;
        }
        if self.retained_only && !message.retain {
            self.done = true;
            return;
        }
        let is_filtered = self.filtered_out.iter().any(|filter| filter.matches(&message.topic));
        if is_filtered || (self.no_retained && message.retain) {
            return;
        }
        if self.remove_retained && message.retain {
            let empty = Message {
                topic: message.topic.clone(),
                payload: Bytes::new(),
                qos: QoS::AtLeastOnce,
                retain: true,
                properties: PropertiesBuf::new(),
                packet_id: None,
            };
            session.publish(now, empty);
        }
        let is_printed = self.share.is_none_or(|share| fastrand::f64() < share);
        if is_printed && let Err(error) = self.format.print(message, jiff::Timestamp::now(), &mut self.out) {
            self.complain(error);
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            self.done = *left == 0;
        }
    }

    fn subscribed(&mut self, codes: &[u8]) -> Result<(), String> {
        // 3.9.3: 0x80 and above are refusals.
        let refused = codes.iter().filter(|code| **code >= 0x80);
        let words = |code: &u8| ReasonCode::from_u8(*code).map_or("refused", ReasonCode::words);
        let all: Vec<&str> = refused.map(words).collect();
        if all.is_empty() {
            return Ok(());
        }
        let text =
            format!("the broker refused {} of {} subscriptions: {}", all.len(), codes.len(), all.join(", "));
        if all.len() == codes.len() {
            return Err(text);
        }
        self.complain(text);
        Ok(())
    }

    fn confirmed(&mut self) {
        self.unconfirmed = self.unconfirmed.saturating_sub(1);
        self.done |= self.exit_after_subscribe && self.unconfirmed == 0;
    }

    fn complain(&self, error: impl std::fmt::Display) {
        if !self.quiet {
            complain(error);
        }
    }

    fn write_out(&mut self) -> Result<(), String> {
        if self.out.is_empty() {
            return Ok(());
        }
        let mut stdout = std::io::stdout().lock();
        let written = stdout.write_all(&self.out).and_then(|()| stdout.flush());
        self.out.clear();
        written.map_err(|error| format!("can't write to standard output: {error}"))
    }
}

impl Task for Subscriber {
    fn event(&mut self, session: &mut Session, now: Mono, event: Event) -> Result<(), String> {
        match event {
            Event::Connected => self.unconfirmed = self.confirmations,
            Event::Message(message) => self.message(session, now, &message),
            Event::Subscribed { codes } => {
                self.subscribed(&codes)?;
                self.confirmed();
            }
            Event::Unsubscribed => self.confirmed(),
            Event::Undelivered { topic, why } => {
                self.complain(format_args!("the retained message on {topic:?} was not removed: {why}"));
            }
            Event::Trace(line) => complain(line),
            Event::Refused { .. } | Event::Ended { .. } => {}
        }
        // Bounded, however many messages came at once.
        if self.out.len() > 64 * 1024 { self.write_out() } else { Ok(()) }
    }

    fn settle(&mut self, session: &mut Session) -> Result<(), String> {
        self.write_out()?;
        if self.done && session.is_settled() && session.is_ready() {
            session.disconnect(ReasonCode::Success);
        }
        Ok(())
    }

    async fn work(&mut self, _session: &mut Session, _clock: Clock) -> Result<(), String> {
        std::future::pending().await
    }

    fn wants_work(&self, _session: &Session) -> bool {
        false
    }

    fn reconnects(&self) -> bool {
        true
    }

    fn lost(&self, why: &str) {
        self.complain(format_args!("{why}; connecting again"));
    }
}
