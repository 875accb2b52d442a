//! Requests against the model's constraints, with AWS's messages.
//!
//! Two families of texts: EC2 names one parameter (`MissingParameter`, `InvalidParameterValue`); the other services list
//! all violations in one `ValidationError` (by its JSON name, `ValidationException`).

use std::fmt::Write;

use crate::fault::Fault;
use crate::schema::{Kind, Member, Protocol, Schema, ServiceSchema};
use crate::value::{ListView, Shape, ValueRef};

/// Violations told in one message; a request can have thousands.
const VIOLATIONS_MAX: usize = 10;
/// Characters of a bad value that a message repeats.
const VALUE_CHARS_MAX: usize = 1024;

/// Checks a decoded request.
pub fn validate(service: &ServiceSchema, input: &dyn Shape) -> Result<(), Fault> {
    let ec2 = service.protocols.contains(&Protocol::Ec2);
    let mut found = Vec::new();
    structure(input, &Path::Root, &mut found, if ec2 { 1 } else { VIOLATIONS_MAX });
    let Some(first) = found.first() else { return Ok(()) };
    if ec2 {
        return Err(first.in_ec2());
    }
    let noun = if found.len() == 1 { "error" } else { "errors" };
    let mut message = format!("{} validation {noun} detected: ", found.len());
    for (i, violation) in found.iter().enumerate() {
        let separator = if i == 0 { "" } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(
            message,
            "{separator}Value {} at '{}' failed to satisfy constraint: {}",
            violation.value, violation.path, violation.constraint
        );
    }
    Err(Fault::sender("ValidationError", message))
}

struct Violation {
    /// Quoted, or `null`.
    value: String,
    /// In camel case: `tags.1.member.key`.
    path: String,
    /// In the words of the query protocol: `Tag.1.Key`.
    parameter: String,
    constraint: String,
    missing: bool,
    bound: Option<String>,
}

impl Violation {
    fn in_ec2(&self) -> Fault {
        if self.missing {
            return Fault::sender(
                "MissingParameter",
                format!("The request must contain the parameter {}", self.parameter),
            );
        }
        let value = self.value.trim_matches('\'');
        let message = match &self.bound {
            Some(bound) => {
                format!("Value ( {value} ) for parameter {} is invalid. Expecting {bound}.", self.path)
            }
            None => format!("Invalid value '{value}' for {}", self.parameter),
        };
        Fault::sender("InvalidParameterValue", message)
    }
}

/// Where in the request we are; only made into text when something is wrong.
enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'static Member),
    Item(&'a Path<'a>, usize),
    Entry(&'a Path<'a>, &'a str),
}

impl Path<'_> {
    fn camel(&self) -> String {
        let under = |parent: &Path<'_>, part: &str| match parent.camel() {
            path if path.is_empty() => part.to_owned(),
            path => format!("{path}.{part}"),
        };
        match self {
            Path::Root => String::new(),
            Path::Member(parent, member) => under(parent, &camel(member.name)),
            Path::Item(parent, index) => under(parent, &format!("{}.member", index + 1)),
            Path::Entry(parent, key) => under(parent, &format!("{key}.member")),
        }
    }

    fn parameter(&self) -> String {
        let under = |parent: &Path<'_>, part: &str| match parent.parameter() {
            path if path.is_empty() => part.to_owned(),
            path => format!("{path}.{part}"),
        };
        match self {
            Path::Root => String::new(),
            Path::Member(parent, member) => under(parent, member.query),
            Path::Item(parent, index) => under(parent, &(index + 1).to_string()),
            Path::Entry(parent, key) => under(parent, key),
        }
    }
}

/// `AutoScalingGroupName` → `autoScalingGroupName`, `VPCZoneIdentifier` → `vPCZoneIdentifier`, as AWS writes them.
fn camel(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |c| c.to_ascii_lowercase().to_string() + chars.as_str())
}

fn structure(shape: &dyn Shape, path: &Path<'_>, found: &mut Vec<Violation>, most: usize) {
    for (i, member) in shape.schema().members().iter().enumerate() {
        if found.len() >= most {
            return;
        }
        let here = Path::Member(path, member);
        match shape.get(i) {
            Some(v) => value(v, member.schema, &here, found, most),
            None if member.required => found.push(Violation {
                value: "null".to_owned(),
                path: here.camel(),
                parameter: here.parameter(),
                constraint: "Member must not be null".to_owned(),
                missing: true,
                bound: None,
            }),
            None => {}
        }
    }
}

fn value(v: ValueRef<'_>, schema: &Schema, path: &Path<'_>, found: &mut Vec<Violation>, most: usize) {
    for broken in broken(v, schema) {
        let bound = broken.bound();
        found.push(Violation {
            value: shown(v, schema),
            path: path.camel(),
            parameter: path.parameter(),
            constraint: broken.text(),
            missing: false,
            bound,
        });
        if found.len() >= most {
            return;
        }
    }
    match (v, &schema.kind) {
        (ValueRef::Struct(shape), _) => structure(shape, path, found, most),
        (ValueRef::List(list), Kind::List(item, _)) => {
            if matches!(item.kind, Kind::Structure(_) | Kind::List(..) | Kind::Map(..)) {
                for i in 0..list.len() {
                    value(list.item(i), item, &Path::Item(path, i), found, most);
                    if found.len() >= most {
                        return;
                    }
                }
            } else {
                scalars(list, schema, item, path, found);
            }
        }
        (ValueRef::Map(map), Kind::Map(_, item)) => {
            for (key, v) in map.entries() {
                value(v, item, &Path::Entry(path, key), found, most);
                if found.len() >= most {
                    return;
                }
            }
        }
        _ => {}
    }
}

