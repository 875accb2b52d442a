//! Networks for fleets that are too great for one VPC's addresses.

use anyhow::Context;

use super::super::load::{Client, texts};

/// Where groups go when the default VPC has room for all.
pub(super) const DEFAULT_ZONES: &str = "&AvailabilityZones.member.1=us-east-1a&AvailabilityZones.member.2=us-east-1b\
                                        &AvailabilityZones.member.3=us-east-1c";
/// Instances for which a VPC has room for certain: three subnets of 16,379 addresses, of which even spreading uses all but a few.
const PER_VPC: usize = 45_000;

/// Makes VPCs with a subnet in each zone; gives each one's parameter for CreateAutoScalingGroup. None, if the default VPC does.
pub(super) async fn prepare(ec2: &mut Client, n_instances: usize) -> anyhow::Result<Vec<String>> {
    let n = n_instances.div_ceil(PER_VPC);
    let mut places = Vec::new();
    for v in 0..if n > 1 { n } else { 0 } {
        let made =
            ec2.call(&format!("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.{v}.0.0%2F16")).await?;
        let vpc = texts(&made, "<vpcId>").next().context("a VPC without an id")?.to_owned();
        let mut subnets = Vec::new();
        for (s, zone) in ('a'..='c').enumerate() {
            let ask = format!(
                "Action=CreateSubnet&Version=2016-11-15&VpcId={vpc}&CidrBlock=10.{v}.{}.0%2F18&AvailabilityZone=us-east-1{zone}",
                s * 64
            );
            let made = ec2.call(&ask).await?;
            subnets.push(texts(&made, "<subnetId>").next().context("a subnet without an id")?.to_owned());
        }
        places.push(format!("&VPCZoneIdentifier={}", subnets.join("%2C")));
    }
    Ok(places)
}
