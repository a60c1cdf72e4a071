//! What is measured, as a table: how each figure is called, and how those of several rounds become one.

use std::collections::BTreeMap;

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Figure {
    PerSecond,
    DrainedPerSecond,
    CpuPerMillion,
    UserCpuPerMillion,
    LatencyP50,
    LatencyP99,
    LatencyP999,
    Messages,
    Lost,
    Duplicates,
    Disordered,
    Refused,
    Stalls,
    BrokerCpu,
    GeneratorCpu,
    ResidentAfter,
    ResidentPeak,
    ResidentPerClient,
    AnonymousPerClient,
    NeighbourRounds,
}

/// How rounds become one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Merge {
    Median,
    Sum,
    Max,
}

const FIGURES: &[(Figure, &str, Merge)] = &[
    (Figure::PerSecond, "per_second", Merge::Median),
    (Figure::DrainedPerSecond, "drained_per_second", Merge::Median),
    (Figure::CpuPerMillion, "cpu_seconds_per_million", Merge::Median),
    (Figure::UserCpuPerMillion, "user_cpu_seconds_per_million", Merge::Median),
    (Figure::LatencyP50, "latency_p50_us", Merge::Median),
    (Figure::LatencyP99, "latency_p99_us", Merge::Median),
    (Figure::LatencyP999, "latency_p999_us", Merge::Median),
    (Figure::Messages, "messages", Merge::Sum),
    (Figure::Lost, "lost", Merge::Sum),
    (Figure::Duplicates, "duplicates", Merge::Sum),
    (Figure::Disordered, "out_of_order", Merge::Sum),
    (Figure::Refused, "refused", Merge::Sum),
    (Figure::Stalls, "stalls", Merge::Sum),
    (Figure::BrokerCpu, "broker_cpu", Merge::Median),
    (Figure::GeneratorCpu, "generator_cpu", Merge::Median),
    (Figure::ResidentAfter, "resident_bytes", Merge::Max),
    (Figure::ResidentPeak, "resident_peak_bytes", Merge::Max),
    (Figure::ResidentPerClient, "resident_bytes_per_client", Merge::Median),
    (Figure::AnonymousPerClient, "anonymous_bytes_per_client", Merge::Median),
    (Figure::NeighbourRounds, "neighbour_rounds", Merge::Sum),
];

/// The figures of one round.
pub(super) type Sample = BTreeMap<Figure, f64>;

/// What several rounds say of each figure, with the name that JSON has for it.
pub(super) fn merged(rounds: &[Sample]) -> Vec<(Figure, &'static str, f64)> {
    let merge = |&(figure, name, merge): &(Figure, &'static str, Merge)| {
        let mut values: Vec<f64> = rounds.iter().filter_map(|round| round.get(&figure).copied()).collect();
        values.sort_by(f64::total_cmp);
        let value = match merge {
            Merge::Median => median(&values)?,
            Merge::Sum => values.iter().sum(),
            Merge::Max => values.last().copied()?,
        };
        (!values.is_empty()).then_some((figure, name, value))
    };
    FIGURES.iter().filter_map(merge).collect()
}

/// The middle of sorted values; between two, their mean.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_become_one_by_the_kind_of_figure() {
        let round = |speed: f64, lost: f64, peak: f64| {
            Sample::from([(Figure::PerSecond, speed), (Figure::Lost, lost), (Figure::ResidentPeak, peak)])
        };
        let rounds = [round(3.0, 1.0, 5.0), round(10.0, 0.0, 9.0), round(4.0, 2.0, 7.0)];
        let expected = [
            (Figure::PerSecond, "per_second", 4.0),
            (Figure::Lost, "lost", 3.0),
            (Figure::ResidentPeak, "resident_peak_bytes", 9.0),
        ];
        assert_eq!(merged(&rounds), expected);
        assert_eq!(merged(&rounds[..2])[0].2, 6.5);
        assert_eq!(merged(&[]), []);
        for figure in FIGURES {
            assert_eq!(FIGURES.iter().filter(|other| other.0 == figure.0 || other.1 == figure.1).count(), 1);
        }
    }
}
