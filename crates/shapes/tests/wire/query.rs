//! Forms as clients write them, and how unusual ones are taken.

use puffer_shapes::{autoscaling, ec2};
use puffer_wire::query::{Params, decode};
use puffer_wire::{Fault, Protocol, Shape};

fn group(text: &str) -> Result<autoscaling::CreateAutoScalingGroupInput, Fault> {
    form(Protocol::Query, text)
}

fn form<T: Shape + Default>(protocol: Protocol, text: &str) -> Result<T, Fault> {
    let mut input = T::default();
    decode(protocol, &Params::parse(text.as_bytes())?, &mut input)?;
    Ok(input)
}

#[test]
fn lists_of_structures_in_any_order() {
    let input = group(
        "Action=CreateAutoScalingGroup&Version=2011-01-01&Tags.member.10.Key=ten&Tags.member.2.Value=v%20w+x\
         &Tags.member.2.Key=two&MinSize=1&AutoScalingGroupName=web&LaunchTemplate.Version=%24Latest\
         &LaunchTemplate.LaunchTemplateName=lt&NewInstancesProtectedFromScaleIn=True",
    )
    .unwrap();
    let tags = input.tags.unwrap();
    assert_eq!(tags.len(), 2);
    assert_eq!(tags[0].key.as_deref(), Some("two"));
    assert_eq!(tags[0].value.as_deref(), Some("v w x"));
    assert_eq!(tags[1].key.as_deref(), Some("ten"));
    assert_eq!(input.min_size, Some(1));
    assert_eq!(input.launch_template.unwrap().version.as_deref(), Some("$Latest"));
    assert_eq!(input.new_instances_protected_from_scale_in, Some(true));
}

#[test]
fn empty_values() {
    let input = group("TargetGroupARNs=&VPCZoneIdentifier=&LaunchTemplate=").unwrap();
    assert_eq!(input.target_group_arns, Some(vec![]), "an empty list is present");
    assert_eq!(input.vpc_zone_identifier, Some(String::new()));
    assert_eq!(input.launch_template, Some(Default::default()));
    assert_eq!(input.tags, None, "an absent list is absent");
}

#[test]
fn unknown_parameters_are_refused_by_ec2_only() {
    assert!(group("AutoScalingGroupName=web&Nonsense.1=2").is_ok());
    let fault = form::<ec2::DescribeInstancesInput>(Protocol::Ec2, "Nonsense.1=2").unwrap_err();
    assert_eq!(fault.code, "UnknownParameter");
    assert_eq!(fault.message, "The parameter Nonsense.1 is not recognized");
    let signed = "Action=DescribeInstances&Version=2016-11-15&X-Amz-Signature=00&SignatureVersion=2";
    assert!(form::<ec2::DescribeInstancesInput>(Protocol::Ec2, signed).is_ok());
}

#[test]
fn ec2_lists_are_flat() {
    let input: ec2::DescribeInstancesInput = form(
        Protocol::Ec2,
        "InstanceId.1=i-1&InstanceId.2=i-2&Filter.1.Name=tag%3AName&Filter.1.Value.1=a&Filter.1.Value.2=b",
    )
    .unwrap();
    assert_eq!(input.instance_ids.unwrap(), ["i-1", "i-2"]);
    assert_eq!(input.filters.unwrap()[0].values.as_deref().unwrap(), ["a", "b"]);
}

#[test]
fn wrong_types() {
    for (text, code) in [
        ("MinSize=many", "MalformedInput"),
        ("MinSize=99999999999", "MalformedInput"),
        ("MinSize.x=1", "MalformedInput"),
        ("Tags=text", "MalformedInput"),
        ("Tags.member.x.Key=1", "MalformedInput"),
        ("LaunchTemplate=lt", "MalformedInput"),
        ("NewInstancesProtectedFromScaleIn=yes", "MalformedInput"),
        ("AutoScalingGroupName=%zz", "MalformedQueryString"),
        ("AutoScalingGroupName=%ff", "MalformedQueryString"),
    ] {
        assert_eq!(group(text).unwrap_err().code, code, "{text}");
    }
    let fault = form::<ec2::DescribeInstancesInput>(Protocol::Ec2, "MaxResults=many").unwrap_err();
    assert_eq!(fault.code, "InvalidParameterValue");
}
