//! The proxies of `bench balancer` and their targets: each one process group of ours with one working thread, kept
//! connections on both sides, no logs, and `X-Forwarded-For` added.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use puffer_balancer::config::{
    Action, BalancerConfig, Forward, HealthCheckConfig, ListenerConfig, ListenerProtocol,
    LoadBalancerAttributes, LoadBalancerConfig, LoadBalancerKind, NodeConfig, RuleConfig, TargetConfig,
    TargetGroupAttributes, TargetGroupConfig, TargetProtocol, WeightedTargetGroup,
};

use crate::process;

const TARGETS: [u16; 2] = [47801, 47802];
const START_LIMIT: Duration = Duration::from_secs(20);
/// What a target answers: some 100 bytes.
const BODY: &str =
    "A pufferfish swells under pressure and relaxes after; so does your fleet. This line is 100 bytes long..";

/// A running proxy; dropping it ends it.
pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) address: String,
    child: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // SIGTERM to the process that we started; it ends its workers. A proxy that does not obey is killed.
        let _ = process::output(Command::new("kill").arg(self.child.id().to_string()));
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    fn start(name: &'static str, port: u16, command: &mut Command, dir: &Path) -> anyhow::Result<Proxy> {
        let log = fs::File::create(dir.join(format!("{name}.log")))?;
        // A group of its own, so that a terminal's interrupt does not reach it before us.
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot run {name}"))?;
        let mut proxy = Proxy { name, address: format!("127.0.0.1:{port}"), child };
        if port != 0 {
            proxy.wait_up()?;
        }
        Ok(proxy)
    }

    fn wait_up(&mut self) -> anyhow::Result<()> {
        process::wait_for(&format!("{}'s start", self.name), START_LIMIT, || {
            if let Some(status) = self.child.try_wait()? {
                anyhow::bail!("{} ended at once ({status})", self.name);
            }
            Ok(TcpStream::connect(&self.address).map(drop).map_err(|e| e.to_string()))
        })
    }

    /// CPU time of the process and its children, user and system, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        let mut pids = vec![self.child.id().to_string()];
        while let Some(pid) = pids.pop() {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let task = task?.path();
                let times =
                    fs::read_to_string(task.join("schedstat")).context("no /proc/PID/schedstat here")?;
                sum += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
                let children = fs::read_to_string(task.join("children"))?;
                pids.extend(children.split_whitespace().map(str::to_owned));
            }
        }
        Ok(sum)
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn nginx_command(dir: &Path, name: &str, http: &str) -> anyhow::Result<Command> {
    let file = dir.join(format!("{name}.conf"));
    let dir = dir.display();
    fs::write(
        &file,
        format!(
            "worker_processes 1; daemon off; pid {dir}/{name}.pid; error_log /dev/null;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 600;\n\
             client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;\n\
             {http} }}\n"
        ),
    )?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(file).args(["-e", "/dev/null"]);
    Ok(command)
}

/// The targets: nginx with a fixed answer on two ports.
pub(super) fn targets(dir: &Path) -> anyhow::Result<Proxy> {
    let servers = TARGETS
        .map(|port| format!("server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{BODY}'; }} }}"));
    Proxy::start("targets", TARGETS[1], &mut nginx_command(dir, "targets", &servers.concat())?, dir)
}

pub(super) fn nginx(dir: &Path) -> anyhow::Result<Proxy> {
    let port = free_port()?;
    let [a, b] = TARGETS;
    let http = format!(
        "upstream targets {{ server 127.0.0.1:{a}; server 127.0.0.1:{b}; keepalive 64; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://targets; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_set_header Host $host;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
    );
    Proxy::start("nginx", port, &mut nginx_command(dir, "nginx", &http)?, dir)
}

