//! The tags by which a group asks for what AWS's API has no words for. What each does is told where it is read; here they are checked.

use std::collections::BTreeMap;

use super::GroupTag;
use super::cancel_drain::TAG_CANCEL_DRAIN;
use super::mixed::TAG_ON_DEMAND_FALLBACK;
use super::scaling::{
    Cooldowns, Reaction, TAG_METRIC_PERIOD, TAG_SCALE_IN_COOLDOWN, TAG_SCALE_IN_DATAPOINTS,
    TAG_SCALE_OUT_COOLDOWN, TAG_SCALE_OUT_DATAPOINTS,
};

/// Begins the key of each.
const PREFIX: &str = "puffer:";
/// All that a group may have.
pub const KNOWN: [&str; 7] = [
    TAG_METRIC_PERIOD,
    TAG_SCALE_OUT_DATAPOINTS,
    TAG_SCALE_IN_DATAPOINTS,
    TAG_SCALE_OUT_COOLDOWN,
    TAG_SCALE_IN_COOLDOWN,
    TAG_CANCEL_DRAIN,
    TAG_ON_DEMAND_FALLBACK,
];

/// Whether a tag says `true`, in whatever case. Its value was checked when it was set.
pub fn is_true(value: Option<&str>) -> bool {
    value.is_some_and(|v| v.trim().eq_ignore_ascii_case("true"))
}

/// Checks tags that a group is to get. An error says which is wrong and what it may be: a tag with our prefix that nothing reads is a slip of the
/// pen, and whoever made it would wait in vain.
pub fn check(tags: &BTreeMap<String, GroupTag>) -> Result<(), String> {
    if let Some(unknown) = tags.keys().find(|key| key.starts_with(PREFIX) && !KNOWN.contains(&key.as_str())) {
        return Err(format!("A group has no tag {unknown}; its tags of this kind are {}", KNOWN.join(", ")));
    }
    let value_of = |key: &str| tags.get(key).map(|t| t.value.as_str());
    for key in [TAG_CANCEL_DRAIN, TAG_ON_DEMAND_FALLBACK] {
        let is_bool = |v: &str| ["true", "false"].iter().any(|b| v.trim().eq_ignore_ascii_case(b));
        if let Some(wrong) = value_of(key).filter(|v| !is_bool(v)) {
            return Err(format!("The value '{wrong}' of tag {key} must be true or false"));
        }
    }
    Cooldowns::from_tags(value_of)?;
    Reaction::from_tags(value_of).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_known_and_say_what_they_may() {
        let tags = |key: &str, value: &str| {
            BTreeMap::from([(
                key.to_owned(),
                GroupTag { value: value.to_owned(), propagate_at_launch: false },
            )])
        };
        let good = [
            ("team", "web"),
            ("pufferfish", "yes"),
            (TAG_METRIC_PERIOD, "1"),
            (TAG_SCALE_OUT_DATAPOINTS, "100"),
            (TAG_SCALE_IN_DATAPOINTS, "8"),
            (TAG_SCALE_OUT_COOLDOWN, "0"),
            (TAG_SCALE_IN_COOLDOWN, "600"),
            (TAG_CANCEL_DRAIN, "True"),
            (TAG_ON_DEMAND_FALLBACK, "false"),
        ];
        for (key, value) in good {
            assert_eq!(check(&tags(key, value)), Ok(()), "{key}={value}");
        }
        let bad = [
            ("puffer:metric-periods", "1", "puffer:metric-period,"),
            ("puffer:", "1", "puffer:cancel-drain"),
            (TAG_METRIC_PERIOD, "61", "from 1 to 60"),
            (TAG_SCALE_IN_COOLDOWN, "-1", "from 0 to 86400"),
            (TAG_CANCEL_DRAIN, "yes", "true or false"),
            (TAG_ON_DEMAND_FALLBACK, "", "true or false"),
        ];
        for (key, value, says) in bad {
            let error = check(&tags(key, value)).unwrap_err();
            assert!(error.contains(says), "{key}={value}: {error}");
        }
        assert!(is_true(Some(" TRUE")) && !is_true(Some("false")) && !is_true(None));
    }
}
