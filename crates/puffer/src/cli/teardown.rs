//! `puffer teardown`: ends the server and everything it runs on this machine.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use puffer_balancer::BalancerClient;

use super::env::DEFAULT_DATA_DIR;
use crate::data_dir::{DataDir, runs};
use crate::server::admin::{Question, ask};
use crate::server::compute;

/// From the question to the server's end: it lets requests under way finish.
const SERVER_STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// From the end of its work to the end of a process.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks whether a process has gone.
const POLL: Duration = Duration::from_millis(50);
/// For one instance to be ended.
const TERMINATE_TIMEOUT: Duration = Duration::from_secs(60);
/// What requests under way in the balancer get.
const BALANCER_GRACE: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub(super) struct Args {
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Stops the server if it runs, then ends every instance, the load balancers' process and the network of this data directory. The
/// records stay: a server started there again finds its instances gone.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data_dir)?;
    if !args.yes {
        bail!(
            "this ends all instances and load balancers of {}; say --yes if that is what you want",
            data.path().display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tear_down(&data))
}

async fn tear_down(data: &DataDir) -> anyhow::Result<()> {
    let (_lock, stopped) = take_over(data).await?;
    // Each part is tried, whatever becomes of the others.
    let mut failed = Vec::new();
    if let Some(server) = stopped
        && let Err(error) = exited(&server).await
    {
        failed.push(format!("the server's process does not end: {error}"));
    }
    let kind = data.compute().unwrap_or_default();
    if let Err(error) = end_instances(&kind, data, &mut failed).await {
        failed.push(format!("{error:#}"));
    }
    if kind == compute::Kind::Container.name() {
        let fabric = puffer_network::BridgeFabric::new(data.path(), puffer_network::Services::default());
        match fabric.teardown().await {
            Ok(_) => eprintln!("removed the network"),
            Err(error) => failed.push(format!("cannot remove the network: {error}")),
        }
    }
    if let Err(error) = end_balancer(data).await {
        failed.push(format!("{error:#}"));
    }
    if !failed.is_empty() {
        bail!("some things could not be ended: {}", failed.join("; "));
    }
    data.forget_compute()?;
    eprintln!(
        "the records stay in {}: a server started there makes the groups' instances anew; remove the directory to be rid of them",
        data.path().display()
    );
    Ok(())
}

async fn end_instances(kind: &str, data: &DataDir, failed: &mut Vec<String>) -> anyhow::Result<()> {
    let Some(driver) = compute::driver_of(kind, data)? else { return Ok(()) };
    for instance in driver.list().await.context("cannot list the instances")? {
        let id = instance.instance_id;
        match tokio::time::timeout(TERMINATE_TIMEOUT, driver.terminate(&id)).await {
            Ok(Ok(())) => eprintln!("ended {id}"),
            Ok(Err(error)) => failed.push(format!("{id}: {error}")),
            Err(_) => failed.push(format!("{id}: not within {} s", TERMINATE_TIMEOUT.as_secs())),
        }
    }
    compute::restore_machine(data);
    Ok(())
}

async fn end_balancer(data: &DataDir) -> anyhow::Result<()> {
    match BalancerClient::connect(&data.balancer_socket()).await {
        Ok(balancer) => {
            let pid = balancer.process_id().await;
            balancer.shutdown(BALANCER_GRACE).await.context("cannot end the load balancers' process")?;
            if let Some(pid) = pid {
                exited(&pid.to_string()).await.context("the load balancers' process does not end")?;
            }
            eprintln!("ended the load balancers");
            Ok(())
        }
        Err(puffer_balancer::ClientError::Absent(..)) => Ok(()),
        Err(error) => Err(error).context("cannot reach the load balancers' process"),
    }
}

/// Stops a running server and takes its lock, so that none starts meanwhile. Gives the process id of the server that was asked to stop,
/// which has finished its work and may still be on its way out.
async fn take_over(data: &DataDir) -> anyhow::Result<(nix::fcntl::Flock<std::fs::File>, Option<String>)> {
    if let Ok(lock) = data.lock() {
        return Ok((lock, None));
    }
    let server = data.lock_holder();
    ask(&data.admin_socket(), &Question::Stop)?;
    let ended = async {
        loop {
            if let Ok(lock) = data.lock() {
                return lock;
            }
            tokio::time::sleep(POLL).await;
        }
    };
    let lock = tokio::time::timeout(SERVER_STOP_TIMEOUT, ended)
        .await
        .with_context(|| format!("the server did not stop within {} s", SERVER_STOP_TIMEOUT.as_secs()))?;
    Ok((lock, Some(server)))
}

/// Waits until a process that has been asked to end is no more, so that nothing of this data directory runs afterwards.
async fn exited(pid: &str) -> anyhow::Result<()> {
    let gone = async {
        while runs(pid) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(EXIT_TIMEOUT, gone).await.with_context(|| format!("process {pid} is still there"))
}
