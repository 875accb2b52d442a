//! Handlers against a store: what needs no server to be seen. The wire tests go through the door.

use std::sync::Arc;

use puffer_core::ec2::{Instance, LaunchTemplate, SecurityGroup};

use super::parts::s;
use super::*;
use crate::fixtures::{AMI, code, world};

fn run() -> shapes::RunInstancesInput {
    shapes::RunInstancesInput {
        image_id: s(AMI),
        instance_type: s("t2.micro"),
        min_count: Some(1),
        max_count: Some(1),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = world().await;
    let launched = run_instances::run(Arc::clone(&world.cx), run()).await.unwrap();
    let ids = vec![launched.instances.unwrap()[0].instance_id.clone().unwrap()];
    let before = world.cx.store.list::<Instance>();
    let dry = Some(true);
    let refusals = [
        code(
            run_instances::run(Arc::clone(&world.cx), shapes::RunInstancesInput { dry_run: dry, ..run() })
                .await,
        ),
        code(
            instances::terminate(
                Arc::clone(&world.cx),
                shapes::TerminateInstancesInput {
                    instance_ids: Some(ids),
                    dry_run: dry,
                    ..Default::default()
                },
            )
            .await,
        ),
        code(
            security_groups::create(
                Arc::clone(&world.cx),
                shapes::CreateSecurityGroupInput {
                    group_name: s("web"),
                    description: s("web"),
                    dry_run: dry,
                    ..Default::default()
                },
            )
            .await,
        ),
        code(
            launch_templates::create(
                Arc::clone(&world.cx),
                shapes::CreateLaunchTemplateInput {
                    launch_template_name: s("web"),
                    launch_template_data: Some(Default::default()),
                    dry_run: dry,
                    ..Default::default()
                },
            )
            .await,
        ),
    ];
    assert!(refusals.iter().all(|c| c == "DryRunOperation"), "{refusals:?}");
    assert_eq!(world.cx.store.list::<Instance>(), before);
    assert_eq!(world.cx.store.list::<SecurityGroup>().len(), 1);
    assert!(world.cx.store.list::<LaunchTemplate>().is_empty());
}

#[tokio::test]
async fn what_is_not_done_is_refused_by_name() {
    let world = world().await;
    let volume = |device: &str| shapes::BlockDeviceMapping {
        device_name: s(device),
        ebs: Some(shapes::EbsBlockDevice { volume_size: Some(8), ..Default::default() }),
        ..Default::default()
    };
    let cases = [
        shapes::RunInstancesInput { elastic_inference_accelerators: Some(Vec::new()), ..run() },
        shapes::RunInstancesInput { block_device_mappings: Some(vec![volume("/dev/sdf")]), ..run() },
        shapes::RunInstancesInput {
            hibernation_options: Some(shapes::HibernationOptionsRequest { configured: Some(true) }),
            ..run()
        },
        shapes::RunInstancesInput {
            placement: Some(shapes::Placement { tenancy: s("dedicated"), ..Default::default() }),
            ..run()
        },
    ];
    for case in cases {
        assert_eq!(code(run_instances::run(Arc::clone(&world.cx), case).await), "UnsupportedOperation");
    }
    let root = shapes::RunInstancesInput { block_device_mappings: Some(vec![volume("/dev/xvda")]), ..run() };
    assert!(run_instances::run(Arc::clone(&world.cx), root).await.is_ok());
}

#[tokio::test]
async fn template_data_comes_back_as_it_was_given() {
    let given = shapes::RequestLaunchTemplateData {
        image_id: s("resolve:ssm:/puffer/images/web/latest"),
        instance_type: s("t2.micro"),
        key_name: s("key"),
        ebs_optimized: Some(true),
        disable_api_termination: Some(true),
        user_data: s("IyEvYmluL3No"),
        monitoring: Some(shapes::LaunchTemplatesMonitoringRequest {
            enabled: Some(true),
            ..Default::default()
        }),
        block_device_mappings: Some(vec![shapes::LaunchTemplateBlockDeviceMappingRequest {
            device_name: s("/dev/xvda"),
            ebs: Some(shapes::LaunchTemplateEbsBlockDeviceRequest {
                volume_size: Some(20),
                volume_type: s("gp3"),
                ..Default::default()
            }),
            ..Default::default()
        }]),
        network_interfaces: Some(vec![shapes::LaunchTemplateInstanceNetworkInterfaceSpecificationRequest {
            device_index: Some(0),
            associate_public_ip_address: Some(true),
            groups: Some(vec!["sg-12345678".into()]),
            ..Default::default()
        }]),
        ..Default::default()
    };
    let shown = launch_template_data::show(&launch_template_data::read(given.clone()).unwrap());
    assert_eq!(shown.image_id, given.image_id);
    assert_eq!((shown.key_name, shown.user_data), (given.key_name, given.user_data));
    assert_eq!((shown.ebs_optimized, shown.disable_api_termination), (Some(true), Some(true)));
    let ebs = shown.block_device_mappings.unwrap().remove(0).ebs.unwrap();
    assert_eq!((ebs.volume_size, ebs.volume_type.as_deref()), (Some(20), Some("gp3")));
    let interface = shown.network_interfaces.unwrap().remove(0);
    assert_eq!(interface.associate_public_ip_address, Some(true));
    assert_eq!(interface.groups.unwrap(), ["sg-12345678"]);
    let nothing = launch_template_data::show(&Default::default());
    assert_eq!(nothing, shapes::ResponseLaunchTemplateData::default());
}

#[tokio::test]
async fn a_token_is_for_one_request() {
    let world = world().await;
    let asked = || shapes::RunInstancesInput { client_token: s("once"), ..run() };
    let ids = |out: shapes::RunInstancesOutput| {
        out.instances.unwrap().into_iter().map(|i| i.instance_id.unwrap()).collect::<Vec<_>>()
    };
    let first = ids(run_instances::run(Arc::clone(&world.cx), asked()).await.unwrap());
    assert_eq!(ids(run_instances::run(Arc::clone(&world.cx), asked()).await.unwrap()), first);
    let tag = shapes::Tag { key: s("a"), value: s("b") };
    let tagged = shapes::TagSpecification { resource_type: s("instance"), tags: Some(vec![tag]) };
    for other in [
        shapes::RunInstancesInput { tag_specifications: Some(vec![tagged]), ..asked() },
        shapes::RunInstancesInput { security_groups: Some(vec!["default".into()]), ..asked() },
        shapes::RunInstancesInput { disable_api_termination: Some(true), ..asked() },
    ] {
        assert_eq!(
            code(run_instances::run(Arc::clone(&world.cx), other).await),
            "IdempotentParameterMismatch"
        );
    }
    assert_eq!(world.cx.store.list::<Instance>().len(), 1);
}
