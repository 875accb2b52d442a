//! `puffer spot`: the Spot market of this machine, to look at and to move.

use std::io::Write;
use std::path::PathBuf;

use anyhow::bail;
use clap::Subcommand;

use super::env::DEFAULT_DATA_DIR;
use super::output::stdout;
use crate::data_dir::DataDir;
use crate::server::admin::{Answer, Question, ask};
use crate::server::operator::{Order, Outcome};

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR, global = true)]
    data_dir: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show pools: price, capacity, use
    List {
        /// Types, such as t3.* or m5.large
        #[arg(default_value = "*")]
        types: String,
    },
    /// Set the price or the capacity of pools; 0 instances withdraws a pool, which interrupts what runs there
    Set {
        /// Types, such as t3.* or m5.large
        types: String,
        /// Zones; all if none is given
        #[arg(long = "zone")]
        zones: Vec<String>,
        /// US dollars an hour, or "model" to give the price back to the model
        #[arg(long)]
        price: Option<String>,
        /// Instances that the pool holds, or "machine" for as many as the machine does
        #[arg(long)]
        capacity: Option<String>,
    },
    /// Set what holds for the whole market
    Market {
        /// Seed of the model that makes prices
        #[arg(long)]
        seed: Option<u64>,
        /// Spot instances that the account may have, or "none"
        #[arg(long)]
        limit: Option<String>,
    },
    /// Give an instance the two-minute notice, then end it
    Interrupt {
        /// i-…
        instance: String,
    },
    /// Recommend an instance to move, without taking it back
    Rebalance {
        /// i-…
        instance: String,
    },
}

/// Asks or changes.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let order = match &args.command {
        Command::List { types } => Order::ListPools { pattern: types.clone() },
        Command::Set { price: None, capacity: None, .. } => bail!("give --price or --capacity"),
        Command::Set { types, zones, price, capacity } => Order::SetPools {
            pattern: types.clone(),
            zones: zones.clone(),
            price: price.clone(),
            capacity: capacity.clone(),
        },
        Command::Market { seed: None, limit: None } => bail!("give --seed or --limit"),
        Command::Market { seed, limit } => Order::SetMarket { seed: *seed, limit: limit.clone() },
        Command::Interrupt { instance } => Order::Interrupt { instance: instance.clone() },
        Command::Rebalance { instance } => Order::Rebalance { instance: instance.clone() },
    };
    print(&args.data_dir, order, args.json)
}

/// Has an order carried out and prints what came of it.
pub(super) fn print(data_dir: &std::path::Path, order: Order, json: bool) -> anyhow::Result<()> {
    let data = DataDir::open(data_dir)?;
    let Answer::Outcome(outcome) = ask(&data.admin_socket(), &Question::Order(order))? else {
        bail!("the server gave an answer of the wrong kind");
    };
    let mut out = stdout();
    if json {
        return Ok(writeln!(out, "{}", serde_json::to_string(&outcome)?)?);
    }
    match outcome {
        Outcome::Done(text) => writeln!(out, "{text}")?,
        Outcome::Pools(pools) => {
            writeln!(
                out,
                "{:<12} {:<16} {:>10} {:>10} {:>8} {:>6}",
                "TYPE", "ZONE", "SPOT", "ON-DEMAND", "LEFT", "IN USE"
            )?;
            for p in pools {
                let left = p.left.map_or_else(|| "machine".to_owned(), |n| n.to_string());
                writeln!(
                    out,
                    "{:<12} {:<16} {:>10} {:>10} {:>8} {:>6}",
                    p.instance_type, p.zone, p.price, p.on_demand, left, p.in_use
                )?;
            }
        }
        Outcome::Zones(zones) => {
            for z in zones {
                let state =
                    z.down_since.map_or_else(|| "up".to_owned(), |since| format!("down since {since}"));
                let shifted = match z.shifted.is_empty() {
                    true => String::new(),
                    false => format!("; shifted away: {}", z.shifted.join(", ")),
                };
                writeln!(out, "{}  {state}; {} running{shifted}", z.zone, z.running)?;
            }
        }
    }
    Ok(())
}
