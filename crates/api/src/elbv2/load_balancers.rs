//! Creating, describing and deleting load balancers.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::ec2::AddressHold;
use puffer_core::elb::limits::{LOAD_BALANCERS_MAX, NAME_CHARS_MAX};
use puffer_core::elb::{Listener, LoadBalancer, LoadBalancerState, Rule, Scheme, arn, attributes};
use puffer_core::{Tags, ids};
use puffer_inventory::nodes;
use puffer_shapes::elbv2::{self as shapes, errors};
use puffer_store::Transaction;
use rand::{Rng, RngExt};

use super::page::page;
use super::{lookup, network, tags, view};
use crate::{ApiError, Ctx};

/// A checked request.
struct Wanted {
    name: String,
    scheme: Scheme,
    subnet_ids: Vec<String>,
    security_groups: Vec<String>,
    tags: Tags,
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateLoadBalancerInput,
) -> Result<shapes::CreateLoadBalancerOutput, ApiError> {
    let wanted = Wanted::parse(input)?;
    let balancer = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let mut rng = cx.rng.lock();
            wanted.create(tx, &cx, &mut **rng)
        })
        .await?;
    Ok(shapes::CreateLoadBalancerOutput { load_balancers: Some(vec![view::load_balancer(&balancer)]) })
}

impl Wanted {
    fn parse(input: shapes::CreateLoadBalancerInput) -> Result<Wanted, ApiError> {
        match input.type_.as_deref() {
            None | Some("application") => {}
            Some(other) => {
                return Err(ApiError::declared(
                    &errors::OPERATION_NOT_PERMITTED_EXCEPTION,
                    format!("Puffer has no load balancers of type '{other}' yet; use 'application'"),
                ));
            }
        }
        network::only_ipv4(input.ip_address_type.as_deref())?;
        let elsewhere = [
            ("customer-owned IPv4 pools", input.customer_owned_ipv4_pool.is_some()),
            ("IPAM pools", input.ipam_pools.is_some()),
            ("IPv6 source NAT", input.enable_prefix_for_ipv6_source_nat.as_deref() == Some("on")),
        ];
        if let Some((what, _)) = elsewhere.iter().find(|(_, asked)| *asked) {
            return Err(ApiError::declared(
                &errors::INVALID_CONFIGURATION_REQUEST_EXCEPTION,
                format!("Puffer has no {what}"),
            ));
        }
        let name = input.name.unwrap_or_default();
        check_name("load balancer", &name)?;
        if name.starts_with("internal-") {
            return Err(ApiError::validation(format!(
                "The load balancer name '{name}' cannot begin with 'internal-'"
            )));
        }
        Ok(Wanted {
            scheme: match input.scheme.as_deref() {
                None | Some("internet-facing") => Scheme::InternetFacing,
                Some("internal") => Scheme::Internal,
                Some(other) => {
                    return Err(ApiError::declared(
                        &errors::INVALID_SCHEME_EXCEPTION,
                        format!("The scheme '{other}' is not valid"),
                    ));
                }
            },
            name,
            subnet_ids: network::subnet_ids(input.subnets, input.subnet_mappings)?,
            security_groups: input.security_groups.unwrap_or_default(),
            tags: tags::parse(input.tags)?,
        })
    }

    fn create(
        self,
        tx: &mut Transaction<'_>,
        cx: &Ctx,
        rng: &mut dyn Rng,
    ) -> Result<Arc<LoadBalancer>, ApiError> {
        let subnets = network::subnets(&tx.reader(), &self.subnet_ids)?;
        let vpc_id = subnets.first().map(|s| s.vpc_id.clone()).unwrap_or_default();
        let groups = network::security_groups(&tx.reader(), &vpc_id, self.security_groups.clone())?;
        if let Some(old) = lookup::load_balancer_named(&tx.reader(), &self.name) {
            return match self.equals(&old, &groups) {
                true => Ok(old),
                false => Err(ApiError::declared(
                    &errors::DUPLICATE_LOAD_BALANCER_NAME_EXCEPTION,
                    format!(
                        "A load balancer with the same name '{}' exists, but with different settings",
                        self.name
                    ),
                )),
            };
        }
        if tx.reader().count::<LoadBalancer>() >= LOAD_BALANCERS_MAX {
            return Err(ApiError::declared(
                &errors::TOO_MANY_LOAD_BALANCERS_EXCEPTION,
                format!("The limit of {LOAD_BALANCERS_MAX} load balancers in the region has been reached"),
            ));
        }
        if self.scheme == Scheme::InternetFacing {
            network::reaches_internet(&tx.reader(), &vpc_id)?;
        }
        let place = arn::Place { region: &cx.region, account: &cx.account };
        let balancer_arn = place.load_balancer(&self.name, &ids::hex16(rng));
        let now = cx.clock.now();
        let number = rng.random_range(100_000_000..=u32::MAX);
        let nodes = network::place_nodes(tx, &balancer_arn, &groups, &subnets, rng, now)?;
        Ok(tx.put(LoadBalancer {
            arn: balancer_arn,
            dns_name: LoadBalancer::dns_name_of(&self.name, self.scheme, number, &cx.region),
            name: self.name,
            scheme: self.scheme,
            vpc_id,
            nodes,
            security_groups: groups,
            attributes: Default::default(),
            state: LoadBalancerState::Provisioning,
            state_reason: None,
            created_at: now,
            tags: self.tags,
        }))
    }

