use std::net::Ipv4Addr;

use async_trait::async_trait;
use puffer_core::ErrorClass;
use puffer_core::ec2::{InstanceState, RulePeer};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_network::{DesiredSubnet, EndpointKind, FabricError};
use rand_pcg::rand_core::SeedableRng;

use super::*;
use crate::elb_fixtures::{NOW, World, hold, instance};
use crate::{Placement, spawn};

/// A fabric that remembers what it was told.
#[derive(Default)]
struct FakeFabric {
    applied: Mutex<Vec<DesiredNetwork>>,
    broken: AtomicBool,
}

#[async_trait]
impl Fabric for FakeFabric {
    async fn apply(&self, desired: &DesiredNetwork) -> Result<(), FabricError> {
        if self.broken.load(Ordering::Relaxed) {
            let (what, reason) = ("bridge".to_owned(), "no permission".to_owned());
            return Err(FabricError { what, reason, class: ErrorClass::Permanent });
        }
        self.applied.lock().push(desired.clone());
        Ok(())
    }
    fn bridge(&self, subnet_id: &str) -> String {
        format!("br-{}", subnet_id.len())
    }
    fn interface(&self, instance_id: &str) -> String {
        format!("pf-{instance_id}")
    }
    fn name_servers(&self, subnet: &DesiredSubnet) -> Vec<Ipv4Addr> {
        vec![subnet.gateway]
    }
}

/// A world with a default VPC; gives its first subnet.
async fn world() -> (World, Arc<Subnet>) {
    let w = World::new();
    let wanted = Bootstrap {
        account: "123456789012".into(),
        region: "us-east-1".into(),
        vpc_cidr: "172.31.0.0/16".parse().unwrap(),
        subnet_prefix: 20,
        address_space: "0.0.0.0/0".parse().unwrap(),
        any_image: true,
    };
    let mut rng = rand_pcg::Pcg64::seed_from_u64(1);
    w.store.transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, NOW, &mut rng)).await.unwrap();
    let subnet = w.store.list::<Subnet>().remove(0);
    (w, subnet)
}

fn in_subnet(subnet: &Subnet, state: InstanceState) -> Instance {
    let mut i = instance(state);
    i.subnet_id = subnet.id.clone();
    i.vpc_id = subnet.vpc_id.clone();
    i.private_ip = subnet.cidr.nth(9).unwrap();
    i.mac = "02:00:00:00:00:01".into();
    i
}

#[tokio::test]
async fn the_network_is_what_the_records_say() {
    let (w, subnet) = world().await;
    let group = w.store.list::<SecurityGroup>().remove(0);
    w.edit(|tx| {
        let mut i = in_subnet(&subnet, InstanceState::Pending);
        i.security_groups = vec![group.id.clone()];
        tx.put(i);
        tx.put(AddressHold {
            subnet_id: subnet.id.clone(),
            address: subnet.cidr.nth(10).unwrap(),
            security_groups: vec![group.id.clone()],
            releasing_since: Some(NOW),
            ..hold()
        });
    })
    .await;
    let network = w.store.read(desired_network);
    assert_eq!(network.subnets.len(), 3);
    let s = &network.subnets[&subnet.id];
    assert!(s.to_internet && s.vpc_cidr.contains_block(s.cidr) && s.cidr.contains(s.gateway));
    let rules = &network.groups[&group.id];
    assert!(rules.ingress.iter().all(|r| r.peer == RulePeer::Group(group.id.clone())));
    assert!(!rules.ingress.is_empty() && !rules.egress.is_empty());
    let kinds: Vec<_> = network.endpoints.values().map(|e| (&e.kind, e.groups.as_slice())).collect();
    let id = EndpointKind::Instance { id: "i-1".into(), mac: "02:00:00:00:00:01".into() };
    let groups = std::slice::from_ref(&group.id);
    assert_eq!(kinds, [(&id, groups), (&EndpointKind::Node, groups)], "a node goes with its hold only");

    w.edit(|tx| tx.update::<Instance>("i-1", |i| i.state = InstanceState::Terminated)).await;
    assert_eq!(w.store.read(desired_network).endpoints.len(), 1);
}

#[tokio::test]
async fn a_launch_waits_for_its_place() {
    let (w, subnet) = world().await;
    let fabric = Arc::new(FakeFabric::default());
    let ready = NetworkReady::default();
    let placement = FabricPlacement::new(w.store.clone(), Arc::clone(&fabric), ready.clone());
    let (stop, stopped) = watch::channel(false);
    let running = spawn(NetworkSync::new(w.store.clone(), Arc::clone(&fabric), ready.clone()), stopped);

    let i = in_subnet(&subnet, InstanceState::Pending);
    w.edit(|tx| tx.put(i.clone())).await;
    let place = placement.place(&i, &subnet).await.unwrap().network.unwrap();
    assert_eq!(place.host_interface, "pf-i-1");
    assert_eq!((place.gateway, place.dns[0]), (subnet.gateway(), subnet.gateway()));
    let applied = || fabric.applied.lock().len();
    let last = fabric.applied.lock().last().unwrap().clone();
    assert!(last.endpoints.contains_key(&(subnet.id.clone(), i.private_ip)));

    let before = applied();
    placement.place(&i, &subnet).await.unwrap();
    assert_eq!(applied(), before, "what holds already is not asked for again");

    fabric.broken.store(true, Ordering::Relaxed);
    let mut other = i.clone();
    other.private_ip = subnet.cidr.nth(11).unwrap();
    let refused = placement.place(&other, &subnet).await.unwrap_err();
    assert!(refused.reason.contains("no permission"), "{refused}");
    fabric.broken.store(false, Ordering::Relaxed);
    let refused = placement.place(&other, &subnet).await.unwrap_err();
    assert!(refused.reason.contains("not an address"), "{refused}");
    stop.send(true).unwrap();
    running.stopped(Duration::from_secs(5)).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever() {
    let ready = NetworkReady::default();
    let endpoint = Endpoint { kind: EndpointKind::Node, groups: Vec::new() };
    let waited =
        ready.cover("subnet-a", Ipv4Addr::LOCALHOST, &endpoint, Duration::from_secs(15)).await.unwrap_err();
    assert!(waited.0.contains("longer than 15s"), "{waited}");
}