/// A bad item of a list of scalars is told as the list's violation, with all constraints of the item.
fn scalars(list: &dyn ListView, schema: &Schema, item: &Schema, path: &Path<'_>, found: &mut Vec<Violation>) {
    if unconstrained(item) {
        return;
    }
    let Some(bad) = (0..list.len()).find(|i| broken(list.item(*i), item).next().is_some()) else { return };
    let constraints: Vec<String> = constraints(item).map(|c| c.text()).collect();
    found.push(Violation {
        value: shown(ValueRef::List(list), schema),
        path: path.camel(),
        parameter: Path::Item(path, bad).parameter(),
        constraint: format!("Member must satisfy constraint: [{}]", constraints.join(", ")),
        missing: false,
        bound: None,
    });
}

fn unconstrained(schema: &Schema) -> bool {
    constraints(schema).next().is_none()
}

/// One constraint of a schema.
enum Constraint<'a> {
    LengthMax(i64),
    LengthMin(i64),
    ValueMax(i64),
    ValueMin(i64),
    Pattern(&'a crate::schema::Pattern),
    Enum(&'a [&'static str]),
}

fn constraints(schema: &Schema) -> impl Iterator<Item = Constraint<'_>> {
    let number = matches!(schema.kind, Kind::Integer | Kind::Long | Kind::Double);
    let (pattern, values) = match schema.kind {
        Kind::String(pattern, values) => (pattern, values),
        _ => (None, &[][..]),
    };
    let max = schema.max.map(|m| if number { Constraint::ValueMax(m) } else { Constraint::LengthMax(m) });
    let min = schema.min.map(|m| if number { Constraint::ValueMin(m) } else { Constraint::LengthMin(m) });
    let values = (!values.is_empty()).then_some(Constraint::Enum(values));
    [max, min, pattern.map(Constraint::Pattern), values].into_iter().flatten()
}

fn broken<'s>(v: ValueRef<'_>, schema: &'s Schema) -> impl Iterator<Item = Constraint<'s>> {
    constraints(schema).filter(move |c| !c.holds(v))
}

impl Constraint<'_> {
    fn holds(&self, v: ValueRef<'_>) -> bool {
        match (self, v) {
            (Constraint::LengthMax(max), v) => length(v) <= *max,
            (Constraint::LengthMin(min), v) => length(v) >= *min,
            (Constraint::ValueMax(max), ValueRef::Int(v)) => v <= *max,
            (Constraint::ValueMin(min), ValueRef::Int(v)) => v >= *min,
            (Constraint::ValueMax(max), ValueRef::Float(v)) => v <= *max as f64,
            (Constraint::ValueMin(min), ValueRef::Float(v)) => v >= *min as f64,
            (Constraint::Pattern(pattern), ValueRef::Str(text)) => pattern.matches(text),
            (Constraint::Enum(values), ValueRef::Str(text)) => values.contains(&text),
            _ => true,
        }
    }

    fn text(&self) -> String {
        match self {
            Constraint::LengthMax(max) => format!("Member must have length less than or equal to {max}"),
            Constraint::LengthMin(min) => format!("Member must have length greater than or equal to {min}"),
            Constraint::ValueMax(max) => format!("Member must have value less than or equal to {max}"),
            Constraint::ValueMin(min) => format!("Member must have value greater than or equal to {min}"),
            Constraint::Pattern(p) => format!("Member must satisfy regular expression pattern: {}", p.source),
            Constraint::Enum(values) => {
                format!("Member must satisfy enum value set: [{}]", values.join(", "))
            }
        }
    }

    /// EC2's words for bounds of numbers.
    fn bound(&self) -> Option<String> {
        match self {
            Constraint::ValueMax(max) => Some(format!("a value less than or equal to {max}")),
            Constraint::ValueMin(min) => Some(format!("a value greater than or equal to {min}")),
            _ => None,
        }
    }
}

fn length(v: ValueRef<'_>) -> i64 {
    let n = match v {
        ValueRef::Str(text) => text.chars().count(),
        ValueRef::Blob(bytes) => bytes.len(),
        ValueRef::List(list) => list.len(),
        ValueRef::Map(map) => map.len(),
        _ => return 0,
    };
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The value as messages repeat it: quoted, cut, and never a secret.
fn shown(v: ValueRef<'_>, schema: &Schema) -> String {
    let item_sensitive = matches!(schema.kind, Kind::List(item, _) if item.sensitive);
    if schema.sensitive || item_sensitive {
        return "'***Sensitive Data Redacted***'".to_owned();
    }
    let full = match v {
        ValueRef::Str(text) => text.to_owned(),
        ValueRef::Int(v) => v.to_string(),
        ValueRef::Float(v) => v.to_string(),
        ValueRef::Bool(v) => v.to_string(),
        ValueRef::List(list) => {
            let items = (0..list.len().min(VALUE_CHARS_MAX)).map(|i| match list.item(i) {
                ValueRef::Str(text) => text.to_owned(),
                ValueRef::Int(v) => v.to_string(),
                ValueRef::Float(v) => v.to_string(),
                _ => "…".to_owned(),
            });
            format!("[{}]", items.collect::<Vec<_>>().join(", "))
        }
        _ => "…".to_owned(),
    };
    format!("'{}'", full.chars().take(VALUE_CHARS_MAX).collect::<String>())
}
