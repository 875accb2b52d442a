use proptest::prelude::*;

use super::*;
use AlarmState as S;

fn states(name: &str) -> Option<AlarmState> {
    match name {
        "a" | "with space" => Some(S::Alarm),
        "ok" => Some(S::Ok),
        "unknown" => Some(S::InsufficientData),
        _ => None,
    }
}

#[test]
fn rules_hold_or_not() {
    let table = [
        ("TRUE", true),
        ("false", false),
        ("ALARM(a)", true),
        ("ALARM(\"with space\")", true),
        ("ALARM(with space)", true),
        ("alarm( \"a\" )", true),
        ("OK(ok) AND INSUFFICIENT_DATA(unknown)", true),
        ("ALARM(ok)", false),
        ("ALARM(missing) OR OK(missing) OR INSUFFICIENT_DATA(missing)", false),
        ("NOT ALARM(ok)", true),
        ("NOT NOT ALARM(ok)", false),
        // AND before OR, NOT before both.
        ("TRUE OR FALSE AND FALSE", true),
        ("(TRUE OR FALSE) AND FALSE", false),
        ("NOT TRUE OR TRUE", true),
        ("NOT (TRUE OR TRUE)", false),
        ("ALARM(arn:aws:cloudwatch:us-east-1:123456789012:alarm:a)", true),
        ("ALARM(\"arn:aws:cloudwatch:us-east-1:123456789012:alarm:with space\")", true),
    ];
    for (text, holds) in table {
        assert_eq!(Rule::parse(text).map(|r| r.holds(&states)), Ok(holds), "{text}");
    }
}

#[test]
fn faults_are_named() {
    let table = [
        "",
        "ALARM",
        "ALARM()",
        "ALARM(\"\")",
        "ALARM(\"a)",
        "ALARM(a",
        "TRUE FALSE",
        "AND TRUE",
        "TRUE AND",
        "(TRUE",
        "TRUE)",
        "NOTHING(a)",
        "ALARMED(a)",
        "TRUEISH",
        "é",
    ];
    for text in table {
        assert!(
            matches!(Rule::parse(text), Err(RuleError::Syntax { .. })),
            "{text}: {:?}",
            Rule::parse(text)
        );
    }
    let syntax = Rule::parse("TRUE XOR FALSE").unwrap_err().to_string();
    assert!(syntax.contains("character 5"), "{syntax}");
    assert_eq!(Rule::parse(&"(".repeat(200)), Err(RuleError::Deep));
    assert_eq!(Rule::parse(&"NOT ".repeat(200)), Err(RuleError::Deep));
    let long: Vec<_> = (0..501).map(|_| "TRUE").collect();
    assert_eq!(Rule::parse(&long.join(" OR ")), Err(RuleError::Elements));
    let many: Vec<_> = (0..101).map(|i| format!("OK(a{i})")).collect();
    assert_eq!(Rule::parse(&many.join(" OR ")), Err(RuleError::Children));
    assert_eq!(Rule::parse(&" ".repeat(10_241)), Err(RuleError::Long));
}

#[test]
fn children_are_named_once() {
    let rule = Rule::parse("ALARM(b) OR (OK(a) AND NOT ALARM(b))").unwrap();
    assert_eq!(rule.children().into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "[ A-Za-z()\"_,é]{0,80}") {
        let _ = Rule::parse(&text);
    }

    /// De Morgan, whatever the parts.
    #[test]
    fn not_turns_and_into_or(a in any::<bool>(), b in any::<bool>()) {
        let text = |x: bool| if x { "TRUE" } else { "FALSE" };
        let value = |t: String| Rule::parse(&t).unwrap().holds(&states);
        prop_assert_eq!(
            value(format!("NOT ({} AND {})", text(a), text(b))),
            value(format!("NOT {} OR NOT {}", text(a), text(b)))
        );
    }
}

