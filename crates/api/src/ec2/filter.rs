//! Filters of describe calls: all filters must match, any value of a filter may; `*` and `?` stand for text, `\` takes
//! their meaning away.

use puffer_core::Tags;
use puffer_shapes::ec2 as shapes;

use super::error::invalid_value;
use crate::ApiError;

/// Values that one request's filters may have together (EC2's limit).
const FILTER_VALUES_MAX: usize = 200;

/// Parsed filters.
#[derive(Debug)]
pub(super) struct Filters(Vec<(String, Vec<String>)>);

/// What a resource has for a filter's name.
pub(super) enum Field {
    /// One value.
    One(String),
    /// Any of several values, or none at all.
    Many(Vec<String>),
}

impl From<&str> for Field {
    fn from(value: &str) -> Self {
        Field::One(value.to_owned())
    }
}

impl From<String> for Field {
    fn from(value: String) -> Self {
        Field::One(value)
    }
}

impl From<bool> for Field {
    fn from(value: bool) -> Self {
        Field::from(if value { "true" } else { "false" })
    }
}

impl<T: Into<String>> From<Option<T>> for Field {
    fn from(value: Option<T>) -> Self {
        Field::Many(value.into_iter().map(Into::into).collect())
    }
}

impl From<Vec<String>> for Field {
    fn from(values: Vec<String>) -> Self {
        Field::Many(values)
    }
}

impl Filters {
    /// Checks the names against `known` (tags may always be asked for) and the number of values.
    pub(super) fn parse(filters: Option<Vec<shapes::Filter>>, known: &[&str]) -> Result<Filters, ApiError> {
        let mut parsed = Vec::new();
        let mut n_values = 0;
        for filter in filters.unwrap_or_default() {
            let name = filter.name.unwrap_or_default();
            let is_tag = name.starts_with("tag:") || name == "tag-key" || name == "tag-value";
            if !is_tag && !known.contains(&name.as_str()) {
                return Err(invalid_value(format!("The filter '{name}' is invalid")));
            }
            let values = filter.values.unwrap_or_default();
            n_values += values.len();
            if n_values > FILTER_VALUES_MAX {
                return Err(ApiError::sender(
                    "FilterLimitExceeded",
                    format!(
                        "The maximum number of filter values specified on a single call is {FILTER_VALUES_MAX}"
                    ),
                ));
            }
            if values.is_empty() {
                return Err(invalid_value(format!("The filter '{name}' has no value")));
            }
            parsed.push((name, values));
        }
        Ok(Filters(parsed))
    }

    /// The values of the filter with that name, if it is there and has no wildcards: for looking things up by index.
    pub(super) fn exact(&self, name: &str) -> Option<&[String]> {
        let values = &self.0.iter().find(|(n, _)| n == name)?.1;
        values.iter().all(|v| !v.contains(['*', '?', '\\'])).then_some(values)
    }

    /// Whether a resource with these tags and fields matches.
    pub(super) fn matches(&self, tags: &Tags, field: impl Fn(&str) -> Field) -> bool {
        self.0.iter().all(|(name, patterns)| {
            let any = |value: &str| patterns.iter().any(|p| wildcard(p, value));
            if let Some(key) = name.strip_prefix("tag:") {
                return tags.get(key).is_some_and(|v| any(v));
            }
            match name.as_str() {
                "tag-key" => tags.keys().any(|k| any(k)),
                "tag-value" => tags.values().any(|v| any(v)),
                name => match field(name) {
                    Field::One(value) => any(&value),
                    Field::Many(values) => values.iter().any(|v| any(v)),
                },
            }
        })
    }
}

/// Whether all of `text` matches `pattern`. Linear in their product at worst: on a mismatch only the latest `*` takes one
/// character more.
pub(super) fn wildcard(pattern: &str, text: &str) -> bool {
    #[derive(PartialEq)]
    enum Token {
        Literal(char),
        One,
        Any,
    }
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '*' => Token::Any,
            '?' => Token::One,
            '\\' => Token::Literal(chars.next().unwrap_or('\\')),
            c => Token::Literal(c),
        });
    }
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match tokens.get(p) {
            Some(Token::Any) => {
                star = Some((p, t));
                p += 1;
            }
            Some(Token::One) => (p, t) = (p + 1, t + 1),
            Some(Token::Literal(c)) if *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    tokens[p..].iter().all(|token| *token == Token::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, matches) in [
            ("web", "web", true),
            ("web", "Web", false),
            ("w*", "web", true),
            ("*", "", true),
            ("?", "", false),
            ("w?b", "web", true),
            ("*b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("a\\?b", "a?b", true),
            ("", "x", false),
            ("*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            assert_eq!(wildcard(pattern, text), matches, "{pattern} {text}");
        }
    }

    fn filter(name: &str, values: &[&str]) -> shapes::Filter {
        shapes::Filter { name: Some(name.into()), values: Some(values.iter().map(|v| (*v).into()).collect()) }
    }

    #[test]
    fn all_filters_any_value() {
        let tags: Tags = [("Type".to_owned(), "app".to_owned())].into();
        let field = |name: &str| match name {
            "state" => Field::from("running"),
            "group" => Field::from(vec!["a".to_owned(), "b".to_owned()]),
            _ => Field::from(None::<String>),
        };
        let matches = |filters: Vec<shapes::Filter>| {
            Filters::parse(Some(filters), &["state", "group", "none"]).unwrap().matches(&tags, field)
        };
        assert!(matches(vec![filter("state", &["stopped", "running"]), filter("group", &["b"])]));
        assert!(!matches(vec![filter("state", &["running"]), filter("group", &["c"])]));
        assert!(matches(vec![filter("tag:Type", &["a*"]), filter("tag-key", &["Type"])]));
        assert!(!matches(vec![filter("tag:Other", &["*"])]));
        assert!(!matches(vec![filter("none", &["*"])]));
        assert!(Filters::parse(Some(vec![filter("bogus", &["x"])]), &["state"]).is_err());
        let many: Vec<&str> = vec!["x"; 201];
        assert_eq!(
            Filters::parse(Some(vec![filter("state", &many)]), &["state"]).unwrap_err().code,
            "FilterLimitExceeded"
        );
    }
}
