//! Real input.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A block of the data plane and of the digests, in bytes.
pub const BLOCK: u64 = 1 << 20;

/// A file of `size` bytes that do not repeat; `seed` makes files differ.
pub fn random(dir: &Path, name: &str, size: u64, seed: u64) -> PathBuf {
    let path = dir.join(name);
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut file = fs::File::create(&path).expect("the file can be made");
    let mut left = size;
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        let count = left.min(buffer.len() as u64) as usize;
        reader.fill(&mut buffer[..count]);
        std::io::Write::write_all(&mut file, &buffer[..count]).expect("the file can be written");
        left -= count as u64;
    }
    path
}

/// An SQLite database with rows, written by SQLite itself.
pub fn sqlite(dir: &Path, name: &str, rows: u32) -> PathBuf {
    let path = dir.join(name);
    let mut db = rusqlite::Connection::open(&path).expect("SQLite opens");
    db.execute_batch("CREATE TABLE account (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL)")
        .expect("the table can be made");
    let insert = db.transaction().expect("a transaction begins");
    for id in 0..rows {
        insert
            .execute("INSERT INTO account VALUES (?1, ?2, ?3)", (id, format!("owner {id}"), id * 17 % 1000))
            .expect("a row can be inserted");
    }
    insert.commit().expect("the rows commit");
    path
}

/// Whether SQLite finds a database whole, and how many rows it has.
pub fn sqlite_check(path: &Path) -> (String, u32) {
    let db = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("SQLite opens");
    let check = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("the check runs");
    let rows = db.query_row("SELECT count(*) FROM account", [], |row| row.get(0)).expect("the rows can be counted");
    (check, rows)
}

/// The BLAKE3 of a file's bytes, in hex: what `b3sum` prints.
#[track_caller]
pub fn digest(path: &Path) -> String {
    digest_of(path).unwrap_or_else(|e| panic!("{} cannot be read: {e}", path.display()))
}

/// The same, of a file that may go away.
pub fn digest_of(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Insists that two files have the same bytes.
#[track_caller]
pub fn same(a: &Path, b: &Path) {
    assert_eq!(digest(a), digest(b), "{} and {} differ", a.display(), b.display());
}

/// Changes a single bit of a file, whoever may write it.
pub fn flip(path: &Path, at: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    file.sync_all().unwrap();
}
