//! Charts as SVG, drawn from numbers: a sparkline, a day with its band, bars. Pure. Colours and widths are classes of
//! `app.css`; what a chart shows stands in its label too, for who can't see it.

use std::fmt::Write;
use std::time::Duration;

use crate::history::Bucket;

/// The size of what is drawn, in the chart's own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;
/// Room for numbers at the left and below.
const LEFT: f64 = 56.0;
const BELOW: f64 = 18.0;

/// A small line of the last values, without axes; empty where there are less than two.
#[must_use]
pub fn sparkline(values: &[f64], label: &str) -> String {
    let values: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    if values.len() < 2 {
        return String::new();
    }
    let (low, high) = bounds(values.iter().copied());
    let (width, height) = (120.0, 28.0);
    let step = width / count(values.len() - 1);
    let mut path = String::new();
    for (place, value) in values.iter().enumerate() {
        let letter = if place == 0 { 'M' } else { 'L' };
        let _ = write!(
            path,
            "{letter}{:.1} {:.1}",
            step * count(place),
            height - (value - low) / (high - low) * height
        );
    }
    format!(
        "<svg class=\"spark\" viewBox=\"-1 -2 122 32\" role=\"img\" aria-label=\"{}\" preserveAspectRatio=\"none\">\
         <path class=\"line\" d=\"{path}\"/></svg>",
        escaped(label)
    )
}

/// A day: the mean as a line, minimum and maximum as a band, hours below and numbers at the left. `buckets` have the age
/// of their beginning, oldest first. A gap of more than two buckets is a gap in the line.
#[must_use]
pub fn day(buckets: &[(Duration, Bucket)], label: &str) -> String {
    const DAY_S: f64 = 86_400.0;
    if buckets.is_empty() {
        return String::new();
    }
    let (low, high) = bounds(buckets.iter().flat_map(|(_, bucket)| [bucket.min, bucket.max]));
    let x = |age: Duration| WIDTH - age.as_secs_f64().min(DAY_S) / DAY_S * (WIDTH - LEFT);
    let y = |value: f64| (HEIGHT - BELOW) - (value - low) / (high - low) * (HEIGHT - BELOW - 6.0);
    let mut svg = frame(label);
    for value in ticks(low, high) {
        let at = y(value);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{WIDTH}\"/><text class=\"tick end\" x=\"{:.0}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    for hours in [24, 18, 12, 6] {
        let at = x(Duration::from_secs(hours * 3_600));
        let _ = write!(svg, "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\">−{hours} h</text>", HEIGHT - 4.0);
    }
    for part in without_gaps(buckets) {
        let mut band = String::new();
        for (place, (age, bucket)) in part.iter().enumerate() {
            let letter = if place == 0 { 'M' } else { 'L' };
            let _ = write!(band, "{letter}{:.1} {:.1}", x(*age), y(bucket.max));
        }
        for (age, bucket) in part.iter().rev() {
            let _ = write!(band, "L{:.1} {:.1}", x(*age), y(bucket.min));
        }
        let mut line = String::new();
        for (place, (age, bucket)) in part.iter().enumerate() {
            let letter = if place == 0 { 'M' } else { 'L' };
            let _ = write!(line, "{letter}{:.1} {:.1}", x(*age), y(bucket.mean));
        }
        // A single bucket has no length: a short dash shows it.
        if part.len() == 1 {
            line.push_str("h3");
        }
        let _ = write!(svg, "<path class=\"band\" d=\"{band}Z\"/><path class=\"line\" d=\"{line}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Bars with a name below each, such as drops by reason; nothing is drawn for nothing.
#[must_use]
pub fn bars(values: &[(&str, f64)], label: &str) -> String {
    let high = values.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    if values.is_empty() || high <= 0.0 || !high.is_finite() {
        return String::new();
    }
    let step = WIDTH / count(values.len());
    let mut svg = frame(label);
    for (place, (name, value)) in values.iter().enumerate() {
        let height = (value / high).clamp(0.0, 1.0) * (HEIGHT - 2.0 * BELOW);
        let (at, middle) = (step * count(place) + step * 0.15, step * (count(place) + 0.5));
        let _ = write!(
            svg,
            "<path class=\"bar\" d=\"M{at:.1} {:.1}h{:.1}v{height:.1}h-{:.1}z\"/>\
             <text class=\"tick middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>\
             <text class=\"tick middle\" x=\"{middle:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - BELOW - height,
            step * 0.7,
            step * 0.7,
            HEIGHT - BELOW - height - 4.0,
            short(*value),
            HEIGHT - 4.0,
            escaped(name)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A row of [`stretches`].
#[derive(Clone, Debug)]
pub struct Stretch<'a> {
    /// Whose.
    pub name: &'a str,
    /// As a rule.
    pub usual: f64,
    /// At worst.
    pub longest: f64,
    /// Both in words.
    pub words: String,
    /// Whether somebody should look at it.
    pub is_bad: bool,
}

/// Rows with a bar as long as the usual value and a thin line up to the longest, each below its name; nothing is drawn for
/// nothing.
#[must_use]
pub fn stretches(rows: &[Stretch<'_>], label: &str) -> String {
    const ROW: f64 = 44.0;
    if rows.is_empty() {
        return String::new();
    }
    let high = rows.iter().map(|row| row.longest.max(row.usual)).fold(0.0, f64::max);
    let x = |value: f64| if high > 0.0 { (value / high).clamp(0.0, 1.0) * WIDTH } else { 0.0 };
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{}\">",
        ROW * count(rows.len()),
        escaped(label)
    );
    for (place, row) in rows.iter().enumerate() {
        let top = ROW * count(place);
        let (usual, longest) = (x(row.usual), x(row.longest));
        let bad = if row.is_bad { " bad" } else { "" };
        let _ = write!(
            svg,
            "<text class=\"tick\" x=\"0\" y=\"{:.0}\">{}</text><text class=\"tick end{bad}\" x=\"{WIDTH}\" y=\"{:.0}\">{}</text>\
             <path class=\"grid\" d=\"M0 {:.0}H{WIDTH}\"/><path class=\"reach\" d=\"M0 {:.0}H{longest:.1}\"/>\
             <path class=\"bar\" d=\"M0 {:.0}h{usual:.1}v10h-{usual:.1}z\"/>",
            top + 20.0,
            escaped(row.name),
            top + 20.0,
            escaped(&row.words),
            top + 40.0,
            top + 33.0,
            top + 28.0,
        );
    }
    svg.push_str("</svg>");
    svg
}

fn frame(label: &str) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(label)
    )
}

/// The parts of a line between its gaps.
fn without_gaps(buckets: &[(Duration, Bucket)]) -> Vec<&[(Duration, Bucket)]> {
    let is_near = |one: &(Duration, Bucket), next: &(Duration, Bucket)| {
        one.0.saturating_sub(next.0) <= crate::history::BUCKET * 3
    };
    buckets.chunk_by(is_near).collect()
}

/// The smallest and the largest, a little apart where they are the same.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return (0.0, 1.0);
    }
    let least = (low.abs().max(high.abs()) * 1e-6).max(1e-9);
    if high - low < least { (low - least.max(0.5), high + least.max(0.5)) } else { (low, high) }
}

/// Three to six round numbers between two.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let rough = (high - low) / 4.0;
    let unit = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|times| times * unit)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    let first = (low / step).ceil();
    (0..6_u8)
        .map(|place| (first + f64::from(place)) * step)
        .take_while(|value| *value <= high + step * 1e-6)
        .collect()
}

