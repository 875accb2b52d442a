//! What a denied request is told. Three families of services have three sets of codes and statuses.

use crate::fault::Fault;
use crate::schema::Protocol;

/// How a family of services words its denials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AuthFailure`, 401.
    Ec2,
    /// `InvalidClientTokenId` and others, 403.
    Query,
    /// The same, by their names in JSON (and CBOR), 400.
    Json,
}

impl From<Protocol> for Family {
    fn from(protocol: Protocol) -> Family {
        match protocol {
            Protocol::Ec2 => Family::Ec2,
            Protocol::Query => Family::Query,
            Protocol::Json { .. } | Protocol::Cbor => Family::Json,
        }
    }
}

/// Why a request is denied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// Not signed at all.
    Missing,
    /// Signed, but not wholly.
    Incomplete(String),
    /// The key id is not known.
    UnknownKey,
    /// The signature is not the one expected.
    Mismatch(String),
    /// Dated too early or too late.
    Expired(String),
}

const MISMATCH: &str = "The request signature we calculated does not match the signature you provided. Check your AWS \
                        Secret Access Key and signing method. Consult the service documentation for details.";

impl Denial {
    pub(super) fn incomplete(why: &str) -> Denial {
        Denial::Incomplete(why.to_owned())
    }

    pub(super) fn mismatch() -> Denial {
        Denial::Mismatch(MISMATCH.to_owned())
    }

    /// In the family's words. Codes are those of the query protocol; JSON answers translate them.
    pub(super) fn fault(self, family: Family) -> Fault {
        if family == Family::Ec2 {
            return match self {
                Denial::Expired(_) => Fault::sender("RequestExpired", "Request has expired."),
                Denial::Incomplete(why) => Fault::sender("AuthFailure", why).with_status(401),
                _ => Fault::sender(
                    "AuthFailure",
                    "AWS was not able to validate the provided access credentials",
                )
                .with_status(401),
            };
        }
        let status = if family == Family::Json { 400 } else { 403 };
        match self {
            Denial::Missing => {
                Fault::sender("MissingAuthenticationToken", "Request is missing Authentication Token")
                    .with_status(status)
            }
            Denial::Incomplete(why) => Fault::sender("IncompleteSignature", why),
            Denial::UnknownKey => Fault::sender(
                "InvalidClientTokenId",
                "The security token included in the request is invalid.",
            )
            .with_status(status),
            Denial::Mismatch(why) | Denial::Expired(why) => {
                Fault::sender("SignatureDoesNotMatch", why).with_status(status)
            }
        }
    }
}
