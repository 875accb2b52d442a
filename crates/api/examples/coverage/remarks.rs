//! What the table says about operations beyond served or not. A remark names what a caller who knows AWS would trip over.

/// The service's name as people know it.
pub(crate) fn title(service: &str) -> &str {
    match service {
        "autoscaling" => "EC2 Auto Scaling",
        "autoscaling_2009" => "Auto Scaling (2009)",
        "cloudwatch" => "CloudWatch",
        "cloudwatch_2009" => "CloudWatch (2009)",
        "ec2" => "EC2",
        "elb_2009" => "Elastic Load Balancing (2009)",
        "elbv2" => "Elastic Load Balancing v2",
        "sns" => "Simple Notification Service",
        "sqs" => "Simple Queue Service",
        "ssm" => "Systems Manager",
        "sts" => "STS",
        other => other,
    }
}

/// A paragraph about the service as a whole.
pub(crate) fn service(service: &str) -> Option<&'static str> {
    Some(match service {
        "autoscaling" => {
            "Metrics of groups, alarms of target tracking, activities and their causes are as on AWS. Tags with the prefix \
             `puffer:` on a group ask for [second-level reaction](second-level-reaction.md)."
        }
        "cloudwatch" => {
            "Metrics, metric alarms and composite alarms. Anomaly detection, dashboards, metric streams and insight rules do \
             not exist."
        }
        "ec2" => {
            "One region with three zones, and a default VPC. Route tables, internet gateways, network ACLs, volumes and \
             snapshots can be looked at; there are only the ones that come with a VPC, an instance or an image."
        }
        "autoscaling_2009" => {
            "For clients from before 2011: the same groups in the words of that day, and triggers. Refused: CustomUnit."
        }
        "elb_2009" => "There are no classic load balancers, so the list of them is empty.",
        "elbv2" => {
            "Application load balancers over HTTP/1.1. Network and gateway load balancers, TLS, HTTP/2 and IPv6 are refused \
             with an error that says so."
        }
        "sns" => {
            "Topics, and subscriptions of queues and HTTP endpoints. A message is delivered at least once; to endpoints, about ten \
             times in a quarter of an hour."
        }
        "sqs" => "Standard queues of at most 10,000 messages.",
        "ssm" => "Parameters that name images, so that `resolve:ssm:` in a launch template works. Read only.",
        _ => return None,
    })
}

/// A remark on one operation.
pub(crate) fn operation(service: &str, operation: &str) -> Option<&'static str> {
    const NONE_EXIST: &str = "Always empty: there are none.";
    const GROUP: &str = "Refused: MixedInstancesPolicy, CapacityRebalance, AvailabilityZoneDistribution, \
        CapacityReservationSpecification, placement groups, classic load balancers, Lambda termination policies.";
    const VIEW: &str = "A view: shows what comes with a VPC.";
    Some(match (service, operation) {
        ("autoscaling", "CreateAutoScalingGroup") => GROUP,
        ("autoscaling", "UpdateAutoScalingGroup") => "Refuses the same parameters as CreateAutoScalingGroup.",
        ("sns", "Subscribe") => {
            "Protocols `sqs` and `http`. Refused: https, email, SMS, Lambda, filter policies."
        }
        ("sns", "Publish") => "Messages are not signed. Refused: message attributes.",
        ("sqs", "CreateQueue") => "Standard queues. Refused: FIFO, policies, dead-letter queues, encryption.",
        ("autoscaling", "PutWarmPool") => {
            "Refused: Hibernated; groups with a mixed instances policy or Spot."
        }
        ("autoscaling", "CreateLaunchConfiguration") => {
            "Refused: InstanceId, SpotPrice, KernelId, RamdiskId, BlockDeviceMappings, dedicated tenancy."
        }
        ("autoscaling", "PutScalingPolicy") => "Simple, step, target tracking and predictive scaling.",
        ("autoscaling", "AttachTrafficSources") => {
            "Target groups. Refused: classic load balancers, VPC Lattice."
        }
        ("autoscaling", "PutScheduledUpdateGroupAction") => {
            "Actions whose time passes by more than two minutes while the server is down are skipped."
        }
        ("autoscaling", "StartInstanceRefresh") => "Rolling. Refused: the strategy ReplaceRootVolume.",
        ("autoscaling", "AttachLoadBalancers" | "DetachLoadBalancers") => {
            "There are no classic load balancers: any name is refused as one that does not exist."
        }
        ("autoscaling", "DescribeLoadBalancers") => NONE_EXIST,
        ("cloudwatch", "PutMetricAlarm") => {
            "Actions: scaling policies, EC2 actions on the instance watched, topics. Refused: other actions, anomaly detection, \
             EvaluationCriteria."
        }
        ("cloudwatch", "PutCompositeAlarm") => {
            "Actions: topics. Refused: other actions, ActionConfiguration."
        }
        ("ec2", "RunInstances") => {
            "Refused: Spot, IPv6, hibernation, enclaves, CPU options, dedicated tenancy, placement groups, a second \
             network interface or volume, encrypted volumes."
        }
        ("ec2", "CreateLaunchTemplate" | "CreateLaunchTemplateVersion") => {
            "Refused: Spot, instance requirements, hibernation, enclaves, CPU options, dedicated tenancy, placement groups."
        }
        ("ec2", "StopInstances") => "Refused: Hibernate.",
        ("ec2", "CreateKeyPair") => "RSA and ED25519, in PEM. Refused: the PuTTY format.",
        ("ec2", "CreateImage") => "Of the root volume. Refused: other block devices.",
        ("ec2", "DescribeImageAttribute" | "ModifyImageAttribute") => {
            "Images have one owner; sharing is refused."
        }
        ("ec2", "CreateVpc" | "CreateSubnet") => "Refused: IPv6.",
        ("ec2", "AuthorizeSecurityGroupIngress" | "AuthorizeSecurityGroupEgress") => {
            "Refused: prefix lists, groups of other accounts."
        }
        ("ec2", "DescribeRouteTables" | "DescribeInternetGateways" | "DescribeNetworkAcls") => VIEW,
        ("ec2", "DescribeVolumes") => "A view: the instances' root volumes.",
        ("ec2", "DescribeSnapshots") => "A view: the images' snapshots.",
        ("ec2", "DescribeAddresses") => NONE_EXIST,
        ("ec2", "DescribeRegions") => "The server's own region.",
        ("elbv2", "CreateLoadBalancer") => "Type `application`. Refused: `network`, `gateway`, IPv6.",
        ("elbv2", "CreateListener" | "ModifyListener") => {
            "HTTP. Refused: HTTPS, certificates, mutual authentication."
        }
        ("elbv2", "CreateRule" | "ModifyRule") => {
            "Forward (weighted, sticky), redirect, fixed response. Refused: authentication, transforms, regular expressions."
        }
        ("elbv2", "CreateTargetGroup") => {
            "HTTP/1.1 to instances and addresses. Refused: HTTPS, TCP and other protocols, HTTP/2, gRPC, Lambda."
        }
        ("elbv2", "DescribeSSLPolicies") => NONE_EXIST,
        ("elbv2", "SetIpAddressType") => "Only `ipv4`.",
        ("sts", "GetCallerIdentity") => "There is one identity: the account's root.",
        _ => return None,
    })
}