/// A number with at most four digits that matter.
fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{}{unit}", if text == "-0" { "0" } else { text })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A place as a number to draw with.
fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(min: f64, mean: f64, max: f64) -> Bucket {
        Bucket { min, mean, max, last: mean, count: 3 }
    }

    #[test]
    fn a_sparkline_goes_from_the_bottom_to_the_top() {
        let svg = sparkline(&[1.0, 3.0, 2.0], "t \"<x>\"");
        assert!(svg.contains("d=\"M0.0 28.0L60.0 0.0L120.0 14.0\""), "{svg}");
        assert!(svg.contains("aria-label=\"t &quot;&lt;x&gt;&quot;\""), "{svg}");
        for nothing in [&[][..], &[1.0], &[f64::NAN, 1.0]] {
            assert_eq!(sparkline(nothing, ""), "");
        }
        let flat = sparkline(&[5.0, 5.0], "");
        assert!(flat.contains("M0.0 14.0L120.0 14.0"), "in the middle: {flat}");
    }

    #[test]
    fn a_day_has_a_band_a_line_and_a_gap_where_nothing_was() {
        let at = |minutes: u64| Duration::from_secs(minutes * 60);
        let buckets = [
            (at(1_440), bucket(0.0, 5.0, 10.0)),
            (at(1_435), bucket(2.0, 5.0, 8.0)),
            (at(10), bucket(1.0, 2.0, 3.0)),
        ];
        let svg = day(&buckets, "a");
        assert_eq!(svg.matches("class=\"band\"").count(), 2, "{svg}");
        assert!(svg.contains("d=\"M56.0 6.0L57.9 33.2L57.9 114.8L56.0 142.0Z\""), "{svg}");
        assert!(svg.contains("h3\"/>"), "one bucket is seen too: {svg}");
        for tick in [">0<", ">5<", ">10<", "−24 h", "−6 h"] {
            assert!(svg.contains(tick), "{tick}: {svg}");
        }
        assert_eq!(day(&[], ""), "");
    }

    #[test]
    fn bars_are_as_high_as_their_numbers() {
        let svg = bars(&[("full", 10.0), ("old & done", 5.0), ("none", 0.0)], "drops");
        for part in ["v124.0h", "v62.0h", "v0.0h", "old &amp; done", ">10<"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        for nothing in [&[][..], &[("a", 0.0)]] {
            assert_eq!(bars(nothing, ""), "");
        }
    }

    #[test]
    fn numbers_at_the_axis_are_short_and_round() {
        let check = |value: f64, expected: &str| assert_eq!(short(value), expected);
        check(0.0, "0");
        check(21.5, "21.5");
        check(-0.000_01, "0");
        check(1_013.25, "1013");
        check(12_345.0, "12.3k");
        check(2.5e6, "2.5M");
        assert_eq!(ticks(0.0, 10.0), [0.0, 5.0, 10.0]);
        assert_eq!(ticks(20.1, 21.9), [20.5, 21.0, 21.5]);
    }
}
