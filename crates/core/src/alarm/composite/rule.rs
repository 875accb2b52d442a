//! The rule of a composite alarm: `ALARM("a") AND NOT (OK(b) OR FALSE)`.
//!
//! `NOT` binds tighter than `AND`, `AND` tighter than `OR`. Names may stand bare, in quotes, or as ARNs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::alarm::AlarmState;

/// Most alarms that one rule may name.
pub const CHILDREN_MAX: usize = 100;
/// Most elements of a rule: states of alarms, constants and parentheses.
pub const ELEMENTS_MAX: usize = 500;
/// Longest rule, in bytes.
const LENGTH_MAX: usize = 10_240;
/// Deepest nesting: bounds the recursion of reading, evaluating and storing. A level can be four of JSON (`Or`, its list, `And`,
/// its list), of which a reader of the store takes 128.
const DEPTH_MAX: usize = 25;

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// The named alarm is in this state.
    In(AlarmState, String),
    /// `TRUE` or `FALSE`.
    Constant(bool),
    /// All of them.
    And(Vec<Rule>),
    /// One of them at least.
    Or(Vec<Rule>),
    /// Not this.
    Not(Box<Rule>),
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It cannot be read.
    #[error("AlarmRule cannot be read at character {at}: {what}")]
    Syntax {
        /// Characters before the fault.
        at: usize,
        /// What was expected.
        what: &'static str,
    },
    /// Too long.
    #[error("AlarmRule must not have more than {LENGTH_MAX} characters")]
    Long,
    /// Too deep.
    #[error("AlarmRule must not be nested deeper than {DEPTH_MAX} levels")]
    Deep,
    /// Too many elements.
    #[error("AlarmRule must not have more than {ELEMENTS_MAX} elements")]
    Elements,
    /// Too many alarms.
    #[error("AlarmRule must not name more than {CHILDREN_MAX} alarms")]
    Children,
}

impl Rule {
    /// Reads a rule. ARNs become the names in them.
    pub fn parse(text: &str) -> Result<Rule, RuleError> {
        if text.len() > LENGTH_MAX {
            return Err(RuleError::Long);
        }
        let mut parser = Parser { text, at: 0, depth: 0, elements: 0 };
        let rule = parser.or()?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.fault("AND, OR or the end was expected"));
        }
        if rule.children().len() > CHILDREN_MAX {
            return Err(RuleError::Children);
        }
        Ok(rule)
    }

    /// Whether the rule holds. An alarm that does not exist is in no state.
    pub fn holds(&self, state_of: &dyn Fn(&str) -> Option<AlarmState>) -> bool {
        match self {
            Rule::In(state, name) => state_of(name) == Some(*state),
            Rule::Constant(value) => *value,
            Rule::And(rules) => rules.iter().all(|r| r.holds(state_of)),
            Rule::Or(rules) => rules.iter().any(|r| r.holds(state_of)),
            Rule::Not(rule) => !rule.holds(state_of),
        }
    }

    /// The alarms that the rule names.
    pub fn children(&self) -> BTreeSet<&str> {
        let mut names = BTreeSet::new();
        self.collect(&mut names);
        names
    }

    fn collect<'a>(&'a self, names: &mut BTreeSet<&'a str>) {
        match self {
            Rule::In(_, name) => {
                names.insert(name);
            }
            Rule::Constant(_) => {}
            Rule::And(rules) | Rule::Or(rules) => rules.iter().for_each(|r| r.collect(names)),
            Rule::Not(rule) => rule.collect(names),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    elements: usize,
}

impl<'t> Parser<'t> {
    fn or(&mut self) -> Result<Rule, RuleError> {
        let mut rules = vec![self.and()?];
        while self.word("OR") {
            rules.push(self.and()?);
        }
        Ok(one_or(rules, Rule::Or))
    }

    fn and(&mut self) -> Result<Rule, RuleError> {
        let mut rules = vec![self.not()?];
        while self.word("AND") {
            rules.push(self.not()?);
        }
        Ok(one_or(rules, Rule::And))
    }

    fn not(&mut self) -> Result<Rule, RuleError> {
        if self.depth >= DEPTH_MAX {
            return Err(RuleError::Deep);
        }
        self.depth += 1;
        let rule = if self.word("NOT") { Ok(Rule::Not(Box::new(self.not()?))) } else { self.element() };
        self.depth -= 1;
        rule
    }

    fn element(&mut self) -> Result<Rule, RuleError> {
        self.elements += 1;
        if self.elements > ELEMENTS_MAX {
            return Err(RuleError::Elements);
        }
        if self.sign('(') {
            let rule = self.or()?;
            return if self.sign(')') {
                Ok(rule)
            } else {
                Err(self.fault("a closing parenthesis was expected"))
            };
        }
        for state in [AlarmState::Alarm, AlarmState::Ok, AlarmState::InsufficientData] {
            if self.word(state.name()) {
                return Ok(Rule::In(state, self.name()?));
            }
        }
        for (word, value) in [("TRUE", true), ("FALSE", false)] {
            if self.word(word) {
                return Ok(Rule::Constant(value));
            }
        }
        Err(self.fault("ALARM, OK, INSUFFICIENT_DATA, TRUE, FALSE, NOT or a parenthesis was expected"))
    }

    /// `("name")`, `(name)` or `(arn)`.
    fn name(&mut self) -> Result<String, RuleError> {
        if !self.sign('(') {
            return Err(self.fault("the alarm's name in parentheses was expected"));
        }
        self.space();
        let rest = &self.text[self.at..];
        let (name, length) = match rest.strip_prefix('"') {
            Some(quoted) => match quoted.find('"') {
                Some(end) => (&quoted[..end], end + 2),
                None => return Err(self.fault("the closing quote is missing")),
            },
            None => {
                let end = rest.find(')').unwrap_or(rest.len());
                (rest[..end].trim_end(), end)
            }
        };
        if name.is_empty() {
            return Err(self.fault("the alarm's name is empty"));
        }
        self.at += length;
        if self.sign(')') {
            Ok(alarm_name(name).to_owned())
        } else {
            Err(self.fault("a closing parenthesis was expected"))
        }
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    fn sign(&mut self, sign: char) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(sign);
        if found {
            self.at += sign.len_utf8();
        }
        found
    }

    /// Takes a word, in either case, that does not go on.
    fn word(&mut self, word: &str) -> bool {
        self.space();
        let rest = &self.text.as_bytes()[self.at..];
        let ends = rest.get(word.len()).is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_');
        let found = ends && rest.get(..word.len()).is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
        if found {
            self.at += word.len();
        }
        found
    }

    fn fault(&self, what: &'static str) -> RuleError {
        RuleError::Syntax { at: self.text[..self.at].chars().count(), what }
    }
}

fn one_or(mut rules: Vec<Rule>, many: fn(Vec<Rule>) -> Rule) -> Rule {
    match rules.len() {
        1 => rules.remove(0),
        _ => many(rules),
    }
}

/// The name in an alarm's ARN; anything else is a name already.
pub(super) fn alarm_name(given: &str) -> &str {
    let is_arn = given.starts_with("arn:");
    match given.splitn(7, ':').nth(6) {
        Some(name) if is_arn && given.contains(":cloudwatch:") && given.contains(":alarm:") => name,
        _ => given,
    }
}
