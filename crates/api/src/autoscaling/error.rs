use puffer_inventory::group_members::MemberError;
use puffer_inventory::groups::GroupError;
use puffer_inventory::launch::LaunchError;
use puffer_store::StoreError;

use crate::ApiError;

impl From<GroupError> for ApiError {
    fn from(error: GroupError) -> Self {
        let text = error.to_string();
        match error {
            GroupError::Cooldown(_) => ApiError::sender("ScalingActivityInProgress", text),
            GroupError::Deleting(_) => ApiError::sender("ScalingActivityInProgress", text),
            GroupError::Store(error) => ApiError::internal(&error),
            GroupError::NotFound(_)
            | GroupError::BelowMin { .. }
            | GroupError::AboveMax { .. }
            | GroupError::NoMember(_) => ApiError::validation(text),
        }
    }
}

impl From<MemberError> for ApiError {
    fn from(error: MemberError) -> Self {
        match error {
            MemberError::Group(error) => error.into(),
            MemberError::Store(error) => ApiError::internal(&error),
            other => ApiError::validation(other.to_string()),
        }
    }
}

/// A fault of this room's transactions: what the API says, or the disk's.
#[derive(Debug)]
pub(super) enum Refused {
    Api(ApiError),
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(e: StoreError) -> Self {
        Refused::Store(e)
    }
}

impl From<ApiError> for Refused {
    fn from(e: ApiError) -> Self {
        Refused::Api(e)
    }
}

impl From<GroupError> for Refused {
    fn from(e: GroupError) -> Self {
        Refused::Api(e.into())
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Api(error) => error,
            Refused::Store(error) => ApiError::internal(&error),
        }
    }
}

/// A launch that this service would make cannot be made: a `ValidationError` with EC2's text, as on AWS.
pub(super) fn launch(error: &LaunchError) -> ApiError {
    match error {
        LaunchError::Store(e) => ApiError::internal(e),
        other => ApiError::validation(other.to_string()),
    }
}

/// Named, refused, nothing stored: what Puffer does not do yet.
pub(super) fn unsupported(what: &str) -> ApiError {
    ApiError::sender("UnsupportedOperation", format!("{what} is not supported by Puffer yet."))
}

/// A required parameter that the model's check lets through only when it is present.
pub(super) fn required<T>(value: Option<T>, name: &str) -> Result<T, ApiError> {
    value.ok_or_else(|| {
        ApiError::validation(format!(
            "1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
        ))
    })
}

/// A count or a number of seconds: an integer that must not be negative.
pub(super) fn natural(value: i32, name: &str) -> Result<u32, ApiError> {
    u32::try_from(value)
        .map_err(|_| ApiError::validation(format!("{name} must not be negative, but is {value}.")))
}
