//! What the codecs know of a service: names, kinds and constraints, as statics made by the code generator.

use std::sync::OnceLock;

use crate::value::Shape;

/// One protocol a service can be spoken to in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// AWS query: form in, wrapped XML out.
    Query,
    /// EC2's variant of query.
    Ec2,
    /// JSON with `X-Amz-Target`; 1.0 and 1.1 differ in the content type only, as far as a server is concerned.
    Json {
        /// `1.0` or `1.1`.
        minor: u8,
    },
    /// Smithy's RPC v2 with CBOR.
    Cbor,
}

/// A service.
#[derive(Debug)]
pub struct ServiceSchema {
    /// Name of the module of shapes, and botocore's client name.
    pub name: &'static str,
    /// API version, which the query protocols send as `Version`.
    pub version: &'static str,
    /// Service name in SigV4 credential scopes.
    pub signing_name: &'static str,
    /// Namespace of XML answers.
    pub xml_namespace: &'static str,
    /// Part of `X-Amz-Target` before the dot, and the service's name in the paths of CBOR requests; empty if it is spoken to in
    /// neither.
    pub target_prefix: &'static str,
    /// In order of preference.
    pub protocols: &'static [Protocol],
    /// JSON errors also carry the query protocol's code (`x-amzn-query-error`).
    pub query_compatible: bool,
    /// Errors that the service's operations declare.
    pub errors: &'static [&'static ErrorSchema],
    /// Sorted by name.
    pub operations: &'static [&'static OperationSchema],
}

impl ServiceSchema {
    /// The operation of that name.
    pub fn operation(&self, name: &str) -> Option<&'static OperationSchema> {
        self.operations.binary_search_by(|o| o.name.cmp(name)).ok().map(|i| self.operations[i])
    }

    /// The JSON protocol of this service, if it has one.
    pub fn json(&self) -> Option<Protocol> {
        self.protocols.iter().copied().find(|p| matches!(p, Protocol::Json { .. }))
    }

    /// Whether the service is spoken to in CBOR.
    pub fn speaks_cbor(&self) -> bool {
        self.protocols.contains(&Protocol::Cbor)
    }

    /// The form protocol (query or EC2 query) of this service, if it has one.
    pub fn form(&self) -> Option<Protocol> {
        self.protocols.iter().copied().find(|p| matches!(p, Protocol::Query | Protocol::Ec2))
    }
}

/// An operation of a service.
pub struct OperationSchema {
    /// AWS's name, such as `DescribeAutoScalingGroups`.
    pub name: &'static str,
    /// Whose operation this is.
    pub service: &'static ServiceSchema,
    /// Element between `…Response` and the members in query answers; `None` if the operation answers nothing.
    pub result_wrapper: Option<&'static str>,
    /// Errors the model declares.
    pub errors: &'static [&'static ErrorSchema],
    /// Schema of the request.
    pub input: &'static Schema,
    /// Schema of the answer.
    pub output: &'static Schema,
    /// An empty request, to decode into.
    pub new_input: fn() -> Box<dyn Shape>,
    /// An empty answer, to decode into.
    pub new_output: fn() -> Box<dyn Shape>,
}

impl std::fmt::Debug for OperationSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.service.name, self.name)
    }
}

/// Ties an operation's name to its types. Implemented by a generated marker type per operation.
pub trait Operation: 'static {
    /// The request; `()` if it has no members.
    type Input: Shape + Default;
    /// The answer; `()` if there is none.
    type Output: Shape + Default;
    /// The operation's schema.
    fn schema() -> &'static OperationSchema;
}

/// For `OperationSchema::new_input` and `new_output` of generated statics.
pub fn boxed<T: Shape + Default>() -> Box<dyn Shape> {
    Box::<T>::default()
}

/// An error that the model declares.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorSchema {
    /// Name of the exception's shape, which the JSON protocols send in `__type`.
    pub shape: &'static str,
    /// Code in the query protocols.
    pub code: &'static str,
    /// HTTP status.
    pub status: u16,
    /// Whether the sender is to blame.
    pub sender: bool,
}

/// A shape.
pub struct Schema {
    /// Name in the model.
    pub name: &'static str,
    /// What it is, and of what.
    pub kind: Kind,
    /// Least length, count or value.
    pub min: Option<i64>,
    /// Greatest length, count or value.
    pub max: Option<i64>,
    /// Never repeated in messages.
    pub sensitive: bool,
}

