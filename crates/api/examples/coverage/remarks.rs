//! What the table says about operations beyond served or not. A remark names what a caller who knows AWS would trip over.

/// The service's name as people know it.
pub(crate) fn title(service: &str) -> &str {
    match service {
        "autoscaling" => "EC2 Auto Scaling",
        "autoscaling_2009" => "Auto Scaling (2009)",
        "cloudwatch" => "CloudWatch",
        "cloudwatch_2009" => "CloudWatch (2009)",
        "ec2" => "EC2",
        "elb" => "Elastic Load Balancing (2012, classic load balancers)",
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
             `puffer:` on a group ask for [second-level reaction, cooldowns for each direction and drains that can be \
             cancelled](second-level-reaction.md)."
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
        "elb" => {
            "Classic load balancers over HTTP/1.1 and TCP, really carrying traffic. HTTPS and SSL are refused: there is no TLS yet. \
             Requests that find no instance are refused at once rather than queued, so there are no surge queue metrics. A new load \
             balancer without security groups has the VPC's default one, not one that is open on its ports: with containers it answers \
             only this machine and members of that group until it gets another one."
        }
        "elb_2009" => {
            "For clients from before 2011: the same classic load balancers in the words of that day."
        }
        "elbv2" => {
            "Application load balancers over HTTP/1.1. Network and gateway load balancers, TLS, HTTP/2 and IPv6 are refused \
             with an error that says so."
        }
        "sns" => {
            "Topics, and subscriptions of queues and HTTP endpoints. A message is delivered at least once; to endpoints, about ten \
             tries in a quarter of an hour. Messages are not signed and carry no link to unsubscribe."
        }
        "sqs" => "Standard queues of at most 10,000 messages.",
        "ssm" => "Parameters that name images, so that `resolve:ssm:` in a launch template works. Read only.",
        _ => return None,
    })
}

/// A remark on one operation.
pub(crate) fn operation(service: &str, operation: &str) -> Option<&'static str> {
    match service {
        "autoscaling" => autoscaling(operation),
        "cloudwatch" => cloudwatch(operation),
        "ec2" => ec2(operation),
        "elb" => elb(operation),
        "elbv2" => elbv2(operation),
        "sns" => sns(operation),
        "sqs" => sqs(operation),
        _ => None,
    }
    .or(match (service, operation) {
        ("autoscaling_2009", "UpdateAutoScalingGroup") => {
            Some("A maximum below the capacity lowers the capacity to it.")
        }
        ("autoscaling_2009", "DeleteAutoScalingGroup") => Some("Of a group without instances."),
        ("sts", "GetCallerIdentity") => Some("There is one identity: the account's root."),
        _ => None,
    })
}

const NONE_EXIST: &str = "Always empty: there are none.";

fn autoscaling(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "CreateAutoScalingGroup" => {
            "From a launch template, a launch configuration, a mixed instances policy or an instance. Refused: PlacementGroup, \
             CapacityReservationSpecification, Operator, the health check types EBS and VPC_LATTICE, Lambda \
             termination policies, the strategy `reservations-then-balanced`; in a mixed instances policy DistributionSegments, \
             BaselineEbsBandwidthMbps and BaselinePerformanceFactors."
        }
        "UpdateAutoScalingGroup" => {
            "Changes what it names and leaves the rest. Refuses the same parameters as CreateAutoScalingGroup."
        }
        "CreateLaunchConfiguration" => {
            "Refused: KernelId, RamdiskId, block devices besides the root volume, dedicated tenancy, ClassicLinkVPCId. EbsOptimized \
             is shown and changes nothing: disks are local, and there is no traffic to them to set apart."
        }
        "AttachTrafficSources" | "DetachTrafficSources" => {
            "Target groups, and classic load balancers by name. Refused: VPC Lattice."
        }
        "AttachLoadBalancers" | "DetachLoadBalancers" => "Classic load balancers, by name.",
        "DescribeAccountLimits" => {
            "The counts are true; the maxima are AWS's default quotas and not enforced."
        }
        "DescribeAccountSettings" => NONE_EXIST,
        "PutAccountSetting" => "Any setting is refused: there are none.",
        "EnableMetricsCollection" => "Granularity `1Minute`, published at whole minutes.",
        "GetPredictiveScalingForecast" => "Needs a day of data; until then the error says how much there is.",
        "PutScalingPolicy" => "Simple, step, target tracking and predictive scaling.",
        "PutScheduledUpdateGroupAction" => {
            "Actions whose time passes by more than two minutes while the server is down are skipped."
        }
        "PutWarmPool" => {
            "With a mixed instances policy, too, if it is On-Demand only and without weights, as on AWS. Refused: the pool state \
             Hibernated, since nothing writes the memory of an instance to its disk; weights; Spot."
        }
        "StartInstanceRefresh" => {
            "Both strategies. With ReplaceRootVolume an instance keeps all that it was launched with but the image, and runs its user data again; one of a \
             type that the group does not launch is exchanged."
        }
        _ => return None,
    })
}

fn cloudwatch(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "GetMetricData" => {
            "Refused in metric math: SEARCH, LAMBDA, anomaly detection, insight rules, service quotas, DB_PERF_INSIGHTS."
        }
        "PutMetricAlarm" => {
            "Actions: scaling policies, EC2 actions on the instance watched, topics. Refused: other actions, anomaly detection, \
             EvaluationWindow, EvaluationInterval, EvaluationCriteria, WarmUpConfiguration, ActionConfiguration."
        }
        "PutCompositeAlarm" => "Actions: topics. Refused: other actions, ActionConfiguration.",
        _ => return None,
    })
}

