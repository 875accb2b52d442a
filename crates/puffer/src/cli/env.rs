use std::io::Write;
use std::path::PathBuf;

use super::output::stdout;
use crate::data_dir::DataDir;

/// Default of `--data-dir`.
pub(crate) const DEFAULT_DATA_DIR: &str = "./puffer-data";

#[derive(clap::Args)]
pub(super) struct Args {
    /// The server's data directory
    #[arg(long, env = "PUFFER_DATA_DIR", default_value = DEFAULT_DATA_DIR)]
    data_dir: PathBuf,
    /// Print one JSON object instead of shell commands
    #[arg(long)]
    json: bool,
}

/// Prints endpoint, region and keys of the server in `--data-dir`.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let data = DataDir::open(&args.data_dir)?;
    let info = data.server_info()?;
    let keys = data.existing_credentials()?;
    let endpoint = format!("http://{}", info.endpoint);
    let variables = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_DEFAULT_REGION", &info.region),
        ("AWS_REGION", &info.region),
        ("AWS_ACCESS_KEY_ID", &keys.access_key_id),
        ("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key),
    ];
    let mut out = stdout();
    if args.json {
        let mut object: serde_json::Map<String, serde_json::Value> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
        object.insert("server".into(), serde_json::to_value(&info)?);
        writeln!(out, "{}", serde_json::to_string_pretty(&object)?)?;
    } else {
        for (name, value) in variables {
            writeln!(out, "export {name}='{value}'")?;
        }
        writeln!(out, "unset AWS_SESSION_TOKEN AWS_PROFILE")?;
    }
    Ok(())
}
