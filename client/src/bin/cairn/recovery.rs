//! `cairn cluster recovery`

use cairn_client::api::Recovery;
use cairn_client::dial::Client;
use cairn_store::meta::Phase;

use crate::args::RecoveryArgs;
use crate::confirm::confirm;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn run(client: &Client, args: RecoveryArgs, output: &Output) -> Result<u8, Report> {
    let mut recovery = client.recovery().await?;
    if args.end && !args.dry_run {
        if !args.yes && recovery.as_ref().is_some_and(|recovery| recovery.phase == Phase::Adopting) {
            confirm(question(recovery.as_ref()), "the recovery is not ended".into()).await?;
        }
        client.resume().await?;
        recovery = client.recovery().await?;
    }
    output.print(&views::Recovery::new(recovery.as_ref()))?;
    Ok(0)
}

fn question(recovery: Option<&Recovery>) -> String {
    match recovery.map_or(0, |recovery| recovery.missing) {
        0 => "End the recovery?".into(),
        1 => "End the recovery? No good copy was found of one version.".into(),
        missing => format!("End the recovery? No good copy was found of {missing} versions."),
    }
}
