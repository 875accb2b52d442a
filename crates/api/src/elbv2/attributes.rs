//! Attributes of load balancers, target groups and listeners: the same two operations for each.

use std::collections::BTreeMap;
use std::sync::Arc;

use puffer_core::elb::attributes::{self, Attribute, AttributeError};
use puffer_core::elb::{Listener, LoadBalancer, TargetGroup};
use puffer_shapes::elbv2::{self as shapes, errors};

use super::lookup;
use crate::{ApiError, Ctx};

fn failed(error: AttributeError) -> ApiError {
    match error {
        AttributeError::Unknown(_) | AttributeError::Value { .. } => ApiError::validation(error.to_string()),
        AttributeError::Unsupported { .. } | AttributeError::SlowStart(_) => {
            ApiError::declared(&errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION, error.to_string())
        }
    }
}

/// A key and value pair of any of the three shapes.
type Pair = (Option<String>, Option<String>);

/// Checks the changes against what is set and gives what shall be set.
fn changed(
    set: &BTreeMap<String, String>,
    table: &'static [Attribute],
    changes: &[Pair],
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut next = set.clone();
    let pairs = changes.iter().map(|(k, v)| (k.as_deref().unwrap_or(""), v.as_deref().unwrap_or("")));
    attributes::apply(&mut next, table, pairs).map_err(failed)?;
    Ok(next)
}

macro_rules! family {
    ($describe:ident, $modify:ident, $record:ident, $lookup:path, $table:expr, $shape:ident, $arn:ident,
     $describe_in:ident, $describe_out:ident, $modify_in:ident, $modify_out:ident) => {
        pub(super) async fn $describe(
            cx: Arc<Ctx>,
            input: shapes::$describe_in,
        ) -> Result<shapes::$describe_out, ApiError> {
            let arn = input.$arn.unwrap_or_default();
            let record = cx.store.read(|r| $lookup(r, &arn))?;
            let shape = |(key, value): (&str, &str)| shapes::$shape {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            let all = attributes::all(&record.attributes, $table).map(shape).collect();
            Ok(shapes::$describe_out { attributes: Some(all) })
        }

        pub(super) async fn $modify(
            cx: Arc<Ctx>,
            input: shapes::$modify_in,
        ) -> Result<shapes::$modify_out, ApiError> {
            let arn = input.$arn.unwrap_or_default();
            let changes: Vec<Pair> =
                input.attributes.unwrap_or_default().into_iter().map(|a| (a.key, a.value)).collect();
            let next = cx
                .store
                .transact::<_, ApiError>(|tx| {
                    let record = $lookup(&tx.reader(), &arn)?;
                    let next = changed(&record.attributes, $table, &changes)?;
                    if next != record.attributes {
                        tx.update::<$record>(&arn, |r| r.attributes.clone_from(&next));
                    }
                    Ok(next)
                })
                .await?;
            let shape = |(key, value): (&str, &str)| shapes::$shape {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            let all = attributes::all(&next, $table).map(shape).collect();
            Ok(shapes::$modify_out { attributes: Some(all) })
        }
    };
}

family!(
    describe_load_balancer,
    modify_load_balancer,
    LoadBalancer,
    lookup::load_balancer,
    attributes::LOAD_BALANCER,
    LoadBalancerAttribute,
    load_balancer_arn,
    DescribeLoadBalancerAttributesInput,
    DescribeLoadBalancerAttributesOutput,
    ModifyLoadBalancerAttributesInput,
    ModifyLoadBalancerAttributesOutput
);
family!(
    describe_target_group,
    modify_target_group,
    TargetGroup,
    lookup::target_group,
    attributes::TARGET_GROUP,
    TargetGroupAttribute,
    target_group_arn,
    DescribeTargetGroupAttributesInput,
    DescribeTargetGroupAttributesOutput,
    ModifyTargetGroupAttributesInput,
    ModifyTargetGroupAttributesOutput
);
family!(
    describe_listener,
    modify_listener,
    Listener,
    lookup::listener,
    attributes::LISTENER,
    ListenerAttribute,
    listener_arn,
    DescribeListenerAttributesInput,
    DescribeListenerAttributesOutput,
    ModifyListenerAttributesInput,
    ModifyListenerAttributesOutput
);
