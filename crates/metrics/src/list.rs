//! Which metrics have data.

use std::sync::Arc;

use puffer_core::alarm::MetricId;

use crate::Metrics;
use crate::series::Series;
use crate::write::seconds;

/// Metrics without newer data are not listed (`ListMetrics`: two weeks).
const LISTED_S: u32 = 14 * 86_400;
/// `RecentlyActive=PT3H`.
const RECENT_S: u32 = 3 * 3600;

/// What to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Exact namespace.
    pub namespace: Option<String>,
    /// Exact name.
    pub name: Option<String>,
    /// Each must be a dimension of the metric; without a value, any value does.
    pub dimensions: Vec<(String, Option<String>)>,
    /// Only metrics with data in the last three hours.
    pub recently_active: bool,
}

/// A page of metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// Metrics in a stable order.
    pub metrics: Vec<MetricId>,
    /// Where the next page starts, if there is one.
    pub next: Option<u32>,
}

impl Metrics {
    /// At most `limit` metrics from position `from` (0, or [`ListPage::next`]).
    pub fn list(&self, filter: &ListFilter, from: u32, limit: usize) -> ListPage {
        let now_s = seconds(self.inner.clock.now());
        let oldest_s = now_s.saturating_sub(if filter.recently_active { RECENT_S } else { LISTED_S });
        let catalog = self.inner.catalog.read();
        let symbol = |text: &Option<String>| text.as_ref().map(|t| catalog.symbols.find(t));
        // A name that was never seen matches nothing.
        let (namespace, name) = match (symbol(&filter.namespace), symbol(&filter.name)) {
            (Some(None), _) | (_, Some(None)) => return ListPage::default(),
            (namespace, name) => (namespace.flatten(), name.flatten()),
        };
        let mut wanted = Vec::with_capacity(filter.dimensions.len());
        for (dimension, value) in &filter.dimensions {
            let value = symbol(value);
            match (catalog.symbols.find(dimension), value) {
                (None, _) | (_, Some(None)) => return ListPage::default(),
                (Some(dimension), value) => wanted.push((dimension, value.flatten())),
            }
        }
        let matches = |series: &Arc<Series>| {
            series.is_head
                && namespace.is_none_or(|n| series.key.first() == Some(&n))
                && name.is_none_or(|n| series.key.get(1) == Some(&n))
                && wanted.iter().all(|&(dimension, value)| {
                    series.key[2..]
                        .chunks_exact(2)
                        .any(|pair| pair[0] == dimension && value.is_none_or(|v| pair[1] == v))
                })
                && series.units().any(|s| {
                    let last_s = s.data.lock().last_s;
                    last_s != 0 && last_s >= oldest_s
                })
        };
        let mut page = ListPage::default();
        let rest = catalog.slots.iter().enumerate().skip(from as usize);
        for (number, series) in rest.filter_map(|(n, s)| s.as_ref().map(|s| (n, s))) {
            if !matches(series) {
                continue;
            }
            if page.metrics.len() == limit {
                page.next = Some(number as u32);
                break;
            }
            page.metrics.push(catalog.metric(series));
        }
        page
    }
}
