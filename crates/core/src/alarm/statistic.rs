//! Statistics by name: the five classic ones, percentiles and the trimmed family (CloudWatch user guide,
//! "CloudWatch statistics definitions").

use std::fmt;

/// How the samples of a period become one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// Number of samples.
    SampleCount,
    /// Sum.
    Sum,
    /// Sum over count.
    Average,
    /// Smallest.
    Minimum,
    /// Largest.
    Maximum,
    /// `pNN.N`: the value below which that percentage of samples lies, 0–100.
    Percentile(f64),
    /// `tmNN`, `TM(a:b)`, `IQM`: mean of the samples in the range.
    TrimmedMean(Range),
    /// `wmNN`, `WM(a:b)`: mean with the samples outside the range replaced by its ends.
    WinsorizedMean(Range),
    /// `tcNN`, `TC(a:b)`: number of samples in the range.
    TrimmedCount(Range),
    /// `tsNN`, `TS(a:b)`: sum of the samples in the range.
    TrimmedSum(Range),
    /// `PR(a:b)`: percentage of samples in a range of values.
    PercentileRank(Range),
}

/// Which samples a trimmed statistic keeps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Range {
    /// From one percentile to another, 0–100.
    Percent(f64, f64),
    /// Values above the first (excluded) up to the second (included); infinite where left out.
    Values(f64, f64),
}

/// Most digits after the point of a percentile.
const PERCENTILE_DECIMALS_MAX: usize = 10;

impl Statistic {
    /// Reads a statistic as `Statistic`, `ExtendedStatistic` and `Stat` have it.
    pub fn parse(text: &str) -> Option<Statistic> {
        match text {
            "SampleCount" => return Some(Statistic::SampleCount),
            "Sum" => return Some(Statistic::Sum),
            "Average" => return Some(Statistic::Average),
            "Minimum" => return Some(Statistic::Minimum),
            "Maximum" => return Some(Statistic::Maximum),
            "IQM" => return Some(Statistic::TrimmedMean(Range::Percent(25.0, 75.0))),
            _ => {}
        }
        if let Some((name, rest)) = text.split_once('(') {
            let range = Range::parse(rest.strip_suffix(')')?)?;
            return match (name, range) {
                ("TM", r) => Some(Statistic::TrimmedMean(r)),
                ("WM", r) => Some(Statistic::WinsorizedMean(r)),
                ("TC", r) => Some(Statistic::TrimmedCount(r)),
                ("TS", r) => Some(Statistic::TrimmedSum(r)),
                ("PR", r @ Range::Values(..)) => Some(Statistic::PercentileRank(r)),
                _ => None,
            };
        }
        if let Some(p) = text.strip_prefix('p') {
            return percent(p).map(Statistic::Percentile);
        }
        let (name, p) = text.split_at_checked(2)?;
        let range = Range::Percent(0.0, percent(p)?);
        match name {
            "tm" => Some(Statistic::TrimmedMean(range)),
            "wm" => Some(Statistic::WinsorizedMean(range)),
            "tc" => Some(Statistic::TrimmedCount(range)),
            "ts" => Some(Statistic::TrimmedSum(range)),
            _ => None,
        }
    }

    /// Whether it is one of the five that need no distribution (`Statistic`, not `ExtendedStatistic`).
    pub fn is_classic(self) -> bool {
        matches!(
            self,
            Statistic::SampleCount
                | Statistic::Sum
                | Statistic::Average
                | Statistic::Minimum
                | Statistic::Maximum
        )
    }

    /// The samples that a percentile needs to be meaningful: 10 / (1 − p) beyond the median, 10 / p below it.
    /// `None` for other statistics.
    pub fn samples_needed(self) -> Option<f64> {
        let Statistic::Percentile(p) = self else { return None };
        let p = p / 100.0;
        let tail = if p >= 0.5 { 1.0 - p } else { p };
        (tail > 0.0).then(|| 10.0 / tail)
    }
}

