use serde::{Deserialize, Serialize};

use crate::{Record, Tags, Timestamp};

/// `KeyType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum KeyType {
    Rsa,
    Ed25519,
}

impl KeyType {
    /// EC2's name.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Rsa => "rsa",
            KeyType::Ed25519 => "ed25519",
        }
    }
}

/// A key pair's public half. The private half is handed out once and never kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyPair {
    /// Name, unique in the account.
    pub name: String,
    /// `key-…`.
    pub id: String,
    /// Kind.
    pub key_type: KeyType,
    /// As EC2 computes it: depends on kind and on who made the key.
    pub fingerprint: String,
    /// `ssh-ed25519 AAAA… name`.
    pub public_key: String,
    /// When it was made or imported.
    pub created_at: Timestamp,
    /// Tags.
    pub tags: Tags,
}

impl Record for KeyPair {
    const COLLECTION: &'static str = "ec2-key-pairs";
    const INDEXES: &'static [&'static str] = &["id"];
    fn key(&self) -> String {
        self.name.clone()
    }
    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("id", &self.id);
    }
}
