use std::collections::HashSet;
use std::sync::Arc;

use puffer_core::Tags;
use puffer_core::ec2::{
    AddressHold, Instance, InstanceState, InterfaceSpec, LaunchTemplateData, SecurityGroup, Subnet,
    TagSpecification,
};

use super::*;
use crate::launch::{
    ClientToken, LaunchError, LaunchRequest, TemplateRef, check_user_data, request_from_data,
    resolve_template, run_instances,
};
use crate::launch_templates::{self, NewTemplate, NewVersion};
use crate::security_groups;

const AMI: &str = "ami-0123456789abcdef0";

async fn run(store: &Store, request: &LaunchRequest) -> Result<Vec<Arc<Instance>>, LaunchError> {
    store.transact(|tx| run_instances(tx, request, NOW, &mut rng())).await
}

fn request() -> LaunchRequest {
    LaunchRequest::new(AMI, "t2.micro")
}

#[tokio::test]
async fn a_launch_records_pending_instances_with_addresses() {
    let (_dir, store, account) = account().await;
    let made = run(&store, &LaunchRequest { min_count: 3, max_count: 3, ..request() }).await.unwrap();
    assert_eq!(made.len(), 3);
    let addresses: HashSet<_> = made.iter().map(|i| i.private_ip).collect();
    assert_eq!(addresses.len(), 3);
    for (index, i) in made.iter().enumerate() {
        assert_eq!(i.state, InstanceState::Pending);
        assert_eq!(i.ami_launch_index as usize, index);
        assert_eq!(Some(&i.vpc_id), account.default_vpc_id.as_ref());
        assert_eq!(i.public_ip, Some(i.private_ip));
        let subnet = store.get::<Subnet>(&i.subnet_id).unwrap();
        assert!(subnet.is_usable(i.private_ip));
        let group = store.get::<SecurityGroup>(&i.security_groups[0]).unwrap();
        assert_eq!(group.name, "default");
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_by_code() {
    let (_dir, store, _) = account().await;
    edit(&store, |tx| tx.update::<Account>(Account::KEY, |a| a.any_image = false)).await;
    let (r, zone_a) = (request(), "us-east-1a".to_owned());
    let in_a = store.list_by::<Subnet>("default_zone", &zone_a).pop().unwrap();
    let cases = [
        (r.clone(), "InvalidAMIID.NotFound"),
        (LaunchRequest { image_id: "nonsense".into(), ..r.clone() }, "InvalidAMIID.Malformed"),
        (LaunchRequest { instance_type: "t9.giga".into(), ..r.clone() }, "InvalidParameterValue"),
        (LaunchRequest { min_count: 0, ..r.clone() }, "InvalidParameterValue"),
        (LaunchRequest { min_count: 2, ..r.clone() }, "InvalidParameterValue"),
        (LaunchRequest { max_count: 1_000_000, ..r.clone() }, "InstanceLimitExceeded"),
    ];
    for (case, code) in cases {
        assert_eq!(run(&store, &case).await.unwrap_err().code(), code, "{case:?}");
    }
    edit(&store, |tx| tx.update::<Account>(Account::KEY, |a| a.any_image = true)).await;
    let cases = [
        (LaunchRequest { key_name: Some("none".into()), ..r.clone() }, "InvalidKeyPair.NotFound"),
        (LaunchRequest { security_group_ids: vec!["sg-1".into()], ..r.clone() }, "InvalidGroup.NotFound"),
        (LaunchRequest { security_groups: vec!["none".into()], ..r.clone() }, "InvalidGroup.NotFound"),
        (LaunchRequest { subnet_id: Some("subnet-1".into()), ..r.clone() }, "InvalidSubnetID.NotFound"),
        (LaunchRequest { zone: Some("us-east-1z".into()), ..r.clone() }, "InvalidParameterValue"),
        (
            LaunchRequest { subnet_id: Some(in_a.id.clone()), zone: Some("us-east-1b".into()), ..r.clone() },
            "InvalidParameterValue",
        ),
        (
            LaunchRequest { subnet_id: Some(in_a.id.clone()), private_ip: Some(in_a.gateway()), ..r.clone() },
            "InvalidParameterValue",
        ),
        (LaunchRequest { user_data: Some("A".repeat(22_000)), ..r.clone() }, "InvalidParameterValue"),
    ];
    for (case, code) in cases {
        assert_eq!(run(&store, &case).await.unwrap_err().code(), code, "{case:?}");
    }
    assert!(store.list::<Instance>().is_empty());
}

#[test]
fn user_data_is_base64_of_bounded_size() {
    use base64::Engine as _;
    let encoded = |n| base64::engine::general_purpose::STANDARD.encode(vec![b'x'; n]);
    assert_eq!(check_user_data(None).unwrap(), None);
    assert_eq!(check_user_data(Some("IyEvYmlu\nL3No".into())).unwrap().as_deref(), Some("IyEvYmluL3No"));
    assert!(check_user_data(Some("#!/bin/sh".into())).is_err());
    assert!(check_user_data(Some(encoded(crate::launch::USER_DATA_BYTES_MAX + 1))).is_err());
    assert!(check_user_data(Some(encoded(crate::launch::USER_DATA_BYTES_MAX))).is_ok());
}

#[tokio::test]
async fn records_with_wrapped_or_broken_user_data_are_launched_with_it_or_not_at_all() {
    let (_dir, store, _) = account().await;
    let wrapped = LaunchRequest { user_data: Some("IyEvYmlu\nL3No\n".into()), ..request() };
    assert_eq!(run(&store, &wrapped).await.unwrap()[0].user_data.as_deref(), Some("IyEvYmluL3No"));
    let broken = LaunchRequest { user_data: Some("#!/bin/sh".into()), ..request() };
    assert_eq!(run(&store, &broken).await.unwrap_err().code(), "InvalidParameterValue");
}

#[tokio::test]
async fn a_token_launches_once() {
    let (_dir, store, _) = account().await;
    let token = |asked: &str| ClientToken::new("once".into(), &asked).ok();
    let with_token = LaunchRequest { client_token: token("two"), min_count: 2, max_count: 2, ..request() };
    let first = run(&store, &with_token).await.unwrap();
    let again = run(&store, &with_token).await.unwrap();
    assert_eq!(first, again);
    let other = LaunchRequest { client_token: token("two others"), ..with_token };
    assert_eq!(run(&store, &other).await.unwrap_err().code(), "IdempotentParameterMismatch");
    assert_eq!(store.list::<Instance>().len(), 2);
}

#[tokio::test]
async fn a_full_subnet_gives_every_address_once_and_then_refuses() {
    let (_dir, store, account) = account().await;
    let vpc = account.default_vpc_id.unwrap();
    let subnet = edit(&store, |tx| {
        crate::networks::create_subnet(
            tx,
            &vpc,
            "172.31.255.0/28".parse().unwrap(),
            None,
            Tags::new(),
            NOW,
            &mut rng(),
        )
        .unwrap()
    })
    .await;
    let held = subnet.cidr.nth(7).unwrap();
    edit(&store, |tx| {
        tx.put(AddressHold {
            subnet_id: subnet.id.clone(),
            address: held,
            holder: "arn".into(),
            description: "ELB app/web/1".into(),
            network_interface_id: "eni-1".into(),
            mac: "02:00:00:00:00:01".into(),
            since: NOW,
            security_groups: Vec::new(),
            releasing_since: None,
        })
    })
    .await;
    let many = LaunchRequest { subnet_id: Some(subnet.id.clone()), min_count: 1, max_count: 50, ..request() };
    let made = run(&store, &many).await.unwrap();
    let addresses: HashSet<_> = made.iter().map(|i| i.private_ip).collect();
    assert_eq!(addresses.len(), 10);
    assert!(!addresses.contains(&held));
    assert_eq!(store.read(|r| crate::addresses::n_free(r, &subnet)), 0);
    let one = LaunchRequest { max_count: 1, ..many };
    let refused = run(&store, &one).await.unwrap_err();
    assert_eq!(refused.code(), "InsufficientFreeAddressesInSubnet");
    assert_eq!(refused.class(), puffer_core::ErrorClass::Capacity);
    // A terminated instance gives its address back.
    edit(&store, |tx| crate::instances::mark_terminated(tx, &made[0].id, None, NOW)).await;
    assert_eq!(run(&store, &one).await.unwrap()[0].private_ip, made[0].private_ip);
}

#[tokio::test]
async fn templates_resolve_by_version_and_overrides_win() {
    let (_dir, store, account) = account().await;
    let vpc = account.default_vpc_id.unwrap();
    let data = LaunchTemplateData {
        image_id: Some(AMI.into()),
        instance_type: Some("t2.micro".into()),
        tag_specifications: vec![TagSpecification {
            resource_type: "instance".into(),
            tags: [("Type".to_owned(), "app".to_owned())].into(),
        }],
        ..Default::default()
    };
    let (template, group) = edit(&store, |tx| {
        let group = security_groups::create(tx, &vpc, "web", "web", Tags::new(), NOW, &mut rng()).unwrap();
        let new = NewTemplate { name: "web".into(), data, ..Default::default() };
        let template = launch_templates::create(tx, new, NOW, &mut rng()).unwrap();
        let second = LaunchTemplateData { instance_type: Some("t3.small".into()), ..Default::default() };
        let by_id = TemplateRef { id: Some(template.id.clone()), ..Default::default() };
        let new =
            NewVersion { source: Some("1"), description: None, data: &second, client_token: Some("once") };
        for _ in 0..2 {
            let (_, made) = launch_templates::create_version(tx, &by_id, &new, NOW).unwrap();
            assert_eq!(made.version, 2, "a token makes one version");
        }
        (template, group)
    })
    .await;
    let by = |version: Option<&str>| TemplateRef {
        id: None,
        name: Some("web".into()),
        version: version.map(Into::into),
    };
    let resolve = |version: Option<&str>, over: &LaunchTemplateData| {
        store.read(|r| resolve_template(r, &by(version), over))
    };
    let none = LaunchTemplateData::default();
    for (version, instance_type, number) in [
        (None, "t2.micro", 1),
        (Some("$Default"), "t2.micro", 1),
        (Some("$Latest"), "t3.small", 2),
        (Some("2"), "t3.small", 2),
    ] {
        let request = resolve(version, &none).unwrap();
        assert_eq!((request.instance_type.as_str(), request.image_id.as_str()), (instance_type, AMI));
        let source = request.launch_template.unwrap();
        assert_eq!((source.version, source.id, source.name), (number, template.id.clone(), "web".into()));
        assert_eq!(request.tags["Type"], "app");
    }
    let over = LaunchTemplateData { security_groups: vec!["web".into()], ..Default::default() };
    let request = resolve(None, &over).unwrap();
    assert_eq!(run(&store, &request).await.unwrap()[0].security_groups, std::slice::from_ref(&group.id));
    assert_eq!(resolve(Some("7"), &none).unwrap_err().code(), "InvalidLaunchTemplateId.VersionNotFound");
    let unknown = TemplateRef { name: Some("none".into()), ..Default::default() };
    let error = store.read(|r| resolve_template(r, &unknown, &none)).unwrap_err();
    assert_eq!(error.code(), "InvalidLaunchTemplateName.NotFoundException");
    // What is in use stays.
    let by_id = TemplateRef { id: Some(template.id.clone()), ..Default::default() };
    edit(&store, |tx| {
        assert!(launch_templates::delete_version(tx, &by_id, "1").is_err());
        launch_templates::delete_version(tx, &by_id, "2").unwrap();
        assert_eq!(launch_templates::latest(&tx.reader(), &template.id), Some(1));
        assert!(security_groups::delete(tx, &group.id).unwrap_err().to_string().contains("dependent"));
    })
    .await;
}

#[tokio::test]
async fn interfaces_and_groups_exclude_each_other() {
    let (_dir, store, _) = account().await;
    let interface = InterfaceSpec { associate_public_ip: Some(false), ..Default::default() };
    let data = LaunchTemplateData {
        image_id: Some(AMI.into()),
        network_interfaces: vec![interface],
        ..Default::default()
    };
    let request = store.read(|r| request_from_data(r, &data)).unwrap();
    assert_eq!(run(&store, &request).await.unwrap()[0].public_ip, None);
    let both = LaunchTemplateData { security_group_ids: vec!["sg-1".into()], ..data };
    let refused = store.read(|r| request_from_data(r, &both)).unwrap_err();
    assert_eq!(refused.code(), "InvalidParameterCombination");
    let no_image = store.read(|r| request_from_data(r, &LaunchTemplateData::default())).unwrap_err();
    assert_eq!(no_image.code(), "MissingParameter");
}