pub(super) fn haproxy(dir: &Path) -> anyhow::Result<Proxy> {
    let port = free_port()?;
    let file = dir.join("haproxy.cfg");
    let [a, b] = TARGETS;
    fs::write(
        &file,
        format!(
            "global\n nbthread 1\n maxconn 4096\n\
             defaults\n mode http\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n option forwardfor\n http-reuse always\n\
             frontend f\n bind 127.0.0.1:{port}\n default_backend t\n\
             backend t\n balance roundrobin\n server a 127.0.0.1:{a}\n server b 127.0.0.1:{b}\n"
        ),
    )?;
    Proxy::start("haproxy", port, Command::new("haproxy").args(["-db", "-f"]).arg(file), dir)
}

pub(super) fn envoy(dir: &Path, program: &Path) -> anyhow::Result<Proxy> {
    let port = free_port()?;
    let file = dir.join("envoy.json");
    let endpoint = |port: u16| serde_json::json!({"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}});
    let router = serde_json::json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    });
    let manager = serde_json::json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "f", "use_remote_address": true, "generate_request_id": false, "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "v", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "t"}}]}]},
    });
    let config = serde_json::json!({"static_resources": {
        "listeners": [{
            "name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}],
        }],
        "clusters": [{"name": "t", "connect_timeout": "10s", "type": "STATIC", "lb_policy": "ROUND_ROBIN",
            "load_assignment": {"cluster_name": "t", "endpoints": [{"lb_endpoints": TARGETS.map(endpoint)}]}}],
    }});
    fs::write(&file, config.to_string())?;
    let mut command = Command::new(program);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]).arg(file);
    Proxy::start("envoy", port, &mut command, dir)
}

/// Our own, driven as the control plane drives it.
pub(super) fn puffer(dir: &Path, binary: &Path) -> anyhow::Result<Proxy> {
    let port = free_port()?;
    let socket = dir.join("balancer.sock");
    let mut command = Command::new(binary);
    command.args(["balancer", "--threads", "1", "--socket"]).arg(&socket);
    let mut proxy = Proxy::start("puffer", 0, &mut command, dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = process::wait_for("the balancer's start", START_LIMIT, || {
        Ok(runtime.block_on(puffer_balancer::BalancerClient::connect(&socket)).map_err(|e| e.to_string()))
    })?;
    let applied = runtime.block_on(client.apply(&config(port)))?;
    anyhow::ensure!(applied.bind_errors.is_empty(), "{:?}", applied.bind_errors);
    proxy.address = format!("127.0.0.1:{port}");
    proxy.wait_up()?;
    Ok(proxy)
}

fn config(port: u16) -> BalancerConfig {
    let address = Ipv4Addr::LOCALHOST;
    let target =
        |port: u16| TargetConfig { id: port.to_string(), address, port, zone: "z".into(), draining: false };
    let group = TargetGroupConfig {
        arn: "targets".into(),
        protocol: TargetProtocol::Http,
        port: 80,
        health_check: HealthCheckConfig::default(),
        attributes: TargetGroupAttributes::default(),
        targets: TARGETS.map(target).to_vec(),
    };
    let forward = Forward {
        target_groups: vec![WeightedTargetGroup { arn: group.arn.clone(), weight: 1 }],
        stickiness: None,
    };
    let rule = RuleConfig {
        arn: "rule".into(),
        priority: None,
        conditions: vec![],
        actions: vec![Action::Forward(forward)],
    };
    let listener = ListenerConfig {
        arn: "listener".into(),
        port: 80,
        bind_port: port,
        protocol: ListenerProtocol::Http,
        rules: vec![rule],
        classic: None,
    };
    let load_balancer = LoadBalancerConfig {
        arn: "balancer".into(),
        kind: LoadBalancerKind::Application,
        nodes: vec![NodeConfig { zone: "z".into(), address, deaf: false }],
        attributes: LoadBalancerAttributes::default(),
        listeners: vec![listener],
    };
    BalancerConfig { generation: 1, load_balancers: vec![load_balancer], target_groups: vec![group] }
}
