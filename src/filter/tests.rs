//! What a filter publishes, with invented time.

use super::*;
use crate::reading::Value;
use crate::time::{ClockTrust, Timestamp};

/// A filter, and what it has published, as text.
struct Rig {
    filter: Filter,
    out: Vec<Reading>,
}

fn at(ms: u64) -> Mono {
    Mono::from_nanos(ms * 1_000_000)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn reading(now: u64, samples: &[(&str, Option<Value>, Quality)]) -> Reading {
    Reading {
        device: "d".into(),
        seq: Seq { run: Run(9), number: 1_000 },
        boot: BootId::default(),
        mono: at(now),
        wall: Timestamp::default(),
        trust: ClockTrust::Synced,
        samples: samples
            .iter()
            .map(|(point, value, quality)| Sample {
                point: Arc::from(*point),
                value: value.clone(),
                quality: *quality,
            })
            .collect(),
    }
}

impl Rig {
    fn new(config: FilterConfig) -> Self {
        Self {
            filter: Filter::new("d".into(), config, Vec::new(), Run(3), BootId::default()),
            out: Vec::new(),
        }
    }

    fn take(&mut self, now: u64, samples: &[(&str, Option<Value>, Quality)]) -> String {
        self.filter.take(at(now), reading(now, samples), &mut self.out);
        self.told()
    }

    /// A reading of the point `t`.
    fn t(&mut self, now: u64, value: f64) -> String {
        self.take(now, &[("t", Some(Value::Number(value)), Quality::Good)])
    }

    fn tick(&mut self, now: u64) -> String {
        self.filter.tick(at(now), &mut self.out);
        self.told()
    }

    fn stale(&mut self, now: u64) -> String {
        self.filter.stale(Now { mono: at(now), ..Now::default() }, &mut self.out);
        self.told()
    }

    fn deadline(&self) -> Option<u64> {
        self.filter.deadline().map(|deadline| deadline.as_nanos() / 1_000_000)
    }

    /// `1@100 t=21.5 u=null(stale)`: number, time, points.
    fn told(&mut self) -> String {
        let sample = |sample: &Sample| {
            let quality = match sample.quality {
                Quality::Good => String::new(),
                other => format!("({})", other.as_str()),
            };
            let value = match &sample.value {
                None => "null".to_owned(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Integer(number)) => format!("{number}i"),
                Some(Value::Bool(flag)) => flag.to_string(),
                Some(Value::Text(text)) => text.clone(),
            };
            format!(" {}={value}{quality}", sample.point)
        };
        let told = self.out.drain(..).map(|reading| {
            assert_eq!(reading.seq.run, Run(3));
            let samples: String = reading.samples.iter().map(sample).collect();
            format!("{}@{}{samples}", reading.seq.number, reading.mono.as_nanos() / 1_000_000)
        });
        told.collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn without_a_filter_each_reading_is_published_and_numbered() {
    let mut rig = Rig::new(FilterConfig::default());
    assert_eq!(rig.t(0, 1.0), "1@0 t=1");
    assert_eq!(rig.t(5, 1.0), "2@5 t=1");
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.stale(9), "", "nobody wants to be told");
}

#[test]
fn only_what_has_changed_is_published_and_the_numbers_have_no_gaps() {
    let mut rig = Rig::new(FilterConfig { on_change: true, ..FilterConfig::default() });
    assert_eq!(rig.t(0, 1.0), "1@0 t=1");
    assert_eq!(rig.t(10, 1.0), "");
    assert_eq!(rig.t(20, 1.5), "2@20 t=1.5");
    assert_eq!(
        rig.take(30, &[("t", Some(Value::Number(1.5)), Quality::OutOfRange)]),
        "3@30 t=1.5(out_of_range)"
    );
    assert_eq!(rig.take(40, &[("t", None, Quality::Invalid)]), "4@40 t=null(invalid)");
    assert_eq!(rig.take(50, &[("t", None, Quality::Invalid)]), "");
    assert_eq!(rig.take(60, &[("u", Some(Value::Bool(true)), Quality::Good)]), "5@60 u=true");
    assert_eq!(rig.take(70, &[("u", Some(Value::Bool(true)), Quality::Good)]), "");
    assert_eq!(
        rig.take(80, &[("t", None, Quality::Invalid), ("u", Some(Value::Bool(false)), Quality::Good)]),
        "6@80 t=null(invalid) u=false"
    );
    assert_eq!(rig.deadline(), None);
}

#[test]
fn a_number_within_the_deadband_of_what_was_published_is_no_other() {
    let check = |deadband, before: f64, now: f64, expected: bool| {
        let config = FilterConfig { on_change: true, deadband: Some(deadband), ..FilterConfig::default() };
        let mut rig = Rig::new(config);
        rig.t(0, before);
        assert_eq!(!rig.t(1, now).is_empty(), expected, "{deadband:?}: {before} to {now}");
    };
    check(Deadband::Absolute(0.5), 20.0, 20.4, false);
    check(Deadband::Absolute(0.5), 20.0, 20.5, true);
    check(Deadband::Absolute(0.1), 21.2, 21.3, true);
    check(Deadband::Absolute(0.5), 20.0, 19.4, true);
    check(Deadband::Percent(2.0), 100.0, 101.9, false);
    check(Deadband::Percent(2.0), 100.0, 98.0, true);
    check(Deadband::Percent(2.0), -100.0, -102.0, true);
    check(Deadband::Percent(2.0), 0.0, 0.000_1, true);
    check(Deadband::Percent(2.0), 0.0, 0.0, false);
    // A slow drift is seen: the band lies around what was published, not around what came last.
    let deadband = Some(Deadband::Absolute(1.0));
    let mut rig = Rig::new(FilterConfig { on_change: true, deadband, ..FilterConfig::default() });
    let told: Vec<String> =
        (0..=25).map(|n| rig.t(n, 20.0 + 0.1 * f64::from(u32::try_from(n).unwrap()))).collect();
    let sent: Vec<&String> = told.iter().filter(|told| !told.is_empty()).collect();
    assert_eq!(sent, ["1@0 t=20", "2@10 t=21", "3@20 t=22"]);
}

#[test]
fn a_point_may_have_a_deadband_of_its_own() {
    let mut rig = Rig::new(FilterConfig {
        on_change: true,
        deadband: Some(Deadband::Absolute(10.0)),
        deadbands: HashMap::from([(Arc::from("t"), Deadband::Absolute(1.0))]),
        ..FilterConfig::default()
    });
    let both = |t: f64, p: f64| {
        [("t", Some(Value::Number(t)), Quality::Good), ("p", Some(Value::Number(p)), Quality::Good)]
    };
    assert_eq!(rig.take(0, &both(20.0, 1000.0)), "1@0 t=20 p=1000");
    assert_eq!(rig.take(1, &both(20.9, 1009.0)), "");
    assert_eq!(rig.take(2, &both(21.0, 1009.0)), "2@2 t=21 p=1009", "the reading goes as a whole");
    assert_eq!(rig.take(3, &both(21.0, 1019.0)), "3@3 t=21 p=1019");
}

#[test]
fn the_newest_of_what_comes_too_early_is_sent_when_the_pace_allows_it() {
    let mut rig = Rig::new(FilterConfig { min_interval: Some(ms(100)), ..FilterConfig::default() });
    assert_eq!(rig.t(0, 1.0), "1@0 t=1");
    assert_eq!(rig.t(30, 2.0), "");
    assert_eq!(rig.t(60, 3.0), "");
    assert_eq!(rig.deadline(), Some(100));
    assert_eq!(rig.tick(99), "");
    assert_eq!(rig.tick(100), "2@60 t=3", "with the time of its own");
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.t(250, 4.0), "3@250 t=4");
}

#[test]
fn a_change_that_is_taken_back_within_the_pace_is_not_published() {
    let config = FilterConfig { on_change: true, min_interval: Some(ms(100)), ..FilterConfig::default() };
    let mut rig = Rig::new(config);
    assert_eq!(rig.t(0, 1.0), "1@0 t=1");
    assert_eq!(rig.t(30, 2.0), "");
    assert_eq!(rig.deadline(), Some(100));
    assert_eq!(rig.t(60, 1.0), "");
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.tick(100), "");
    assert_eq!(rig.t(130, 2.0), "2@130 t=2");
}

