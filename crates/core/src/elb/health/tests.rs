use proptest::prelude::*;

use super::*;

const T: Thresholds = Thresholds { healthy: 3, unhealthy: 2 };

fn at(s: i64) -> Timestamp {
    Timestamp::from_secs(s)
}

fn after(outcomes: &[ProbeOutcome]) -> Health {
    let mut health = Health::registered(at(0));
    for (i, &o) in outcomes.iter().enumerate() {
        health.observe(o, T, at(i as i64 + 1));
    }
    health
}

#[test]
fn table_of_transitions() {
    use ProbeOutcome::*;
    let table: &[(&[ProbeOutcome], TargetState, Option<Reason>, i64)] = &[
        (&[], TargetState::Initial, Some(Reason::RegistrationInProgress), 0),
        (&[Success], TargetState::Healthy, None, 1),
        (&[Failed], TargetState::Initial, Some(Reason::InitialHealthChecking), 0),
        (&[Failed, Success], TargetState::Healthy, None, 2),
        (&[Failed, Failed], TargetState::Unhealthy, Some(Reason::FailedHealthChecks), 2),
        (&[Success, Timeout, Success, Timeout], TargetState::Healthy, None, 1),
        (&[Success, Timeout, Timeout], TargetState::Unhealthy, Some(Reason::Timeout), 3),
        (
            &[Failed, Failed, WrongStatus(500)],
            TargetState::Unhealthy,
            Some(Reason::ResponseCodeMismatch(500)),
            2,
        ),
        (&[Failed, Failed, Success, Success], TargetState::Unhealthy, Some(Reason::FailedHealthChecks), 2),
        (&[Failed, Failed, Success, Success, Success], TargetState::Healthy, None, 5),
        (
            &[Failed, Failed, Success, Success, Failed, Success, Success],
            TargetState::Unhealthy,
            Some(Reason::FailedHealthChecks),
            2,
        ),
    ];
    for (outcomes, state, reason, since) in table {
        let health = after(outcomes);
        assert_eq!(
            (health.state(), health.reason(), health.since()),
            (*state, *reason, at(*since)),
            "{outcomes:?}"
        );
    }
}

#[test]
fn tells_whether_it_changed() {
    let mut health = Health::registered(at(0));
    assert!(health.checking());
    assert!(!health.checking());
    assert!(health.observe(ProbeOutcome::Success, T, at(1)));
    assert!(!health.observe(ProbeOutcome::Success, T, at(2)));
    assert!(!health.observe(ProbeOutcome::Failed, T, at(3)));
    assert!(health.observe(ProbeOutcome::Failed, T, at(4)));
    assert_eq!(
        Reason::ResponseCodeMismatch(502).description(),
        "Health checks failed with these codes: [502]"
    );
}

#[test]
fn matchers() {
    let m = Matcher::parse("200-299, 302").unwrap();
    assert!(m.accepts(204) && m.accepts(302) && !m.accepts(301) && !m.accepts(300));
    for bad in ["", "20", "200-", "299-200", "200;201", "600", "199"] {
        assert_eq!(Matcher::parse(bad), None, "{bad}");
    }
}

fn outcome() -> impl Strategy<Value = ProbeOutcome> {
    prop_oneof![
        Just(ProbeOutcome::Success),
        Just(ProbeOutcome::Timeout),
        Just(ProbeOutcome::Failed),
        (300u16..600).prop_map(ProbeOutcome::WrongStatus)
    ]
}

proptest! {
    /// After `threshold` equal results in a row the state is theirs, whatever came before.
    #[test]
    fn enough_equal_results_win(history in prop::collection::vec(outcome(), 0..40)) {
        let mut good = history.clone();
        good.extend([ProbeOutcome::Success; 3]);
        prop_assert_eq!(after(&good).state(), TargetState::Healthy);
        let mut bad = history;
        bad.extend([ProbeOutcome::Timeout; 2]);
        prop_assert_eq!(after(&bad).state(), TargetState::Unhealthy);
    }

    /// A state never changes on a result that agrees with it, and reason is absent exactly when healthy.
    #[test]
    fn states_are_stable(history in prop::collection::vec(outcome(), 0..40), next in outcome()) {
        let mut health = after(&history);
        let before = health;
        health.observe(next, T, at(99));
        if (next == ProbeOutcome::Success) == (before.state() == TargetState::Healthy) && before.state() != TargetState::Initial {
            prop_assert_eq!(before.state(), health.state());
            prop_assert_eq!(before.since(), health.since());
        }
        prop_assert_eq!(health.reason().is_none(), health.state() == TargetState::Healthy);
    }
}
