//! EC2: instances and all they need. A request is checked, becomes one store transaction and is answered; `instance_converge` and
//! `image_build` see the records and act.
//!
//! What EC2 does and Puffer does not answers `UnsupportedOperation` and says what; operations without a handler answer
//! `InvalidAction`.

mod error;
mod filter;
mod images;
mod instance_attributes;
mod instance_status;
mod instance_types;
mod instance_view;
mod instances;
mod key_material;
mod key_pairs;
mod launch_template_data;
mod launch_templates;
mod network_views;
mod page;
mod parts;
mod regions;
mod root_volumes;
mod run_instances;
mod security_group_rules;
mod security_groups;
mod spot;
mod subnets;
mod tags;
#[cfg(test)]
mod tests;
mod volumes;
mod vpcs;

use puffer_shapes::ec2 as shapes;

use crate::Registry;

/// Serves the operations of this service.
pub(crate) fn register(registry: &mut Registry) {
    registry.serve::<shapes::RunInstances, _>(run_instances::run);
    registry.serve::<shapes::DescribeInstances, _>(instances::describe);
    registry.serve::<shapes::StartInstances, _>(instances::start);
    registry.serve::<shapes::StopInstances, _>(instances::stop);
    registry.serve::<shapes::RebootInstances, _>(instances::reboot);
    registry.serve::<shapes::TerminateInstances, _>(instances::terminate);
    registry.serve::<shapes::GetConsoleOutput, _>(instances::get_console_output);
    registry.serve::<shapes::DescribeInstanceStatus, _>(instance_status::describe);
    registry.serve::<shapes::DescribeInstanceAttribute, _>(instance_attributes::describe);
    registry.serve::<shapes::ModifyInstanceAttribute, _>(instance_attributes::modify);
    registry.serve::<shapes::ModifyInstanceMetadataOptions, _>(instance_attributes::modify_metadata);
    registry.serve::<shapes::DescribeInstanceCreditSpecifications, _>(instance_attributes::describe_credits);
    registry.serve::<shapes::MonitorInstances, _>(instance_attributes::monitor);
    registry.serve::<shapes::UnmonitorInstances, _>(instance_attributes::unmonitor);
    registry.serve::<shapes::DescribeInstanceTypes, _>(instance_types::describe);
    registry.serve::<shapes::DescribeInstanceTypeOfferings, _>(instance_types::describe_offerings);
    registry.serve::<shapes::GetInstanceTypesFromInstanceRequirements, _>(instance_types::of_requirements);
    registry.serve::<shapes::DescribeSpotPriceHistory, _>(spot::price_history);
    registry.serve::<shapes::DescribeSpotInstanceRequests, _>(spot::requests);
    registry.serve::<shapes::CancelSpotInstanceRequests, _>(spot::cancel);
    registry.serve::<shapes::DescribeRegions, _>(regions::describe);
    registry.serve::<shapes::DescribeAvailabilityZones, _>(regions::describe_zones);
    registry.serve::<shapes::DescribeAccountAttributes, _>(regions::describe_account_attributes);
    registry.serve::<shapes::CreateVpc, _>(vpcs::create);
    registry.serve::<shapes::CreateDefaultVpc, _>(vpcs::create_default);
    registry.serve::<shapes::DeleteVpc, _>(vpcs::delete);
    registry.serve::<shapes::DescribeVpcs, _>(vpcs::describe);
    registry.serve::<shapes::DescribeVpcAttribute, _>(vpcs::describe_attribute);
    registry.serve::<shapes::ModifyVpcAttribute, _>(vpcs::modify_attribute);
    registry.serve::<shapes::CreateSubnet, _>(subnets::create);
    registry.serve::<shapes::DeleteSubnet, _>(subnets::delete);
    registry.serve::<shapes::DescribeSubnets, _>(subnets::describe);
    registry.serve::<shapes::ModifySubnetAttribute, _>(subnets::modify_attribute);
    registry.serve::<shapes::DescribeRouteTables, _>(network_views::describe_route_tables);
    registry.serve::<shapes::DescribeInternetGateways, _>(network_views::describe_internet_gateways);
    registry.serve::<shapes::DescribeNetworkAcls, _>(network_views::describe_network_acls);
    registry.serve::<shapes::DescribeNetworkInterfaces, _>(network_views::describe_network_interfaces);
    registry.serve::<shapes::DescribeAddresses, _>(network_views::describe_addresses);
    registry.serve::<shapes::DescribeVolumes, _>(volumes::describe);
    registry.serve::<shapes::DescribeSnapshots, _>(volumes::describe_snapshots);
    registry.serve::<shapes::CreateSecurityGroup, _>(security_groups::create);
    registry.serve::<shapes::DeleteSecurityGroup, _>(security_groups::delete);
    registry.serve::<shapes::DescribeSecurityGroups, _>(security_groups::describe);
    registry.serve::<shapes::DescribeSecurityGroupRules, _>(security_group_rules::describe);
    registry.serve::<shapes::AuthorizeSecurityGroupIngress, _>(security_group_rules::authorize_ingress);
    registry.serve::<shapes::AuthorizeSecurityGroupEgress, _>(security_group_rules::authorize_egress);
    registry.serve::<shapes::RevokeSecurityGroupIngress, _>(security_group_rules::revoke_ingress);
    registry.serve::<shapes::RevokeSecurityGroupEgress, _>(security_group_rules::revoke_egress);
    registry.serve::<shapes::ModifySecurityGroupRules, _>(security_group_rules::modify);
    registry.serve::<shapes::CreateKeyPair, _>(key_pairs::create);
    registry.serve::<shapes::ImportKeyPair, _>(key_pairs::import);
    registry.serve::<shapes::DeleteKeyPair, _>(key_pairs::delete);
    registry.serve::<shapes::DescribeKeyPairs, _>(key_pairs::describe);
    registry.serve::<shapes::CreateReplaceRootVolumeTask, _>(root_volumes::create);
    registry.serve::<shapes::DescribeReplaceRootVolumeTasks, _>(root_volumes::describe);
    registry.serve::<shapes::CreateImage, _>(images::create);
    registry.serve::<shapes::DeregisterImage, _>(images::deregister);
    registry.serve::<shapes::DescribeImages, _>(images::describe);
    registry.serve::<shapes::DescribeImageAttribute, _>(images::describe_attribute);
    registry.serve::<shapes::ModifyImageAttribute, _>(images::modify_attribute);
    registry.serve::<shapes::CreateLaunchTemplate, _>(launch_templates::create);
    registry.serve::<shapes::CreateLaunchTemplateVersion, _>(launch_templates::create_version);
    registry.serve::<shapes::DeleteLaunchTemplate, _>(launch_templates::delete);
    registry.serve::<shapes::DeleteLaunchTemplateVersions, _>(launch_templates::delete_versions);
    registry.serve::<shapes::ModifyLaunchTemplate, _>(launch_templates::modify);
    registry.serve::<shapes::DescribeLaunchTemplates, _>(launch_templates::describe);
    registry.serve::<shapes::DescribeLaunchTemplateVersions, _>(launch_templates::describe_versions);
    registry.serve::<shapes::GetLaunchTemplateData, _>(launch_templates::get_data);
    registry.serve::<shapes::CreateTags, _>(tags::create);
    registry.serve::<shapes::DeleteTags, _>(tags::delete);
    registry.serve::<shapes::DescribeTags, _>(tags::describe);
}
