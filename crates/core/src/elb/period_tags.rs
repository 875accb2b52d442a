//! Tags that ask load balancers, target groups and alarms for periods below AWS's.

use crate::Tags;

/// Tag of a target group or a classic load balancer by which its health checks run each so many seconds (1–60), below what
/// `HealthCheckIntervalSeconds` allows.
pub const HEALTH_CHECK_PERIOD_TAG: &str = "puffer:health-check-period";
/// Tag of a load balancer or a target group: publish its metrics each so many seconds (1–60). An alarm that has it may look at
/// periods below AWS's.
pub const METRIC_PERIOD_TAG: &str = "puffer:metric-period";

/// Begins the key of each.
const PREFIX: &str = "puffer:";
/// Longest period: AWS's own, seconds.
const PERIOD_S_MAX: u32 = 60;

fn seconds(value: &str) -> Option<u32> {
    value.trim().parse().ok().filter(|s| (1..=PERIOD_S_MAX).contains(s))
}

/// Seconds (1–60) of such a tag; none if it is absent.
pub fn period_tag(tags: &Tags, key: &str) -> Option<u32> {
    seconds(tags.get(key)?)
}

/// Checks tags that a resource is to get, which reads those in `known`. An error says which is wrong and what it may be.
pub fn check_period_tags(tags: &Tags, known: &[&str]) -> Result<(), String> {
    for (key, value) in tags.iter().filter(|(key, _)| key.starts_with(PREFIX)) {
        if !known.contains(&key.as_str()) {
            return Err(format!("There is no tag {key} here; tags of this kind are {}", known.join(", ")));
        }
        if seconds(value).is_none() {
            return Err(format!(
                "The value '{value}' of tag {key} must be a whole number from 1 to {PERIOD_S_MAX}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_seconds_up_to_a_minute() {
        let known = [METRIC_PERIOD_TAG];
        let tags = |key: &str, value: &str| Tags::from([(key.to_owned(), value.to_owned())]);
        for (key, value) in [(METRIC_PERIOD_TAG, "1"), (METRIC_PERIOD_TAG, " 60 "), ("team", "web")] {
            assert_eq!(check_period_tags(&tags(key, value), &known), Ok(()), "{key}={value}");
        }
        for (value, says) in [("0", "1 to 60"), ("61", "1 to 60"), ("abc", "1 to 60"), ("", "1 to 60")] {
            let error = check_period_tags(&tags(METRIC_PERIOD_TAG, value), &known).unwrap_err();
            assert!(error.contains(says), "{error}");
            assert_eq!(period_tag(&tags(METRIC_PERIOD_TAG, value), METRIC_PERIOD_TAG), None);
        }
        let error = check_period_tags(&tags(HEALTH_CHECK_PERIOD_TAG, "1"), &known).unwrap_err();
        assert!(error.contains(METRIC_PERIOD_TAG), "nothing would read it: {error}");
        assert_eq!(period_tag(&tags(METRIC_PERIOD_TAG, "5"), METRIC_PERIOD_TAG), Some(5));
    }
}
