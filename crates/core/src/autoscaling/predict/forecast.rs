//! The load's next two days.
//!
//! Hours of the last fortnight are split into a daily and, once there are two weeks, a weekly season, a trend and noise (MSTL,
//! robust against single spikes). The seasons go on, at the level of the last hours; levels of services move by deploys and
//! launches more than along lines. From less than two days no season can be told, so the one day repeats.

use std::borrow::Cow;

use augurs_core::{Fit, Forecast as Extrapolation, Predict};
use augurs_mstl::{FittedTrendModel, MSTLModel, TrendModel, stlrs};

use crate::Timestamp;

/// Hours that a forecast looks ahead.
pub const HORIZON_H: usize = 48;
/// Hours of data that it needs.
pub const HISTORY_H_MIN: usize = 24;
/// Hours of data that it uses.
pub const HISTORY_H_MAX: usize = 14 * 24;
/// Hours without data at the end, after which the metric is said to have stopped.
const SILENCE_H_MAX: i64 = 24;
/// Hours of a day and of a week.
const SEASONS_H: [usize; 2] = [24, 7 * 24];
/// Hours whose level, freed from the seasons, is taken for the level to come. Tried on recorded traces: a day's is too slow for a
/// service that has just changed, an hour's is noise.
const LEVEL_H: usize = 6;
/// Length of the smoothing along a season's same hours: longer than any history, so that a season is the same each time.
const SEASON_SMOOTHING: usize = 101;
const HOUR_MS: i64 = 3_600_000;

/// Too few data for a forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooLittle {
    /// Not a day of it.
    #[error("a forecast needs {HISTORY_H_MIN} hours of data, and the load metric has {0}")]
    Hours(usize),
    /// None lately.
    #[error("the load metric has had no data for {0} hours")]
    Stopped(i64),
    /// The model could not be fitted.
    #[error("no forecast can be made of the load metric: {0}")]
    Fit(String),
}

/// The hourly values up to the last one, gaps filled in a straight line, and the hour after it.
pub fn history(points: &[(Timestamp, f64)], now: Timestamp) -> Result<(Vec<f64>, Timestamp), TooLittle> {
    let good: Vec<(i64, f64)> = points
        .iter()
        .filter(|(_, v)| v.is_finite())
        .map(|(at, v)| (at.as_millis().div_euclid(HOUR_MS), *v))
        .collect();
    let (Some((first, _)), Some((last, _))) = (good.first(), good.last()) else {
        return Err(TooLittle::Hours(0));
    };
    if good.len() < HISTORY_H_MIN {
        return Err(TooLittle::Hours(good.len()));
    }
    let silent = now.as_millis().div_euclid(HOUR_MS) - last - 1;
    if silent > SILENCE_H_MAX {
        return Err(TooLittle::Stopped(silent));
    }
    let first = (*first).max(last - HISTORY_H_MAX as i64 + 1);
    let mut hours = Vec::with_capacity(HISTORY_H_MAX);
    let mut before: Option<(i64, f64)> = None;
    for &(hour, value) in good.iter().filter(|(hour, _)| *hour >= first) {
        if let Some((from, start)) = before {
            let step = (value - start) / (hour - from) as f64;
            hours.extend((1..hour - from).map(|i| start + step * i as f64));
        }
        hours.push(value);
        before = Some((hour, value));
    }
    Ok((hours, Timestamp::from_millis((last + 1) * HOUR_MS)))
}

/// The next `n` hours after `hours`.
pub fn forecast_load(hours: &[f64], n: usize) -> Result<Vec<f64>, TooLittle> {
    if hours.len() < HISTORY_H_MIN {
        return Err(TooLittle::Hours(hours.len()));
    }
    let seasons: Vec<usize> = SEASONS_H.into_iter().filter(|s| hours.len() >= 2 * s).collect();
    if seasons.is_empty() {
        let day = &hours[hours.len() - HISTORY_H_MIN..];
        return Ok((0..n).map(|i| day[i % day.len()]).collect());
    }
    let mut smoothing = stlrs::params();
    smoothing.robust(true);
    let mut params = stlrs::MstlParams::new();
    params.stl_params(smoothing).seasonal_lengths(&vec![SEASON_SMOOTHING; seasons.len()]);
    let model = MSTLModel::new(seasons, RecentLevel).mstl_params(params);
    let fit = |e: augurs_mstl::Error| TooLittle::Fit(e.to_string());
    let made = model.fit(hours).map_err(fit)?.predict(n, None).map_err(fit)?;
    Ok(made.point.into_iter().map(|v| if v.is_finite() { v.max(0.0) } else { 0.0 }).collect())
}

/// The mean of the last hours goes on.
#[derive(Debug, Clone, Copy)]
struct RecentLevel;

#[derive(Debug)]
struct Level {
    value: f64,
    n_hours: usize,
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

impl TrendModel for RecentLevel {
    fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed("recent level")
    }

    fn fit(&self, y: &[f64]) -> Result<Box<dyn FittedTrendModel + Sync + Send>, Fault> {
        let recent = &y[y.len().saturating_sub(LEVEL_H)..];
        let value = recent.iter().sum::<f64>() / recent.len().max(1) as f64;
        Ok(Box::new(Level { value, n_hours: y.len() }))
    }
}

impl FittedTrendModel for Level {
    fn predict_inplace(&self, n: usize, _: Option<f64>, made: &mut Extrapolation) -> Result<(), Fault> {
        made.point = vec![self.value; n];
        Ok(())
    }

    fn predict_in_sample_inplace(&self, _: Option<f64>, made: &mut Extrapolation) -> Result<(), Fault> {
        made.point = vec![self.value; self.n_hours];
        Ok(())
    }

    fn training_data_size(&self) -> Option<usize> {
        Some(self.n_hours)
    }
}
