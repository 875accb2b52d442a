//! Packet forwarding by the kernel: switched on while a server has bridges, put back afterwards, and whether another packet filter of the
//! machine keeps instances' packets from being forwarded.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use puffer_core::ErrorClass;
use serde_json::Value;

use super::names::is_bridge_of_any_server;
use super::probe::Missing;
use super::tool;
use crate::FabricError;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
/// Shared by all servers of the machine, and gone with its next start, as the switch is.
const REGISTER: &str = "/run/puffer";
/// All bridges and interfaces of all servers, as nftables and iptables write it.
const OURS_NFT: &str = "\"pf*\"";
const OURS_IPTABLES: &str = "pf+";

/// Switches forwarding on. To be called when the bridges exist: whoever wants to put the switch back looks for them.
pub(super) fn switch_on() -> Result<(), FabricError> {
    (|| {
        let (_turn, note) = enter()?;
        if fs::read_to_string(SWITCH)?.trim() == "1" {
            return Ok(());
        }
        fs::write(note, b"")?;
        fs::write(SWITCH, "1")
    })()
    .map_err(|error| failed("switching packet forwarding on", &error))
}

/// Switches forwarding off if it was a server that switched it on and none has bridges any more.
pub(super) fn give_back() -> Result<(), FabricError> {
    (|| {
        let (_turn, note) = enter()?;
        if !note.exists() || any_bridges()? {
            return Ok(());
        }
        fs::write(SWITCH, "0")?;
        fs::remove_file(note)
    })()
    .map_err(|error| failed("switching packet forwarding off", &error))
}

/// One server at a time, and the note that one of them switched it on. Each network namespace has its own switch.
fn enter() -> io::Result<(Flock<File>, PathBuf)> {
    let register = Path::new(REGISTER);
    fs::create_dir_all(register)?;
    let lock = File::create(register.join("forwarding.lock"))?;
    let lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino();
    Ok((lock, register.join(format!("forwarding-{namespace}"))))
}

/// Bridges of any server, in the calling thread's network namespace.
fn any_bridges() -> io::Result<bool> {
    let table = fs::read_to_string("/proc/thread-self/net/dev")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, _)| is_bridge_of_any_server(name.trim())))
}

fn failed(what: &str, error: &io::Error) -> FabricError {
    let (what, reason) = (what.to_owned(), error.to_string());
    FabricError { what, reason, class: ErrorClass::Transient }
}

/// Packet filters that drop what is forwarded unless a rule of theirs says otherwise (Docker makes one), and have no rule for our
/// bridges. An accept of ours does not help: a packet must pass all chains of a hook.
pub async fn blocked_forwarding() -> Vec<Missing> {
    let mut found = Vec::new();
    if let Ok(text) = tool::run("nft", &["--json", "list", "ruleset"], "").await
        && let Ok(ruleset) = serde_json::from_str::<Value>(&text)
    {
        found.extend(dropping_chains(&ruleset).into_iter().map(of_nft));
    }
    // Rules of the older interface do not show in nft's list.
    if fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|names| names.lines().any(|n| n == "filter"))
    {
        for program in ["iptables-legacy", "iptables"] {
            let Ok(rules) = tool::run(program, &["-S"], "").await else { continue };
            if drops_in_iptables(&rules) {
                found.push(of_iptables(program, rules.contains("-N DOCKER-USER")));
            }
            break;
        }
    }
    found
}

/// Family, table and name of IPv4 forward chains with policy drop in tables that have no rule for our interfaces.
fn dropping_chains(ruleset: &Value) -> Vec<(String, String, String)> {
    let entries = || ruleset.get("nftables").and_then(Value::as_array).into_iter().flatten();
    let text =
        |object: &Value, key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let place = |object: &Value| (text(object, "family"), text(object, "table"));
    let admits = |object: &Value| {
        let rule = object.get("expr").map(Value::to_string).unwrap_or_default();
        rule.contains(OURS_NFT) && rule.contains("accept")
    };
    let dropping = entries().filter_map(|e| e.get("chain")).filter(|chain| {
        text(chain, "hook") == "forward"
            && text(chain, "policy") == "drop"
            && matches!(text(chain, "family").as_str(), "ip" | "inet")
    });
    dropping
        .filter(|chain| {
            !entries().filter_map(|e| e.get("rule")).any(|rule| place(rule) == place(chain) && admits(rule))
        })
        .map(|chain| (text(chain, "family"), text(chain, "table"), text(chain, "name")))
        .collect()
}