    /// Whether a load balancer of this name is just what is asked for: then creating it again is no error.
    fn equals(&self, old: &LoadBalancer, security_groups: &[String]) -> bool {
        let subnets = |ids: &mut dyn Iterator<Item = &String>| ids.cloned().collect::<BTreeSet<_>>();
        self.scheme == old.scheme
            && self.tags == old.tags
            && subnets(&mut self.subnet_ids.iter()) == subnets(&mut old.nodes.iter().map(|n| &n.subnet_id))
            && subnets(&mut security_groups.iter()) == subnets(&mut old.security_groups.iter())
    }
}

/// Names of load balancers and target groups: 1–32 letters, digits and hyphens, no hyphen at the ends.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), ApiError> {
    let wrong = |why: &str| Err(ApiError::validation(format!("The {what} name '{name}' {why}")));
    if name.is_empty() {
        return wrong("cannot be empty");
    }
    if name.len() > NAME_CHARS_MAX {
        return wrong(&format!("cannot be longer than '{NAME_CHARS_MAX}' characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return wrong("can only contain characters that are alphanumeric characters and hyphens(-)");
    }
    if name.starts_with('-') || name.ends_with('-') {
        return wrong("cannot begin or end with a hyphen(-)");
    }
    Ok(())
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeLoadBalancersInput,
) -> Result<shapes::DescribeLoadBalancersOutput, ApiError> {
    let arns = input.load_balancer_arns.unwrap_or_default();
    let names = input.names.unwrap_or_default();
    if !arns.is_empty() && !names.is_empty() {
        return Err(ApiError::validation(
            "Load balancer names and load balancer ARNs cannot be specified at the same time",
        ));
    }
    let found = cx.store.read(|r| -> Result<Vec<Arc<LoadBalancer>>, ApiError> {
        if !arns.is_empty() {
            return arns.iter().map(|arn| lookup::load_balancer(r, arn)).collect();
        }
        if !names.is_empty() {
            let absent = |name: &String| {
                ApiError::declared(
                    &errors::LOAD_BALANCER_NOT_FOUND_EXCEPTION,
                    format!("Load balancers '[{name}]' not found"),
                )
            };
            let by_name = |n: &String| lookup::load_balancer_named(r, n).ok_or_else(|| absent(n));
            return names.iter().map(by_name).collect();
        }
        Ok(r.list())
    })?;
    let (found, next_marker) = page(found, |b| &b.arn, input.marker.as_deref(), input.page_size);
    Ok(shapes::DescribeLoadBalancersOutput {
        load_balancers: Some(view::load_balancers(&found)),
        next_marker,
    })
}

/// Deletes the records; the data plane then closes the listeners, and the nodes' addresses become free when their
/// last connection has ended. A load balancer that does not exist is deleted already.
pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteLoadBalancerInput,
) -> Result<shapes::DeleteLoadBalancerOutput, ApiError> {
    let balancer_arn = input.load_balancer_arn.unwrap_or_default();
    if arn::kind_of(&balancer_arn) != Some(arn::ArnKind::LoadBalancer) {
        return Err(ApiError::validation(format!("'{balancer_arn}' is not a valid load balancer ARN")));
    }
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            let Some(balancer) = tx.get::<LoadBalancer>(&balancer_arn) else { return Ok(()) };
            if attributes::flag(&balancer.attributes, attributes::LOAD_BALANCER, "deletion_protection.enabled")
            {
                return Err(ApiError::declared(
                    &errors::OPERATION_NOT_PERMITTED_EXCEPTION,
                    format!(
                        "Load balancer '{balancer_arn}' cannot be deleted because deletion protection is enabled"
                    ),
                ));
            }
            for rule in tx.list_by::<Rule>("load_balancer", &balancer_arn) {
                tx.delete::<Rule>(&rule.arn);
            }
            for listener in tx.list_by::<Listener>("load_balancer", &balancer_arn) {
                tx.delete::<Listener>(&listener.arn);
            }
            for hold in tx.list_by::<AddressHold>("holder", &balancer_arn) {
                nodes::release(tx, &hold.subnet_id, hold.address, now);
            }
            tx.delete::<LoadBalancer>(&balancer_arn);
            Ok(())
        })
        .await?;
    Ok(shapes::DeleteLoadBalancerOutput {})
}
