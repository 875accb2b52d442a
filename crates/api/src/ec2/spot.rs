//! The Spot market as EC2 shows it: price history, and the requests that Spot instances come from.
//!
//! A Spot instance has one one-time request, which lives and ends with it; so requests are views of instances.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use puffer_core::Timestamp;
use puffer_core::ec2::spot::EVERY_POOL;
use puffer_core::ec2::{Account, Instance, InstanceState, Price, SpotTerms, instance_types};
use puffer_inventory::spot;
use puffer_shapes::ec2 as shapes;
use puffer_store::Reader;
use puffer_wire::EpochMillis;

use super::error::{dry_run, invalid_value};
use super::filter::{Field, Filters, wildcard};
use super::instance_view;
use super::instances::account;
use super::page::Page;
use super::parts::{check_ids, s, show_tags, time};
use crate::{ApiError, Ctx};

/// What Puffer's instances run.
const PRODUCT: &str = "Linux/UNIX";
/// How far the history reaches back (EC2's limit).
const HISTORY: Duration = Duration::from_secs(90 * 24 * 3600);
/// Prices told of one pool: the history's whole reach, and what users set.
const PRICES_PER_POOL_MAX: usize = 600;

const HISTORY_FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "instance-type",
    "product-description",
    "spot-price",
    "timestamp",
];

/// A price of a pool. The key sorts the newest first.
struct Told {
    key: String,
    instance_type: String,
    zone: String,
    price: Price,
    at: Timestamp,
}

pub(super) async fn price_history(
    cx: Arc<Ctx>,
    input: shapes::DescribeSpotPriceHistoryInput,
) -> Result<shapes::DescribeSpotPriceHistoryOutput, ApiError> {
    let now = cx.clock.now();
    let filters = Filters::parse(input.filters, HISTORY_FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let moment = |t: Option<EpochMillis>| t.map(|t| Timestamp::from_millis(t.0));
    let until = moment(input.end_time).unwrap_or(now).min(now);
    let from = moment(input.start_time).unwrap_or(now - HISTORY).max(now - HISTORY).min(until);
    let wanted = input.instance_types.unwrap_or_default();
    if let Some(unknown) = wanted.iter().find(|n| !n.contains('*') && instance_types::find(n).is_none()) {
        return Err(invalid_value(format!("Invalid instance type: {unknown}")));
    }
    let products = input.product_descriptions.unwrap_or_default();
    let offered = products.is_empty() || products.iter().any(|p| p.starts_with(PRODUCT));
    let (account, market) = cx.store.read(|r| Ok::<_, ApiError>((account(r)?, spot::market(r))))?;
    let mut told: Vec<Told> = Vec::new();
    for t in instance_types::all().filter(|_| offered) {
        let name = t.name();
        if !wanted.is_empty() && !wanted.iter().any(|w| wildcard(w, &name)) {
            continue;
        }
        for zone in &account.zones {
            let zone_id = account.zone_id(zone);
            let elsewhere = |asked: &Option<String>, here: &str| asked.as_deref().is_some_and(|a| a != here);
            if elsewhere(&input.availability_zone, zone) || elsewhere(&input.availability_zone_id, &zone_id) {
                continue;
            }
            for (at, price) in market.history(&t, zone, from, until, PRICES_PER_POOL_MAX) {
                let field = |filter: &str| match filter {
                    "availability-zone" => Field::from(zone.as_str()),
                    "availability-zone-id" => zone_id.as_str().into(),
                    "instance-type" => name.as_str().into(),
                    "product-description" => PRODUCT.into(),
                    "spot-price" => price.to_string().into(),
                    _ => at.to_rfc3339_millis().into(),
                };
                if filters.matches(&puffer_core::Tags::new(), field) {
                    let key = format!("{:016x}|{name}|{zone}", i64::MAX - at.as_millis());
                    told.push(Told { key, instance_type: name.clone(), zone: zone.clone(), price, at });
                }
            }
        }
    }
    told.sort_by(|a, b| a.key.cmp(&b.key));
    let (found, next_token) = page.cut(told.into_iter(), |t| &t.key);
    if input.dry_run == Some(true) {
        return Err(dry_run());
    }
    let show = |t: Told| shapes::SpotPrice {
        availability_zone_id: s(account.zone_id(&t.zone)),
        availability_zone: s(t.zone),
        instance_type: s(t.instance_type),
        product_description: s(PRODUCT),
        spot_price: s(t.price.to_string()),
        timestamp: time(t.at),
    };
    Ok(shapes::DescribeSpotPriceHistoryOutput {
        spot_price_history: Some(found.into_iter().map(show).collect()),
        // The last page of this call has an empty token rather than none.
        next_token: Some(next_token.unwrap_or_default()),
    })
}

const REQUEST_FILTERS: &[&str] = &[
    "availability-zone",
    "create-time",
    "instance-id",
    "launch.image-id",
    "launch.instance-type",
    "launch.key-name",
    "launched-availability-zone",
    "product-description",
    "spot-instance-request-id",
    "spot-price",
    "state",
    "status-code",
    "type",
];

/// State and status code of an instance's request.
fn standing(i: &Instance, terms: &SpotTerms) -> (&'static str, &'static str) {
    let runs = matches!(i.state, InstanceState::Pending | InstanceState::Running);
    match (&terms.interruption, terms.cancelled_at) {
        (_, Some(_)) if runs => ("cancelled", "request-canceled-and-instance-running"),
        (Some(_), None) if runs => ("active", "marked-for-termination"),
        (None, None) if runs => ("active", "fulfilled"),
        (_, Some(_)) => ("cancelled", "canceled-before-fulfillment"),
        (Some(interruption), None) => ("closed", interruption.cause.status_code()),
        (None, None) => ("closed", "instance-terminated-by-user"),
    }
}

/// What a status code means.
fn meaning(code: &str) -> &'static str {
    match code {
        "fulfilled" => "Your Spot request is fulfilled.",
        "marked-for-termination" => "The instance has its notice and will be terminated.",
        "request-canceled-and-instance-running" => {
            "The request was cancelled while its instance goes on running."
        }
        "instance-terminated-by-price" => "The instance ended because the price rose above its maximum.",
        "instance-terminated-no-capacity" => "The instance ended because its pool has no capacity for it.",
        "instance-terminated-by-user" => "The instance was terminated by request.",
        _ => "The instance has ended.",
    }
}

