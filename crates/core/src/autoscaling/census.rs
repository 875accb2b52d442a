//! In which zone each member is, as a number: zones are compared many times in a plan, and names are slow to compare.

use std::cell::OnceCell;

use super::view::GroupView;

/// The zones of a view's members, found out when first asked for.
#[derive(Debug, Default)]
pub struct Census<'a> {
    found: OnceCell<Found<'a>>,
}

#[derive(Debug)]
struct Found<'a> {
    /// The group's zones, in the view's order, then those of members in zones that the group no longer has.
    names: Vec<&'a str>,
    /// Of each member, the place of its zone in `names`.
    of: Vec<u32>,
    /// How many of `names` are the group's own.
    n_own: usize,
}

impl<'a> GroupView<'a> {
    fn found(&self) -> &Found<'a> {
        self.census.found.get_or_init(|| {
            let mut names: Vec<&'a str> = self.zones.iter().map(|z| z.name).collect();
            let n_own = names.len();
            let mut of = Vec::with_capacity(self.members.len());
            for m in &self.members {
                let zone = m.member.zone.as_str();
                let place = names.iter().position(|z| *z == zone).unwrap_or_else(|| {
                    names.push(zone);
                    names.len() - 1
                });
                // A group has a handful of zones; a number that does not fit would match none.
                of.push(u32::try_from(place).unwrap_or(u32::MAX));
            }
            Found { names, of, n_own }
        })
    }

    /// The place of a member's zone in [`Self::zone_names`].
    pub(super) fn zone_of(&self, member: usize) -> usize {
        self.found().of.get(member).map_or(usize::MAX, |z| *z as usize)
    }

    /// The group's zones and those of members elsewhere.
    pub(super) fn zone_names(&self) -> &[&'a str] {
        &self.found().names
    }

    /// Whether the zone at this place is one of the group's.
    pub(super) fn is_own_zone(&self, zone: usize) -> bool {
        zone < self.found().n_own
    }

    /// Units of the members that stay, by zone.
    pub(super) fn units_by_zone(&self, stays: &[bool]) -> Vec<u32> {
        let found = self.found();
        let mut units = vec![0_u32; found.names.len()];
        for ((m, stays), zone) in self.members.iter().zip(stays).zip(&found.of) {
            if *stays && let Some(n) = units.get_mut(*zone as usize) {
                *n = n.saturating_add(m.member.weight);
            }
        }
        units
    }
}
