//! How codecs see a shape: numbered members that can be viewed or filled in place.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use crate::schema::{self, Schema};

/// A point in time on the wire: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EpochMillis(pub i64);

impl fmt::Display for EpochMillis {
    /// In ISO 8601, as the query protocols have it: `2026-11-21T03:28:00.123Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        crate::time::write_iso(&mut text, *self);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Bytes that the protocols carry in base64.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Blob(pub Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

/// A structure of a service's model. Implemented by generated code, and by `()` for operations that carry nothing.
pub trait Shape: Any + Send + Sync + fmt::Debug {
    /// The structure's schema; member numbers below index its [`Schema::members`].
    fn schema(&self) -> &'static Schema;
    /// The member's value, if present.
    fn get(&self, member: usize) -> Option<ValueRef<'_>>;
    /// Makes the member present (with its default, if it was absent) and returns its place. `None` if there is no such member.
    fn slot(&mut self, member: usize) -> Option<Slot<'_>>;
}

/// Anything a member can hold.
pub trait Value: Default {
    /// A view for encoders.
    fn view(&self) -> ValueRef<'_>;
    /// A place for decoders.
    fn slot(&mut self) -> Slot<'_>;
}

/// A borrowed value.
#[derive(Clone, Copy)]
pub enum ValueRef<'a> {
    /// Text, including enumerations.
    Str(&'a str),
    /// A truth value.
    Bool(bool),
    /// Any integer.
    Int(i64),
    /// Any float.
    Float(f64),
    /// A time.
    Time(EpochMillis),
    /// Bytes.
    Blob(&'a [u8]),
    /// A structure.
    Struct(&'a dyn Shape),
    /// A list.
    List(&'a dyn ListView),
    /// A map with text keys.
    Map(&'a dyn MapView),
}

/// A place to decode into.
pub enum Slot<'a> {
    /// Text, including enumerations.
    Str(&'a mut String),
    /// A truth value.
    Bool(&'a mut bool),
    /// A 32-bit integer.
    I32(&'a mut i32),
    /// A 64-bit integer.
    I64(&'a mut i64),
    /// A float.
    F64(&'a mut f64),
    /// A time.
    Time(&'a mut EpochMillis),
    /// Bytes.
    Blob(&'a mut Vec<u8>),
    /// A structure.
    Struct(&'a mut dyn Shape),
    /// A list.
    List(&'a mut dyn ListSlot),
    /// A map with text keys.
    Map(&'a mut dyn MapSlot),
}

/// A list, for encoders.
pub trait ListView {
    /// How many items.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The item at `index`, which must be below [`ListView::len`].
    fn item(&self, index: usize) -> ValueRef<'_>;
}

/// A list, for decoders.
pub trait ListSlot {
    /// How many items there are already.
    fn len(&self) -> usize;
    /// Whether there are none yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Appends a default item and returns its place.
    fn push(&mut self) -> Slot<'_>;
}

/// A map, for encoders.
pub trait MapView {
    /// How many entries.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Entries in the order of their keys.
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ValueRef<'_>)> + '_>;
}

/// A map, for decoders.
pub trait MapSlot {
    /// How many entries there are already.
    fn len(&self) -> usize;
    /// Whether there are none yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Adds (or finds) the entry and returns its place.
    fn entry(&mut self, key: String) -> Slot<'_>;
}

/// View of an optional member, for generated code.
pub fn get<T: Value>(member: &Option<T>) -> Option<ValueRef<'_>> {
    member.as_ref().map(Value::view)
}

/// Place of an optional member, for generated code.
pub fn slot<T: Value>(member: &mut Option<T>) -> Option<Slot<'_>> {
    Some(member.get_or_insert_with(T::default).slot())
}

macro_rules! scalar {
    ($type:ty, $ref:ident($view:expr), $slot:ident) => {
        impl Value for $type {
            fn view(&self) -> ValueRef<'_> {
                let view: fn(&$type) -> _ = $view;
                ValueRef::$ref(view(self))
            }
            fn slot(&mut self) -> Slot<'_> {
                Slot::$slot(self)
            }
        }
    };
}

impl Value for String {
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Str(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Str(self)
    }
}
scalar!(bool, Bool(|v| *v), Bool);
scalar!(i32, Int(|v| i64::from(*v)), I32);
scalar!(i64, Int(|v| *v), I64);
scalar!(f64, Float(|v| *v), F64);
scalar!(EpochMillis, Time(|v| *v), Time);

impl Value for Blob {
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Blob(&self.0)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Blob(&mut self.0)
    }
}

impl<T: Shape + Default> Value for T {
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Struct(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Struct(self)
    }
}

impl<T: Value> Value for Vec<T> {
    fn view(&self) -> ValueRef<'_> {
        ValueRef::List(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::List(self)
    }
}

impl<T: Value> ListView for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn item(&self, index: usize) -> ValueRef<'_> {
        self[index].view()
    }
}

impl<T: Value> ListSlot for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn push(&mut self) -> Slot<'_> {
        let at = Vec::len(self);
        Vec::push(self, T::default());
        self[at].slot()
    }
}

impl<T: Value> Value for BTreeMap<String, T> {
    fn view(&self) -> ValueRef<'_> {
        ValueRef::Map(self)
    }
    fn slot(&mut self) -> Slot<'_> {
        Slot::Map(self)
    }
}

impl<T: Value> MapView for BTreeMap<String, T> {
    fn len(&self) -> usize {
        BTreeMap::len(self)
    }
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ValueRef<'_>)> + '_> {
        Box::new(self.iter().map(|(k, v)| (k.as_str(), v.view())))
    }
}

impl<T: Value> MapSlot for BTreeMap<String, T> {
    fn len(&self) -> usize {
        BTreeMap::len(self)
    }
    fn entry(&mut self, key: String) -> Slot<'_> {
        BTreeMap::entry(self, key).or_default().slot()
    }
}

impl Shape for () {
    fn schema(&self) -> &'static Schema {
        &schema::UNIT
    }
    fn get(&self, _: usize) -> Option<ValueRef<'_>> {
        None
    }
    fn slot(&mut self, _: usize) -> Option<Slot<'_>> {
        None
    }
}
