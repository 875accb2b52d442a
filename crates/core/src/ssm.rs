//! Public parameters: names for image ids, as launch templates and scripts look them up.

use serde::{Deserialize, Serialize};

use crate::{Record, Timestamp};

/// A parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parameter {
    /// `/puffer/images/debian/latest`.
    pub name: String,
    /// Its value, an image id.
    pub value: String,
    /// Grows with each change, from 1.
    pub version: i64,
    /// When it last changed.
    pub modified_at: Timestamp,
}

impl Record for Parameter {
    const COLLECTION: &'static str = "ssm-parameters";
    fn key(&self) -> String {
        self.name.clone()
    }
}
