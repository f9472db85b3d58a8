//! A cluster's metadata as a file, and back into another cluster.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;
use std::time::Duration;

use cairn_store::meta::{Backup, BackupError, RestoreStep};
use tokio::time::timeout;

use crate::api::{Code, Error};
use crate::dial::{Client, Stream, dial};
use crate::fault::{Fault, FileFault};
use crate::part::Part;
use crate::retry::{Failure, Retry};
use crate::save::blocking;
use crate::wire::{self, AskBackup, BackupAnswer, BackupOf, Kind, RefusalCode, WireError};

/// How long a node may look through what lies in the global tier: some hundred manifests a second.
const SALVAGE_MAX: Duration = Duration::from_secs(1800);

impl Client {
    /// Writes a backup of the cluster's metadata to `path`, which appears whole and durable or not at all; over what is there
    /// only with `force`. It holds everything that was committed before the call, and is read through before it appears.
    ///
    /// # Errors
    /// The request's, or the file's.
    pub async fn backup(&self, path: &Path, force: bool) -> Result<Backup, Fault> {
        self.backup_of(BackupOf::Cluster, path, force).await
    }

    /// The same of what lies in the global tier.
    ///
    /// # Errors
    /// The request's, or the file's.
    pub async fn backup_of(&self, of: BackupOf, path: &Path, force: bool) -> Result<Backup, Fault> {
        let mut retry = Retry::new(self.timeout(), false);
        loop {
            let part = Part::private(path)?;
            match self.receive_backup(&mut retry, of, &part).await {
                Ok(()) => {
                    let (read, part) = blocking(move || {
                        part.sync()?;
                        let read = read_backup(part.path());
                        Ok::<_, Fault>((read, part))
                    })
                    .await??;
                    let backup = read?;
                    blocking(move || part.publish(force)).await??;
                    return Ok(backup);
                }
                Err(Trouble::Request(failure)) => retry.again(failure).await?,
                Err(Trouble::File(fault)) => return Err(fault.into()),
            }
        }
    }

    /// One try.
    async fn receive_backup(&self, retry: &mut Retry, of: BackupOf, part: &Part) -> Result<(), Trouble> {
        let session = self.session(retry.left()).await?;
        let hello = self.greet(&session, retry).await?;
        // What lies in the tier is looked through first.
        let idle = if of == BackupOf::Cluster { self.timeout() } else { self.timeout().max(SALVAGE_MAX) };
        let broke = |error: String| {
            Failure::unanswered(Error::unavailable(format!("no backup from {}: {error}", hello.node)))
        };
        let limit = self.share().min(retry.left());
        let mut stream = dial(self.connector(), &hello.data, limit).await.map_err(|e| broke(e.to_string()))?;
        let wait = self.wait();
        let asked = async {
            wire::send(&mut stream, &AskBackup { wait, of }).await?;
            wire::receive::<BackupAnswer>(&mut stream).await
        };
        let late = || broke("it does not answer".into());
        let BackupAnswer(answer) =
            timeout(idle, asked).await.map_err(|_| late())?.map_err(|e| broke(e.to_string()))?;
        answer.map_err(|refusal| match refusal.code {
            RefusalCode::Busy => broke(refusal.message),
            RefusalCode::Gone => Failure::answered(Error::new(Code::NotFound, refusal.message)),
            _ => Failure::answered(Error::new(Code::Conflict, refusal.message)),
        })?;
        loop {
            let piece = timeout(idle, next_piece(&mut stream)).await.map_err(|_| late())?;
            let piece = piece.map_err(|e| broke(e.to_string()))?;
            if piece.is_empty() {
                return Ok(());
            }
            let mut file = part.file()?;
            file.write_all(&piece).map_err(|error| part.failed(&error))?;
        }
    }

    /// Has a cluster without segments begin with what a backup holds. May be repeated: what was done stays done. `tell` hears
    /// how many segments were taken over so far.
    ///
    /// # Errors
    /// Conflict if the cluster has segments of its own, or began with another backup.
    pub async fn restore(&self, backup: &Backup, tell: impl Fn(u64)) -> Result<(), Error> {
        let steps = backup.steps().ok_or_else(|| Error::new(Code::Corrupt, BackupError::NotFounded.to_string()))?;
        let mut done = 0;
        for step in steps {
            let segments = if let RestoreStep::Segments { segments, .. } = &step { segments.len() } else { 0 };
            self.restore_step(step).await?;
            done += u64::try_from(segments).unwrap_or(u64::MAX);
            tell(done);
        }
        Ok(())
    }
}

/// Reads a backup's file.
///
/// # Errors
/// Corrupt if it is damaged or no backup at all.
pub fn read_backup(path: &Path) -> Result<Backup, Fault> {
    let file = File::open(path).map_err(|error| FileFault::new("read", path, &error))?;
    Backup::read(&mut BufReader::new(file)).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, error: BackupError) -> Fault {
    let hint = match &error {
        BackupError::Io(error) => return FileFault::new("read", path, error).into(),
        BackupError::Stranger | BackupError::NotFounded => "give a file that `cairn meta backup` wrote",
        BackupError::Newer(_) => "use the cairn that made it, or a newer one",
        BackupError::Damaged(_) => "use another backup; nothing was changed",
    };
    let code = if matches!(error, BackupError::Newer(_)) { Code::Invalid } else { Code::Corrupt };
    Error::new(code, format!("{}: {error}", path.display())).hint(hint).into()
}

enum Trouble {
    Request(Failure),
    File(FileFault),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Request(failure)
    }
}

impl From<FileFault> for Trouble {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}

async fn next_piece(stream: &mut Box<dyn Stream>) -> Result<Vec<u8>, WireError> {
    let (kind, piece) = wire::receive_bytes(stream).await?;
    if kind == Kind::BackupPiece as u16 {
        return Ok(piece);
    }
    Err(WireError::Kind { found: kind, wanted: Kind::BackupPiece as u16 })
}
