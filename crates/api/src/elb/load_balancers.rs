//! Creating, describing and deleting load balancers.

use std::collections::BTreeSet;
use std::sync::Arc;

use puffer_core::elb::classic::{
    ClassicHealthCheck, ClassicListener, ClassicLoadBalancer, LOAD_BALANCERS_MAX,
};
use puffer_core::elb::{LoadBalancer, Scheme, arn};
use puffer_core::{Tags, ec2::Subnet};
use puffer_inventory::classic;
use puffer_shapes::elb::{self as shapes, errors};
use puffer_store::Transaction;
use rand::{Rng, RngExt};

use super::{found, listeners, network, tags, view};
use crate::elbv2::load_balancers::check_name;
use crate::elbv2::network::{place_nodes, reaches_internet, security_groups};
use crate::elbv2::page::page;
use crate::{ApiError, Ctx};

/// A checked request.
struct Wanted {
    name: String,
    scheme: Scheme,
    listeners: Vec<ClassicListener>,
    zones: Vec<String>,
    subnets: Vec<String>,
    security_groups: Vec<String>,
    tags: Tags,
}

pub(crate) async fn create(
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
    Ok(shapes::CreateLoadBalancerOutput { dns_name: Some(balancer.dns_name.clone()) })
}

impl Wanted {
    fn parse(input: shapes::CreateLoadBalancerInput) -> Result<Wanted, ApiError> {
        let name = input.load_balancer_name.unwrap_or_default();
        check_name("load balancer", &name)?;
        let mut listeners = Vec::new();
        for listener in input.listeners.iter().flatten() {
            listeners::add(&name, &mut listeners, listeners::parse(listener)?)?;
        }
        if listeners.is_empty() {
            return Err(ApiError::validation("Listeners must be specified"));
        }
        let zones = input.availability_zones.unwrap_or_default();
        let subnets = input.subnets.unwrap_or_default();
        match (zones.is_empty(), subnets.is_empty()) {
            (true, true) => {
                return Err(ApiError::validation("Either AvailabilityZones or SubnetIds must be specified"));
            }
            (false, false) => {
                return Err(ApiError::validation(
                    "Only one of SubnetIds or AvailabilityZones parameter may be specified",
                ));
            }
            _ => {}
        }
        let scheme = match input.scheme.as_deref() {
            None | Some("" | "internet-facing") => Scheme::InternetFacing,
            Some("internal") => Scheme::Internal,
            Some(other) => {
                return Err(ApiError::declared(
                    &errors::INVALID_SCHEME_EXCEPTION,
                    format!("The scheme '{other}' is not valid"),
                ));
            }
        };
        let security_groups = input.security_groups.unwrap_or_default();
        Ok(Wanted {
            name,
            scheme,
            listeners,
            zones,
            subnets,
            security_groups,
            tags: tags::parse(input.tags)?,
        })
    }

    fn create(
        self,
        tx: &mut Transaction<'_>,
        cx: &Ctx,
        rng: &mut dyn Rng,
    ) -> Result<Arc<ClassicLoadBalancer>, ApiError> {
        let subnets = match self.subnets.is_empty() {
            true => network::default_subnets(&tx.reader(), None, &self.zones)?,
            false => network::subnets(&tx.reader(), &self.subnets)?,
        };
        let vpc_id = subnets.first().map(|s| s.vpc_id.clone()).unwrap_or_default();
        network::check_together(&vpc_id, &[], &subnets)?;
        let groups = security_groups(&tx.reader(), &vpc_id, self.security_groups.clone())?;
        if let Some(old) = tx.get::<ClassicLoadBalancer>(&self.name) {
            return match self.equals(&old, &subnets, &groups) {
                true => Ok(old),
                false => Err(ApiError::declared(
                    &errors::DUPLICATE_ACCESS_POINT_NAME_EXCEPTION,
                    format!(
                        "Load Balancer named {} already exists and it is configured with different parameters",
                        self.name
                    ),
                )),
            };
        }
        if tx.reader().count::<ClassicLoadBalancer>() >= LOAD_BALANCERS_MAX {
            return Err(ApiError::declared(
                &errors::TOO_MANY_ACCESS_POINTS_EXCEPTION,
                format!("The quota of {LOAD_BALANCERS_MAX} load balancers has been reached"),
            ));
        }
        if self.scheme == Scheme::InternetFacing {
            reaches_internet(&tx.reader(), &vpc_id)?;
        }
        let place = arn::Place { region: &cx.region, account: &cx.account };
        let arn = place.classic_load_balancer(&self.name);
        let now = cx.clock.now();
        let number = rng.random_range(100_000_000..=u32::MAX);
        let nodes = place_nodes(tx, &arn, &groups, &subnets, rng, now)?;
        let instance_port = self.listeners.first().map_or(80, |l| l.instance_port);
        Ok(classic::put(
            tx,
            ClassicLoadBalancer {
                dns_name: LoadBalancer::dns_name_of(&self.name, self.scheme, number, &cx.region),
                arn,
                name: self.name,
                scheme: self.scheme,
                vpc_id,
                nodes,
                security_groups: groups,
                listeners: self.listeners,
                health_check: ClassicHealthCheck::of_new(instance_port),
                attributes: Default::default(),
                policies: Vec::new(),
                backend_policies: Default::default(),
                created_at: now,
                tags: self.tags,
            },
        ))
    }

    /// Whether a load balancer of this name is just what is asked for: then creating it again is no error.
    fn equals(&self, old: &ClassicLoadBalancer, subnets: &[Arc<Subnet>], groups: &[String]) -> bool {
        let set = |ids: &mut dyn Iterator<Item = &String>| ids.cloned().collect::<BTreeSet<_>>();
        let plain = |l: &ClassicListener| (l.port, l.protocol, l.instance_port);
        self.scheme == old.scheme
            && self.listeners.iter().map(plain).eq(old.listeners.iter().map(plain))
            && set(&mut subnets.iter().map(|s| &s.id)) == set(&mut old.nodes.iter().map(|n| &n.subnet_id))
            && set(&mut groups.iter()) == set(&mut old.security_groups.iter())
    }
}

pub(crate) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeLoadBalancersInput,
) -> Result<shapes::DescribeLoadBalancersOutput, ApiError> {
    let names = input.load_balancer_names.unwrap_or_default();
    cx.store.read(|r| {
        let all: Vec<Arc<ClassicLoadBalancer>> = match names.is_empty() {
            true => r.list(),
            false => names.iter().map(|name| found(r, name)).collect::<Result<_, _>>()?,
        };
        let (found, next_marker) = page(all, |b| &b.name, input.marker.as_deref(), input.page_size);
        Ok(shapes::DescribeLoadBalancersOutput {
            load_balancer_descriptions: Some(found.iter().map(|b| view::load_balancer(r, b)).collect()),
            next_marker,
        })
    })
}

/// A load balancer that does not exist is deleted already. Groups that it is attached to keep its name, as on AWS.
pub(crate) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteLoadBalancerInput,
) -> Result<shapes::DeleteLoadBalancerOutput, ApiError> {
    let name = input.load_balancer_name.unwrap_or_default();
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            if let Some(balancer) = tx.get::<ClassicLoadBalancer>(&name) {
                classic::remove(tx, &balancer, now);
            }
            Ok(())
        })
        .await?;
    Ok(shapes::DeleteLoadBalancerOutput {})
}
