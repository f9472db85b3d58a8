//! Ownership without bytes, and leases.

use std::time::Duration;

use cairn_store::lease::{LEASE_MAX, LEASE_MIN};
use cairn_store::name::Name;
use cairn_store::segment::Epoch;

use super::epoch;

#[derive(Debug, clap::Args)]
pub(crate) struct ClaimArgs {
    /// The segment.
    pub(crate) name: Name,
    /// Nobody else takes over for so long, if it is not renewed; 1s to 1h.
    #[arg(long, value_name = "TIME", value_parser = lease)]
    pub(crate) lease: Option<Duration>,
    /// Only if this is the epoch now: of several that saw the same one, one gets it.
    #[arg(long, allow_negative_numbers = true, value_name = "E", value_parser = epoch)]
    pub(crate) if_epoch: Option<Epoch>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RenewArgs {
    /// The segment.
    pub(crate) name: Name,
    /// The epoch of the ownership.
    #[arg(long, allow_negative_numbers = true, value_name = "E", value_parser = epoch)]
    pub(crate) epoch: Epoch,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// The segment.
    pub(crate) name: Name,
    /// The epoch that is given up.
    #[arg(long, allow_negative_numbers = true, value_name = "E", value_parser = epoch)]
    pub(crate) epoch: Epoch,
}

/// How long a lease lasts.
pub(super) fn lease(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|e| e.to_string())?;
    if (LEASE_MIN..=LEASE_MAX).contains(&span) {
        return Ok(span);
    }
    let [least, most] = [LEASE_MIN, LEASE_MAX].map(humantime::format_duration);
    Err(format!("a lease lasts {least} to {most}"))
}
