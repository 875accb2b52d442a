//! Load balancers for the fleet: a target group and a listener for each group, and an answer for every health check.
//!
//! Simulated instances get addresses in 127/8, so all of them are this machine, and one listener on all addresses answers for
//! each of them.

use anyhow::ensure;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::load::{Client, text, texts};
use super::super::server::Server;
use super::{PATIENCE, POLL_GAP};
use crate::process::now;

/// Block of the default VPC: within the loopback network.
pub(super) const VPC_CIDR: &str = "127.31.0.0/16";
/// Listeners of one load balancer: AWS's default quota.
const LISTENERS_PER_BALANCER: usize = 50;
/// Port of a balancer's first listener.
const FIRST_PORT: usize = 8_000;
/// Requests, and what is answered to each.
const REQUEST_BYTES_MAX: usize = 4_096;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// What was made.
pub(super) struct Balanced {
    target_groups: Vec<String>,
}

impl Balanced {
    /// Makes them, and starts to answer. To be called within a runtime.
    pub(super) async fn prepare(server: &Server, n: usize) -> anyhow::Result<Balanced> {
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let port = listener.local_addr()?.port();
        tokio::spawn(answer_all(listener));
        let mut ec2 = Client::connect(&server.endpoint, "ec2").await?;
        let subnets = ec2.call("Action=DescribeSubnets&Version=2016-11-15").await?;
        let subnets: Vec<&str> = texts(&subnets, "<subnetId>").collect();
        // In every zone: targets in others would be unused.
        let subnets: String =
            (1..).zip(&subnets).map(|(n, id)| format!("&Subnets.member.{n}={id}")).collect();
        let vpc = ec2.call("Action=DescribeVpcs&Version=2016-11-15").await?;
        let vpc = text(&vpc, "<vpcId>")?;
        let mut elb = Client::connect(&server.endpoint, "elasticloadbalancing").await?;
        let mut target_groups = Vec::with_capacity(n);
        let mut balancer = String::new();
        for g in 0..n {
            if g % LISTENERS_PER_BALANCER == 0 {
                let number = g / LISTENERS_PER_BALANCER;
                let create =
                    format!("Action=CreateLoadBalancer&Version=2015-12-01&Name=fleet-{number}{subnets}");
                balancer = text(&elb.call(&create).await?, "<LoadBalancerArn>")?;
            }
            let create = format!(
                "Action=CreateTargetGroup&Version=2015-12-01&Name=fleet-{g}&Protocol=HTTP&Port={port}&VpcId={vpc}"
            );
            let group = text(&elb.call(&create).await?, "<TargetGroupArn>")?;
            let create = format!(
                "Action=CreateListener&Version=2015-12-01&LoadBalancerArn={balancer}&Protocol=HTTP&Port={}\
                 &DefaultActions.member.1.Type=forward&DefaultActions.member.1.TargetGroupArn={group}",
                FIRST_PORT + g % LISTENERS_PER_BALANCER
            );
            elb.call(&create).await?;
            target_groups.push(group);
        }
        Ok(Balanced { target_groups })
    }

    /// Waits until every target of every group is healthy.
    pub(super) async fn wait_healthy(&self, server: &Server, size: usize) -> anyhow::Result<()> {
        let mut elb = Client::connect(&server.endpoint, "elasticloadbalancing").await?;
        let began = now();
        for group in &self.target_groups {
            let ask = format!("Action=DescribeTargetHealth&Version=2015-12-01&TargetGroupArn={group}");
            loop {
                let healthy = elb.call(&ask).await?.matches("<State>healthy</State>").count();
                if healthy == size {
                    break;
                }
                ensure!(
                    began.elapsed() < PATIENCE,
                    "only {healthy} of {size} targets of {group} are healthy"
                );
                tokio::time::sleep(POLL_GAP).await;
            }
        }
        Ok(())
    }

    /// Parameters of CreateAutoScalingGroup for group `g`.
    pub(super) fn of_group(&self, g: usize) -> String {
        format!(
            "&TargetGroupARNs.member.1={}&HealthCheckType=ELB&HealthCheckGracePeriod=300",
            self.target_groups[g]
        )
    }
}

async fn answer_all(listener: TcpListener) {
    // Ends with the runtime; a failure to accept shows as unhealthy targets.
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream));
    }
}

async fn answer(mut stream: TcpStream) {
    let mut request = Vec::with_capacity(REQUEST_BYTES_MAX);
    while let Ok(n) = stream.read_buf(&mut request).await {
        if n == 0 || request.len() > REQUEST_BYTES_MAX {
            return;
        }
        if request.ends_with(b"\r\n\r\n") {
            request.clear();
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}
