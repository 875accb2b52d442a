//! Key pairs. A private key made here is handed out once, in the forms AWS has, and never kept.

use std::sync::Arc;

use puffer_core::ec2::{KeyPair, KeyType};
use puffer_core::{Tags, ids};
use puffer_shapes::ec2 as shapes;

use super::error::{dry_run, invalid_value, missing, unsupported};
use super::filter::{Field, Filters};
use super::key_material::{self, Material};
use super::parts::{required, s, show_tags, tags_of_kind, time};
use crate::{ApiError, Ctx};

/// Characters of a name (EC2's limit).
const NAME_CHARS_MAX: usize = 255;
/// Key pairs in an account (AWS's quota in a region).
const KEY_PAIRS_MAX: usize = 5_000;

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.chars().count() > NAME_CHARS_MAX || !name.chars().all(|c| (' '..='~').contains(&c)) {
        return Err(invalid_value(format!(
            "Value ({name}) for parameter KeyName is invalid. Up to {NAME_CHARS_MAX} printable ASCII characters are allowed."
        )));
    }
    Ok(())
}

fn not_found(name: &str) -> ApiError {
    ApiError::sender("InvalidKeyPair.NotFound", format!("The key pair '{name}' does not exist"))
}

struct New {
    name: String,
    key_type: KeyType,
    fingerprint: String,
    public_key: String,
    tags: Tags,
    dry: bool,
}

async fn record(cx: &Ctx, new: New) -> Result<Arc<KeyPair>, ApiError> {
    let now = cx.clock.now();
    cx.store
        .transact::<_, ApiError>(|tx| {
            if tx.get::<KeyPair>(&new.name).is_some() {
                return Err(ApiError::sender(
                    "InvalidKeyPair.Duplicate",
                    format!("The keypair '{}' already exists.", new.name),
                ));
            }
            if tx.reader().count::<KeyPair>() >= KEY_PAIRS_MAX {
                return Err(ApiError::sender(
                    "ResourceLimitExceeded",
                    "The maximum number of key pairs has been reached.",
                ));
            }
            if new.dry {
                return Err(dry_run());
            }
            Ok(tx.put(KeyPair {
                name: new.name,
                id: ids::resource_id("key", &mut **cx.rng.lock()),
                key_type: new.key_type,
                fingerprint: new.fingerprint,
                public_key: new.public_key,
                created_at: now,
                tags: new.tags,
            }))
        })
        .await
}

pub(super) async fn create(
    cx: Arc<Ctx>,
    input: shapes::CreateKeyPairInput,
) -> Result<shapes::CreateKeyPairOutput, ApiError> {
    let name = required(input.key_name, "KeyName")?;
    check_name(&name)?;
    let key_type = match input.key_type.as_deref() {
        None | Some("" | "rsa") => KeyType::Rsa,
        Some("ed25519") => KeyType::Ed25519,
        Some(other) => {
            return Err(invalid_value(format!("Value ({other}) for parameter KeyType is invalid.")));
        }
    };
    match input.key_format.as_deref() {
        None | Some("" | "pem") => {}
        Some("ppk") => return Err(unsupported("The PuTTY format of keys")),
        Some(other) => {
            return Err(invalid_value(format!("Value ({other}) for parameter KeyFormat is invalid.")));
        }
    }
    let tags = tags_of_kind(input.tag_specifications, "key-pair")?;
    if cx.store.get::<KeyPair>(&name).is_some() {
        // Said before the work of making a key; the transaction says it again for certain.
        return Err(ApiError::sender(
            "InvalidKeyPair.Duplicate",
            format!("The keypair '{name}' already exists."),
        ));
    }
    // A large prime takes a while to find: not on a thread that serves requests.
    let comment = name.clone();
    let made = tokio::task::spawn_blocking(move || key_material::generate(key_type, &comment)).await;
    let Material { private_pem, public_key, fingerprint } =
        made.map_err(|e| ApiError::internal(&e))?.map_err(|e| ApiError::internal(&e))?;
    let dry = input.dry_run == Some(true);
    let pair = record(&cx, New { name, key_type, fingerprint, public_key, tags, dry }).await?;
    Ok(shapes::CreateKeyPairOutput {
        key_pair_id: s(&pair.id),
        tags: show_tags(&pair.tags),
        key_name: s(&pair.name),
        key_fingerprint: s(&pair.fingerprint),
        key_material: Some(private_pem),
    })
}

