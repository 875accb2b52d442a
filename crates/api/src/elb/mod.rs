//! Elastic Load Balancing, version 2012-06-01: classic load balancers over HTTP and TCP. What needs TLS has no data plane yet and
//! answers an error that says so.
//!
//! Every handler is one store transaction; `balancer_sync` and `target_sync` see what changed and act.

mod attributes;
mod facts;
mod health_check;
mod instances;
mod listeners;
mod load_balancers;
mod network;
mod policies;
mod tags;
#[cfg(test)]
mod tests;
mod view;

use std::sync::Arc;

use puffer_core::elb::classic::ClassicLoadBalancer;
use puffer_inventory::classic;
use puffer_shapes::elb::{self as shapes, errors};
use puffer_store::Reader;

use crate::{ApiError, Ctx, Registry};

// Version 2009-05-15 asks the same, in its own words.
pub(crate) use health_check::configure as configure_health_check;
pub(crate) use instances::{deregister, describe_health, register as register_instances};
pub(crate) use load_balancers::{create, delete, describe};
pub(crate) use network::{disable_zones, enable_zones};

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<shapes::CreateLoadBalancer, _>(load_balancers::create);
    registry.serve::<shapes::DescribeLoadBalancers, _>(load_balancers::describe);
    registry.serve::<shapes::DeleteLoadBalancer, _>(load_balancers::delete);
    registry.serve::<shapes::CreateLoadBalancerListeners, _>(listeners::create);
    registry.serve::<shapes::DeleteLoadBalancerListeners, _>(listeners::delete);
    registry.serve::<shapes::SetLoadBalancerListenerSSLCertificate, _>(listeners::set_certificate);
    registry.serve::<shapes::ConfigureHealthCheck, _>(health_check::configure);
    registry.serve::<shapes::RegisterInstancesWithLoadBalancer, _>(instances::register);
    registry.serve::<shapes::DeregisterInstancesFromLoadBalancer, _>(instances::deregister);
    registry.serve::<shapes::DescribeInstanceHealth, _>(instances::describe_health);
    registry.serve::<shapes::EnableAvailabilityZonesForLoadBalancer, _>(network::enable_zones);
    registry.serve::<shapes::DisableAvailabilityZonesForLoadBalancer, _>(network::disable_zones);
    registry.serve::<shapes::AttachLoadBalancerToSubnets, _>(network::attach_subnets);
    registry.serve::<shapes::DetachLoadBalancerFromSubnets, _>(network::detach_subnets);
    registry.serve::<shapes::ApplySecurityGroupsToLoadBalancer, _>(network::apply_security_groups);
    registry.serve::<shapes::DescribeLoadBalancerAttributes, _>(attributes::describe);
    registry.serve::<shapes::ModifyLoadBalancerAttributes, _>(attributes::modify);
    registry.serve::<shapes::CreateLBCookieStickinessPolicy, _>(policies::create_lb_cookie);
    registry.serve::<shapes::CreateAppCookieStickinessPolicy, _>(policies::create_app_cookie);
    registry.serve::<shapes::CreateLoadBalancerPolicy, _>(policies::create);
    registry.serve::<shapes::DeleteLoadBalancerPolicy, _>(policies::delete);
    registry.serve::<shapes::SetLoadBalancerPoliciesOfListener, _>(policies::set_of_listener);
    registry.serve::<shapes::SetLoadBalancerPoliciesForBackendServer, _>(policies::set_for_backend);
    registry.serve::<shapes::DescribeLoadBalancerPolicies, _>(policies::describe);
    registry.serve::<shapes::DescribeLoadBalancerPolicyTypes, _>(policies::describe_types);
    registry.serve::<shapes::AddTags, _>(tags::add);
    registry.serve::<shapes::RemoveTags, _>(tags::remove);
    registry.serve::<shapes::DescribeTags, _>(tags::describe);
    registry.serve::<shapes::DescribeAccountLimits, _>(facts::account_limits);
}

/// The load balancer of a name.
fn found(reader: &Reader<'_>, name: &str) -> Result<Arc<ClassicLoadBalancer>, ApiError> {
    reader.get(name).ok_or_else(|| {
        ApiError::declared(
            &errors::ACCESS_POINT_NOT_FOUND_EXCEPTION,
            format!("There is no ACTIVE Load Balancer named '{name}'"),
        )
    })
}

/// Changes a load balancer; an error of `edit` leaves it as it was.
async fn change<R>(
    cx: &Ctx,
    name: Option<String>,
    edit: impl FnOnce(&mut ClassicLoadBalancer) -> Result<R, ApiError>,
) -> Result<R, ApiError> {
    let name = name.unwrap_or_default();
    cx.store
        .transact::<_, ApiError>(|tx| {
            let before = found(&tx.reader(), &name)?;
            let mut after = ClassicLoadBalancer::clone(&before);
            let result = edit(&mut after)?;
            if after != *before {
                classic::put(tx, after);
            }
            Ok(result)
        })
        .await
}

/// What can be asked for, but not of this load balancer or of Puffer.
fn invalid_configuration(text: impl Into<String>) -> ApiError {
    ApiError::declared(&errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION, text)
}
