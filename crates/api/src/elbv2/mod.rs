//! Elastic Load Balancing, version 2: application load balancers. Network and gateway load balancers, TLS and HTTP/2
//! targets have no data plane yet and answer an error that says so.
//!
//! Every handler is one store transaction; `balancer_sync` and `target_sync` see what changed and act.

mod actions;
mod attributes;
mod conditions;
mod facts;
mod health_check;
mod listeners;
pub(crate) mod load_balancers;
mod lookup;
pub(crate) mod network;
pub(crate) mod page;
mod rules;
pub(crate) mod tags;
mod target_groups;
mod targets;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use puffer_shapes::elbv2 as shapes;

use crate::Registry;

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<shapes::CreateLoadBalancer, _>(load_balancers::create);
    registry.serve::<shapes::DescribeLoadBalancers, _>(load_balancers::describe);
    registry.serve::<shapes::DeleteLoadBalancer, _>(load_balancers::delete);
    registry.serve::<shapes::SetSubnets, _>(network::set_subnets);
    registry.serve::<shapes::SetSecurityGroups, _>(network::set_security_groups);
    registry.serve::<shapes::SetIpAddressType, _>(network::set_ip_address_type);
    registry.serve::<shapes::DescribeLoadBalancerAttributes, _>(attributes::describe_load_balancer);
    registry.serve::<shapes::ModifyLoadBalancerAttributes, _>(attributes::modify_load_balancer);
    registry.serve::<shapes::DescribeTargetGroupAttributes, _>(attributes::describe_target_group);
    registry.serve::<shapes::ModifyTargetGroupAttributes, _>(attributes::modify_target_group);
    registry.serve::<shapes::DescribeListenerAttributes, _>(attributes::describe_listener);
    registry.serve::<shapes::ModifyListenerAttributes, _>(attributes::modify_listener);
    registry.serve::<shapes::CreateListener, _>(listeners::create);
    registry.serve::<shapes::DescribeListeners, _>(listeners::describe);
    registry.serve::<shapes::ModifyListener, _>(listeners::modify);
    registry.serve::<shapes::DeleteListener, _>(listeners::delete);
    registry.serve::<shapes::CreateRule, _>(rules::create);
    registry.serve::<shapes::DescribeRules, _>(rules::describe);
    registry.serve::<shapes::ModifyRule, _>(rules::modify);
    registry.serve::<shapes::DeleteRule, _>(rules::delete);
    registry.serve::<shapes::SetRulePriorities, _>(rules::set_priorities);
    registry.serve::<shapes::CreateTargetGroup, _>(target_groups::create);
    registry.serve::<shapes::DescribeTargetGroups, _>(target_groups::describe);
    registry.serve::<shapes::ModifyTargetGroup, _>(target_groups::modify);
    registry.serve::<shapes::DeleteTargetGroup, _>(target_groups::delete);
    registry.serve::<shapes::RegisterTargets, _>(targets::register);
    registry.serve::<shapes::DeregisterTargets, _>(targets::deregister);
    registry.serve::<shapes::DescribeTargetHealth, _>(targets::describe_health);
    registry.serve::<shapes::AddTags, _>(tags::add);
    registry.serve::<shapes::RemoveTags, _>(tags::remove);
    registry.serve::<shapes::DescribeTags, _>(tags::describe);
    registry.serve::<shapes::DescribeAccountLimits, _>(facts::account_limits);
    registry.serve::<shapes::DescribeSSLPolicies, _>(facts::ssl_policies);
    registry.serve::<shapes::DescribeCapacityReservation, _>(facts::capacity_reservation);
}
