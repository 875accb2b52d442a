//! `ListMetrics`.

use std::sync::Arc;

use puffer_metrics::ListFilter;
use puffer_shapes::cloudwatch as shapes;

use super::{invalid_value, queries, token};
use crate::{ApiError, Ctx};

/// Metrics of a page.
const PAGE: usize = 500;

pub(super) async fn list(
    cx: Arc<Ctx>,
    input: shapes::ListMetricsInput,
) -> Result<shapes::ListMetricsOutput, ApiError> {
    // This operation declares no error of its own for tokens.
    let bad_token = || invalid_value("The parameter NextToken is invalid.");
    let from = match token::decode(input.next_token.as_deref()).map_err(|_| bad_token())? {
        None => 0,
        Some(position) => position.parse().map_err(|_| bad_token())?,
    };
    if input.recently_active.as_deref().is_some_and(|r| r != "PT3H") {
        return Err(invalid_value("The parameter RecentlyActive must be PT3H."));
    }
    if input.owning_account.as_deref().is_some_and(|a| a != cx.account) {
        return Err(invalid_value(format!("There is only the account {}.", cx.account)));
    }
    let filter = ListFilter {
        namespace: input.namespace,
        name: input.metric_name,
        dimensions: input
            .dimensions
            .unwrap_or_default()
            .into_iter()
            .map(|d| (d.name.unwrap_or_default(), d.value))
            .collect(),
        recently_active: input.recently_active.is_some(),
    };
    let page = cx.metrics.list(&filter, from, PAGE);
    let owners = input.include_linked_accounts == Some(true);
    Ok(shapes::ListMetricsOutput {
        owning_accounts: owners.then(|| vec![cx.account.clone(); page.metrics.len()]),
        metrics: Some(page.metrics.iter().map(queries::wire_metric).collect()),
        next_token: page.next.map(|n| token::encode(&n.to_string())),
    })
}
