use super::{Alarm, MetricSource};

/// What an alarm can do to the instance it watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum InstanceVerb {
    Stop,
    Terminate,
    Reboot,
    Recover,
}

impl InstanceVerb {
    /// As in `arn:aws:automate:REGION:ec2:stop`.
    pub fn name(self) -> &'static str {
        match self {
            InstanceVerb::Stop => "stop",
            InstanceVerb::Terminate => "terminate",
            InstanceVerb::Reboot => "reboot",
            InstanceVerb::Recover => "recover",
        }
    }

    /// Reads `arn:aws:automate:REGION:ec2:VERB` and `arn:aws:swf:REGION:ACCOUNT:action/actions/AWS_EC2.InstanceId.Verb/1.0`.
    pub fn of_arn(arn: &str) -> Option<InstanceVerb> {
        let parts: Vec<&str> = arn.split(':').collect();
        let word = match parts.as_slice() {
            ["arn", _, "automate", _, "ec2", verb] => *verb,
            ["arn", _, "swf", _, _, resource] => {
                resource.strip_prefix("action/actions/AWS_EC2.InstanceId.")?.strip_suffix("/1.0")?
            }
            _ => return None,
        };
        [InstanceVerb::Stop, InstanceVerb::Terminate, InstanceVerb::Reboot, InstanceVerb::Recover]
            .into_iter()
            .find(|v| v.name().eq_ignore_ascii_case(word))
    }
}

impl Alarm {
    /// The instance whose metric alone it watches.
    pub fn watched_instance(&self) -> Option<&str> {
        let mut ids = self.queries.iter().filter_map(|q| match &q.source {
            MetricSource::Stat { metric, .. } => Some(
                metric.dimensions.iter().find(|(name, _)| name == "InstanceId").map(|(_, id)| id.as_str()),
            ),
            MetricSource::Expression { .. } => None,
        });
        let first = ids.next()??;
        ids.all(|id| id == Some(first)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_arn_are_read() {
        let table = [
            ("arn:aws:automate:us-east-1:ec2:stop", Some(InstanceVerb::Stop)),
            ("arn:aws:automate:us-east-1:ec2:recover", Some(InstanceVerb::Recover)),
            (
                "arn:aws:swf:us-east-1:123456789012:action/actions/AWS_EC2.InstanceId.Reboot/1.0",
                Some(InstanceVerb::Reboot),
            ),
            ("arn:aws:automate:us-east-1:ec2:explode", None),
            ("arn:aws:sns:us-east-1:123456789012:stop", None),
        ];
        for (arn, verb) in table {
            assert_eq!(InstanceVerb::of_arn(arn), verb, "{arn}");
        }
    }
}
