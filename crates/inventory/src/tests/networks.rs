use puffer_core::Tags;
use puffer_core::ec2::{RuleMatch, RulePeer, SecurityGroup, Subnet, Vpc};

use super::*;
use crate::networks::{self, NetworkError};
use crate::security_groups::{self, NewRule, Revoke, SecurityGroupError};

fn rng2() -> Pcg64 {
    use rand_pcg::rand_core::SeedableRng;
    Pcg64::seed_from_u64(2)
}

#[tokio::test]
async fn bootstrap_is_idempotent_and_makes_three_default_subnets() {
    let (_dir, store, account) = account().await;
    for _ in 0..2 {
        let again = store
            .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted(), NOW, &mut rng2()))
            .await
            .unwrap();
        assert_eq!(again, account);
    }
    let subnets = store.list::<Subnet>();
    let mut shown: Vec<_> = subnets.iter().map(|s| (s.zone.clone(), s.cidr.to_string())).collect();
    shown.sort();
    assert_eq!(
        shown,
        [
            ("us-east-1a".to_owned(), "172.31.0.0/20".to_owned()),
            ("us-east-1b".to_owned(), "172.31.16.0/20".to_owned()),
            ("us-east-1c".to_owned(), "172.31.32.0/20".to_owned()),
        ]
    );
    assert_eq!(store.list::<Vpc>().len(), 1);
    assert_eq!(store.list::<SecurityGroup>().len(), 1);
}

#[tokio::test]
async fn bootstrap_moves_an_untouched_vpc_and_refuses_another_region() {
    let (_dir, store, account) = account().await;
    let moved = Bootstrap { vpc_cidr: "127.31.0.0/16".parse().unwrap(), ..wanted() };
    let after = store
        .transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &moved, NOW, &mut rng2()))
        .await
        .unwrap();
    assert_ne!(after.default_vpc_id, account.default_vpc_id);
    assert_eq!(store.list::<Vpc>()[0].cidr, moved.vpc_cidr);
    assert_eq!((store.list::<Subnet>().len(), store.list::<SecurityGroup>().len()), (3, 1));
    assert_eq!(store.get::<Account>(Account::KEY).unwrap().default_vpc_id, after.default_vpc_id);
    let elsewhere = Bootstrap { region: "eu-west-1".into(), ..wanted() };
    let refused =
        store.transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &elsewhere, NOW, &mut rng2())).await;
    assert!(matches!(refused, Err(BootstrapError::Other { .. })));
}

#[tokio::test]
async fn subnets_keep_apart_and_inside() {
    let (_dir, store, account) = account().await;
    let vpc = account.default_vpc_id.unwrap();
    edit(&store, |tx| {
        let mut make = |cidr: &str, zone: Option<&str>| {
            networks::create_subnet(tx, &vpc, cidr.parse().unwrap(), zone, Tags::new(), NOW, &mut rng2())
        };
        assert!(matches!(make("172.31.0.0/24", None), Err(NetworkError::SubnetConflict(_))));
        assert!(matches!(make("10.0.0.0/24", None), Err(NetworkError::SubnetRange(_))));
        assert!(matches!(make("172.31.200.0/29", None), Err(NetworkError::SubnetRange(_))));
        assert!(matches!(make("172.31.200.0/24", Some("mars")), Err(NetworkError::Zone(..))));
        let made = make("172.31.200.0/24", Some("us-east-1c")).unwrap();
        assert!(matches!(networks::delete_vpc(tx, &vpc), Err(NetworkError::InUse { .. })));
        networks::delete_subnet(tx, &made.id).unwrap();
        for subnet in tx.list::<Subnet>() {
            networks::delete_subnet(tx, &subnet.id).unwrap();
        }
        networks::delete_vpc(tx, &vpc).unwrap();
        assert_eq!(tx.get::<Account>(Account::KEY).unwrap().default_vpc_id, None);
        let cidr = "172.31.0.0/16".parse().unwrap();
        networks::create_default_vpc(tx, cidr, 20, NOW, &mut rng2()).unwrap();
        let twice = networks::create_default_vpc(tx, cidr, 20, NOW, &mut rng2());
        assert!(matches!(twice, Err(NetworkError::DefaultExists)));
    })
    .await;
}

fn tcp(port: i32, peer: RulePeer) -> NewRule {
    let allows = RuleMatch { protocol: "tcp".into(), from_port: port, to_port: port, peer };
    NewRule { allows, description: None }
}

#[tokio::test]
async fn rules_are_unique_and_references_protect() {
    let (_dir, store, account) = account().await;
    let vpc = account.default_vpc_id.unwrap();
    edit(&store, |tx| {
        let rng = &mut rng2();
        let web = security_groups::create(tx, &vpc, "web", "w", Tags::new(), NOW, rng).unwrap();
        let lb = security_groups::create(tx, &vpc, "lb", "l", Tags::new(), NOW, rng).unwrap();
        let twin = security_groups::create(tx, &vpc, "lb", "l", Tags::new(), NOW, rng);
        assert!(matches!(twin, Err(SecurityGroupError::Duplicate { .. })));
        let from_lb = tcp(80, RulePeer::Group(lb.id.clone()));
        let added =
            security_groups::authorize(tx, &web.id, false, std::slice::from_ref(&from_lb), &Tags::new(), rng)
                .unwrap();
        let twice =
            security_groups::authorize(tx, &web.id, false, std::slice::from_ref(&from_lb), &Tags::new(), rng);
        assert!(matches!(twice, Err(SecurityGroupError::DuplicateRule(_))));
        assert!(matches!(security_groups::delete(tx, &lb.id), Err(SecurityGroupError::InUse(_))));
        let absent = Revoke::Matches(vec![tcp(81, RulePeer::Ipv4(Cidr::ANY)).allows]);
        let refused = security_groups::revoke(tx, &web.id, false, &absent);
        assert!(matches!(refused, Err(SecurityGroupError::RuleNotFound)));
        let by_id = Revoke::Ids(vec![added[0].id.clone()]);
        assert_eq!(security_groups::revoke(tx, &web.id, false, &by_id).unwrap(), added);
        security_groups::delete(tx, &lb.id).unwrap();
        let default = security_groups::find_by_name(&tx.reader(), &vpc, "default").unwrap();
        assert!(matches!(security_groups::delete(tx, &default.id), Err(SecurityGroupError::Default(_))));
        let many: Vec<_> = (1..=61).map(|p| tcp(p, RulePeer::Ipv4(Cidr::ANY))).collect();
        let refused = security_groups::authorize(tx, &web.id, false, &many, &Tags::new(), rng);
        assert!(matches!(refused, Err(SecurityGroupError::RuleLimit)));
    })
    .await;
}