/// The kind of a shape.
pub enum Kind {
    /// Members in the model's order.
    Structure(&'static [Member]),
    /// Items and the name of their XML element (and of their segment in query requests).
    List(&'static Schema, &'static str),
    /// Keys and values.
    Map(&'static Schema, &'static Schema),
    /// Text.
    String(Option<&'static Pattern>, &'static [&'static str]),
    /// `true` or `false`.
    Boolean,
    /// 32 bits, signed.
    Integer,
    /// 64 bits, signed.
    Long,
    /// 32 or 64 bits.
    Double,
    /// A time.
    Timestamp,
    /// Bytes, in base64.
    Blob,
}

/// A member of a structure.
pub struct Member {
    /// Name in the model and in JSON.
    pub name: &'static str,
    /// Name in query requests.
    pub query: &'static str,
    /// Name of the XML element in answers.
    pub xml: &'static str,
    /// The request is invalid without it.
    pub required: bool,
    /// A list without an element (or segment) of its own around the items.
    pub flattened: bool,
    /// The member's shape.
    pub schema: &'static Schema,
}

impl Schema {
    /// Members of a structure, none for other kinds.
    pub fn members(&self) -> &'static [Member] {
        match self.kind {
            Kind::Structure(members) => members,
            _ => &[],
        }
    }

    /// A shape without constraints.
    pub const fn plain(name: &'static str, kind: Kind) -> Schema {
        Schema { name, kind, min: None, max: None, sensitive: false }
    }

    /// A shape with bounds.
    pub const fn bounded(name: &'static str, kind: Kind, min: Option<i64>, max: Option<i64>) -> Schema {
        Schema { name, kind, min, max, sensitive: false }
    }

    /// Marks the value as one never to repeat in messages.
    pub const fn secret(mut self) -> Schema {
        self.sensitive = true;
        self
    }
}

impl Member {
    /// A member that has one name in all protocols.
    pub const fn same(name: &'static str, schema: &'static Schema) -> Member {
        Member { name, query: name, xml: name, required: false, flattened: false, schema }
    }

    /// A member with its names in the model, in query requests and in XML answers.
    pub const fn named(
        name: &'static str,
        query: &'static str,
        xml: &'static str,
        schema: &'static Schema,
    ) -> Member {
        Member { name, query, xml, required: false, flattened: false, schema }
    }

    /// Marks the member as one that requests must have.
    pub const fn required(mut self) -> Member {
        self.required = true;
        self
    }

    /// Marks the list as flattened.
    pub const fn flat(mut self) -> Member {
        self.flattened = true;
        self
    }
}

/// A regular expression of the model, compiled when first needed.
pub struct Pattern {
    /// As the model (and AWS's messages) have it.
    pub source: &'static str,
    /// In the regex crate's dialect, anchored.
    pub translated: &'static str,
    compiled: OnceLock<Option<regex::Regex>>,
}

impl Pattern {
    /// A pattern and its translation.
    pub const fn new(source: &'static str, translated: &'static str) -> Pattern {
        Pattern { source, translated, compiled: OnceLock::new() }
    }

    /// The compiled expression; `None` if the translation is not valid, which a test of the shapes rules out.
    pub fn regex(&self) -> Option<&regex::Regex> {
        self.compiled.get_or_init(|| regex::Regex::new(self.translated).ok()).as_ref()
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex().is_none_or(|r| r.is_match(text))
    }
}

/// The schema of `()`.
pub static UNIT: Schema = Schema::plain("Unit", Kind::Structure(&[]));
/// Text without constraints.
pub static STRING: Schema = Schema::plain("String", Kind::String(None, &[]));
/// A truth value.
pub static BOOLEAN: Schema = Schema::plain("Boolean", Kind::Boolean);
/// A 32-bit integer without bounds.
pub static INTEGER: Schema = Schema::plain("Integer", Kind::Integer);
/// A 64-bit integer without bounds.
pub static LONG: Schema = Schema::plain("Long", Kind::Long);
/// A float without bounds.
pub static DOUBLE: Schema = Schema::plain("Double", Kind::Double);
/// A time.
pub static TIMESTAMP: Schema = Schema::plain("Timestamp", Kind::Timestamp);
/// Bytes.
pub static BLOB: Schema = Schema::plain("Blob", Kind::Blob);
