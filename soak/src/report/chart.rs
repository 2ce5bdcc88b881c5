//! Plots, as SVG that needs nothing around it but the page's colours.

use std::fmt::Write as _;

use super::text::{self, escaped, seconds};

/// The size of a plot, in its own units, and what is left for words on its sides.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 24.0;
/// Points of a line: more than anybody can tell apart only make the page large.
const POINTS_MAX: usize = 480;
/// A band narrower than that has no room for its name, which then stands in its tooltip only. Names are drawn in letters that
/// are about so wide.
const LETTER: f64 = 6.2;

/// A span of the run with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Band {
    /// What it is called.
    pub name: String,
    /// From when, in seconds.
    pub from_s: f64,
    /// Until when.
    pub to_s: f64,
}

/// A row of values over time; none where nothing was measured.
#[derive(Clone, Debug)]
pub struct Line {
    /// What it shows.
    pub name: &'static str,
    /// The number of its colour, 1 to 4.
    pub colour: u8,
    /// Whether it is what should be, and not what is.
    pub dashed: bool,
    /// Seconds, and the value then.
    pub points: Vec<(f64, Option<f64>)>,
}

/// What values are of: how they are written at the axis, and what is a round number of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Microseconds.
    Micros,
    /// Bytes, whose units are powers of 1,024.
    Bytes,
}

impl Unit {
    fn written(self, value: f64) -> String {
        match self {
            Self::Count => text::count(value),
            Self::Micros => text::micros(value),
            Self::Bytes => text::bytes(value),
        }
    }

    /// What steps are a round number of.
    fn base(self, value: f64) -> f64 {
        match self {
            Self::Bytes => 1_024f64.powf(value.max(1.0).log(1_024.0).floor()),
            Self::Count | Self::Micros => 1.0,
        }
    }
}

/// A plot over the time of the run.
#[derive(Debug)]
pub struct Chart<'a> {
    /// What it shows, for whoever cannot see it.
    pub title: &'a str,
    /// Whether the axis is logarithmic; else it begins at 0.
    pub logarithmic: bool,
    /// What values are of.
    pub unit: Unit,
    /// Its lines.
    pub lines: Vec<Line>,
    /// The phases behind them.
    pub bands: &'a [Band],
    /// Moments that are marked.
    pub marks: &'a [f64],
    /// How long the run was.
    pub to_s: f64,
}

/// Where values are on the plot.
struct Scale {
    least: f64,
    most: f64,
    logarithmic: bool,
    ticks: Vec<f64>,
}

impl Chart<'_> {
    /// The plot.
    pub fn svg(&self) -> String {
        let mut svg = String::new();
        let values = self.lines.iter().flat_map(|line| &line.points);
        let scale = Scale::of(values.filter_map(|point| point.1), self.logarithmic, self.unit);
        let _ = write!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{}</title>"#,
            escaped(self.title)
        );
        self.bands(&mut svg);
        self.grid(&mut svg, &scale);
        for at in self.marks {
            let x = self.x(*at);
            let _ = write!(
                svg,
                r#"<line class="mark" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}"/>"#,
                HEIGHT - BOTTOM
            );
        }
        for line in &self.lines {
            self.line(&mut svg, line, &scale);
        }
        svg.push_str("</svg>");
        svg
    }

    fn x(&self, at_s: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at_s / self.to_s.max(1e-9)).clamp(0.0, 1.0)
    }

    fn bands(&self, svg: &mut String) {
        for (index, band) in self.bands.iter().enumerate() {
            let (from, to) = (self.x(band.from_s), self.x(band.to_s));
            let width = (to - from).max(0.0);
            let _ = write!(
                svg,
                r#"<rect class="band{}" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{:.1}"><title>{}</title></rect>"#,
                index % 2,
                HEIGHT - TOP - BOTTOM,
                escaped(&band.name)
            );
            let letters = (width / LETTER) as usize;
            let name: String = match band.name.chars().count() {
                count if count <= letters => band.name.clone(),
                _ if letters >= 5 => band.name.chars().take(letters - 1).chain(['…']).collect(),
                _ => continue,
            };
            let _ = write!(
                svg,
                r#"<text class="name" x="{:.1}" y="{:.1}">{}</text>"#,
                f64::midpoint(from, to),
                TOP - 7.0,
                escaped(&name)
            );
        }
    }

    fn grid(&self, svg: &mut String, scale: &Scale) {
        for tick in &scale.ticks {
            let y = scale.y(*tick);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}"/><text class="tick" x="{:.1}" y="{:.1}">{}</text>"#,
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                escaped(&self.unit.written(*tick))
            );
        }
        for tick in times(self.to_s) {
            let _ = write!(
                svg,
                r#"<text class="time" x="{:.1}" y="{:.1}">{}</text>"#,
                self.x(tick),
                HEIGHT - 7.0,
                escaped(&seconds(tick))
            );
        }
    }

    /// One path, which is lifted where nothing was measured.
    fn line(&self, svg: &mut String, line: &Line, scale: &Scale) {
        let mut path = String::new();
        let (mut drawn, mut alone) = (false, Vec::new());
        for (at_s, value) in thinned(&line.points) {
            let Some(value) = value.filter(|value| !scale.logarithmic || *value > 0.0) else {
                drawn = false;
                continue;
            };
            let (x, y) = (self.x(at_s), scale.y(value));
            if !drawn {
                alone.push((x, y));
            }
            let _ = write!(path, "{}{x:.1} {y:.1}", if drawn { "L" } else { "M" });
            drawn = true;
        }
        let dashed = if line.dashed { " dashed" } else { "" };
        let _ = write!(svg, r#"<path class="line c{}{dashed}" d="{path}"/>"#, line.colour);
        // A point between two gaps is no line, and would not be seen.
        for (x, y) in alone {
            let _ = write!(
                svg,
                r#"<circle class="f{}" cx="{x:.1}" cy="{y:.1}" r="1.2"/>"#,
                line.colour
            );
        }
    }
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>, logarithmic: bool, unit: Unit) -> Self {
        let values = values.filter(|value| value.is_finite() && (!logarithmic || *value > 0.0));
        let (least, most) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), value| {
            (least.min(value), most.max(value))
        });
        let (least, most) = if least.is_finite() {
            (least, most)
        } else {
            (1.0, 1.0)
        };
        let (least, most, ticks) = if logarithmic {
            decades(least, most)
        } else {
            steps(most.max(0.0), unit)
        };
        Self {
            least,
            most,
            logarithmic,
            ticks,
        }
    }

    fn y(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value / self.least).ln() / (self.most / self.least).ln()
        } else {
            (value - self.least) / (self.most - self.least)
        };
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.clamp(0.0, 1.0)
    }
}

