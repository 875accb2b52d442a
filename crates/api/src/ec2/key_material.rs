//! Making keys, reading public keys, and the four fingerprints EC2 has for them (EC2 user guide, "Verify the fingerprint"):
//! an RSA pair that EC2 made is named by the SHA-1 of its private key, an RSA key that was imported by the MD5 of its public
//! key (both in DER), an Ed25519 key by the SHA-256 that OpenSSH shows.

use md5::Md5;
use puffer_core::ec2::KeyType;
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::{EncodePrivateKey, EncodePublicKey};
use sha1::{Digest, Sha1};
use ssh_key::public::KeyData;
use ssh_key::rand_core::OsRng;
use ssh_key::{Algorithm, HashAlg, LineEnding, PrivateKey, PublicKey};

/// Bits of RSA keys that EC2 makes.
const RSA_BITS: usize = 2048;
/// Bytes of a public key's text that are looked at.
const PUBLIC_KEY_BYTES_MAX: usize = 16 * 1024;

/// A new key pair.
pub(super) struct Material {
    /// PKCS#1 for RSA, OpenSSH's form for Ed25519, as EC2 gives them.
    pub(super) private_pem: String,
    /// One line in OpenSSH's form.
    pub(super) public_key: String,
    /// As EC2 computes it.
    pub(super) fingerprint: String,
}

/// A key that could not be made or read. Says nothing of the key itself.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyError {
    #[error("Key is not in valid OpenSSH public key format")]
    Format,
    #[error("A key of this kind is not supported: use RSA or Ed25519")]
    Kind,
    #[error("a key could not be made")]
    Make,
}

/// `1f:51:…`, as EC2 shows the fingerprints of RSA keys.
fn with_colons(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

/// Base64 of the SHA-256, as OpenSSH has it but with EC2's padding.
fn sha256(key: &PublicKey) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(key.fingerprint(HashAlg::Sha256).as_bytes())
}

/// Makes a key pair. Randomness comes from the operating system: this is the one place where it must not be predictable.
pub(super) fn generate(key_type: KeyType, comment: &str) -> Result<Material, KeyError> {
    let make = |_| KeyError::Make;
    match key_type {
        KeyType::Ed25519 => {
            let mut key = PrivateKey::random(&mut OsRng, Algorithm::Ed25519).map_err(make)?;
            key.set_comment(comment);
            Ok(Material {
                private_pem: key.to_openssh(LineEnding::LF).map_err(make)?.to_string(),
                public_key: key.public_key().to_openssh().map_err(make)?,
                fingerprint: sha256(key.public_key()),
            })
        }
        KeyType::Rsa => {
            let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS).map_err(|_| KeyError::Make)?;
            let der = key.to_pkcs8_der().map_err(|_| KeyError::Make)?;
            let pem = key.to_pkcs1_pem(LineEnding::LF).map_err(|_| KeyError::Make)?;
            let public = ssh_key::public::RsaPublicKey::try_from(key.to_public_key()).map_err(make)?;
            let public = PublicKey::new(KeyData::Rsa(public), comment);
            Ok(Material {
                private_pem: pem.to_string(),
                public_key: public.to_openssh().map_err(make)?,
                fingerprint: with_colons(&Sha1::digest(der.as_bytes())),
            })
        }
    }
}

/// Reads a public key in OpenSSH's form: its kind, its line with `name` for a comment if it has none, its fingerprint.
pub(super) fn import(material: &[u8], name: &str) -> Result<(KeyType, String, String), KeyError> {
    if material.len() > PUBLIC_KEY_BYTES_MAX {
        return Err(KeyError::Format);
    }
    let text = std::str::from_utf8(material).map_err(|_| KeyError::Format)?;
    let mut key = PublicKey::from_openssh(text.trim()).map_err(|_| KeyError::Format)?;
    if key.comment().is_empty() {
        key.set_comment(name);
    }
    let line = key.to_openssh().map_err(|_| KeyError::Format)?;
    match key.key_data() {
        KeyData::Ed25519(_) => Ok((KeyType::Ed25519, line, sha256(&key))),
        KeyData::Rsa(public) => {
            let public = rsa::RsaPublicKey::try_from(public).map_err(|_| KeyError::Format)?;
            let der = public.to_public_key_der().map_err(|_| KeyError::Format)?;
            Ok((KeyType::Rsa, line, with_colons(&Md5::digest(der.as_bytes()))))
        }
        _ => Err(KeyError::Kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ed25519_pairs_match_and_import() {
        let made = generate(KeyType::Ed25519, "web").unwrap();
        assert!(made.private_pem.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----"));
        let private = PrivateKey::from_openssh(&made.private_pem).unwrap();
        assert_eq!(private.public_key().to_openssh().unwrap(), made.public_key);
        let (key_type, line, fingerprint) = import(made.public_key.as_bytes(), "other").unwrap();
        assert_eq!((key_type, &line, &fingerprint), (KeyType::Ed25519, &made.public_key, &made.fingerprint));
    }

    #[test]
    fn rsa_pairs_have_the_forms_of_ec2() {
        let made = generate(KeyType::Rsa, "web").unwrap();
        assert!(made.private_pem.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
        assert!(made.public_key.starts_with("ssh-rsa ") && made.public_key.ends_with(" web"));
        assert_eq!(made.fingerprint.len(), 20 * 3 - 1);
        let (key_type, _, fingerprint) = import(made.public_key.as_bytes(), "web").unwrap();
        assert_eq!((key_type, fingerprint.len()), (KeyType::Rsa, 16 * 3 - 1));
    }

    #[test]
    fn nonsense_is_refused() {
        let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHwf2HMM5TRXvo2SQJjsNkiDD5KqiiNjrGVv3UUh+mMT5RHxiRtOnlqvjhQtBq0VpmpCV/PwUdhOig4vkbqAcEc= x";
        for bad in ["", "hello", "ssh-rsa AAAA", "-----BEGIN PUBLIC KEY-----"] {
            assert!(matches!(import(bad.as_bytes(), "x"), Err(KeyError::Format)), "{bad}");
        }
        assert!(import(ecdsa.as_bytes(), "x").is_err());
        assert!(import(&[0xff; 40], "x").is_err());
        assert!(import(&vec![b'a'; PUBLIC_KEY_BYTES_MAX + 1], "x").is_err());
    }
}
