//! The reduced service models: what model-import writes and codegen reads.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// `models/select.toml`.
#[derive(Deserialize)]
pub(crate) struct Selection {
    pub(crate) source: Source,
    pub(crate) service: BTreeMap<String, Selected>,
}

/// The package the models come from.
#[derive(Deserialize)]
pub(crate) struct Source {
    pub(crate) package: String,
    pub(crate) version: String,
}

/// What to take of one service.
#[derive(Deserialize)]
pub(crate) struct Selected {
    /// The model is not imported but written by hand.
    #[serde(default)]
    pub(crate) by_hand: bool,
    /// Path of the model below the package's `data` folder.
    #[serde(default)]
    pub(crate) model: String,
    /// Service name in SigV4 scopes.
    pub(crate) signing_name: String,
    /// Names, or `*` for all.
    #[serde(default)]
    pub(crate) operations: Vec<String>,
    /// Enumerations to treat as plain text.
    #[serde(default)]
    pub(crate) open_enums: BTreeSet<String>,
}

/// Reads the selection.
pub(crate) fn selection() -> Result<Selection> {
    let path = crate::root().join("models/select.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

/// One service's model. Unknown keys (prose among them) are dropped by reading into this.
#[derive(Serialize, Deserialize)]
pub(crate) struct Model {
    #[serde(default)]
    pub(crate) provenance: Provenance,
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

/// Where a model comes from.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
pub(crate) struct Provenance {
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) file: String,
    pub(crate) sha256: String,
    pub(crate) signing_name: String,
}

/// Facts about the service.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) service_id: String,
    pub(crate) protocols: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) json_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) xml_namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) aws_query_compatible: Option<serde_json::Value>,
}

/// An operation.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Reference>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<Reference>,
}

/// A use of a shape.
#[derive(Serialize, Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query_name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) flattened: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result_wrapper: Option<String>,
}

/// A shape.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// In the model's order, which is the order of XML answers.
    #[serde(default, skip_serializing_if = "Members::is_empty")]
    pub(crate) members: Members,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) required: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Reference>,
    #[serde(rename = "enum", default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pattern: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sensitive: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) flattened: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) location_name: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) exception: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorTrait>,
}

/// How an exception looks on the wire.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorTrait {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) http_status_code: Option<u16>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) sender_fault: bool,
}

/// A map that keeps the file's order.
#[derive(Default)]
pub(crate) struct Members(pub(crate) Vec<(String, Reference)>);

impl Members {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Members {
    fn serialize<S: serde::Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        s.collect_map(self.0.iter().map(|(k, v)| (k, v)))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a map of members")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    members.push(entry);
                }
                Ok(Members(members))
            }
        }
        d.deserialize_map(Visitor)
    }
}

impl Model {
    /// Keeps the named operations and the shapes they reach.
    pub(crate) fn reduce(&mut self, keep: &Selected) -> Result<()> {
        if keep.operations != ["*"] {
            for name in &keep.operations {
                anyhow::ensure!(self.operations.contains_key(name), "no operation {name} in {}", keep.model);
            }
            self.operations.retain(|name, _| keep.operations.contains(name));
        }
        let mut reached = BTreeSet::new();
        let mut todo: Vec<String> = self
            .operations
            .values()
            .flat_map(|o| o.input.iter().chain(&o.output).chain(&o.errors))
            .map(|r| r.shape.clone())
            .collect();
        while let Some(name) = todo.pop() {
            let shape = self.shapes.get(&name).with_context(|| format!("no shape {name}"))?;
            if reached.insert(name) && !shape.exception {
                let refs = shape.members.0.iter().map(|(_, r)| r).chain(&shape.member);
                todo.extend(refs.chain(&shape.key).chain(&shape.value).map(|r| r.shape.clone()));
            }
        }
        self.shapes.retain(|name, _| reached.contains(name));
        for (name, shape) in &mut self.shapes {
            if keep.open_enums.contains(name) {
                shape.values.clear();
            }
            if shape.exception {
                shape.members.0.clear();
                shape.required.clear();
            }
        }
        Ok(())
    }
}
