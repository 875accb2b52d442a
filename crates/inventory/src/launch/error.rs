use std::net::Ipv4Addr;

use puffer_core::ErrorClass;
use puffer_core::ec2::Price;
use puffer_store::StoreError;

/// Why nothing was launched. The texts are shown to users, in answers and in activities.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum LaunchError {
    #[error("The image id '[{0}]' does not exist")]
    ImageNotFound(String),
    #[error("Invalid id: \"{0}\" (expecting \"ami-...\")")]
    ImageMalformed(String),
    #[error("The image ID '{0}' is not available")]
    ImageUnavailable(String),
    #[error("The parameter '{0}' that should name the image does not exist")]
    ImageParameter(String),
    #[error("The request must contain the parameter {0}")]
    Missing(&'static str),
    #[error("Invalid value '{0}' for InstanceType.")]
    InstanceType(String),
    #[error("The key pair '{0}' does not exist")]
    KeyPairNotFound(String),
    #[error("The security group '{0}' does not exist")]
    GroupNotFound(String),
    #[error("The security group '{name}' does not exist in VPC '{vpc_id}'")]
    GroupNameNotFound { name: String, vpc_id: String },
    #[error("Security group {group} and subnet {subnet} belong to different networks.")]
    OtherNetwork { group: String, subnet: String },
    #[error("At most {0} security groups can be given to an instance.")]
    TooManyGroups(usize),
    #[error("The subnet ID '{0}' does not exist")]
    SubnetNotFound(String),
    #[error("Invalid availability zone: [{0}]")]
    Zone(String),
    #[error("Subnet {subnet} is in zone {zone}, not in {wanted}.")]
    OtherZone { subnet: String, zone: String, wanted: String },
    #[error("No default VPC for this user")]
    NoDefaultVpc,
    #[error("No default subnet for availability zone: '{0}'.")]
    NoDefaultSubnet(String),
    #[error(
        "There are not enough free addresses in subnet '{0}' to satisfy the requested number of instances."
    )]
    NoFreeAddress(String),
    #[error("Address {0} is in use.")]
    AddressInUse(Ipv4Addr),
    #[error("Address {0} does not fall within the subnet's address range")]
    AddressOutside(Ipv4Addr),
    #[error("{0}")]
    Combination(String),
    #[error("{0}")]
    Value(String),
    #[error("{0}")]
    Unsupported(String),
    #[error("You have requested more instances ({0}) than one launch may have ({1}).")]
    TooMany(u32, u32),
    #[error("The specified launch template, with template ID {0}, does not exist.")]
    TemplateIdNotFound(String),
    #[error("The specified launch template, with template name {0}, does not exist.")]
    TemplateNameNotFound(String),
    #[error("Could not find the specified version {version} for the launch template with ID {id}.")]
    TemplateVersionNotFound { id: String, version: String },
    #[error(
        "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
    )]
    TokenMismatch,
    #[error(
        "There is not enough {instance_type} capacity in zone {zone} now. Another zone, another type or a later time may do."
    )]
    NoCapacity { instance_type: String, zone: String },
    #[error(
        "Your Spot request price of {given} is lower than the minimum required Spot request fulfillment price of {price}."
    )]
    SpotPriceTooLow { given: Price, price: Price },
    #[error("Max spot instance count exceeded: the account may have {0} Spot instances.")]
    TooManySpot(u32),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LaunchError {
    /// EC2's error code.
    pub fn code(&self) -> &'static str {
        use LaunchError as E;
        match self {
            E::ImageNotFound(_) => "InvalidAMIID.NotFound",
            E::ImageMalformed(_) => "InvalidAMIID.Malformed",
            E::ImageUnavailable(_) => "InvalidAMIID.Unavailable",
            E::ImageParameter(_) => "InvalidParameterValue",
            E::Missing(_) => "MissingParameter",
            E::InstanceType(_) | E::Zone(_) | E::AddressOutside(_) | E::Value(_) | E::OtherZone { .. } => {
                "InvalidParameterValue"
            }
            E::KeyPairNotFound(_) => "InvalidKeyPair.NotFound",
            E::GroupNotFound(_) | E::GroupNameNotFound { .. } => "InvalidGroup.NotFound",
            E::OtherNetwork { .. } => "InvalidParameter",
            E::TooManyGroups(_) => "SecurityGroupsPerInstanceLimitExceeded",
            E::SubnetNotFound(_) => "InvalidSubnetID.NotFound",
            E::NoDefaultVpc => "VPCIdNotSpecified",
            E::NoDefaultSubnet(_) => "MissingInput",
            E::NoFreeAddress(_) => "InsufficientFreeAddressesInSubnet",
            E::AddressInUse(_) => "InvalidIPAddress.InUse",
            E::Combination(_) => "InvalidParameterCombination",
            E::Unsupported(_) => "UnsupportedOperation",
            E::TooMany(..) => "InstanceLimitExceeded",
            E::TemplateIdNotFound(_) => "InvalidLaunchTemplateId.NotFound",
            E::TemplateNameNotFound(_) => "InvalidLaunchTemplateName.NotFoundException",
            E::TemplateVersionNotFound { .. } => "InvalidLaunchTemplateId.VersionNotFound",
            E::NoCapacity { .. } => "InsufficientInstanceCapacity",
            E::SpotPriceTooLow { .. } => "SpotMaxPriceTooLow",
            E::TooManySpot(_) => "MaxSpotInstanceCountExceeded",
            E::TokenMismatch => "IdempotentParameterMismatch",
            E::Store(_) => "InternalError",
        }
    }

    /// Class for retry decisions.
    pub fn class(&self) -> ErrorClass {
        match self {
            LaunchError::NoFreeAddress(_)
            | LaunchError::TooMany(..)
            | LaunchError::NoCapacity { .. }
            | LaunchError::SpotPriceTooLow { .. }
            | LaunchError::TooManySpot(_) => ErrorClass::Capacity,
            LaunchError::Store(e) => e.class(),
            _ => ErrorClass::Permanent,
        }
    }
}
