use puffer_core::{alarm, autoscaling, ec2, elb, ssm};
use puffer_store::Schema;

/// Every collection of the store.
pub fn schema() -> Schema {
    Schema::new()
        .with::<ec2::Account>()
        .with::<ec2::AddressHold>()
        .with::<ec2::Image>()
        .with::<ec2::Instance>()
        .with::<ec2::KeyPair>()
        .with::<ec2::LaunchTemplate>()
        .with::<ec2::LaunchTemplateVersion>()
        .with::<ec2::SecurityGroup>()
        .with::<ec2::SpotMarket>()
        .with::<ec2::Subnet>()
        .with::<ec2::Vpc>()
        .with::<ec2::ZoneCondition>()
        .with::<ssm::Parameter>()
        .with::<autoscaling::Group>()
        .with::<autoscaling::LaunchConfiguration>()
        .with::<autoscaling::Member>()
        .with::<autoscaling::Activity>()
        .with::<autoscaling::ScalingPolicy>()
        .with::<autoscaling::schedule::ScheduledAction>()
        .with::<alarm::Alarm>()
        .with::<alarm::CompositeAlarm>()
        .with::<alarm::HistoryItem>()
        .with::<elb::LoadBalancer>()
        .with::<elb::Listener>()
        .with::<elb::Rule>()
        .with::<elb::TargetGroup>()
        .with::<elb::Target>()
}
