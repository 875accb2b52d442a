//! Whether this machine lets us build a network.

use super::tool;

/// Something that a network of bridges needs and that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What.
    pub what: String,
    /// The command that mends it, if one does.
    pub remedy: Option<String>,
}

/// The exact command that installs a tool on a Debian-like machine.
pub(super) fn install_command(tool: &str) -> String {
    let package = match tool {
        "nft" => "nftables",
        "ip" => "iproute2",
        other => other,
    };
    format!("sudo apt-get install --yes {package}")
}

/// What is missing; empty if [`super::BridgeFabric`] can work.
pub async fn probe() -> Vec<Missing> {
    let mut missing = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        let what = "changing the network needs root".to_owned();
        missing.push(Missing { what, remedy: Some("run the server as root".to_owned()) });
        return missing;
    }
    for (program, arguments) in [("ip", ["-V"].as_slice()), ("nft", ["--version"].as_slice())] {
        if tool::run(program, arguments, "").await.is_err() {
            let what = format!("the program {program} is not installed");
            missing.push(Missing { what, remedy: Some(install_command(program)) });
        }
    }
    if !missing.is_empty() {
        return missing;
    }
    // Checked by the kernel, then thrown away.
    let trial = "add table bridge puffer_probe\nadd chain bridge puffer_probe c { type filter hook prerouting priority 0; }\n\
                 add table ip puffer_probe\nadd chain ip puffer_probe c { type nat hook postrouting priority 100; }\n\
                 add rule ip puffer_probe c ct state established masquerade\n\
                 delete table ip puffer_probe\ndelete table bridge puffer_probe\n";
    if let Err(error) = tool::nft(trial).await {
        let what = format!("this kernel has no nftables with bridge filter and NAT: {}", error.reason);
        let remedy =
            Some("sudo modprobe -a nf_tables nft_chain_nat nft_masq nf_conntrack bridge veth".to_owned());
        missing.push(Missing { what, remedy });
    }
    missing
}