fn of_nft((family, table, chain): (String, String, String)) -> Missing {
    let remedy = match (family.as_str(), table.as_str(), chain.as_str()) {
        // What iptables keeps in nftables must be changed through iptables, or it is lost.
        ("ip", "filter", "FORWARD") => iptables_remedy("iptables", Path::new("/run/docker.sock").exists()),
        _ => ["iifname", "oifname"]
            .map(|end| format!("sudo nft insert rule {family} {table} {chain} {end} '{OURS_NFT}' accept"))
            .join(" && "),
    };
    missing(&format!("chain {chain} of table {family} {table}"), remedy)
}

fn of_iptables(program: &str, docker: bool) -> Missing {
    missing("chain FORWARD of iptables", iptables_remedy(program, docker))
}

/// Docker puts its own rules before others in FORWARD and keeps a chain for its users' ones.
fn iptables_remedy(program: &str, docker: bool) -> String {
    let chain = if docker { "DOCKER-USER" } else { "FORWARD" };
    ["-i", "-o"].map(|end| format!("sudo {program} -I {chain} {end} {OURS_IPTABLES} -j ACCEPT")).join(" && ")
}

fn missing(what: &str, remedy: String) -> Missing {
    let what = format!(
        "this machine drops packets that it forwards ({what} has policy drop): instances reach neither each other nor the outside"
    );
    Missing { what, remedy: Some(remedy) }
}

fn drops_in_iptables(rules: &str) -> bool {
    let admits = |line: &str| line.contains(OURS_IPTABLES) && line.ends_with("-j ACCEPT");
    rules.lines().any(|line| line == "-P FORWARD DROP") && !rules.lines().any(admits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_filters_are_found_and_remedied() {
        let chain = |family: &str, table: &str, name: &str, policy: &str| {
            serde_json::json!({"chain": {"family": family, "table": table, "name": name, "type": "filter",
                "hook": "forward", "prio": 0, "policy": policy}})
        };
        let admits = serde_json::json!({"rule": {"family": "inet", "table": "fw", "chain": "f", "expr": [
            {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "pf*"}}, {"accept": null}]}});
        let found = |entries: Vec<Value>| dropping_chains(&serde_json::json!({ "nftables": entries }));
        assert_eq!(found(vec![chain("ip", "puffer_0000", "forward", "accept")]), []);
        assert_eq!(found(vec![chain("ip6", "filter", "FORWARD", "drop")]), [], "not our protocol");
        assert_eq!(found(vec![chain("inet", "fw", "f", "drop"), admits]), []);
        let [docker] = &found(vec![chain("ip", "filter", "FORWARD", "drop")])[..] else {
            panic!("not found")
        };
        assert!(of_nft(docker.clone()).remedy.unwrap().starts_with("sudo iptables -I "));
        let [own] = &found(vec![chain("inet", "fw", "f", "drop")])[..] else { panic!("not found") };
        assert_eq!(
            of_nft(own.clone()).remedy.unwrap(),
            "sudo nft insert rule inet fw f iifname '\"pf*\"' accept && sudo nft insert rule inet fw f oifname '\"pf*\"' accept"
        );
        assert!(drops_in_iptables("-P INPUT ACCEPT\n-P FORWARD DROP\n-A FORWARD -i br0 -j ACCEPT"));
        assert!(!drops_in_iptables("-P FORWARD DROP\n-A DOCKER-USER -i pf+ -j ACCEPT"));
        assert!(!drops_in_iptables("-P FORWARD ACCEPT"));
    }
}
