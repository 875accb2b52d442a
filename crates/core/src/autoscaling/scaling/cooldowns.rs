//! Separate waits for growing and for shrinking, which AWS's groups do not have: `puffer:` tags of the group.
//!
//! They come on top of AWS's own rules and hold for every policy that an alarm sets off: no growing for so long after a
//! policy let the group grow, no shrinking for so long after a policy changed it either way.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Timestamp;
use crate::autoscaling::{Group, GroupTag};

/// Seconds after a policy's scale-out in which no policy scales out.
pub const TAG_SCALE_OUT_COOLDOWN: &str = "puffer:scale-out-cooldown";
/// Seconds after a policy's change in which no policy scales in.
pub const TAG_SCALE_IN_COOLDOWN: &str = "puffer:scale-in-cooldown";
/// The longest wait by tag: a day, seconds.
pub const COOLDOWN_S_MAX: u32 = 86_400;

/// The waits of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cooldowns {
    /// Seconds; 0: none.
    pub out_s: u32,
    /// Seconds; 0: none.
    pub in_s: u32,
}

impl Cooldowns {
    /// Reads the tags (`key → value`). An error says which tag is wrong and what it may be.
    pub fn from_tags<'t>(mut value_of: impl FnMut(&str) -> Option<&'t str>) -> Result<Cooldowns, String> {
        let mut seconds = |key: &str| match value_of(key) {
            None => Ok(0),
            Some(text) => match text.trim().parse::<u32>() {
                Ok(n) if n <= COOLDOWN_S_MAX => Ok(n),
                _ => Err(format!(
                    "The value '{text}' of tag {key} must be a whole number from 0 to {COOLDOWN_S_MAX}"
                )),
            },
        };
        Ok(Cooldowns { out_s: seconds(TAG_SCALE_OUT_COOLDOWN)?, in_s: seconds(TAG_SCALE_IN_COOLDOWN)? })
    }

    /// Those of a group with these tags, which were checked when they were set.
    pub fn of(tags: &BTreeMap<String, GroupTag>) -> Cooldowns {
        Cooldowns::from_tags(|key| tags.get(key).map(|t| t.value.as_str())).unwrap_or_default()
    }

    /// Until when a policy must not set the capacity to `to`, if it must wait.
    pub fn blocks(&self, group: &Group, to: u32, now: Timestamp) -> Option<Timestamp> {
        let after = |at: Option<Timestamp>, s: u32| Some(at? + Duration::from_secs(s.into()));
        let until = if to > group.desired {
            after(group.policy_grew_at, self.out_s)
        } else {
            after(group.policy_grew_at.max(group.policy_shrank_at), self.in_s)
        };
        until.filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autoscaling::view::fixtures::{NOW, group};

    #[test]
    fn growing_and_shrinking_wait_apart() {
        let ago = |s| Some(NOW - Duration::from_secs(s));
        let cooldowns = Cooldowns { out_s: 30, in_s: 600 };
        let until = |s| Some(NOW + Duration::from_secs(s));
        // (grew, shrank, to) → until
        let table = [
            (None, None, 5, None),
            (ago(10), None, 5, until(20)),
            (ago(30), None, 5, None),
            (None, ago(10), 5, None),
            (ago(10), None, 3, until(590)),
            (None, ago(100), 3, until(500)),
            (ago(100), ago(200), 3, until(500)),
            (ago(700), ago(600), 3, None),
        ];
        for (grew, shrank, to, want) in table {
            let mut g = group(0, 10, 4);
            (g.policy_grew_at, g.policy_shrank_at) = (grew, shrank);
            assert_eq!(cooldowns.blocks(&g, to, NOW), want, "{grew:?} {shrank:?} {to}");
            assert_eq!(Cooldowns::default().blocks(&g, to, NOW), None);
        }
        let read = |value: &'static str| {
            Cooldowns::from_tags(move |k| (k == TAG_SCALE_IN_COOLDOWN).then_some(value))
        };
        assert_eq!(read("600"), Ok(Cooldowns { out_s: 0, in_s: 600 }));
        for wrong in ["-1", "86401", "soon", ""] {
            assert!(read(wrong).unwrap_err().contains(TAG_SCALE_IN_COOLDOWN));
        }
    }
}
