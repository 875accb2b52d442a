//! `DescribeInstanceStatus`: the status checks that waiters wait for.

use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::ec2::{Instance, InstanceState, StatusCheck};
use puffer_shapes::ec2 as shapes;

use super::error::{combination, dry_run};
use super::filter::{Field, Filters};
use super::instance_view;
use super::instances::{account, find};
use super::page::Page;
use super::parts::{instance_ids, s};
use crate::{ApiError, Ctx};

const FILTERS: &[&str] = &[
    "availability-zone",
    "availability-zone-id",
    "instance-state-code",
    "instance-state-name",
    "instance-status.reachability",
    "instance-status.status",
    "system-status.reachability",
    "system-status.status",
    "attached-ebs-status.status",
];

/// `InstanceStatus.Status` and the reachability check's result.
fn names(check: StatusCheck, running: bool) -> (&'static str, &'static str) {
    match check {
        _ if !running => ("not-applicable", "not-applicable"),
        StatusCheck::Initializing => ("initializing", "initializing"),
        StatusCheck::Ok => ("ok", "passed"),
        StatusCheck::Impaired => ("impaired", "failed"),
        StatusCheck::InsufficientData => ("insufficient-data", "insufficient-data"),
    }
}

fn summary(check: StatusCheck, running: bool) -> shapes::InstanceStatusSummary {
    let (status, result) = names(check, running);
    let details = running.then(|| {
        vec![shapes::InstanceStatusDetails {
            name: s("reachability"),
            status: s(result),
            ..Default::default()
        }]
    });
    shapes::InstanceStatusSummary { status: s(status), details }
}

fn field(zone_id: impl Fn(&str) -> String, i: &Instance, name: &str) -> Field {
    let running = i.state == InstanceState::Running;
    match name {
        "availability-zone" => i.zone.as_str().into(),
        "availability-zone-id" => zone_id(&i.zone).into(),
        "instance-state-code" => i.state.code().to_string().into(),
        "instance-state-name" => i.state.name().into(),
        "instance-status.status" => names(i.instance_status, running).0.into(),
        "instance-status.reachability" => names(i.instance_status, running).1.into(),
        "system-status.status" => names(i.system_status, running).0.into(),
        "system-status.reachability" => names(i.system_status, running).1.into(),
        "attached-ebs-status.status" => names(i.system_status, running).0.into(),
        _ => Field::Many(Vec::new()),
    }
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeInstanceStatusInput,
) -> Result<shapes::DescribeInstanceStatusOutput, ApiError> {
    let ids = instance_ids(input.instance_ids)?;
    if !ids.is_empty() && input.max_results.is_some() {
        return Err(combination("The parameter instancesSet cannot be used with the parameter maxResults"));
    }
    let filters = Filters::parse(input.filters, FILTERS)?;
    let page = Page::parse(input.max_results, input.next_token)?;
    let all_states = input.include_all_instances == Some(true);
    cx.store.read(|r| {
        let account = account(r)?;
        let mut candidates = match (ids.is_empty(), all_states) {
            (false, _) => find(r, &ids)?,
            (true, true) => r.list::<Instance>(),
            (true, false) => r.list_by::<Instance>("state", InstanceState::Running.name()),
        };
        candidates.sort_by(|a, b| a.id.cmp(&b.id));
        let no_tags = Tags::new();
        let matching = candidates.into_iter().filter(|i| {
            (all_states || i.state == InstanceState::Running)
                && filters.matches(&no_tags, |name| field(|z| account.zone_id(z), i, name))
        });
        let (found, next_token) = page.cut(matching, |i| &i.id);
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let one = |i: &Arc<Instance>| {
            let running = i.state == InstanceState::Running;
            shapes::InstanceStatus {
                availability_zone: s(&i.zone),
                availability_zone_id: s(account.zone_id(&i.zone)),
                instance_id: s(&i.id),
                instance_state: instance_view::state(i.state),
                instance_status: Some(summary(i.instance_status, running)),
                system_status: Some(summary(i.system_status, running)),
                ..Default::default()
            }
        };
        Ok(shapes::DescribeInstanceStatusOutput {
            instance_statuses: Some(found.iter().map(one).collect()),
            next_token,
        })
    })
}
