use puffer_core::{alarm, autoscaling, ec2, elb};
use puffer_store::Schema;

/// Every collection of the store.
pub fn schema() -> Schema {
    Schema::new()
        .with::<ec2::Instance>()
        .with::<autoscaling::Group>()
        .with::<autoscaling::LaunchConfiguration>()
        .with::<autoscaling::Member>()
        .with::<autoscaling::Activity>()
        .with::<autoscaling::ScalingPolicy>()
        .with::<alarm::Alarm>()
        .with::<ec2::AddressHold>()
        .with::<elb::LoadBalancer>()
        .with::<elb::Listener>()
        .with::<elb::Rule>()
        .with::<elb::TargetGroup>()
        .with::<elb::Target>()
}
