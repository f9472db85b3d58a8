//! `cairn global`

use cairn_client::dial::Client;
use cairn_client::wire::BackupOf;

use crate::args::{AdoptArgs, StoredArgs};
use crate::meta;
use crate::output::Output;
use crate::report::Report;
use crate::views;

pub(crate) async fn status(client: &Client, output: &Output) -> Result<u8, Report> {
    output.print(&views::GlobalStatus::new(&client.global().await?))?;
    Ok(0)
}

pub(crate) async fn backup(client: &Client, args: StoredArgs, output: &Output) -> Result<u8, Report> {
    let backup = client.backup_of(BackupOf::Stored(args.cluster), &args.file, args.force).await?;
    output.print(&views::Backup::new(&args.file, &backup))?;
    Ok(0)
}

pub(crate) async fn adopt(client: &Client, args: AdoptArgs, output: &Output) -> Result<u8, Report> {
    let AdoptArgs { cluster, yes, dry_run } = args;
    let folder =
        tempfile::tempdir().map_err(|e| Report::internal(format!("no temporary folder can be made: {e}")))?;
    let backup = client.backup_of(BackupOf::Manifests(cluster), &folder.path().join("manifests"), false).await?;
    meta::begin(client, &backup, yes, dry_run, output).await
}
