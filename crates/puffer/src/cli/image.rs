//! `puffer image`: makes images and lists them.
//!
//! Images appear in `<data>/images` in one step, so this works with the server running or not: a running server adopts new ones
//! within seconds. Names, look-ups by `resolve:ssm:/puffer/images/<name>/latest` and removal
//! (`aws ec2 deregister-image`) are the server's.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use puffer_compute::image::{DebianBuild, ImageStore, Manifest, NewImage, Progress};
use puffer_core::{Clock, ids};

use super::env::DEFAULT_DATA_DIR;
use super::output::stdout;
use crate::clock::SystemClock;
use crate::data_dir::DataDir;

#[derive(clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Build a Debian image from packages (needs mmdebstrap)
    Build(Build),
    /// Import a tarball (.tar, .tar.gz, .tar.zst), an OCI archive, or a directory
    Import(Import),
    /// List the images
    List(List),
}

#[derive(clap::Args)]
struct Naming {
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Name of the image
    #[arg(long)]
    name: String,
    /// Text for people
    #[arg(long)]
    description: Option<String>,
    /// Also let this parameter name it, for launch templates that say resolve:ssm:PARAMETER
    #[arg(long = "alias", value_name = "PARAMETER")]
    aliases: Vec<String>,
}

#[derive(clap::Args)]
struct Build {
    #[command(flatten)]
    naming: Naming,
    /// Debian release; the host's own if absent
    #[arg(long)]
    suite: Option<String>,
    /// Packages beside the minimal system; an image that shall boot wants systemd-sysv
    #[arg(long = "package", value_delimiter = ',', value_name = "PACKAGE", default_values = ["systemd-sysv", "dbus", "udev", "iproute2", "openssh-server", "curl"])]
    packages: Vec<String>,
    /// Put a file into the image
    #[arg(long = "copy", value_name = "FILE:DIRECTORY")]
    copies: Vec<String>,
    /// Run a shell command at the end, on this host, with the image's tree as $1
    #[arg(long = "hook", value_name = "COMMAND")]
    hooks: Vec<String>,
}

#[derive(clap::Args)]
struct Import {
    #[command(flatten)]
    naming: Naming,
    /// What to import
    path: PathBuf,
}

#[derive(clap::Args)]
struct List {
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Print the manifests as JSON
    #[arg(long)]
    json: bool,
    /// Also compare each image with the listing of the time it was made
    #[arg(long)]
    verify: bool,
}

/// Runs the subcommand. The id of a new image is the last line on standard output.
pub(super) fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Build(build) => {
            let copies = build.copies.iter().map(|text| copy_of(text)).collect::<anyhow::Result<_>>()?;
            let wanted =
                DebianBuild { suite: build.suite, packages: build.packages, copies, hooks: build.hooks };
            make(build.naming, |store, new, progress| store.build_debian(new, &wanted, progress))
        }
        Command::Import(import) => {
            let path = import
                .path
                .canonicalize()
                .with_context(|| format!("cannot find {}", import.path.display()))?;
            make(import.naming, |store, new, progress| store.import(new, &path, progress))
        }
        Command::List(args) => list(&args),
    }
}

/// `FILE:DIRECTORY`, the file made absolute.
fn copy_of(text: &str) -> anyhow::Result<(PathBuf, String)> {
    let Some((from, to)) = text.rsplit_once(':').filter(|(_, to)| to.starts_with('/')) else {
        bail!("--copy wants FILE:DIRECTORY with an absolute directory, not {text}");
    };
    let plain = to.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if !plain {
        bail!("--copy: {to} has characters that a hook cannot take");
    }
    let from = PathBuf::from(from);
    Ok((from.canonicalize().with_context(|| format!("cannot find {}", from.display()))?, to.to_owned()))
}

fn make(
    naming: Naming,
    how: impl FnOnce(
        &ImageStore,
        NewImage,
        &mut dyn FnMut(Progress),
    ) -> Result<Manifest, puffer_compute::image::ImageError>,
) -> anyhow::Result<()> {
    let store = ImageStore::open(&DataDir::create(&naming.data_dir)?.images())?;
    let new = NewImage {
        id: ids::resource_id("ami", &mut rand::rng()),
        name: naming.name,
        description: naming.description,
        aliases: naming.aliases,
        created_at: SystemClock.now(),
    };
    let bar = ProgressBar::new(100);
    bar.set_style(ProgressStyle::with_template("{bar:24} {elapsed:>4} {wide_msg}")?);
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    let made = how(&store, new, &mut |progress| {
        if let Some(fraction) = progress.fraction {
            bar.set_position((fraction * 100.0) as u64);
        }
        bar.set_message(progress.step);
    });
    bar.finish_and_clear();
    let manifest = made?;
    let seconds = bar.elapsed().as_secs_f64();
    let mib = manifest.size_bytes as f64 / f64::from(1 << 20);
    eprintln!("made {} ({mib:.0} MiB) in {seconds:.1} s", manifest.name);
    writeln!(stdout(), "{}", manifest.id)?;
    Ok(())
}

fn list(args: &List) -> anyhow::Result<()> {
    let store = ImageStore::open(&DataDir::open(&args.data_dir)?.images())?;
    let (mut good, mut bad) = store.list()?;
    if args.verify {
        good.retain(|image| match store.verify(&image.id) {
            Ok(_) => true,
            Err(error) => {
                bad.push(error);
                false
            }
        });
    }
    let mut out = stdout();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&good)?)?;
    } else {
        for image in &good {
            let kind = match image.kind {
                puffer_compute::process::BundleKind::Process => "process",
                puffer_compute::process::BundleKind::Rootfs => "rootfs",
            };
            let mib = image.size_bytes >> 20;
            let when = image.created_at.to_rfc3339_secs();
            writeln!(out, "{}  {when}  {kind:7}  {mib:>6} MiB  {}", image.id, image.name)?;
        }
    }
    for error in &bad {
        eprintln!("puffer: {error}");
    }
    if bad.is_empty() { Ok(()) } else { bail!("{} of the images cannot be used", bad.len()) }
}
