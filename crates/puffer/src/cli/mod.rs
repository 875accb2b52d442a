//! The command line: a file per subcommand.

mod balancer;
mod bounded_log;
mod doctor;
mod env;
mod events;
mod explain;
mod image;
mod output;
mod replay;
mod serve;
mod simulate;
mod spot;
mod status;
mod teardown;
mod zone;

use std::process::ExitCode;

pub(crate) use serve::{Args as ServeArgs, Compute};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "puffer", version, about = "EC2 Auto Scaling for your own Linux machines")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::Args),
    /// Print shell commands that point AWS tools at a server: eval "$(puffer env)"
    Env(env::Args),
    /// Show groups, instances, health and activities; live on a terminal
    Status(status::Args),
    /// Say why: an activity's or a group's causes and the numbers behind them
    Explain(explain::Args),
    /// Print the newest events in EventBridge's form, one JSON document a line
    Events(events::Args),
    /// Run the data plane of the load balancers (the server starts it by itself)
    Balancer(balancer::Args),
    /// Build, import and list images
    Image(image::Args),
    /// Replay a load against scaling policies in virtual time
    Replay(replay::Args),
    /// Show and move the Spot market: prices, capacity, interruptions
    Spot(spot::Args),
    /// Show zones, declare one down or up, shift a group away from one
    Zone(zone::Args),
    /// Say what this machine allows, and what to install or change
    Doctor(doctor::Args),
    /// Have launches fail or instances die, on a server with simulated instances
    Simulate(simulate::Args),
    /// End the server and everything it runs on this machine: instances, load balancers, network
    Teardown(teardown::Args),
}

/// Parses the command line and runs the subcommand; errors go to standard error as one chain.
pub(crate) fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Env(args) => env::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Balancer(args) => balancer::run(args),
        Command::Image(args) => image::run(args),
        Command::Replay(args) => replay::run(&args),
        Command::Spot(args) => spot::run(&args),
        Command::Zone(args) => zone::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Simulate(args) => simulate::run(args),
        Command::Teardown(args) => teardown::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::was_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("puffer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
