//! Which error of EC2 each refusal of the inventory is.

use puffer_inventory::images::ImageError;
use puffer_inventory::instances::InstanceError;
use puffer_inventory::launch::LaunchError;
use puffer_inventory::launch_templates::TemplateError;
use puffer_inventory::networks::NetworkError;
use puffer_inventory::security_groups::SecurityGroupError;
use puffer_inventory::tags::TagError;

use crate::ApiError;

/// What a dry run answers when the request would have been carried out.
pub(super) fn dry_run() -> ApiError {
    let mut error =
        ApiError::sender("DryRunOperation", "Request would have succeeded, but DryRun flag is set.");
    error.status = 412;
    error
}

/// `InvalidParameterValue`.
pub(super) fn invalid_value(message: impl Into<String>) -> ApiError {
    ApiError::sender("InvalidParameterValue", message)
}

/// `InvalidParameterCombination`.
pub(super) fn combination(message: impl Into<String>) -> ApiError {
    ApiError::sender("InvalidParameterCombination", message)
}

/// `MissingParameter`.
pub(super) fn missing(name: &str) -> ApiError {
    ApiError::sender("MissingParameter", format!("The request must contain the parameter {name}"))
}

/// `UnsupportedOperation`: something that AWS does and Puffer does not.
pub(super) fn unsupported(what: &str) -> ApiError {
    ApiError::sender("UnsupportedOperation", format!("{what} is not supported by Puffer."))
}

impl From<LaunchError> for ApiError {
    fn from(e: LaunchError) -> Self {
        match e {
            LaunchError::Store(e) => e.into(),
            // EC2 calls a lack of capacity its own fault, and clients try again.
            LaunchError::NoCapacity { .. } => ApiError::receiver(e.code(), e.to_string()),
            other => ApiError::sender(other.code(), other.to_string()),
        }
    }
}

impl From<InstanceError> for ApiError {
    fn from(e: InstanceError) -> Self {
        let code = match &e {
            InstanceError::NotFound(_) => "InvalidInstanceID.NotFound",
            InstanceError::IncorrectState { .. } => "IncorrectInstanceState",
            InstanceError::TerminationProtected(_) | InstanceError::StopProtected(_) => {
                "OperationNotPermitted"
            }
            InstanceError::ZoneDown { .. } => {
                return ApiError::receiver("InsufficientInstanceCapacity", e.to_string());
            }
            InstanceError::OneTimeSpot(_) => "UnsupportedOperation",
            InstanceError::Store(_) => return ApiError::internal(&e),
        };
        ApiError::sender(code, e.to_string())
    }
}

impl From<NetworkError> for ApiError {
    fn from(e: NetworkError) -> Self {
        let code = match &e {
            NetworkError::VpcNotFound(_) => "InvalidVpcID.NotFound",
            NetworkError::SubnetNotFound(_) => "InvalidSubnetID.NotFound",
            NetworkError::VpcRange(_) => "InvalidVpc.Range",
            NetworkError::SubnetRange(_) => "InvalidSubnet.Range",
            NetworkError::SubnetConflict(_) => "InvalidSubnet.Conflict",
            NetworkError::OutsideAddressSpace(_) => "UnsupportedOperation",
            NetworkError::Zone(..) => "InvalidParameterValue",
            NetworkError::InUse { .. } => "DependencyViolation",
            NetworkError::DefaultExists => "DefaultVpcAlreadyExists",
            NetworkError::Limit("VPCs") => "VpcLimitExceeded",
            NetworkError::Limit(_) => "SubnetLimitExceeded",
            NetworkError::Store(_) => return ApiError::internal(&e),
        };
        ApiError::sender(code, e.to_string())
    }
}

impl From<SecurityGroupError> for ApiError {
    fn from(e: SecurityGroupError) -> Self {
        use SecurityGroupError as E;
        let code = match &e {
            E::NotFound(_) | E::NameNotFound { .. } => "InvalidGroup.NotFound",
            E::VpcNotFound(_) => "InvalidVpcID.NotFound",
            E::NoDefaultVpc => "VPCIdNotSpecified",
            E::Duplicate { .. } => "InvalidGroup.Duplicate",
            E::ReservedName(_) => "InvalidGroup.Reserved",
            E::DuplicateRule(_) => "InvalidPermission.Duplicate",
            E::RuleNotFound => "InvalidPermission.NotFound",
            E::RuleIdNotFound(_) => "InvalidSecurityGroupRuleId.NotFound",
            E::InUse(_) => "DependencyViolation",
            E::Default(_) => "CannotDelete",
            E::RuleLimit => "RulesPerSecurityGroupLimitExceeded",
            E::GroupLimit => "SecurityGroupLimitExceeded",
            E::Store(_) => return ApiError::internal(&e),
        };
        ApiError::sender(code, e.to_string())
    }
}

impl From<TemplateError> for ApiError {
    fn from(e: TemplateError) -> Self {
        let code = match e {
            TemplateError::Missing(e) => return e.into(),
            TemplateError::DuplicateName => "InvalidLaunchTemplateName.AlreadyExistsException",
            TemplateError::DefaultVersion(_) => "InvalidParameterCombination",
            TemplateError::Limit("s") => "LaunchTemplateLimitExceeded",
            TemplateError::Limit(_) => "VersionLimitExceeded",
            TemplateError::Store(e) => return e.into(),
        };
        ApiError::sender(code, e.to_string())
    }
}

impl From<ImageError> for ApiError {
    fn from(e: ImageError) -> Self {
        let code = match &e {
            ImageError::NotFound(_) => "InvalidAMIID.NotFound",
            ImageError::DuplicateName { .. } => "InvalidAMIName.Duplicate",
            ImageError::Limit => "ResourceLimitExceeded",
            ImageError::Store(_) => return ApiError::internal(&e),
        };
        ApiError::sender(code, e.to_string())
    }
}

impl From<TagError> for ApiError {
    fn from(e: TagError) -> Self {
        let code = match &e {
            TagError::NotFound(id) => return ApiError::sender(not_found_code(id), e.to_string()),
            TagError::Limit(_) => "TagLimitExceeded",
            TagError::Store(_) => return ApiError::internal(&e),
        };
        ApiError::sender(code, e.to_string())
    }
}

/// The error for an id that names nothing, by the kind of id.
fn not_found_code(id: &str) -> &'static str {
    match id.rsplit_once('-').map(|(prefix, _)| prefix) {
        Some("i") => "InvalidInstanceID.NotFound",
        Some("ami") => "InvalidAMIID.NotFound",
        Some("vpc") => "InvalidVpcID.NotFound",
        Some("subnet") => "InvalidSubnetID.NotFound",
        Some("sg") => "InvalidGroup.NotFound",
        Some("sgr") => "InvalidSecurityGroupRuleId.NotFound",
        Some("lt") => "InvalidLaunchTemplateId.NotFound",
        Some("vol") => "InvalidVolume.NotFound",
        Some("eni") => "InvalidNetworkInterfaceID.NotFound",
        Some("key") => "InvalidKeyPair.NotFound",
        _ => "InvalidID",
    }
}
