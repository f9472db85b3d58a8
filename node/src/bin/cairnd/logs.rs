//! What a running node tells, on stderr.

use cairn_node::config::{Log, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// What a plain level leaves alone: libraries that tell every step of theirs.
const LIBRARIES: &str = "warn,openraft=error,sled=error";

/// Begins to tell. Once in a process.
pub(crate) fn init(log: &Log) {
    // A plain level speaks of our own crates; directives are taken as they are.
    let directives = match log.level.parse::<LevelFilter>() {
        Ok(LevelFilter::OFF) => "off".into(),
        Ok(level) => {
            format!("{LIBRARIES},cairnd={level},cairn_node={level},cairn_store={level},cairn_client={level}")
        }
        Err(_) => log.level.clone(),
    };
    let layer = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(directives)).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => layer.with_ansi(false).with_target(false).init(),
        LogFormat::Json => layer.json().init(),
    }
}
