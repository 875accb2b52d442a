//! Which tests call an operation: what `tests/exercised.py` read in their source, and which of them to name.

use std::cmp::Reverse;

use puffer_shapes::SERVICES;
use puffer_wire::ServiceSchema;
use serde::Deserialize;

/// More names than these make a table nobody reads.
const NAMED_MAX: usize = 2;
/// Words of a test's and an operation's name are the same if so many letters are: alarm, alarms; suspend, suspended.
const STEM_LETTERS: usize = 4;
/// Words in the names of tests of what goes wrong.
const REFUSAL: &[&str] = &["refused", "errors", "wrong", "cannot", "sense", "malformed"];

/// A test, and the operations it calls as (service or API version, letters of the name).
#[derive(Deserialize)]
pub(crate) struct Test {
    test: String,
    /// In its own text.
    calls: Vec<(String, String)>,
    /// By its helpers and fixtures.
    helped: Vec<(String, String)>,
}

/// The tests that exercise an operation, those first that are most about it.
pub(crate) fn named<'a>(tests: &'a [Test], service: &ServiceSchema, operation: &str) -> Vec<&'a str> {
    let calls = |made: &[(String, String)]| made.iter().any(|call| means(call, service, operation));
    let mut found: Vec<_> = tests
        .iter()
        .filter_map(|t| {
            let by_itself = calls(&t.calls);
            let is_called = by_itself || calls(&t.helped);
            is_called.then(|| (Reverse(bearing(t, operation, by_itself)), t.calls.len(), t.test.as_str()))
        })
        .collect();
    found.sort_unstable();
    found.into_iter().take(NAMED_MAX).map(|(.., test)| test).collect()
}

/// How much a test is about an operation: by the words that its and its file's name share with it, and a little by whether it calls it
/// itself. One about what is refused says least about what the operation does. Of equals, the one that calls least else is named.
fn bearing(test: &Test, operation: &str, by_itself: bool) -> i32 {
    let its: Vec<&str> = test.test.split(['_', ':']).collect();
    let shared = words(operation).iter().filter(|w| its.iter().any(|t| alike(t, w))).count();
    let about_refusal = REFUSAL.iter().any(|w| its.contains(w));
    2 * i32::try_from(shared).unwrap_or(i32::MAX / 4) + i32::from(by_itself) - 2 * i32::from(about_refusal)
}

fn means((of, letters): &(String, String), service: &ServiceSchema, operation: &str) -> bool {
    if *letters != operation.to_lowercase() {
        return false;
    }
    let lists = |s: &&&ServiceSchema| {
        !s.name.ends_with("_2009") && s.operations.iter().any(|o| o.name.to_lowercase() == *letters)
    };
    match of.as_str() {
        // The text does not say which service's client it is: it can only be this one's if no other has such an operation.
        "" => !service.name.ends_with("_2009") && SERVICES.iter().filter(lists).count() == 1,
        of => of == service.name || of == service.version,
    }
}

/// `PutWarmPool` → put, warm, pool. The name of the whole service says nothing about an operation of it.
fn words(operation: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for letter in operation.chars() {
        match words.last_mut() {
            Some(word) if !letter.is_ascii_uppercase() => word.push(letter),
            _ => words.push(letter.to_lowercase().to_string()),
        }
    }
    words.retain(|w| w != "auto" && w != "scaling");
    words
}

fn alike(a: &str, b: &str) -> bool {
    let short = a.len().min(b.len());
    a == b || short >= STEM_LETTERS && a.as_bytes()[..short] == b.as_bytes()[..short]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str, calls: &[(&str, &str)], helped: &[(&str, &str)]) -> Test {
        let owned = |c: &[(&str, &str)]| c.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Test { test: name.to_owned(), calls: owned(calls), helped: owned(helped) }
    }

    #[test]
    fn the_tests_that_are_most_about_it_are_named() {
        let service = &puffer_shapes::autoscaling::SERVICE;
        let pool = ("autoscaling", "putwarmpool");
        let tests = [
            test("test_groups::test_a", &[], &[pool]),
            test("test_groups::test_b", &[("autoscaling", "describewarmpool"), pool], &[]),
            test("test_groups::test_c", &[pool], &[]),
            test("test_groups::test_pools_that_are_warm", &[("autoscaling", "describewarmpool"), pool], &[]),
            test("test_warm_pools::test_what_is_refused", &[pool], &[]),
            test("test_warm_pools::test_d", &[], &[pool]),
        ];
        let best = ["test_groups::test_pools_that_are_warm", "test_warm_pools::test_d"];
        assert_eq!(named(&tests, service, "PutWarmPool"), best);
        assert_eq!(
            named(&tests[..3], service, "PutWarmPool"),
            ["test_groups::test_c", "test_groups::test_b"]
        );
        assert_eq!(named(&tests[..1], service, "PutWarmPool"), ["test_groups::test_a"]);
        assert!(named(&tests, service, "DeleteWarmPool").is_empty());
    }

    #[test]
    fn a_call_counts_for_its_service() {
        let tests = |of| [test("t::test", &[(of, "describetags"), (of, "putwarmpool")], &[])];
        let (now, then, ec2) = (
            &puffer_shapes::autoscaling::SERVICE,
            &puffer_shapes::autoscaling_2009::SERVICE,
            &puffer_shapes::ec2::SERVICE,
        );
        assert_eq!(named(&tests("ec2"), ec2, "DescribeTags").len(), 1);
        assert!(named(&tests("ec2"), now, "DescribeTags").is_empty());
        assert_eq!(named(&tests("2011-01-01"), now, "DescribeTags").len(), 1);
        // Three services have tags; one has warm pools.
        assert!(named(&tests(""), now, "DescribeTags").is_empty());
        assert_eq!(named(&tests(""), now, "PutWarmPool").len(), 1);
        let old = [test("t::test", &[("2009-05-15", "describetriggers")], &[])];
        assert_eq!(named(&old, then, "DescribeTriggers").len(), 1);
    }
}
