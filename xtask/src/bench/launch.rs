//! How quickly a container is there.
//!
//! * From the call of RunInstances to the state `running`, for a small image whose init is a shell script.
//! * From the call of SetDesiredCapacity to the first 200 of the lab's app through a load balancer, against the same image
//!   started by hand with runc and asked directly: in turn, in one run, as ratio round by round. The image boots systemd and gunicorn,
//!   which take most of the time on either side.

use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::json;

use super::by_hand::ByHand;
use super::load::{Client, Endpoint, text, texts};
use super::{machine, median};
use crate::demo::load::get;
use crate::demo::server::Server;
use crate::process::{self, now};
use crate::requirements;

/// From call to running, median, seconds.
const GOAL_RUNNING_S: f64 = 0.3;
/// From call to first 200 through the balancer, as ratio to the bare runtime, median.
const GOAL_RATIO: f64 = 1.3;
/// Between two questions whether it is there.
const POLL_GAP: Duration = Duration::from_millis(5);
/// Longest that one start or end may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Two processors and 1 GiB: as much as the container by hand gets.
const INSTANCE_TYPE: &str = "t3.micro";
/// What the instance has when its init is a script.
const INIT: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nwhile :; do sleep 1000 & wait $!; done\n";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A puffer binary, instead of building one with optimizations
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Launches of the small image
    #[arg(long, default_value_t = 30)]
    launches: usize,
    /// Starts of the lab's app, each both ways
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Also write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let binary = super::server::binary(&args.binary)?.canonicalize()?;
    ensure!(process::is_root(), "containers need root");
    requirements::container()?;
    requirements::runtime()?;
    let server = Server::start(&binary, "container", false)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(measure(args, &server, &binary));
    if outcome.is_err() {
        server.show_log_tail();
    }
    let stopped = server.stop();
    let (running_s, rounds) = outcome?;
    stopped?;
    report(args, &running_s, &rounds)
}

/// Seconds to `running`; seconds to the first 200, through the balancer and by hand.
async fn measure(args: &Args, server: &Server, binary: &Path) -> anyhow::Result<(Vec<f64>, Vec<(f64, f64)>)> {
    let endpoint = Endpoint {
        address: server.variable("AWS_ENDPOINT_URL").trim_start_matches("http://").to_owned(),
        access_key_id: server.variable("AWS_ACCESS_KEY_ID").to_owned(),
        secret_access_key: server.variable("AWS_SECRET_ACCESS_KEY").to_owned(),
    };
    let small = small_image(server, binary)?;
    let mut ec2 = Client::connect(&endpoint, "ec2").await?;
    wait_image(&mut ec2, &small).await?;
    let mut running_s = Vec::new();
    for n in 0..args.launches {
        running_s.push(launch(&mut ec2, &small).await.with_context(|| format!("launch {}", n + 1))?);
    }
    let image = server.lab_image()?;
    let root = server.data_dir().join("images").join(&image).join("root");
    wait_image(&mut ec2, &image).await?;
    let app = App::prepare(server, &endpoint, &mut ec2, &image).await?;
    let mut rounds = Vec::new();
    // The first round warms the page cache for both and is not counted.
    for round in 0..=args.rounds {
        let (ours, theirs) = match round % 2 {
            0 => (app.start(&endpoint).await?, by_hand(&root)?),
            _ => {
                let theirs = by_hand(&root)?;
                (app.start(&endpoint).await?, theirs)
            }
        };
        eprintln!("round {round}: through the balancer {ours:.3} s, runc by hand {theirs:.3} s");
        if round > 0 {
            rounds.push((ours, theirs));
        }
    }
    Ok((running_s, rounds))
}

/// An image of one static program and a script.
fn small_image(server: &Server, binary: &Path) -> anyhow::Result<String> {
    let dir = tempfile::Builder::new().prefix("puffer-bench-").tempdir()?;
    let root = dir.path().join("root");
    for name in ["bin", "sbin", "etc", "root", "proc", "sys", "dev", "tmp", "run", "var"] {
        std::fs::create_dir_all(root.join(name))?;
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for applet in ["sh", "sleep"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    let init = root.join("sbin/init");
    std::fs::write(&init, INIT)?;
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755))?;
    let mut import = Command::new(binary);
    import.args(["image", "import", "--name", "small", "--data-dir"]).arg(server.data_dir()).arg(&root);
    let printed = process::output(&mut import)?;
    Ok(printed.lines().last().unwrap_or_default().trim().to_owned())
}

