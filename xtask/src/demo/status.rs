use serde::Deserialize;

/// A group in `puffer status --json`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GroupStatus {
    pub(super) name: String,
    pub(super) min: usize,
    pub(super) max: usize,
    pub(super) desired: usize,
    pub(super) in_service: usize,
    /// Members that every attached target group finds healthy.
    pub(super) healthy: usize,
    pub(super) members: Vec<MemberStatus>,
    pub(super) policies: Vec<PolicyStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct MemberStatus {
    pub(super) instance_id: String,
    pub(super) lifecycle: String,
    pub(super) zone: String,
    pub(super) target_health: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PolicyStatus {
    /// Newest value of the policy's metric.
    pub(super) value: Option<f64>,
    pub(super) target: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct LoadBalancerStatus {
    pub(super) dns_name: String,
    pub(super) listeners: Vec<ListenerStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct ListenerStatus {
    /// The port on this machine; differs from the listener's own where low ports cannot be bound.
    pub(super) bind_port: u16,
}

impl GroupStatus {
    /// One line for people.
    pub(super) fn line(&self) -> String {
        let metric = self.policies.first().and_then(|p| Some((p.value?, p.target?)));
        let metric = metric.map_or_else(String::new, |(v, t)| format!(" · CPU {v:.0} % (target {t:.0} %)"));
        format!(
            "desired {} of {}–{} · in service {} · healthy {}{metric}",
            self.desired, self.min, self.max, self.in_service, self.healthy
        )
    }
}
