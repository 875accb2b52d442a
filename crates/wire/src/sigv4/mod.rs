//! AWS Signature Version 4, verified and made: the `Authorization` header and presigned query strings. And its
//! predecessors, versions 2 and 1, for the clients that know nothing newer.
//!
//! A signature covers the method, path, query, chosen headers and the body's hash. The body's hash is always computed from
//! the body itself, as AWS does for all services but S3, so a client that signs `UNSIGNED-PAYLOAD` does not pass. The scope's
//! region and service are taken as the client sends them: which service is called follows from the request (see
//! [`crate::route`]), and any scope proves possession of the same secret.

mod canonical;
mod claim;
mod faults;
mod query_signature;
#[cfg(test)]
mod query_signature_tests;
mod sign;
mod verify;

pub use claim::scope_service;
pub use faults::Family;
pub use query_signature::Oldest;
pub use sign::{Signer, sign};
pub use verify::{Identity, SecretSource, Verifier};

/// The only algorithm.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Greatest difference between the server's clock and a request's date, in milliseconds.
pub const CLOCK_SKEW_MS_MAX: i64 = 5 * 60 * 1000;
/// Greatest life of a presigned request, in seconds: a week.
pub const PRESIGNED_LIFE_S_MAX: i64 = 604_800;

#[cfg(test)]
mod tests;