/// A running server finds an imported image a little later.
async fn wait_image(ec2: &mut Client, image: &str) -> anyhow::Result<()> {
    let since = now();
    let ask = "Action=DescribeImages&Version=2016-11-15&Owner.1=self";
    while !ec2.call(ask).await?.contains(image) {
        ensure!(since.elapsed() < PATIENCE, "the server does not find {image}");
        tokio::time::sleep(POLL_GAP * 10).await;
    }
    Ok(())
}

/// Launches one instance, waits for it, ends it; seconds from the call to `running`.
async fn launch(ec2: &mut Client, image: &str) -> anyhow::Result<f64> {
    let began = now();
    let answer = ec2
        .call(&format!(
            "Action=RunInstances&Version=2016-11-15&ImageId={image}&InstanceType={INSTANCE_TYPE}&MinCount=1&MaxCount=1"
        ))
        .await?;
    let id = text(&answer, "<instanceId>")?;
    wait_state(ec2, &id, "running", began).await?;
    let took = began.elapsed().as_secs_f64();
    ec2.call(&format!("Action=TerminateInstances&Version=2016-11-15&InstanceId.1={id}")).await?;
    wait_state(ec2, &id, "terminated", now()).await?;
    Ok(took)
}

async fn wait_state(ec2: &mut Client, id: &str, state: &str, since: Instant) -> anyhow::Result<()> {
    let ask = format!("Action=DescribeInstances&Version=2016-11-15&InstanceId.1={id}");
    loop {
        let answer = ec2.call(&ask).await?;
        if texts(&answer, "<name>").any(|name| name == state) {
            return Ok(());
        }
        ensure!(since.elapsed() < PATIENCE, "{id} is not {state}: {answer}");
        tokio::time::sleep(POLL_GAP).await;
    }
}

const GROUP: &str = "bench";

/// The lab's app behind a load balancer, in a group that is empty between two rounds.
struct App {
    address: SocketAddr,
}

impl App {
    async fn prepare(
        server: &Server,
        endpoint: &Endpoint,
        ec2: &mut Client,
        image: &str,
    ) -> anyhow::Result<App> {
        let subnets = ec2.call("Action=DescribeSubnets&Version=2016-11-15").await?;
        let vpc = text(&subnets, "<vpcId>")?;
        let subnets: Vec<&str> = texts(&subnets, "<subnetId>").take(2).collect();
        let [first, second] = subnets[..] else { bail!("fewer than two subnets") };
        let group = ec2
            .call(&format!("Action=CreateSecurityGroup&Version=2016-11-15&GroupName={GROUP}&GroupDescription=HTTP&VpcId={vpc}"))
            .await?;
        let group = text(&group, "<groupId>")?;
        ec2.call(&format!(
            "Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId={group}&IpPermissions.1.IpProtocol=tcp\
             &IpPermissions.1.FromPort=80&IpPermissions.1.ToPort=80&IpPermissions.1.IpRanges.1.CidrIp=0.0.0.0%2F0"
        ))
        .await?;
        ec2.call(&format!(
            "Action=CreateLaunchTemplate&Version=2016-11-15&LaunchTemplateName={GROUP}&LaunchTemplateData.ImageId={image}\
             &LaunchTemplateData.InstanceType={INSTANCE_TYPE}&LaunchTemplateData.SecurityGroupId.1={group}"
        ))
        .await?;
        let mut elb = Client::connect(endpoint, "elasticloadbalancing").await?;
        let balancer = elb
            .call(&format!(
                "Action=CreateLoadBalancer&Version=2015-12-01&Name={GROUP}&Subnets.member.1={first}&Subnets.member.2={second}\
                 &SecurityGroups.member.1={group}"
            ))
            .await?;
        let (name, balancer) = (text(&balancer, "<DNSName>")?, text(&balancer, "<LoadBalancerArn>")?);
        let targets = elb
            .call(&format!(
                "Action=CreateTargetGroup&Version=2015-12-01&Name={GROUP}&Protocol=HTTP&Port=80&VpcId={vpc}\
                 &HealthCheckPath=%2Fhealth&HealthCheckIntervalSeconds=5&HealthCheckTimeoutSeconds=2"
            ))
            .await?;
        let targets = text(&targets, "<TargetGroupArn>")?;
        elb.call(&format!(
            "Action=ModifyTargetGroupAttributes&Version=2015-12-01&TargetGroupArn={targets}\
             &Attributes.member.1.Key=deregistration_delay.timeout_seconds&Attributes.member.1.Value=0"
        ))
        .await?;
        elb.call(&format!(
            "Action=CreateListener&Version=2015-12-01&LoadBalancerArn={balancer}&Protocol=HTTP&Port=80\
             &DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={targets}"
        ))
        .await?;
        let mut autoscaling = Client::connect(endpoint, "autoscaling").await?;
        autoscaling
            .call(&format!(
                "Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName={GROUP}&MinSize=0&MaxSize=1\
                 &LaunchTemplate.LaunchTemplateName={GROUP}&VPCZoneIdentifier={first}&TargetGroupARNs.member.1={targets}"
            ))
            .await?;
        let address = process::wait_for("the load balancer", PATIENCE, || {
            let up = server.resolve(&name).and_then(|a| Ok((a, get(a, "/")?)));
            // Without a target it answers 503, which says that it listens.
            Ok(up.map(|(address, _)| address).map_err(|e| format!("{e:#}")))
        })?;
        Ok(App { address })
    }