#[test]
fn a_sign_of_life_is_the_newest_reading_and_needs_one() {
    let config = FilterConfig { on_change: true, max_interval: Some(ms(100)), ..FilterConfig::default() };
    let mut rig = Rig::new(config);
    assert_eq!(rig.t(0, 1.0), "1@0 t=1");
    assert_eq!(rig.t(40, 1.0), "");
    assert_eq!(rig.t(80, 1.0), "");
    assert_eq!(rig.deadline(), Some(100));
    assert_eq!(rig.tick(100), "2@80 t=1");
    assert_eq!(rig.deadline(), None, "nothing was measured since: there is nothing to say");
    assert_eq!(rig.tick(300), "");
    assert_eq!(rig.t(310, 1.0), "3@310 t=1");
}

#[test]
fn slow_points_stay_in_what_is_kept_back() {
    let mut rig = Rig::new(FilterConfig { min_interval: Some(ms(100)), ..FilterConfig::default() });
    rig.t(0, 1.0);
    rig.take(
        10,
        &[("slow", Some(Value::Integer(7)), Quality::Good), ("t", Some(Value::Number(2.0)), Quality::Good)],
    );
    rig.t(20, 3.0);
    assert_eq!(rig.tick(100), "2@20 t=3 slow=7i");
}

fn windowed(statistic: Statistic) -> Rig {
    Rig::new(FilterConfig { window: Some((ms(100), statistic)), ..FilterConfig::default() })
}

