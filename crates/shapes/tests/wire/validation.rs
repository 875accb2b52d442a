//! Messages of violated constraints, in AWS's words.

use puffer_shapes::{autoscaling, cloudwatch, ec2, ssm};
use puffer_wire::validate::validate;

#[test]
fn missing_and_empty_names() {
    let input = autoscaling::DeleteAutoScalingGroupInput::default();
    let fault = validate(&autoscaling::SERVICE, &input).unwrap_err();
    assert_eq!(fault.code, "ValidationError");
    assert_eq!(
        fault.message,
        "1 validation error detected: Value null at 'autoScalingGroupName' failed to satisfy constraint: \
         Member must not be null"
    );
    let input = autoscaling::DeleteAutoScalingGroupInput {
        auto_scaling_group_name: Some(String::new()),
        ..Default::default()
    };
    assert_eq!(
        validate(&autoscaling::SERVICE, &input).unwrap_err().message,
        "1 validation error detected: Value '' at 'autoScalingGroupName' failed to satisfy constraint: \
         Member must have length greater than or equal to 1"
    );
}

#[test]
fn nested_paths_and_several_violations() {
    let input = autoscaling::CreateAutoScalingGroupInput {
        auto_scaling_group_name: Some("web".to_owned()),
        min_size: Some(0),
        tags: Some(vec![autoscaling::Tag { key: Some(String::new()), ..Default::default() }]),
        ..Default::default()
    };
    assert_eq!(
        validate(&autoscaling::SERVICE, &input).unwrap_err().message,
        "2 validation errors detected: Value null at 'maxSize' failed to satisfy constraint: Member must not be null; \
         Value '' at 'tags.1.member.key' failed to satisfy constraint: \
         Member must have length greater than or equal to 1"
    );
}

#[test]
fn items_of_lists_are_told_with_the_list() {
    let input = autoscaling::DescribeAutoScalingInstancesInput {
        instance_ids: Some(vec!["i-1".to_owned(), "x".repeat(20)]),
        ..Default::default()
    };
    let message = validate(&autoscaling::SERVICE, &input).unwrap_err().message;
    assert!(
        message.contains("at 'instanceIds' failed to satisfy constraint: Member must satisfy constraint: ["),
        "{message}"
    );
}

#[test]
fn enumerations() {
    let input = cloudwatch::PutMetricAlarmInput {
        alarm_name: Some("a".to_owned()),
        evaluation_periods: Some(1),
        comparison_operator: Some("AboutEqual".to_owned()),
        ..Default::default()
    };
    let fault = validate(&cloudwatch::SERVICE, &input).unwrap_err();
    assert_eq!(fault.code, "ValidationError");
    assert!(fault.message.contains("Value 'AboutEqual' at 'comparisonOperator'"), "{}", fault.message);
    assert!(fault.message.contains("enum value set: [GreaterThanOrEqualToThreshold, "), "{}", fault.message);
}

#[test]
fn ec2_words() {
    let fault = validate(&ec2::SERVICE, &ec2::RunInstancesInput::default()).unwrap_err();
    assert_eq!(
        (fault.code.as_ref(), fault.message.as_str()),
        ("MissingParameter", "The request must contain the parameter MaxCount",)
    );
    let input = ec2::DescribeSecurityGroupsInput { max_results: Some(1), ..Default::default() };
    assert_eq!(
        validate(&ec2::SERVICE, &input).unwrap_err().message,
        "Value ( 1 ) for parameter maxResults is invalid. Expecting a value greater than or equal to 5."
    );
    let input = ec2::RunInstancesInput {
        min_count: Some(1),
        max_count: Some(1),
        instance_type: Some("puffer.tiny".to_owned()),
        ..Default::default()
    };
    assert_eq!(validate(&ec2::SERVICE, &input), Ok(()), "instance types are open");
}

#[test]
fn json_names_it_validation_exception() {
    let fault = validate(&ssm::SERVICE, &ssm::GetParameterInput::default()).unwrap_err();
    let reply = puffer_wire::Reply::error(
        puffer_wire::Protocol::Json { minor: 1 },
        Some(&ssm::SERVICE),
        &fault,
        "id-1",
    );
    assert_eq!(reply.error_type.as_deref(), Some("ValidationException"));
}