    /// Seconds from the call that wants an instance to the first 200; the group is empty again afterwards.
    async fn start(&self, endpoint: &Endpoint) -> anyhow::Result<f64> {
        let mut client = Client::connect(endpoint, "autoscaling").await?;
        let set = format!("Action=SetDesiredCapacity&Version=2011-01-01&AutoScalingGroupName={GROUP}");
        let began = now();
        client.call(&format!("{set}&DesiredCapacity=1")).await?;
        wait_200(self.address, began)?;
        let took = began.elapsed().as_secs_f64();
        client.call(&format!("{set}&DesiredCapacity=0")).await?;
        let since = now();
        let ask = format!(
            "Action=DescribeAutoScalingGroups&Version=2011-01-01&AutoScalingGroupNames.member.1={GROUP}"
        );
        while client.call(&ask).await?.contains("<InstanceId>") {
            ensure!(since.elapsed() < PATIENCE, "the group does not get empty");
            tokio::time::sleep(POLL_GAP * 10).await;
        }
        Ok(took)
    }
}

/// Asks until the app answers; what comes before it is up does not count.
pub(super) fn wait_200(address: SocketAddr, since: Instant) -> anyhow::Result<()> {
    while !get(address, "/?n=1000").is_ok_and(|(status, _)| status == 200) {
        ensure!(since.elapsed() < PATIENCE, "no 200 from {address}");
        std::thread::park_timeout(POLL_GAP);
    }
    Ok(())
}

fn by_hand(root: &Path) -> anyhow::Result<f64> {
    let began = now();
    let container = ByHand::start(root)?;
    wait_200(container.address(), began)?;
    Ok(began.elapsed().as_secs_f64())
}

fn report(args: &Args, running_s: &[f64], rounds: &[(f64, f64)]) -> anyhow::Result<()> {
    let running = median(running_s.iter().copied());
    let worst = running_s.iter().copied().fold(0.0, f64::max);
    let ours = median(rounds.iter().map(|r| r.0));
    let theirs = median(rounds.iter().map(|r| r.1));
    let ratio = median(rounds.iter().map(|(ours, theirs)| ours / theirs));
    eprintln!(
        "call to running, median of {}: {running:.3} s, worst {worst:.3} s (at most {GOAL_RUNNING_S})",
        running_s.len()
    );
    eprintln!("call to first 200 through the balancer, median of {}: {ours:.3} s", rounds.len());
    eprintln!("the same image by runc, asked directly: {theirs:.3} s");
    eprintln!("ratio, median of rounds: {ratio:.2} (at most {GOAL_RATIO})");
    eprintln!("on {} processors", machine::n_cpus());
    if let Some(file) = &args.json {
        let value = json!({
            "running_s": running, "running_worst_s": worst, "first_200_s": ours, "by_hand_s": theirs, "ratio": ratio,
            "rounds": rounds,
        });
        std::fs::write(file, serde_json::to_string_pretty(&value)?)?;
    }
    ensure!(running <= GOAL_RUNNING_S, "call to running: {running:.3} s");
    ensure!(ratio <= GOAL_RATIO, "first 200 through the balancer: {ratio:.2} times as long as by hand");
    Ok(())
}
