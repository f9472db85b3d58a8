//! What a running node tells, on stderr.

use cairn_node::config::{Log, LogFormat, log_filter};
use tracing::level_filters::LevelFilter;

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
    // They were looked at with the rest of the configuration.
    let filter = log_filter(&directives).unwrap_or_default();
    let layer = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => layer.with_ansi(false).with_target(false).init(),
        LogFormat::Json => layer.json().init(),
    }
}
