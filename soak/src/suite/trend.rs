//! Whether a row of measurements grows, and how fast: without the assumption that noise is small, or bell-shaped.
//!
//! The slope is the median of the slopes of all pairs of points (Theil 1950; Sen, "Estimates of the regression coefficient
//! based on Kendall's tau", JASA 63, 1968), of which up to 29 % may be anything. Its significance is Mann's and Kendall's
//! (Mann, "Nonparametric tests against trend", Econometrica 13, 1945). Points are only compared within their *block*,
//! that is with points that were taken under the same circumstances (the seasonal Kendall test and slope: Hirsch, Slack and
//! Smith, "Techniques of trend analysis for monthly water quality data", Water Resources Research 18, 1982).

/// Points of a block that are compared: what lies closer together is averaged first. Neighbours in time are never
/// independent of each other, and a test that takes them for it finds a trend in every random walk.
const POINTS_MAX: usize = 48;
/// Fewer points than that say nothing, whatever they are.
const POINTS_MIN: usize = 6;
/// The quantile of the normal distribution that leaves 0.05 % on either side: the confidence of [`Trend::least`] and
/// [`Trend::most`].
const QUANTILE: f64 = 3.29;

/// A point: when, or after how much of what explains it; and what was measured.
pub type Point = (f64, f64);

/// How a row of measurements moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// By how much it grows with every unit.
    pub slope: f64,
    /// The least that the slope may be, with a confidence of 99.9 %.
    pub least: f64,
    /// The most that it may be.
    pub most: f64,
    /// How likely so clear a trend, up or down, is where there is none.
    pub chance: f64,
    /// How far the blocks reach, together.
    pub reach: f64,
    /// Points that were compared.
    pub points: usize,
}

impl Trend {
    /// How much it grew within the blocks.
    pub fn growth(&self) -> f64 {
        self.slope * self.reach
    }
}

/// The trend within `blocks`, each sorted; none where there are too few points to say.
pub fn trend(blocks: &[Vec<Point>]) -> Option<Trend> {
    let mut slopes = Vec::new();
    let (mut score, mut variance, mut points, mut reach) = (0i64, 0.0, 0, 0.0);
    for block in blocks {
        let block = averaged(block);
        let (Some(first), Some(last)) = (block.first(), block.last()) else {
            continue;
        };
        points += block.len();
        reach += last.0 - first.0;
        let mut values: Vec<f64> = block.iter().map(|point| point.1).collect();
        variance += variance_of(&mut values);
        for (index, one) in block.iter().enumerate() {
            for other in &block[index + 1..] {
                let (step, rise) = (other.0 - one.0, other.1 - one.1);
                if step > 0.0 {
                    slopes.push(rise / step);
                    score += i64::from(rise > 0.0) - i64::from(rise < 0.0);
                }
            }
        }
    }
    if points < POINTS_MIN || slopes.is_empty() {
        return None;
    }
    slopes.sort_by(f64::total_cmp);
    let deviation = variance.sqrt();
    // Sen's interval: so many ranks around the middle.
    let half = QUANTILE * deviation / 2.0;
    let middle = slopes.len() as f64 / 2.0;
    let at = |rank: f64| slopes[(rank.max(0.0) as usize).min(slopes.len() - 1)];
    Some(Trend {
        slope: median(&slopes),
        least: at(middle - half - 1.0),
        most: at(middle + half),
        chance: chance(score, deviation),
        reach,
        points,
    })
}

/// The middle of sorted values.
pub fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The two halves of every block, each half a block of its own: what goes on grows in both, a step in one.
pub fn halves(blocks: &[Vec<Point>]) -> [Vec<Vec<Point>>; 2] {
    let half = |block: &Vec<Point>, second: bool| {
        let middle = block.len() / 2;
        let part = if second {
            &block[middle..]
        } else {
            &block[..middle]
        };
        part.to_vec()
    };
    [false, true].map(|second| blocks.iter().map(|block| half(block, second)).collect())
}

/// At most [`POINTS_MAX`] points, each the average of its neighbours.
fn averaged(block: &[Point]) -> Vec<Point> {
    let together = block.len().div_ceil(POINTS_MAX).max(1);
    let average = |part: &[Point]| {
        let count = part.len() as f64;
        let sum = part
            .iter()
            .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
        (sum.0 / count, sum.1 / count)
    };
    block.chunks(together).map(average).collect()
}

