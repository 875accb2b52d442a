use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An hourly price in millionths of a US dollar. Nobody is charged: prices only rank instance types and Spot pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Price(pub u64);

/// Millionths in a dollar.
const MICROS: u64 = 1_000_000;
/// Dollars an hour that a price may have: beyond any instance, and far from overflow.
const DOLLARS_MAX: u64 = 1_000_000;

impl Price {
    /// `self` with `percent` per cent of itself.
    #[must_use]
    pub fn percent(self, percent: u64) -> Price {
        Price(self.0.saturating_mul(percent) / 100)
    }

    /// The price of one unit of capacity, a thousand times finer so that close pools differ.
    pub fn per_unit(self, weight: u32) -> u64 {
        self.0.saturating_mul(1000) / u64::from(weight.max(1))
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / MICROS, self.0 % MICROS)
    }
}

/// A text that is no price.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a price in US dollars an hour")]
pub struct BadPrice(String);

impl FromStr for Price {
    type Err = BadPrice;

    /// `0.0116`; digits beyond the sixth are dropped.
    fn from_str(text: &str) -> Result<Price, BadPrice> {
        let bad = || BadPrice(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !(digits(whole) || (whole.is_empty() && text.starts_with('.'))) || !digits(fraction) {
            return Err(bad());
        }
        let dollars: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        if dollars > DOLLARS_MAX {
            return Err(bad());
        }
        let six: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
        Ok(Price(dollars * MICROS + six.parse::<u64>().map_err(|_| bad())?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, micros) in [
            ("0.0116", 11_600),
            ("1", 1_000_000),
            (".5", 500_000),
            ("0.1234567", 123_456),
            ("12.30", 12_300_000),
        ] {
            assert_eq!(text.parse::<Price>().unwrap(), Price(micros), "{text}");
        }
        for bad in ["", ".", "-1", "1.", "1e3", "0.1.2", "x", "99999999"] {
            assert!(bad.parse::<Price>().is_err(), "{bad}");
        }
        assert_eq!(Price(11_600).to_string(), "0.011600");
        assert_eq!(Price(11_600).percent(50), Price(5_800));
        assert!(Price(100).per_unit(3) > Price(99).per_unit(3));
    }
}
