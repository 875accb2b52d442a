//! What a decision costs. As tests these check the decision for a group of 1,000; `cargo xtask bench plan` counts the instructions
//! of [`decide_once`] in each of them, in a release build, against its goal.

use std::hint::black_box;

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::*;
use crate::autoscaling::scaling::{Capacity, Decision, Side, decide_target};
use crate::autoscaling::view::fixtures::{group, member, running, view};
use crate::autoscaling::{Group, Member};
use crate::ec2::Instance;

/// Instances of the group: the size for which the goal is set.
const SIZE: u32 = 1000;

/// What a policy makes of its metric, and what the group does.
#[inline(never)]
fn decide_once(view: &GroupView<'_>, metric: f64, rng: &mut Pcg64) -> (Decision, Plan) {
    let capacity = Capacity::of(view, 60);
    (decide_target(metric, 50.0, Side::High, &capacity), plan(view, rng))
}

fn fleet() -> (Vec<Member>, Vec<Instance>) {
    let zones = ["a", "b", "c"];
    let members: Vec<Member> =
        (0..SIZE).map(|i| member(&format!("i-{i:017x}"), zones[i as usize % 3])).collect();
    let instances = running(&members);
    (members, instances)
}

fn decided(group: &Group, metric: f64) -> (Decision, Plan) {
    let (members, instances) = fleet();
    let view = view(group, &members, &instances);
    let mut rng = Pcg64::seed_from_u64(1);
    decide_once(black_box(&view), black_box(metric), &mut rng)
}

#[test]
fn cost_of_a_group_at_rest() {
    let (decision, plan) = decided(&group(0, 2 * SIZE, SIZE), 40.0);
    assert!(matches!(decision, Decision::Keep(_)));
    assert_eq!(plan.notes, [Note::Converged]);
}

#[test]
fn cost_of_a_launch() {
    let (decision, plan) = decided(&group(0, 2 * SIZE, SIZE + 1), 60.0);
    assert!(matches!(decision, Decision::Change { .. }));
    assert_eq!(plan.actions.len(), 1);
}

#[test]
fn cost_of_a_termination() {
    let (_, plan) = decided(&group(0, 2 * SIZE, SIZE - 1), 40.0);
    assert_eq!(plan.actions.len(), 1);
}
