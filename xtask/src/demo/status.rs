use serde::Deserialize;

/// A group in `puffer status --json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct GroupStatus {
    pub(crate) name: String,
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) desired: usize,
    pub(crate) in_service: usize,
    /// Members that every attached target group finds healthy.
    pub(crate) healthy: usize,
    pub(crate) members: Vec<MemberStatus>,
    pub(crate) policies: Vec<PolicyStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct MemberStatus {
    pub(crate) instance_id: String,
    pub(crate) lifecycle: String,
    pub(crate) zone: String,
    pub(crate) target_health: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PolicyStatus {
    /// Newest value of the policy's metric.
    pub(crate) value: Option<f64>,
    pub(crate) target: Option<f64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct LoadBalancerStatus {
    pub(crate) dns_name: String,
    pub(crate) listeners: Vec<ListenerStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ListenerStatus {
    /// The port on this machine; differs from the listener's own where low ports cannot be bound.
    pub(crate) bind_port: u16,
}

impl GroupStatus {
    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let metric = self.policies.first().and_then(|p| Some((p.value?, p.target?)));
        let metric = metric.map_or_else(String::new, |(v, t)| format!(" · CPU {v:.0} % (target {t:.0} %)"));
        format!(
            "desired {} of {}–{} · in service {} · healthy {}{metric}",
            self.desired, self.min, self.max, self.in_service, self.healthy
        )
    }
}