impl Range {
    fn parse(text: &str) -> Option<Range> {
        let (from, to) = text.split_once(':')?;
        if from.is_empty() && to.is_empty() {
            return None;
        }
        if from.ends_with('%') || to.ends_with('%') {
            let bound = |text: &str, open: f64| match text {
                "" => Some(open),
                t => percent(t.strip_suffix('%')?),
            };
            let (from, to) = (bound(from, 0.0)?, bound(to, 100.0)?);
            return (from < to).then_some(Range::Percent(from, to));
        }
        let bound = |text: &str, open: f64| match text {
            "" => Some(open),
            t => t.parse::<f64>().ok().filter(|v| v.is_finite()),
        };
        let (from, to) = (bound(from, f64::NEG_INFINITY)?, bound(to, f64::INFINITY)?);
        (from < to).then_some(Range::Values(from, to))
    }
}

fn percent(text: &str) -> Option<f64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > PERCENTILE_DECIMALS_MAX {
        return None;
    }
    text.parse::<f64>().ok().filter(|p| (0.0..=100.0).contains(p))
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Statistic::SampleCount => f.write_str("SampleCount"),
            Statistic::Sum => f.write_str("Sum"),
            Statistic::Average => f.write_str("Average"),
            Statistic::Minimum => f.write_str("Minimum"),
            Statistic::Maximum => f.write_str("Maximum"),
            Statistic::Percentile(p) => write!(f, "p{p}"),
            Statistic::TrimmedMean(r) => write!(f, "TM({r})"),
            Statistic::WinsorizedMean(r) => write!(f, "WM({r})"),
            Statistic::TrimmedCount(r) => write!(f, "TC({r})"),
            Statistic::TrimmedSum(r) => write!(f, "TS({r})"),
            Statistic::PercentileRank(r) => write!(f, "PR({r})"),
        }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Range::Percent(a, b) => write!(f, "{a}%:{b}%"),
            Range::Values(a, b) => {
                if a.is_finite() {
                    write!(f, "{a}")?;
                }
                f.write_str(":")?;
                if b.is_finite() { write!(f, "{b}") } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let range = |a, b| Range::Percent(a, b);
        for (text, expected) in [
            ("Average", Statistic::Average),
            ("p99.9", Statistic::Percentile(99.9)),
            ("p0", Statistic::Percentile(0.0)),
            ("tm90", Statistic::TrimmedMean(range(0.0, 90.0))),
            ("IQM", Statistic::TrimmedMean(range(25.0, 75.0))),
            ("TM(10%:90%)", Statistic::TrimmedMean(range(10.0, 90.0))),
            ("WM(:95%)", Statistic::WinsorizedMean(range(0.0, 95.0))),
            ("TC(0.5:)", Statistic::TrimmedCount(Range::Values(0.5, f64::INFINITY))),
            ("TS(80%:)", Statistic::TrimmedSum(range(80.0, 100.0))),
            ("PR(:300)", Statistic::PercentileRank(Range::Values(f64::NEG_INFINITY, 300.0))),
        ] {
            assert_eq!(Statistic::parse(text), Some(expected), "{text}");
            assert_eq!(Statistic::parse(&expected.to_string()), Some(expected), "{text}");
        }
        for text in [
            "",
            "p",
            "p101",
            "p-1",
            "average",
            "P99",
            "tm",
            "TM(:)",
            "TM(90%:10%)",
            "PR(1%:2%)",
            "p1.12345678901",
            "xx90",
            "TM(10:90",
            "é9",
        ] {
            assert_eq!(Statistic::parse(text), None, "{text}");
        }
    }

    #[test]
    fn low_sample_bounds() {
        assert_eq!(Statistic::Percentile(50.0).samples_needed(), Some(20.0));
        assert!((Statistic::Percentile(99.0).samples_needed().unwrap() - 1000.0).abs() < 1e-6);
        assert_eq!(Statistic::Average.samples_needed(), None);
    }
}