#[test]
fn a_window_gives_one_reading() {
    let check = |statistic, expected: &str| {
        let mut rig = windowed(statistic);
        for (now, value) in [(0, 20.0), (30, 26.0), (60, 23.5)] {
            let state = Some(Value::Text(format!("s{now}")));
            let samples = [
                ("t", Some(Value::Number(value)), Quality::Good),
                ("n", Some(Value::Integer(i64::MAX - i64::try_from(now).unwrap())), Quality::Good),
                ("s", state, Quality::Good),
            ];
            assert_eq!(rig.take(now, &samples), "");
        }
        assert_eq!(rig.deadline(), Some(100));
        assert_eq!(rig.tick(99), "");
        assert_eq!(rig.tick(100), expected);
    };
    let n = i64::MAX;
    check(Statistic::Last, &format!("1@60 t=23.5 n={}i s=s60", n - 60));
    check(Statistic::Max, &format!("1@60 t=26 n={n}i s=s60"));
    check(Statistic::Mean, "1@60 t=23.1666666667 n=9223372036850000000 s=s60");
    let all = format!(
        "1@60 t=23.5 t_mean=23.1666666667 t_min=20 t_max=26 \
         n={}i n_mean=9223372036850000000 n_min={n}i n_max={n}i s=s60",
        n - 60
    );
    check(Statistic::All, &all);
}

#[test]
fn bad_values_take_no_part_in_statistics() {
    let mut rig = windowed(Statistic::Mean);
    rig.take(0, &[("t", Some(Value::Number(900.0)), Quality::OutOfRange)]);
    rig.t(10, 20.0);
    rig.take(20, &[("t", None, Quality::Invalid)]);
    rig.t(30, 22.0);
    assert_eq!(rig.tick(100), "1@30 t=21");
    rig.take(130, &[("t", None, Quality::Invalid)]);
    assert_eq!(rig.tick(200), "2@130 t=null(invalid)");
}

#[test]
fn windows_follow_each_other_without_drift_and_an_empty_one_gives_nothing() {
    let mut rig = windowed(Statistic::Last);
    rig.t(50, 1.0);
    assert_eq!(rig.deadline(), Some(150));
    assert_eq!(rig.t(155, 2.0), "1@50 t=1", "what ends the window belongs to the next one");
    assert_eq!(rig.deadline(), Some(250));
    assert_eq!(rig.tick(250), "2@155 t=2");
    assert_eq!(rig.deadline(), None);
    assert_eq!(rig.tick(1_000), "");
    rig.t(1_020, 3.0);
    assert_eq!(rig.deadline(), Some(1_050));
    assert_eq!(rig.tick(1_050), "3@1020 t=3");
}

#[test]
fn the_change_filter_works_on_what_a_window_gives() {
    let mut rig = Rig::new(FilterConfig {
        on_change: true,
        deadband: Some(Deadband::Absolute(1.0)),
        window: Some((ms(100), Statistic::Mean)),
        ..FilterConfig::default()
    });
    let mut told = Vec::new();
    for (now, value) in [(0, 19.0), (50, 21.0), (100, 25.0), (150, 15.5), (200, 22.0), (250, 22.0)] {
        told.push(rig.t(now, value));
    }
    told.push(rig.tick(300));
    assert_eq!(told, ["", "", "1@50 t=20", "", "", "", "2@250 t=22"]);
}

#[test]
fn a_stale_device_says_so_once_and_again_after_it_was_back() {
    let config = FilterConfig { tell_stale: true, on_change: true, ..FilterConfig::default() };
    let mut rig = Rig::new(config);
    assert_eq!(rig.stale(0), "", "no point is known");
    assert_eq!(rig.t(10, 1.0), "1@10 t=1");
    assert_eq!(rig.stale(70), "2@70 t=null(stale)");
    assert_eq!(rig.stale(80), "");
    assert_eq!(rig.t(90, 1.0), "3@90 t=1", "the value is known again");
    assert_eq!(rig.stale(150), "4@150 t=null(stale)");
}

#[test]
fn a_stale_device_that_never_sent_tells_its_points() {
    let config = FilterConfig { tell_stale: true, ..FilterConfig::default() };
    let points = vec![Arc::from("t"), Arc::from("h")];
    let filter = Filter::new("d".into(), config, points, Run(3), BootId::default());
    let mut rig = Rig { filter, out: Vec::new() };
    assert_eq!(rig.stale(60), "1@60 t=null(stale) h=null(stale)");
}

#[test]
fn what_was_kept_back_goes_before_the_end_and_before_the_device_is_stale() {
    let config = FilterConfig {
        tell_stale: true,
        min_interval: Some(ms(1_000)),
        window: Some((ms(100), Statistic::Max)),
        ..FilterConfig::default()
    };
    let mut rig = Rig::new(config);
    rig.t(0, 1.0);
    assert_eq!(rig.tick(100), "1@0 t=1");
    rig.t(110, 5.0);
    rig.t(120, 4.0);
    assert_eq!(rig.stale(180), "2@120 t=5; 3@180 t=null(stale)");
    rig.t(230, 7.0);
    rig.filter.flush(at(240), &mut rig.out);
    assert_eq!(rig.told(), "4@230 t=7");
    rig.filter.flush(at(250), &mut rig.out);
    assert_eq!(rig.told(), "");
}