/// Whole decades around the values.
fn decades(least: f64, most: f64) -> (f64, f64, Vec<f64>) {
    let (from, to) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    let to = to.max(from + 1);
    let ticks = (from..=to).map(|power| 10f64.powi(power)).collect();
    (10f64.powi(from), 10f64.powi(to), ticks)
}

/// From 0 in round steps, four or so.
fn steps(most: f64, unit: Unit) -> (f64, f64, Vec<f64>) {
    if most <= 0.0 {
        return (0.0, 1.0, vec![0.0, 1.0]);
    }
    let base = unit.base(most / 4.0);
    let step = round_up(most / 4.0 / base) * base;
    let count = (most / step).ceil().max(1.0) as u32;
    let ticks = (0..=count).map(|n| f64::from(n) * step).collect();
    (0.0, f64::from(count) * step, ticks)
}

/// The next of 1, 2, 2.5, 5 and 10 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * power >= value * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// Moments that are named on the time axis.
fn times(to_s: f64) -> Vec<f64> {
    const STEPS: [f64; 16] = [
        1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0,
        43_200.0, 86_400.0,
    ];
    let step = STEPS
        .into_iter()
        .find(|step| to_s / step <= 12.0)
        .unwrap_or(7.0 * 86_400.0);
    (0..=(to_s / step) as u32).map(|n| f64::from(n) * step).collect()
}

/// No more points than anybody can see: of those that share a place the first moment and the largest value, since what was
/// worst is what is looked for. Gaps stay.
fn thinned(points: &[(f64, Option<f64>)]) -> Vec<(f64, Option<f64>)> {
    let together = points.len().div_ceil(POINTS_MAX).max(1);
    let one = |part: &[(f64, Option<f64>)]| {
        let values = part.iter().filter_map(|point| point.1);
        (
            part[0].0,
            values.fold(None, |most: Option<f64>, value| {
                Some(most.map_or(value, |most| most.max(value)))
            }),
        )
    };
    points.chunks(together).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_ticks_around_all_values() {
        assert_eq!(steps(0.0, Unit::Count).2, [0.0, 1.0]);
        assert_eq!(
            steps(1_900.0, Unit::Count).2,
            [0.0, 500.0, 1_000.0, 1_500.0, 2_000.0]
        );
        assert_eq!(steps(0.03, Unit::Count).1, 0.03);
        assert_eq!(steps(300.0 * 1_048_576.0, Unit::Bytes).2[1], 100.0 * 1_048_576.0);
        assert_eq!(decades(150.0, 23_000.0).2, [100.0, 1e3, 1e4, 1e5]);
        assert_eq!(decades(100.0, 100.0).2, [100.0, 1e3]);
        assert_eq!(times(120.0).len(), 13);
        assert_eq!(times(3.0 * 86_400.0)[1], 21_600.0);
    }

    #[test]
    fn days_are_drawn_with_as_many_points_as_can_be_seen_and_peaks_stay() {
        let mut points: Vec<(f64, Option<f64>)> = (0..4_096).map(|n| (f64::from(n), Some(1.0))).collect();
        points[2_222].1 = Some(99.0);
        points[0..100].iter_mut().for_each(|point| point.1 = None);
        let thin = thinned(&points);
        assert!(thin.len() <= POINTS_MAX);
        assert!(thin.iter().any(|point| point.1 == Some(99.0)));
        assert_eq!(thin[0].1, None);
    }

    #[test]
    fn what_was_never_measured_is_no_line() {
        let chart = Chart {
            title: "a < b & \"c\"",
            logarithmic: true,
            unit: Unit::Count,
            lines: vec![Line {
                name: "nothing",
                colour: 1,
                dashed: false,
                points: vec![(0.0, None), (1.0, Some(0.0))],
            }],
            bands: &[],
            marks: &[],
            to_s: 0.0,
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
