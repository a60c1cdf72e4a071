//! `fieldgate bench`: how fast a broker is and what it costs, ours or another, alone or several in turn.

mod engine;
mod figure;
mod link;
mod neighbours;
mod packet;
mod plot;
mod process;
mod publisher;
mod report;
mod scenario;
mod tally;
mod target;
mod work;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use engine::Spans;
use figure::{Figure, Sample};
use report::{Form, Measured};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use scenario::{SCENARIOS, Scenario};
use target::{Entry, Target};
use work::Size;

use super::{complain, say};

/// Arguments of `fieldgate bench`.
///
/// It puts a broker under all the load that it can, with topics of its own: nothing for a broker that is at work.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The broker: [NAME=]HOST:PORT.
    #[arg(value_name = "HOST:PORT", required_unless_present = "list")]
    target: Option<String>,
    /// What to run: names, the beginnings of names (qos1, beside, clients), or all. Default: all but what shows growth.
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// List the scenarios.
    #[arg(long)]
    list: bool,
    /// Another broker, measured in turn with the first: [NAME=]HOST:PORT. May be named several times.
    #[arg(long, value_name = "HOST:PORT")]
    against: Vec<String>,
    /// The process of a broker on this machine, whose CPU time and memory are measured; once for each broker, in their
    /// order.
    #[arg(long, value_name = "PID")]
    pid: Vec<u32>,
    /// How often each scenario is run; medians are shown.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds for which a scenario is measured; may have a fraction.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// Seconds before that.
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    warmup: Duration,
    /// Seconds without any progress after which what is missing counts as lost.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    patience: Duration,
    /// Clients of `idle`.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Messages of `offline`.
    #[arg(long, value_name = "COUNT", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    messages: u32,
    /// Retained messages of `beside-retained`.
    #[arg(long, value_name = "COUNT", default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    retained: u32,
    /// Print JSON instead of a table.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Draw what shows growth into this SVG file.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    entry: Entry,
}

/// Exit codes: 0 all was measured, 1 something could not be, 2 wrong arguments.
pub fn execute(args: &Args) -> ExitCode {
    if args.list {
        let width = SCENARIOS.iter().map(|scenario| scenario.name.len()).max().unwrap_or(0);
        for scenario in SCENARIOS {
            say(format_args!("{:width$}  {}", scenario.name, scenario.about));
        }
        return ExitCode::SUCCESS;
    }
    let (targets, scenarios) = match targets(args).and_then(|targets| Ok((targets, chosen(args)?))) {
        Ok(both) => both,
        Err(error) => {
            complain(error);
            return ExitCode::from(2);
        }
    };
    raise_descriptors();
    let all = measure(args, &targets, &scenarios);
    let names: Vec<&Target> = targets.iter().map(|target| &**target).collect();
    if args.json {
        say(report::json(&all, &names));
    } else {
        let form = if args.markdown { Form::Markdown } else { Form::Terminal };
        say(report::table(&all, &names, form).trim_end());
    }
    if let Some(path) = &args.plot
        && let Err(error) = std::fs::write(path, plot::svg(&all, &names))
    {
        complain(format_args!("can't write {}: {error}", path.display()));
        return ExitCode::FAILURE;
    }
    let is_well = |measured: &Measured| measured.error.is_none();
    if all.iter().all(is_well) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.parse().ok().filter(|seconds| (0.0..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "is a number of seconds, 0 to 600".into())
}

fn targets(args: &Args) -> Result<Vec<Arc<Target>>, String> {
    let names: Vec<&String> = args.target.iter().chain(&args.against).collect();
    if args.pid.len() > names.len() {
        return Err(format!("--pid is there {} times, for {} brokers", args.pid.len(), names.len()));
    }
    let pids = args.pid.iter().copied().map(Some).chain(std::iter::repeat(None));
    names.into_iter().zip(pids).map(|(name, pid)| args.entry.target(name, pid).map(Arc::new)).collect()
}

fn chosen(args: &Args) -> Result<Vec<&'static Scenario>, String> {
    if args.scenarios.is_empty() {
        return Ok(SCENARIOS.iter().filter(|scenario| scenario.is_usual).collect());
    }
    let mut chosen: Vec<&'static Scenario> = Vec::new();
    for word in &args.scenarios {
        let found = scenario::named(word);
        if found.is_empty() {
            return Err(format!("there is no scenario {word:?}; --list shows all"));
        }
        chosen.extend(found);
    }
    Ok(chosen)
}

/// Ten thousand clients need as many descriptors.
fn raise_descriptors() {
    let limits = getrlimit(Resource::Nofile);
    // Where that isn't allowed, connecting says so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, ..limits });
}

/// Round by round, scenario by scenario, broker by broker: so that what changes on the machine meanwhile meets all of them.
fn measure(args: &Args, targets: &[Arc<Target>], scenarios: &[&'static Scenario]) -> Vec<Measured> {
    let size = Size {
        spans: Spans { warmup: args.warmup, measure: args.seconds, patience: args.patience },
        connections: args.connections,
        messages: args.messages,
        retained: args.retained,
    };
    let all = scenarios.iter().flat_map(|scenario| {
        (0..targets.len()).map(|target| Measured { scenario, target, rounds: Vec::new(), error: None })
    });
    let mut all: Vec<Measured> = all.collect();
    let mut runs = 0_u32;
    for round in 1..=args.rounds {
        for measured in &mut all {
            let Some(target) = targets.get(measured.target) else { continue };
            if measured.error.is_some() {
                continue;
            }
            runs += 1;
            tell(format_args!("{round}/{} {} {}", args.rounds, measured.scenario.name, target.name));
            // Client identifiers of up to 23 characters are what each broker takes (3.1.1, 3.1.3-5).
            let prefix = format!("fgb{:x}-{runs}", std::process::id());
            match work::run(measured.scenario, target, size, &prefix) {
                Ok(sample) => {
                    tell(format_args!(": {}\n", in_short(&sample)));
                    measured.rounds.push(sample);
                }
                Err(error) => {
                    tell(format_args!(": {error}\n"));
                    measured.error = Some(error);
                }
            }
        }
    }
    all
}

fn in_short(sample: &Sample) -> String {
    let per_second = sample.get(&Figure::PerSecond).copied().map(report::short).unwrap_or_default();
    let cpu = sample.get(&Figure::CpuPerMillion).map(|cpu| format!(", {} CPU s/M", report::short(*cpu)));
    format!("{per_second} per second{}", cpu.unwrap_or_default())
}

/// Says how far it is, where standard output is for the table.
fn tell(text: impl std::fmt::Display) {
    // Nobody may be there to read it.
    let _ = write!(std::io::stderr(), "{text}");
}