fn show(r: &Reader<'_>, account: &Account, i: &Instance, terms: &SpotTerms) -> shapes::SpotInstanceRequest {
    let (state, code) = standing(i, terms);
    let on_demand = instance_types::find(&i.instance_type).map_or(Price(0), |t| t.on_demand);
    let updated =
        terms.cancelled_at.or(i.terminated_at).or(terms.interruption.as_ref().map(|n| n.noticed_at));
    shapes::SpotInstanceRequest {
        create_time: time(i.launched_at),
        instance_id: s(&i.id),
        launch_specification: Some(shapes::LaunchSpecification {
            image_id: s(&i.image_id),
            instance_type: s(&i.instance_type),
            key_name: i.key_name.clone(),
            subnet_id: s(&i.subnet_id),
            placement: Some(shapes::SpotPlacement { availability_zone: s(&i.zone), ..Default::default() }),
            security_groups: Some(instance_view::groups(r, &i.security_groups)),
            ebs_optimized: Some(i.ebs_optimized),
            monitoring: Some(shapes::RunInstancesMonitoringEnabled {
                enabled: Some(i.detailed_monitoring),
                ..Default::default()
            }),
            ..Default::default()
        }),
        launched_availability_zone: s(&i.zone),
        launched_availability_zone_id: s(account.zone_id(&i.zone)),
        product_description: s(PRODUCT),
        spot_instance_request_id: i.spot_request_id(),
        spot_price: s(terms.max_price.unwrap_or(on_demand).to_string()),
        state: s(state),
        status: Some(shapes::SpotInstanceStatus {
            code: s(code),
            message: s(meaning(code)),
            update_time: time(updated.unwrap_or(i.launched_at)),
        }),
        tags: show_tags(&terms.request_tags),
        type_: s("one-time"),
        instance_interruption_behavior: s("terminate"),
        ..Default::default()
    }
}

