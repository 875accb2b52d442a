//! `puffer serve`: opens the store, answers the AWS APIs and runs the reconcilers.
//!
//! The door opens first: the store is all that requests need. Compute, network and data plane come up behind it, and what was
//! asked for meanwhile is done then.

pub(crate) mod admin;
mod balancing;
pub(crate) mod compute;
mod console;
mod images;
mod names;
mod network;
pub(crate) mod operator;
mod reconcilers;
pub(crate) mod report;
pub(crate) mod simulate;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use puffer_api::Ctx;
use puffer_compute::simulated::SimulatedDriver;
use puffer_core::alarm::{MetricQuery, MetricSource, Statistic};
use puffer_core::autoscaling::scaling::{Reaction, metric_of};
use puffer_core::autoscaling::{Group, PolicyKind, ScalingPolicy};
use puffer_core::{Clock, Timestamp};
use puffer_inventory::bootstrap::{Bootstrap, BootstrapError, bootstrap_account};
use puffer_metrics::Metrics;
use puffer_store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::ServeArgs;
use crate::clock::SystemClock;
use crate::data_dir::{DataDir, ServerInfo};
use crate::door::{self, Desk};
use admin::{Answer, Question};

/// How many periods back the newest datapoint of a policy is looked for.
const VALUE_PERIODS: u64 = 10;
/// How long tasks that are still running may take at the end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves until SIGTERM, SIGINT or `puffer teardown`.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    let log = tracing_subscriber::EnvFilter::try_from_env("PUFFER_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(log)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(args));
    runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
    result
}

async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let data = DataDir::create(&args.data_dir)?;
    let _lock = data.lock()?;
    let keys = data.credentials()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Store::open(&data.store(), &puffer_inventory::schema())?;
    let kind = compute::choose(args.compute, compute::of_the_living(&data, &store), &data).await?;
    // Before the first instance: a later server, or a teardown, must know what to look for.
    data.write_compute(kind.name())?;
    bootstrap(&store, &args, kind, &data, &*clock).await?;
    let metrics = Metrics::open(&data.metrics(), Arc::clone(&clock), puffer_metrics::Options::default())?;
    let listener =
        TcpListener::bind(args.listen).await.with_context(|| format!("cannot listen on {}", args.listen))?;
    let endpoint = listener.local_addr()?;
    if args.no_auth {
        tracing::warn!(%endpoint, "--no-auth: signatures are NOT verified; any local user may do anything");
    }

    let (stop, stopped) = watch::channel(false);
    let stop = Arc::new(stop);
    tokio::spawn(stop_on_signal(Arc::clone(&stop)));
    let rooms = reconcilers::start(kind, &args, &data, &store, &metrics, &clock, &stopped).await?;

    let cx = Arc::new(Ctx {
        account: args.account.clone(),
        region: args.region.clone(),
        endpoint: endpoint.to_string(),
        clock: Arc::clone(&clock),
        store: store.clone(),
        metrics: metrics.clone(),
        rng: parking_lot::Mutex::new(Box::new(rand::make_rng::<rand::rngs::StdRng>())),
        console: Arc::new(console::DriverConsole(Arc::clone(&rooms.driver))),
    });
    let registry = puffer_api::registry();
    let dispatch: door::Dispatch =
        Box::new(move |operation, input| registry.call(operation, Arc::clone(&cx), input));
    let verified = (!args.no_auth).then(|| (keys.access_key_id.clone(), keys.secret_access_key.clone()));
    let desk = Arc::new(Desk::new(dispatch, Arc::clone(&clock), verified));

    let (dns, dns_task) = names::start(args.dns_listen, &store).await?;
    let admin_socket = data.admin_socket();
    let simulated = rooms.simulated.clone();
    let questions =
        answers(kind, simulated, store.clone(), metrics.clone(), Arc::clone(&clock), Arc::clone(&stop));
    let admin = tokio::spawn(async move {
        if let Err(error) = admin::serve(&admin_socket, questions).await {
            tracing::error!(%error, "the administration socket failed");
        }
    });
    data.write_server_info(&ServerInfo {
        pid: std::process::id(),
        endpoint,
        dns: Some(dns),
        region: args.region.clone(),
        account: args.account.clone(),
        compute: kind.name().to_owned(),
        authentication: !args.no_auth,
    })?;
    tracing::info!(%endpoint, compute = kind.name(), data_dir = %data.path().display(), "serving");

    let mut until = stopped.clone();
    door::serve(listener, desk, async move {
        let _ = until.wait_for(|stop| *stop).await;
    })
    .await;
    admin.abort();
    dns_task.abort();
    rooms.stop().await;
    if let Err(error) = metrics.flush() {
        tracing::warn!(%error, "the last metrics could not be written");
    }
    tracing::info!("stopped; instances and load balancers go on");
    Ok(())
}

