//! Every pattern of the models compiles, and the common one takes what AWS takes.

use std::collections::HashSet;

use puffer_shapes::SERVICES;
use puffer_wire::{Kind, Schema};

fn walk(schema: &'static Schema, seen: &mut HashSet<*const Schema>) {
    if !seen.insert(schema) {
        return;
    }
    match schema.kind {
        Kind::String(Some(pattern), _) => assert!(pattern.regex().is_some(), "{}", pattern.source),
        Kind::Structure(members) => members.iter().for_each(|m| walk(m.schema, seen)),
        Kind::List(item, _) => walk(item, seen),
        Kind::Map(key, value) => {
            walk(key, seen);
            walk(value, seen);
        }
        _ => {}
    }
}

#[test]
fn all_compile() {
    let mut seen = HashSet::new();
    for operation in SERVICES.iter().flat_map(|s| s.operations) {
        walk(operation.input, &mut seen);
        walk(operation.output, &mut seen);
    }
    assert!(seen.len() > 1000);
}

#[test]
fn names_of_groups_take_the_planes_beyond_the_first() {
    let schema = puffer_shapes::autoscaling::schema::CREATE_AUTO_SCALING_GROUP_TYPE.members()[0].schema;
    let Kind::String(Some(pattern), _) = schema.kind else { panic!("{} has no pattern", schema.name) };
    assert!(pattern.matches("web-🐡 fleet"));
    assert!(!pattern.matches("bell\u{7}"));
}

#[test]
fn operations_are_sorted_and_found() {
    for service in SERVICES {
        assert!(service.operations.is_sorted_by_key(|o| o.name), "{}", service.name);
        for operation in service.operations {
            assert_eq!(service.operation(operation.name).unwrap().name, operation.name);
        }
    }
}
