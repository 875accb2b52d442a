//! Block device mappings of launch configurations: the size and kind of the root volume, as in launch templates.

use puffer_core::ec2::BlockDeviceSpec;
use puffer_shapes::autoscaling as shape;

use super::error::{required, unsupported};
use crate::ApiError;

/// Sizes of a volume, GiB (EC2's limits for general purpose volumes).
const VOLUME_GIB: std::ops::RangeInclusive<i32> = 1..=16_384;

/// What every `gp3` volume has: operations a second, and MiB a second.
const GP3: (i32, i32) = (3_000, 125);

/// Mappings that an instance of Puffer can have: one of the root volume, which goes with its instance and is not encrypted.
pub(super) fn read(given: Vec<shape::BlockDeviceMapping>) -> Result<Vec<BlockDeviceSpec>, ApiError> {
    let mut devices: Vec<BlockDeviceSpec> = Vec::new();
    for mapping in given {
        let device_name = required(mapping.device_name, "blockDeviceMappings.1.member.deviceName")?;
        // It says that there shall be no such device, and there is none but the root.
        let none = mapping.no_device == Some(true);
        if mapping.virtual_name.is_some() {
            return Err(unsupported("An instance store volume (VirtualName)"));
        }
        let ebs = mapping.ebs.unwrap_or_default();
        let device = BlockDeviceSpec {
            device_name,
            volume_size_gib: ebs.volume_size,
            volume_type: ebs.volume_type,
            iops: ebs.iops,
            throughput: ebs.throughput,
            encrypted: ebs.encrypted,
            delete_on_termination: ebs.delete_on_termination,
            snapshot_id: ebs.snapshot_id,
        };
        match (none, device.is_root()) {
            (true, false) => continue,
            (true, true) => return Err(unsupported("An instance without its root volume (NoDevice)")),
            (false, _) => check(&device)?,
        }
        if devices.iter().any(|d| d.device_name == device.device_name) {
            let text =
                format!("The device '{}' is used in more than one block-device mapping", device.device_name);
            return Err(ApiError::validation(text));
        }
        devices.push(device);
    }
    Ok(devices)
}

fn check(device: &BlockDeviceSpec) -> Result<(), ApiError> {
    for (refused, what) in [
        (!device.is_root(), "A volume besides the root volume"),
        (device.snapshot_id.is_some(), "A root volume from another snapshot than the image's (SnapshotId)"),
        (device.encrypted == Some(true), "An encrypted volume"),
        // The type is shown back; the performance is the machine's, so only that type's own figures can be given.
        (
            !matches!(device.volume_type.as_deref(), None | Some("" | "gp2" | "gp3")),
            "A volume type other than gp2 and gp3",
        ),
        (
            device.iops.is_some_and(|n| n != GP3.0) || device.throughput.is_some_and(|n| n != GP3.1),
            "Choosing a volume's IOPS or throughput",
        ),
        (
            device.delete_on_termination == Some(false),
            "Keeping a volume after its instance (DeleteOnTermination)",
        ),
    ] {
        if refused {
            return Err(unsupported(what));
        }
    }
    match device.volume_size_gib {
        Some(gib) if !VOLUME_GIB.contains(&gib) => {
            Err(ApiError::validation(format!("VolumeSize must be from 1 to 16384 GiB, but is {gib}.")))
        }
        _ => Ok(()),
    }
}

/// A mapping as it is shown.
pub(super) fn show(device: &BlockDeviceSpec) -> shape::BlockDeviceMapping {
    shape::BlockDeviceMapping {
        device_name: Some(device.device_name.clone()),
        ebs: Some(shape::Ebs {
            snapshot_id: device.snapshot_id.clone(),
            volume_size: device.volume_size_gib,
            volume_type: device.volume_type.clone(),
            delete_on_termination: device.delete_on_termination,
            iops: device.iops,
            encrypted: device.encrypted,
            throughput: device.throughput,
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(name: &str, ebs: shape::Ebs) -> shape::BlockDeviceMapping {
        shape::BlockDeviceMapping { device_name: Some(name.into()), ebs: Some(ebs), ..Default::default() }
    }

    #[test]
    fn the_root_volume_and_no_other() {
        let ebs = shape::Ebs { volume_size: Some(20), volume_type: Some("gp3".into()), ..Default::default() };
        let read_one = |m| read(vec![m]);
        let root = read_one(mapping("/dev/xvda", ebs.clone())).unwrap();
        assert_eq!((root[0].volume_size_gib, root[0].volume_type.as_deref()), (Some(20), Some("gp3")));
        assert_eq!(show(&root[0]), mapping("/dev/xvda", ebs.clone()));
        let no_device =
            |name| shape::BlockDeviceMapping { no_device: Some(true), ..mapping(name, Default::default()) };
        assert_eq!(read_one(no_device("/dev/sdb")).unwrap(), []);
        assert!(read_one(no_device("/dev/xvda")).is_err());
        assert!(read_one(mapping("/dev/sdb", ebs.clone())).is_err());
        assert!(read(vec![mapping("/dev/xvda", ebs.clone()), mapping("/dev/xvda", ebs.clone())]).is_err());
        for wrong in [
            shape::Ebs { volume_size: Some(0), ..Default::default() },
            shape::Ebs { volume_size: Some(16_385), ..Default::default() },
            shape::Ebs { volume_type: Some("io2".into()), ..Default::default() },
            shape::Ebs { iops: Some(9_000), ..Default::default() },
            shape::Ebs { encrypted: Some(true), ..Default::default() },
            shape::Ebs { delete_on_termination: Some(false), ..Default::default() },
            shape::Ebs { snapshot_id: Some("snap-1".into()), ..Default::default() },
        ] {
            assert!(read_one(mapping("/dev/sda1", wrong.clone())).is_err(), "{wrong:?}");
        }
    }
}