/// The variance of Kendall's score where there is no trend, less what ties take from it.
fn variance_of(values: &mut [f64]) -> f64 {
    let of = |count: usize| {
        let count = count as f64;
        count * (count - 1.0) * (2.0 * count + 5.0) / 18.0
    };
    values.sort_by(f64::total_cmp);
    let ties = values.chunk_by(|one, other| one == other);
    of(values.len()) - ties.map(|tie| of(tie.len())).sum::<f64>()
}

/// How likely a score at least as far from 0 is by chance.
fn chance(score: i64, deviation: f64) -> f64 {
    if score == 0 || deviation == 0.0 {
        return 1.0;
    }
    let standard = (score.unsigned_abs() as f64 - 1.0) / deviation;
    two_tails(standard)
}

/// What the normal distribution has beyond `x` on both sides: Abramowitz and Stegun, formula 7.1.26 for erfc, whose error is
/// below 1.5e-7.
fn two_tails(x: f64) -> f64 {
    let x = x / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let polynomial = t
        * (0.254_829_592
            + t * (-0.284_496_736 + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    (polynomial * (-x * x).exp()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Chance;

    /// A row with noise from -1 to 1.
    fn row(points: usize, of: impl Fn(f64) -> f64, noise: f64) -> Vec<Point> {
        let mut chance = Chance::new(3, points as u64);
        let at = |n: usize| n as f64;
        (0..points)
            .map(|n| (at(n), of(at(n)) + noise * (2.0 * chance.unit() - 1.0)))
            .collect()
    }

    #[test]
    fn a_line_is_found_as_it_is() {
        let trend = trend(&[row(100, |at| 5.0 + 2.0 * at, 0.0)]).unwrap();
        assert!((trend.slope - 2.0).abs() < 1e-9, "{trend:?}");
        assert!(trend.chance < 1e-6, "{trend:?}");
    }

    #[test]
    fn noise_is_no_trend_and_does_not_hide_one() {
        let noise = trend(&[row(400, |_| 100.0, 10.0)]).unwrap();
        assert!(noise.chance > 0.01, "{noise:?}");
        assert!(noise.least < 0.0 && noise.most > 0.0, "{noise:?}");
        let hidden = trend(&[row(400, |at| 100.0 + 0.02 * at, 10.0)]).unwrap();
        assert!(hidden.chance < 0.001, "{hidden:?}");
        assert!(hidden.least <= 0.02 && hidden.most >= 0.02, "{hidden:?}");
    }

    #[test]
    fn a_fifth_of_the_points_may_be_anything() {
        let mut points = row(48, |at| 3.0 * at, 0.1);
        for point in points.iter_mut().step_by(5) {
            point.1 = 1e9;
        }
        let trend = trend(&[points]).unwrap();
        assert!((trend.slope - 3.0).abs() < 0.1, "{trend:?}");
    }

    #[test]
    fn blocks_are_not_compared_with_each_other() {
        // Each block falls; that the second lies higher is another circumstance, not a growth.
        let blocks = [
            row(30, |at| -at, 0.0),
            row(30, |at| 1_000.0 - at, 0.0)
                .iter()
                .map(|(at, value)| (at + 30.0, *value))
                .collect(),
        ];
        let trend = trend(&blocks).unwrap();
        assert!((trend.slope + 1.0).abs() < 1e-9, "{trend:?}");
    }

    #[test]
    fn a_step_shows_in_one_half_only() {
        let step = [row(60, |at| if at < 20.0 { 0.0 } else { 50.0 }, 1.0)];
        let [first, second] = halves(&step).map(|half| trend(&half).unwrap());
        assert!(
            first.slope > 0.2 && first.chance < 0.001 && second.chance > 0.05,
            "{first:?} {second:?}"
        );
    }

    #[test]
    fn what_never_moves_has_no_trend_and_too_few_points_say_nothing() {
        let flat = trend(&[row(50, |_| 7.0, 0.0)]).unwrap();
        assert_eq!((flat.slope, flat.chance), (0.0, 1.0));
        assert_eq!(trend(&[row(5, |at| at, 0.0)]), None);
        assert_eq!(trend(&[]), None);
    }

    #[test]
    fn the_normal_distribution_is_the_one_of_the_tables() {
        for (x, tails) in [(0.0, 1.0), (1.0, 0.3173), (1.96, 0.05), (3.29, 0.001)] {
            assert!((two_tails(x) - tails).abs() < 1e-4, "{x}");
        }
    }
}
