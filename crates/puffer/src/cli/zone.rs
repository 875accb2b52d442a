//! `puffer zone`: zones that are down, and groups shifted away from a zone.

use std::path::PathBuf;

use clap::Subcommand;

use super::env::DEFAULT_DATA_DIR;
use crate::server::operator::Order;

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
    /// Show the zones
    List,
    /// Take a zone down: launches there fail, its instances hold still and answer nobody
    Down {
        /// Name, such as us-east-1a
        zone: String,
    },
    /// Bring a zone up again: what is left of its instances goes on where it was
    Up {
        /// Name
        zone: String,
    },
    /// Shift a group away from a zone; its AvailabilityZoneImpairmentPolicy must enable zonal shift
    Shift {
        /// Auto Scaling group
        group: String,
        /// Zone to leave
        #[arg(long)]
        away_from: String,
        /// How long, in minutes
        #[arg(long, default_value_t = 60)]
        minutes: u32,
    },
    /// End a group's shift
    EndShift {
        /// Auto Scaling group
        group: String,
    },
}

/// Asks or changes.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let order = match &args.command {
        Command::List => Order::ListZones,
        Command::Down { zone } => Order::ZoneDown { zone: zone.clone() },
        Command::Up { zone } => Order::ZoneUp { zone: zone.clone() },
        Command::Shift { group, away_from, minutes } => {
            Order::Shift { group: group.clone(), zone: away_from.clone(), minutes: *minutes }
        }
        Command::EndShift { group } => Order::EndShift { group: group.clone() },
    };
    super::spot::print(&args.data_dir, order, args.json)
}
