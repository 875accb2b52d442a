use std::sync::Arc;

use puffer_core::autoscaling::{SuspendedProcess, backoff, process};
use puffer_inventory::groups::{self, GroupError};
use puffer_shapes::autoscaling as shape;

use super::error::required;
use crate::{ApiError, Ctx, Registry};

pub(super) fn register(registry: &mut Registry) {
    registry.serve::<shape::SuspendProcesses, _>(suspend);
    registry.serve::<shape::ResumeProcesses, _>(resume);
}

async fn suspend(cx: Arc<Ctx>, input: shape::ScalingProcessQuery) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let processes = chosen(input.scaling_processes)?;
    let reason = format!("User suspended at {}", cx.clock.now().to_rfc3339_secs());
    cx.store
        .transact::<_, GroupError>(|tx| {
            groups::change(tx, &group, |g| {
                for name in processes {
                    if !g.is_suspended(name) {
                        g.suspended.push(SuspendedProcess { name: name.to_owned(), reason: reason.clone() });
                    }
                }
            })
            .map(drop)
        })
        .await?;
    Ok(())
}

async fn resume(cx: Arc<Ctx>, input: shape::ScalingProcessQuery) -> Result<(), ApiError> {
    let group = required(input.auto_scaling_group_name, "autoScalingGroupName")?;
    let processes = chosen(input.scaling_processes)?;
    cx.store
        .transact::<_, GroupError>(|tx| {
            groups::change(tx, &group, |g| {
                g.suspended.retain(|p| !processes.contains(&p.name.as_str()));
                if processes.contains(&process::LAUNCH) {
                    backoff::forget(g);
                }
            })
            .map(drop)
        })
        .await?;
    Ok(())
}

/// The processes named, or all of them if none is.
fn chosen(names: Option<Vec<String>>) -> Result<Vec<&'static str>, ApiError> {
    let names = names.unwrap_or_default();
    if names.is_empty() {
        return Ok(process::ALL.to_vec());
    }
    names
        .iter()
        .map(|name| {
            process::ALL.iter().copied().find(|known| known == name).ok_or_else(|| {
                ApiError::validation(format!(
                    "Invalid scaling process name: {name}. Valid: {}",
                    process::ALL.join(", ")
                ))
            })
        })
        .collect()
}
