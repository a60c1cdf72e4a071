//! How throughput and cost grow with the number of clients and of subscriptions, as an SVG: a panel each, a line for each
//! broker, both axes logarithmic.

use std::fmt::Write as _;

use super::figure::Figure;
use super::report::Measured;
use super::target::Target;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 560.0;
const PANEL: (f64, f64) = (300.0, 190.0);
const MARGIN: (f64, f64) = (70.0, 50.0);

/// One for each broker, in their order; dark enough on white, light enough on black.
const COLOURS: [&str; 5] = ["#0b7285", "#c92a2a", "#5f3dc4", "#2b8a3e", "#e67700"];

/// What is drawn: the scenarios whose names begin so, by the number that ends them.
const PANELS: [(&str, &str, Figure, &str); 4] = [
    ("clients-", "pairs of clients", Figure::PerSecond, "messages per second, QoS 0"),
    ("filters-", "other subscriptions", Figure::PerSecond, "messages per second, 10 pairs"),
    ("clients-", "pairs of clients", Figure::CpuPerMillion, "CPU seconds per million"),
    ("filters-", "other subscriptions", Figure::CpuPerMillion, "CPU seconds per million"),
];

/// The drawing.
pub(super) fn svg(all: &[Measured], targets: &[&Target]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (place, &(names, below, figure, title)) in PANELS.iter().enumerate() {
        let (column, row) = (f64::from(u8::from(place % 2 == 1)), f64::from(u8::from(place >= 2)));
        let left = MARGIN.0 + column * (PANEL.0 + MARGIN.0);
        let top = MARGIN.1 + row * (PANEL.1 + MARGIN.1 + 20.0);
        let lines: Vec<Vec<(f64, f64)>> =
            (0..targets.len()).map(|target| points(all, target, names, figure)).collect();
        panel(&mut svg, (left, top), (title, below), &lines);
    }
    for ((place, target), colour) in targets.iter().enumerate().zip(COLOURS) {
        let x = MARGIN.0 + 150.0 * f64::from(u32::try_from(place).unwrap_or(0));
        let _ = writeln!(
            svg,
            "<path d=\"M{x:.0} 18h20\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{:.0}\" y=\"22\">{}</text>",
            x + 26.0,
            escaped(&target.name)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// How often what was measured.
fn points(all: &[Measured], target: usize, names: &str, figure: Figure) -> Vec<(f64, f64)> {
    let point = |measured: &Measured| {
        let count: f64 = measured.scenario.name.strip_prefix(names)?.parse().ok()?;
        Some((count, measured.figure(figure).filter(|value| *value > 0.0)?))
    };
    all.iter().filter(|measured| measured.target == target).filter_map(point).collect()
}

fn panel(svg: &mut String, (left, top): (f64, f64), (title, below): (&str, &str), lines: &[Vec<(f64, f64)>]) {
    let all = || lines.iter().flatten();
    let (x_low, x_high) = decades(all().map(|point| point.0));
    let (y_low, y_high) = decades(all().map(|point| point.1));
    let x = |value: f64| left + (value.log10() - x_low) / (x_high - x_low) * PANEL.0;
    let y = |value: f64| top + PANEL.1 - (value.log10() - y_low) / (y_high - y_low) * PANEL.1;
    let middle = left + PANEL.0 / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"{middle:.0}\" y=\"{:.0}\" text-anchor=\"middle\" font-weight=\"bold\">{title}</text>\
         <text x=\"{middle:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{below}</text>",
        top - 8.0,
        top + PANEL.1 + 30.0
    );
    for power in powers(x_low, x_high) {
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {top:.1}v{:.1}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">{}</text>",
            PANEL.1,
            top + PANEL.1 + 15.0,
            named(power),
            at = x(power)
        );
    }
    for power in powers(y_low, y_high) {
        let at = y(power);
        let _ = writeln!(
            svg,
            "<path d=\"M{left:.1} {at:.1}h{:.1}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{}</text>",
            PANEL.0,
            left - 6.0,
            at + 4.0,
            named(power)
        );
    }
    for (line, colour) in lines.iter().zip(COLOURS) {
        let mut path = String::new();
        for (place, &(count, value)) in line.iter().enumerate() {
            let letter = if place == 0 { 'M' } else { 'L' };
            let _ = write!(path, "{letter}{:.1} {:.1}", x(count), y(value));
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{}</title></circle>",
                x(count),
                y(value),
                super::report::short(value)
            );
        }
        let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
    }
}

/// The powers of ten around all values, at least one apart.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value.log10().floor()), high.max(value.log10().ceil()))
    });
    if low > high { (0.0, 1.0) } else { (low, high.max(low + 1.0)) }
}

fn powers(low: f64, high: f64) -> impl Iterator<Item = f64> {
    (0..16_u8)
        .map(move |step| low + f64::from(step))
        .take_while(move |power| *power <= high)
        .map(|power| 10_f64.powf(power))
}

fn named(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{}M", value / 1e6),
        _ if value >= 1e3 => format!("{}k", value / 1e3),
        _ => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_are_around_all_values() {
        assert_eq!(decades([20.0, 5_000.0].into_iter()), (1.0, 4.0));
        assert_eq!(decades([0.05].into_iter()), (-2.0, -1.0));
        assert_eq!(decades([10.0].into_iter()), (1.0, 2.0));
        assert_eq!(decades(std::iter::empty()), (0.0, 1.0));
        assert_eq!(powers(-1.0, 1.0).map(named).collect::<Vec<_>>(), ["0.1", "1", "10"]);
        assert_eq!([1e3, 1e7].map(named), ["1k", "10M"]);
    }
}
