//! `cairn meta`

use cairn_client::api::{Code, Error};
use cairn_client::backup::read_backup;
use cairn_client::dial::Client;
use cairn_store::meta::Backup;

use crate::args::{BackupArgs, InspectArgs, RestoreArgs};
use crate::confirm::confirm;
use crate::output::Output;
use crate::progress::counted;
use crate::report::Report;
use crate::views;

pub(crate) async fn backup(client: &Client, args: BackupArgs, output: &Output) -> Result<u8, Report> {
    let backup = client.backup(&args.file, args.force).await?;
    output.print(&views::Backup::new(&args.file, &backup))?;
    Ok(0)
}

pub(crate) async fn inspect(args: &InspectArgs, output: &Output) -> Result<u8, Report> {
    let file = args.file.clone();
    output.print(&views::Backup::new(&args.file, &read(file).await?))?;
    Ok(0)
}

pub(crate) async fn restore(client: &Client, args: RestoreArgs, output: &Output) -> Result<u8, Report> {
    let RestoreArgs { file, yes, dry_run } = args;
    // Read to its end before anything is changed.
    let backup = read(file).await?;
    begin(client, &backup, yes, dry_run, output).await
}

/// Has a cluster without segments begin with a backup, wherever it comes from.
pub(crate) async fn begin(
    client: &Client,
    backup: &Backup,
    yes: bool,
    dry_run: bool,
    output: &Output,
) -> Result<u8, Report> {
    let hello = client.hello().await?;
    check_target(client, backup).await?;
    if !dry_run {
        if !yes {
            let count = backup.state.segments.len();
            let question = format!("Begin cluster {} with the {count} segments of this backup?", hello.cluster);
            confirm(question, "nothing is restored".into()).await?;
        }
        let total = u64::try_from(backup.state.segments.len()).unwrap_or(u64::MAX);
        client.restore(backup, counted("restoring", total)).await?;
    }
    output.print(&views::Restored::new(hello.cluster, backup, !dry_run))?;
    Ok(0)
}

async fn read(file: std::path::PathBuf) -> Result<Backup, Report> {
    let read = tokio::task::spawn_blocking(move || read_backup(&file)).await;
    Ok(read.map_err(|error| Report::internal(format!("the backup could not be read: {error}")))??)
}

/// Whether the cluster would take it, as far as that can be told beforehand.
async fn check_target(client: &Client, backup: &Backup) -> Result<(), Report> {
    match client.recovery().await? {
        Some(recovery) if Some(recovery.source) == backup.source() => Ok(()),
        Some(recovery) => {
            let (revision, cluster) = (recovery.source.revision, recovery.source.cluster);
            let what = format!("the cluster began with another state: revision {revision} of cluster {cluster}");
            Err(Error::new(Code::Conflict, what).hint("go on with that backup: a cluster begins once").into())
        }
        None if client.status().await?.segments > 0 => {
            let error = Error::new(Code::Conflict, "the cluster has segments of its own");
            Err(error.hint("restore into a new cluster: `cairnd init` makes one").into())
        }
        None => Ok(()),
    }
}