pub(super) async fn import(
    cx: Arc<Ctx>,
    input: shapes::ImportKeyPairInput,
) -> Result<shapes::ImportKeyPairOutput, ApiError> {
    let name = required(input.key_name, "KeyName")?;
    check_name(&name)?;
    let material = input.public_key_material.map(|b| b.0).unwrap_or_default();
    if material.is_empty() {
        return Err(missing("PublicKeyMaterial"));
    }
    let (key_type, public_key, fingerprint) = key_material::import(&material, &name)
        .map_err(|e| ApiError::sender("InvalidKey.Format", e.to_string()))?;
    let tags = tags_of_kind(input.tag_specifications, "key-pair")?;
    let dry = input.dry_run == Some(true);
    let pair = record(&cx, New { name, key_type, fingerprint, public_key, tags, dry }).await?;
    Ok(shapes::ImportKeyPairOutput {
        key_fingerprint: s(&pair.fingerprint),
        key_name: s(&pair.name),
        key_pair_id: s(&pair.id),
        tags: show_tags(&pair.tags),
    })
}

pub(super) async fn delete(
    cx: Arc<Ctx>,
    input: shapes::DeleteKeyPairInput,
) -> Result<shapes::DeleteKeyPairOutput, ApiError> {
    let (name, id) = (input.key_name.filter(|n| !n.is_empty()), input.key_pair_id.filter(|i| !i.is_empty()));
    if name.is_none() && id.is_none() {
        return Err(missing("KeyName"));
    }
    let gone = cx
        .store
        .transact::<_, ApiError>(|tx| {
            let pair = match (&name, &id) {
                (Some(name), _) => tx.get::<KeyPair>(name),
                (None, id) => tx.list_by::<KeyPair>("id", id.as_deref().unwrap_or_default()).pop(),
            };
            if let Some(pair) = &pair {
                tx.delete::<KeyPair>(&pair.name);
            } else if let (None, Some(id)) = (&name, &id) {
                return Err(not_found(id));
            }
            if input.dry_run == Some(true) { Err(dry_run()) } else { Ok(pair) }
        })
        .await?;
    // Deleting a name that no pair has is fine, as on AWS.
    Ok(shapes::DeleteKeyPairOutput { return_: Some(true), key_pair_id: gone.map(|p| p.id.clone()) })
}

pub(super) async fn describe(
    cx: Arc<Ctx>,
    input: shapes::DescribeKeyPairsInput,
) -> Result<shapes::DescribeKeyPairsOutput, ApiError> {
    let filters = Filters::parse(input.filters, &["fingerprint", "key-name", "key-pair-id", "key-type"])?;
    let (names, key_ids) = (input.key_names.unwrap_or_default(), input.key_pair_ids.unwrap_or_default());
    let with_public = input.include_public_key == Some(true);
    cx.store.read(|r| {
        if let Some(unknown) = names.iter().find(|n| r.get::<KeyPair>(n).is_none()) {
            return Err(not_found(unknown));
        }
        if let Some(unknown) = key_ids.iter().find(|id| r.list_by::<KeyPair>("id", id).is_empty()) {
            return Err(not_found(unknown));
        }
        if input.dry_run == Some(true) {
            return Err(dry_run());
        }
        let no_choice = names.is_empty() && key_ids.is_empty();
        let matching = r.iter::<KeyPair>().filter(|p| {
            (no_choice || names.contains(&p.name) || key_ids.contains(&p.id))
                && filters.matches(&p.tags, |name| match name {
                    "fingerprint" => Field::from(p.fingerprint.as_str()),
                    "key-name" => p.name.as_str().into(),
                    "key-pair-id" => p.id.as_str().into(),
                    _ => p.key_type.name().into(),
                })
        });
        let show = |p: &Arc<KeyPair>| shapes::KeyPairInfo {
            key_pair_id: s(&p.id),
            key_type: s(p.key_type.name()),
            tags: show_tags(&p.tags),
            public_key: with_public.then(|| p.public_key.clone()),
            create_time: time(p.created_at),
            key_name: s(&p.name),
            key_fingerprint: s(&p.fingerprint),
        };
        Ok(shapes::DescribeKeyPairsOutput { key_pairs: Some(matching.map(show).collect()) })
    })
}
