//! Classic load balancers, API version 2009-05-15. Puffer has none, so a list of them is empty and every other operation
//! answers `InvalidAction`.

use std::sync::Arc;

use puffer_shapes::elb_2009 as shape;

use crate::{ApiError, Ctx, Registry};

pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<shape::DescribeLoadBalancers, _>(describe);
}

async fn describe(
    _: Arc<Ctx>,
    input: shape::DescribeLoadBalancersType,
) -> Result<shape::LoadBalancersType, ApiError> {
    match input.load_balancer_names.unwrap_or_default().first() {
        Some(name) => {
            Err(ApiError::sender("LoadBalancerNotFound", format!("Cannot find Load Balancer {name}")))
        }
        None => Ok(shape::LoadBalancersType { load_balancer_descriptions: Some(Vec::new()) }),
    }
}