async fn bootstrap(
    store: &Store,
    args: &ServeArgs,
    kind: compute::Kind,
    data: &DataDir,
    clock: &dyn Clock,
) -> anyhow::Result<()> {
    let (vpc_cidr, subnet_prefix, address_space) = kind.network(args.vpc_cidr.as_deref(), data).await?;
    let wanted = Bootstrap {
        account: args.account.clone(),
        region: args.region.clone(),
        vpc_cidr,
        subnet_prefix,
        address_space,
        any_image: args.any_image,
    };
    let now = clock.now();
    let mut rng = rand::rng();
    store.transact::<_, BootstrapError>(|tx| bootstrap_account(tx, &wanted, now, &mut rng)).await?;
    Ok(())
}

fn answers(
    kind: compute::Kind,
    simulated: Option<Arc<SimulatedDriver>>,
    store: Store,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    stop: Arc<watch::Sender<bool>>,
) -> Arc<admin::Answers> {
    Arc::new(move |question| match question {
        Question::Order(order) => {
            let (store, now) = (store.clone(), clock.now());
            Box::pin(async move {
                operator::carry_out(&store, order, now).await.map_or_else(Answer::Error, Answer::Outcome)
            })
        }
        question => {
            let answer = answer_now(kind, simulated.as_ref(), &store, &metrics, &*clock, &stop, question);
            Box::pin(std::future::ready(answer))
        }
    })
}

/// Answers what needs no waiting.
fn answer_now(
    kind: compute::Kind,
    simulated: Option<&Arc<SimulatedDriver>>,
    store: &Store,
    metrics: &Metrics,
    clock: &dyn Clock,
    stop: &watch::Sender<bool>,
    question: Question,
) -> Answer {
    match question {
        Question::Status => {
            let now = clock.now();
            let value_of = |group: &Group, policy: &ScalingPolicy| newest_value(metrics, group, policy, now);
            let bind_port = |port| balancing::ports(kind).port(port);
            Answer::Status(Box::new(report::status(store, &value_of, &bind_port)))
        }
        Question::Explain { what } => match report::explain(store, &what) {
            Some(explained) => Answer::Explained(explained),
            None => Answer::Error(format!("there is no activity and no group named {what}")),
        },
        Question::Simulate(what) => match simulated {
            Some(driver) => what.apply(driver).map_or_else(Answer::Error, |()| Answer::Done),
            None => Answer::Error(format!("this server's instances are real ({})", kind.name())),
        },
        Question::Events { group, most } => match report::events(store, group.as_deref(), most) {
            Some(events) => Answer::Events(events),
            None => Answer::Error(format!("there is no group named {}", group.unwrap_or_default())),
        },
        Question::Stop => {
            stop.send_replace(true);
            Answer::Stopping
        }
        Question::Order(_) => Answer::Error("this order has to wait for the disk".to_owned()),
    }
}

/// The newest datapoint of what a target-tracking policy watches, if that is one plain metric.
fn newest_value(metrics: &Metrics, group: &Group, policy: &ScalingPolicy, now: Timestamp) -> Option<f64> {
    let PolicyKind::TargetTracking(tracking) = &policy.kind else { return None };
    let (queries, period_s, _) = metric_of(tracking, &group.name, &Reaction::of(&group.tags)).ok()?;
    let [MetricQuery { source: MetricSource::Stat { metric, statistic, .. }, .. }] = &queries[..] else {
        return None;
    };
    let start =
        (now - Duration::from_secs(u64::from(period_s) * VALUE_PERIODS)).floor_to(i64::from(period_s));
    let points = metrics.query(metric, None, Statistic::parse(statistic)?, period_s, start, now);
    points.last().map(|(_, value)| *value)
}

async fn stop_on_signal(stop: Arc<watch::Sender<bool>>) {
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals");
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stop.send_replace(true);
}
