//! A histogram with relative error, for periods with more distinct values than are kept exactly.
//!
//! It is the DDSketch idea (Masson, Rim, Lee: "DDSketch: a fast and fully-mergeable quantile sketch", VLDB 2019):
//! a value `v` falls in bin `ceil(log_γ v)`, and every value of a bin is within `α` of the bin's middle
//! `2·γ^k / (γ + 1)` where `γ = (1 + α) / (1 − α)`. We keep our own because the trimmed statistics walk the bins, blocks on
//! disk hold them sparsely, and samples come with fractional weights.

/// Relative error of a value taken from a sketch.
pub(crate) const RELATIVE_ERROR: f64 = 0.005;
/// Most bins; beyond, the lowest are joined (errors then affect only the smallest values). Bounds memory to 24 KiB.
const BINS_MAX: usize = 2048;

/// Non-negative samples by magnitude.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Sketch {
    /// Weight of samples too small to have a bin.
    pub(crate) zeros: f64,
    /// `(bin, weight)` by bin.
    pub(crate) bins: Vec<(i32, f64)>,
}

/// Values below count as zero.
const TINY: f64 = 1e-12;

fn gamma() -> f64 {
    (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR)
}

impl Sketch {
    pub(crate) fn add(&mut self, value: f64, weight: f64) {
        if value < TINY {
            self.zeros += weight;
            return;
        }
        let bin = (value.ln() / gamma().ln()).ceil() as i32;
        self.add_bin(bin, weight);
    }

    fn add_bin(&mut self, bin: i32, weight: f64) {
        match self.bins.binary_search_by_key(&bin, |b| b.0) {
            Ok(i) => self.bins[i].1 += weight,
            Err(i) => {
                self.bins.insert(i, (bin, weight));
                if self.bins.len() > BINS_MAX {
                    let (_, lowest) = self.bins.remove(0);
                    self.bins[0].1 += lowest;
                }
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Sketch) {
        self.zeros += other.zeros;
        for &(bin, weight) in &other.bins {
            self.add_bin(bin, weight);
        }
    }

    /// `(value, weight)` in rising order.
    pub(crate) fn points(&self) -> Vec<(f64, f64)> {
        let g = gamma();
        let mut points = Vec::with_capacity(self.bins.len() + 1);
        if self.zeros > 0.0 {
            points.push((0.0, self.zeros));
        }
        points.extend(self.bins.iter().map(|&(bin, weight)| (2.0 * g.powi(bin) / (g + 1.0), weight)));
        points
    }
}