/// Spot instances by request id, in order. Those that ended are told as long as their records stay.
fn all(r: &Reader<'_>) -> Vec<(String, Arc<Instance>)> {
    let mut found = r.list_by::<Instance>("spot_pool", EVERY_POOL);
    let ended = r.list_by::<Instance>("state", InstanceState::Terminated.name());
    found.extend(ended.into_iter().filter(|i| i.spot.is_some()));
    let mut found: Vec<_> = found.into_iter().filter_map(|i| Some((i.spot_request_id()?, i))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn known(all: &[(String, Arc<Instance>)], ids: &[String]) -> Result<(), ApiError> {
    check_ids("sir", "InvalidSpotInstanceRequestID.Malformed", ids)?;
    match ids.iter().find(|id| !all.iter().any(|(known, _)| known == *id)) {
        None => Ok(()),
        Some(id) => Err(ApiError::sender(
            "InvalidSpotInstanceRequestID.NotFound",
            format!("The spot instance request ID '{id}' does not exist"),
        )),
    }
}

pub(super) async fn requests(
    cx: Arc<Ctx>,
    input: shapes::DescribeSpotInstanceRequestsInput,
) -> Result<shapes::DescribeSpotInstanceRequestsOutput, ApiError> {
    let filters = Filters::parse(input.filters, REQUEST_FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let ids = input.spot_instance_request_ids.unwrap_or_default();
    cx.store.read(|r| {
        let account = account(r)?;
        let all = all(r);
        known(&all, &ids)?;
        let wanted: HashSet<&String> = ids.iter().collect();
        let matching = all.iter().filter(|(id, i)| {
            let Some(terms) = &i.spot else { return false };
            let (state, code) = standing(i, terms);
            let field = |name: &str| match name {
                "availability-zone" | "launched-availability-zone" => Field::from(i.zone.as_str()),
                "create-time" => i.launched_at.to_rfc3339_millis().into(),
                "instance-id" => i.id.as_str().into(),
                "launch.image-id" => i.image_id.as_str().into(),
                "launch.instance-type" => i.instance_type.as_str().into(),
                "launch.key-name" => i.key_name.clone().into(),
                "product-description" => PRODUCT.into(),
                "spot-instance-request-id" => id.as_str().into(),
                "spot-price" => terms.max_price.map(|p| p.to_string()).into(),
                "state" => state.into(),
                "status-code" => code.into(),
                _ => "one-time".into(),
            };
            (wanted.is_empty() || wanted.contains(id)) && filters.matches(&terms.request_tags, field)
        });
        let (found, next_token) = page.cut(matching, |(id, _)| id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let shown = found.iter().filter_map(|(_, i)| Some(show(r, &account, i, i.spot.as_ref()?)));
        Ok(shapes::DescribeSpotInstanceRequestsOutput {
            spot_instance_requests: Some(shown.collect()),
            next_token,
        })
    })
}

pub(super) async fn cancel(
    cx: Arc<Ctx>,
    input: shapes::CancelSpotInstanceRequestsInput,
) -> Result<shapes::CancelSpotInstanceRequestsOutput, ApiError> {
    let ids = input.spot_instance_request_ids.unwrap_or_default();
    let now = cx.clock.now();
    let cancelled = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let all = all(&tx.reader());
            known(&all, &ids)?;
            let mut cancelled = Vec::new();
            for (id, i) in all.iter().filter(|(id, _)| ids.contains(id)) {
                if matches!(i.state, InstanceState::Pending | InstanceState::Running) {
                    spot::cancel_request(tx, &i.id, now);
                }
                let Some(after) = tx.get::<Instance>(&i.id) else { continue };
                let state = after.spot.as_ref().map_or("closed", |terms| standing(&after, terms).0);
                cancelled.push(shapes::CancelledSpotInstanceRequest {
                    spot_instance_request_id: s(id),
                    state: s(state),
                });
            }
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(cancelled) }
        })
        .await?;
    Ok(shapes::CancelSpotInstanceRequestsOutput { cancelled_spot_instance_requests: Some(cancelled) })
}
