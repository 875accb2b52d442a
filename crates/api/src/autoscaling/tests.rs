//! Handlers against a store: what needs no server to be seen.

use std::sync::Arc;

use puffer_core::autoscaling::{Group, backoff};
use puffer_core::ec2::Subnet;
use puffer_store::StoreError;

use super::*;
use crate::fixtures::{AMI, World, code, world};
use crate::{ApiError, Ctx};
use puffer_shapes::autoscaling as shape;

fn s(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn configuration(name: &str) -> shape::CreateLaunchConfigurationType {
    shape::CreateLaunchConfigurationType {
        launch_configuration_name: s(name),
        image_id: s(AMI),
        instance_type: s("t2.micro"),
        ..Default::default()
    }
}

fn update() -> shape::UpdateAutoScalingGroupType {
    shape::UpdateAutoScalingGroupType { auto_scaling_group_name: s("g"), ..Default::default() }
}

impl World {
    fn cx(&self) -> Arc<Ctx> {
        Arc::clone(&self.cx)
    }

    fn default_subnet(&self, zone: &str) -> String {
        self.cx.store.list_by::<Subnet>("default_zone", zone)[0].id.clone()
    }

    /// A group `g` in one subnet, from the launch configuration `lc`.
    async fn group(&self) {
        launch_configurations::create(self.cx(), configuration("lc")).await.unwrap();
        let input = shape::CreateAutoScalingGroupType {
            auto_scaling_group_name: s("g"),
            launch_configuration_name: s("lc"),
            min_size: Some(0),
            max_size: Some(4),
            vpc_zone_identifier: Some(self.default_subnet("us-east-1a")),
            ..Default::default()
        };
        groups::create(self.cx(), input).await.unwrap();
    }

    async fn update(&self, input: shape::UpdateAutoScalingGroupType) -> Result<Group, ApiError> {
        groups::update(self.cx(), input).await?;
        Ok(self.the_group())
    }

    fn the_group(&self) -> Group {
        Group::clone(&self.cx.store.get::<Group>("g").unwrap())
    }

    /// As if launches had failed for a while.
    async fn fail(&self) {
        let now = self.cx.clock.now();
        let failed = |g: &mut Group| {
            let place = backoff::Place { zone: "us-east-1a", type_of_several: None };
            backoff::launch_failed(g, place, puffer_core::ErrorClass::Permanent, now);
        };
        self.cx.store.transact::<_, StoreError>(|tx| Ok(tx.update::<Group>("g", failed))).await.unwrap();
    }
}

#[tokio::test]
async fn zones_alone_leave_a_group_in_its_subnets() {
    let w = world().await;
    w.group().await;
    let subnets = vec![w.default_subnet("us-east-1a")];
    let zones = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    let same = shape::UpdateAutoScalingGroupType { availability_zones: zones(&["us-east-1a"]), ..update() };
    assert_eq!(w.update(same).await.unwrap().subnets, subnets);
    let id = shape::UpdateAutoScalingGroupType { availability_zone_ids: zones(&["use1-az1"]), ..update() };
    assert_eq!(w.update(id).await.unwrap().subnets, subnets);
    let other = shape::UpdateAutoScalingGroupType { availability_zones: zones(&["us-east-1b"]), ..update() };
    assert_eq!(code(w.update(other.clone()).await), "ValidationError");
    assert_eq!((w.the_group().subnets, w.the_group().zones), (subnets, vec!["us-east-1a".to_owned()]));
    let both = shape::UpdateAutoScalingGroupType {
        vpc_zone_identifier: Some(w.default_subnet("us-east-1b")),
        ..other
    };
    assert_eq!(w.update(both).await.unwrap().zones, ["us-east-1b"]);
}

#[tokio::test]
async fn a_group_that_launches_something_else_waits_no_longer() {
    let w = world().await;
    w.group().await;
    launch_configurations::create(w.cx(), configuration("better")).await.unwrap();
    let waits = |g: Group| g.launch_backoff.is_some();
    w.fail().await;
    assert!(waits(
        w.update(shape::UpdateAutoScalingGroupType { max_size: Some(3), ..update() }).await.unwrap()
    ));
    let source = shape::UpdateAutoScalingGroupType { launch_configuration_name: s("better"), ..update() };
    assert!(!waits(w.update(source).await.unwrap()));
    w.fail().await;
    let place = shape::UpdateAutoScalingGroupType {
        vpc_zone_identifier: Some(w.default_subnet("us-east-1b")),
        ..update()
    };
    assert!(!waits(w.update(place).await.unwrap()));
}

#[tokio::test]
async fn a_refresh_with_a_desired_configuration_keeps_the_groups_source() {
    use puffer_core::autoscaling::refresh::DesiredConfiguration;
    use puffer_core::autoscaling::{InstanceRefresh, InstanceSource, RefreshStatus};
    let w = world().await;
    w.group().await;
    launch_configurations::create(w.cx(), configuration("other")).await.unwrap();
    let input = shape::StartInstanceRefreshType { auto_scaling_group_name: s("g"), ..Default::default() };
    let registry = crate::registry();
    use puffer_wire::Operation;
    let start = shape::StartInstanceRefresh::schema();
    registry.call(start, w.cx(), Box::new(input)).unwrap().await.unwrap();
    let source = shape::UpdateAutoScalingGroupType { launch_configuration_name: s("other"), ..update() };
    w.update(source.clone()).await.unwrap();
    let change = |change: fn(&mut InstanceRefresh)| {
        w.cx.store.transact::<_, StoreError>(move |tx| {
            let id = tx.list::<InstanceRefresh>()[0].id.clone();
            Ok(tx.update::<InstanceRefresh>(&id, change))
        })
    };
    change(|r| {
        let source = InstanceSource::LaunchConfiguration("lc".into());
        r.desired = Some(DesiredConfiguration { source, mixed: None });
    })
    .await
    .unwrap();
    let refused = w.update(source.clone()).await.unwrap_err();
    assert!(refused.message.starts_with("An active instance refresh with a desired configuration exists."));
    w.update(shape::UpdateAutoScalingGroupType { max_size: Some(3), ..update() }).await.unwrap();
    change(|r| r.status = RefreshStatus::Failed).await.unwrap();
    w.update(source).await.unwrap();
}

#[tokio::test]
async fn user_data_of_launch_configurations_is_base64() {
    let w = world().await;
    let with = |name: &str, data: &str| shape::CreateLaunchConfigurationType {
        user_data: s(data),
        ..configuration(name)
    };
    assert_eq!(
        code(launch_configurations::create(w.cx(), with("plain", "#!/bin/sh")).await),
        "ValidationError"
    );
    launch_configurations::create(w.cx(), with("wrapped", "IyEvYmlu\nL3No")).await.unwrap();
    let made = w.cx.store.get::<puffer_core::autoscaling::LaunchConfiguration>("wrapped").unwrap();
    assert_eq!(made.user_data.as_deref(), Some("IyEvYmluL3No"));
}