fn ec2(operation: &str) -> Option<&'static str> {
    const VIEW: &str = "A view: shows what comes with a VPC.";
    Some(match operation {
        "RunInstances" => {
            "On-Demand and one-time Spot. Refused: persistent Spot requests, IPv6, hibernation, enclaves, CPU options, dedicated \
             tenancy, placement groups, capacity reservations, a second network interface or volume, encrypted volumes, volumes from \
             another snapshot, of another type than gp2 and gp3 or with chosen IOPS. EbsOptimized is shown and changes nothing: disks \
             are local, and there is no traffic to them to set apart."
        }
        "CreateLaunchTemplate" | "CreateLaunchTemplateVersion" => {
            "Refuses the same parameters as RunInstances, and instance requirements: they belong to a mixed instances policy."
        }
        "StopInstances" => "Refused: Hibernate.",
        "CancelSpotInstanceRequests" => "The instance goes on.",
        "CreateKeyPair" => "RSA and ED25519, in PEM. Refused: the PuTTY format.",
        "CreateReplaceRootVolumeTask" => {
            "From an image, from a snapshot of the instance, or to the state of its launch. Refused: a volume, an initialization rate, and \
             to keep the old volume: DeleteReplacedRootVolume must be true. User data runs again from the new volume; meanwhile the instance \
             cannot be stopped."
        }
        "CreateImage" => "Of the root volume. Refused: other block devices.",
        "DescribeImageAttribute" => "Images have one owner; sharing is refused.",
        "ModifyImageAttribute" => {
            "Description, and whether it is public. Images have one owner; sharing is refused."
        }
        "CreateVpc" | "CreateSubnet" => "Refused: IPv6, other tenancies, address pools.",
        "ModifySubnetAttribute" => "MapPublicIpOnLaunch. Refused: IPv6, names by resource, Outposts.",
        "AuthorizeSecurityGroupIngress" | "AuthorizeSecurityGroupEgress" | "ModifySecurityGroupRules" => {
            "Refused: prefix lists, groups of other accounts."
        }
        "DescribeRouteTables" | "DescribeInternetGateways" | "DescribeNetworkAcls" => VIEW,
        "DescribeVolumes" => "A view: the instances' root volumes.",
        "DescribeSnapshots" => "A view: the images' snapshots.",
        "DescribeAddresses" => NONE_EXIST,
        "DescribeInstanceCreditSpecifications" => "Always `unlimited`: credits do not ration the CPU.",
        "DescribeRegions" => "The server's own region.",
        _ => return None,
    })
}

fn elb(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "CreateLoadBalancer" | "CreateLoadBalancerListeners" => {
            "HTTP in front of HTTP, TCP in front of TCP. Refused: HTTPS, SSL, certificates."
        }
        "ConfigureHealthCheck" => "HTTP and TCP. Refused: HTTPS, SSL.",
        "ModifyLoadBalancerAttributes" => "Refused: access logs.",
        "CreateLoadBalancerPolicy" => {
            "Stickiness by either cookie, and the proxy protocol. Refused: the types that need TLS."
        }
        "DescribeLoadBalancerPolicies" => "There are no predefined policies: AWS's are all about TLS.",
        "SetLoadBalancerListenerSSLCertificate" => "Always refused: there is no TLS yet.",
        "EnableAvailabilityZonesForLoadBalancer" => "By the zone's default subnet.",
        _ => return None,
    })
}

fn elbv2(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "CreateLoadBalancer" => "Type `application`. Refused: `network`, `gateway`, IPv6, chosen addresses.",
        "CreateListener" | "ModifyListener" => "HTTP. Refused: HTTPS, certificates, mutual authentication.",
        "ModifyListenerAttributes" => "Refused: any value but the defaults.",
        "CreateRule" | "ModifyRule" => {
            "Forward (weighted, sticky), redirect, fixed response. Refused: authentication, transforms, regular expressions."
        }
        "CreateTargetGroup" => {
            "HTTP/1.1 to instances and addresses. Refused: HTTPS, TCP and other protocols, HTTP/2, gRPC, Lambda, target control."
        }
        "DescribeSSLPolicies" => NONE_EXIST,
        "DescribeCapacityReservation" => "Nothing is ever reserved.",
        "SetIpAddressType" => "Only `ipv4`.",
        _ => return None,
    })
}

fn sns(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "CreateTopic" | "SetTopicAttributes" => {
            "Standard topics with a DisplayName. Refused: FIFO, other attributes, data protection."
        }
        "Subscribe" | "SetSubscriptionAttributes" => {
            "Protocols `sqs`, `http` and `https` (certificates are verified against the system's authorities), with RawMessageDelivery. \
             Refused: email, SMS, Lambda, filter and redrive policies."
        }
        "Publish" => "Messages are not signed. Refused: message attributes, phone numbers, FIFO.",
        _ => return None,
    })
}

fn sqs(operation: &str) -> Option<&'static str> {
    Some(match operation {
        "CreateQueue" | "SetQueueAttributes" => {
            "Standard queues. Refused: FIFO, policies, dead-letter queues, encryption."
        }
        _ => return None,
    })
}