#[test]
fn the_deepest_rule_can_be_read_back_from_the_store() {
    // Each level costs the most that one can: a list of OR with a list of AND in it, and a NOT.
    let nested = |levels: usize| {
        let mut text = "ALARM(a)".to_owned();
        for n in 0..levels {
            text = if n % 2 == 0 { format!("(TRUE OR TRUE AND {text})") } else { format!("NOT {text}") };
        }
        text
    };
    let deepest = (1..100).take_while(|n| Rule::parse(&nested(*n)).is_ok()).last().unwrap();
    let flat =
        |levels: usize| (0..levels).fold("ALARM(a)".to_owned(), |t, _| format!("(TRUE OR TRUE AND {t})"));
    let deepest_flat = (1..100).take_while(|n| Rule::parse(&flat(*n)).is_ok()).last().unwrap();
    assert!(deepest >= 20 && deepest_flat >= 20);
    for text in [nested(deepest), flat(deepest_flat)] {
        let stored = CompositeAlarm { rule: Rule::parse(&text).unwrap(), ..alarm(None) };
        let envelope = serde_json::json!({ "v": 1, "data": stored }).to_string();
        let read: serde_json::Value = serde_json::from_str(&envelope).unwrap();
        assert_eq!(serde_json::from_value::<CompositeAlarm>(read["data"].clone()).unwrap().rule, stored.rule);
    }
    assert_eq!(Rule::parse(&flat(deepest_flat + 1)), Err(RuleError::Deep));
}

fn alarm(suppressed_by: Option<SuppressedBy>) -> CompositeAlarm {
    let at = Timestamp::from_secs(1000);
    CompositeAlarm {
        name: "c".into(),
        arn: String::new(),
        description: None,
        rule_text: "TRUE".into(),
        rule: Rule::Constant(true),
        actions_enabled: true,
        ok_actions: vec![],
        alarm_actions: vec![],
        insufficient_data_actions: vec![],
        suppressor: Some(SuppressorSettings::new("arn:aws:cloudwatch:r:1:alarm:s", 60, 120)),
        state: S::Alarm,
        state_reason: String::new(),
        state_reason_data: None,
        state_updated_at: at,
        state_transitioned_at: at,
        state_before: Default::default(),
        configured_at: at,
        actions_done_for: None,
        suppressed_by,
        tags: Tags::new(),
    }
}

#[test]
fn actions_wait_are_kept_down_and_run() {
    use SuppressedBy as B;
    let at = Timestamp::from_secs;
    // (kept down before by, suppressor's state and since, now) → what becomes of the actions
    let table = [
        (None, None, 1000, Suppression::Run),
        (None, Some((S::Ok, 0)), 1000, Suppression::Until(B::WaitPeriod, at(1060))),
        (Some(B::WaitPeriod), Some((S::Ok, 0)), 1059, Suppression::Until(B::WaitPeriod, at(1060))),
        (Some(B::WaitPeriod), Some((S::Ok, 0)), 1060, Suppression::Run),
        (None, Some((S::Alarm, 0)), 1000, Suppression::Down(B::Alarm)),
        (Some(B::WaitPeriod), Some((S::Alarm, 1030)), 1030, Suppression::Down(B::Alarm)),
        (Some(B::Alarm), Some((S::Alarm, 1030)), 9000, Suppression::Down(B::Alarm)),
        (Some(B::Alarm), Some((S::Ok, 2000)), 2000, Suppression::Until(B::ExtensionPeriod, at(2120))),
        (
            Some(B::ExtensionPeriod),
            Some((S::Ok, 2000)),
            2119,
            Suppression::Until(B::ExtensionPeriod, at(2120)),
        ),
        (Some(B::ExtensionPeriod), Some((S::InsufficientData, 2000)), 2120, Suppression::Run),
        (Some(B::ExtensionPeriod), Some((S::Alarm, 2050)), 2050, Suppression::Down(B::Alarm)),
    ];
    for (before, suppressor, now, want) in table {
        let suppressor = suppressor.map(|(state, since)| Suppressor { state, since: at(since) });
        assert_eq!(suppression(&alarm(before), suppressor, at(now)), want, "{before:?} {suppressor:?} {now}");
    }
    assert_eq!(alarm(None).suppressor.unwrap().alarm, "s");
}
