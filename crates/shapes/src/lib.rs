//! Floor 1: the request and answer shapes of the AWS services, one module per service, generated from `models/`.
//!
//! Each module has plain structs with optional fields, a marker type per operation (see [`puffer_wire::Operation`]) with the
//! aliases `<Operation>Input` and `<Operation>Output`, the declared `errors`, and the service's `SERVICE` schema.

macro_rules! service {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        pub mod $name {
                                                                    #[rustfmt::skip]
                                                                    #[allow(missing_docs, clippy::all)]
                                                                    mod generated;
                                                                    #[rustfmt::skip]
                                                                    #[allow(missing_docs, clippy::all)]
                                                                    #[path = "generated_schema.rs"]
                                                                    pub mod schema;

            pub use generated::*;
            pub use schema::{SERVICE, errors};
        }
    };
}

service!(autoscaling, "EC2 Auto Scaling.");
service!(autoscaling_2009, "Auto Scaling as of 2009-05-15.");
service!(cloudwatch, "CloudWatch.");
service!(cloudwatch_2009, "CloudWatch as of 2009-05-15.");
service!(ec2, "EC2.");
service!(elb, "Elastic Load Balancing as of 2012-06-01: classic load balancers.");
service!(elb_2009, "Elastic Load Balancing as of 2009-05-15.");
service!(elbv2, "Elastic Load Balancing v2.");
service!(sns, "Simple Notification Service.");
service!(sqs, "Simple Queue Service.");
service!(ssm, "Systems Manager: parameters.");
service!(sts, "Security Token Service.");

/// All services, in the order the router tries them.
pub static SERVICES: &[&puffer_wire::ServiceSchema] = &[
    &autoscaling::SERVICE,
    &ec2::SERVICE,
    &elbv2::SERVICE,
    &elb::SERVICE,
    &cloudwatch::SERVICE,
    &sts::SERVICE,
    &ssm::SERVICE,
    &sns::SERVICE,
    &sqs::SERVICE,
    &autoscaling_2009::SERVICE,
    &cloudwatch_2009::SERVICE,
    &elb_2009::SERVICE,
];
