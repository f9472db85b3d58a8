//! A server of S3 on this machine: `s3d`, over a folder that goes with it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::below;
use crate::bins;

/// The bucket.
pub const BUCKET: &str = "cairn";
/// The tier's place in it.
const PREFIX: &str = "tier";
/// Who is let in.
const KEY: &str = "AKIDFORTESTS";
const SECRET: &str = "known-to-tests-alone";

/// A server, with a bucket. Dropped, it is killed, and its folder removed.
pub struct S3 {
    dir: TempDir,
    /// The same at every start.
    port: u16,
    server: Option<Child>,
}

impl S3 {
    /// Starts one, on a free port.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut new = Self { dir, port: 0, server: None };
        std::fs::create_dir_all(new.bucket()).expect("the bucket");
        new.restart();
        new
    }

    /// Starts it again, after [`S3::kill`].
    pub fn restart(&mut self) {
        assert!(self.server.is_none(), "it runs");
        let mut command = Command::new(bins::s3d());
        command.arg("--dir").arg(self.root()).arg("--faults").arg(self.dir.path().join(FAULTS));
        command.args(["--port", &self.port.to_string(), "--key", KEY, "--secret", SECRET]);
        let mut server = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("s3d starts");
        let mut line = String::new();
        let mut said = BufReader::new(server.stdout.take().expect("a pipe"));
        said.read_line(&mut line).expect("s3d says where it listens");
        self.server = Some(server);
        let port = line.trim_end().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        self.port = port.unwrap_or_else(|| panic!("s3d does not listen: {line:?}"));
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.kill().expect("it runs");
        server.wait().expect("a child");
    }

    /// What `global.url` says of it.
    pub fn url(&self) -> String {
        let port = self.port;
        format!("s3://{BUCKET}/{PREFIX}?endpoint=http://127.0.0.1:{port}&region=us-east-1&allow_http=true")
    }

    /// The variables by which it lets a node in.
    pub fn env(&self) -> Vec<(String, String)> {
        variables(SECRET)
    }

    /// Variables by which it does not.
    pub fn wrong_env(&self) -> Vec<(String, String)> {
        variables("guessed")
    }

    /// From the next request on this goes wrong: the fields of `tests/src/bin/s3d/faults.rs`.
    pub fn faults(&self, faults: Value) {
        let (new, path) = (self.dir.path().join("faults.new"), self.dir.path().join(FAULTS));
        std::fs::write(&new, faults.to_string()).expect("the faults can be written");
        std::fs::rename(new, path).expect("the faults can be told");
    }

    /// From the next request on nothing does.
    pub fn heal(&self) {
        self.faults(json!({}));
    }

    /// Takes the bucket away, with all that is in it.
    pub fn take_bucket(&self) {
        std::fs::rename(self.bucket(), self.dir.path().join("taken")).expect("the bucket is there");
    }

    /// Gives it back.
    pub fn give_bucket(&self) {
        std::fs::rename(self.dir.path().join("taken"), self.bucket()).expect("the bucket was taken");
    }

    /// The file of an object, by its key in the tier.
    pub fn object(&self, key: &str) -> PathBuf {
        // Long parts of keys have shorter names there.
        let aliases = std::fs::read_to_string(self.root().join(".aliases")).unwrap_or_default();
        let known = aliases.lines().filter_map(|line| serde_json::from_str::<(String, String)>(line).ok());
        let known: BTreeMap<String, String> = known.map(|(alias, part)| (part, alias)).collect();
        let name = |part: &str| known.get(part).map_or_else(|| part.to_owned(), Clone::clone);
        key.split('/').fold(self.bucket().join(PREFIX), |path, part| path.join(name(part)))
    }

    /// The objects that hold bytes of versions, by the paths that their files have in the tier.
    pub fn objects(&self) -> Vec<String> {
        let all = below(&self.bucket().join(PREFIX)).into_iter();
        all.filter(|path| path.split('/').nth(1) == Some("objects")).collect()
    }

    /// Parts that have arrived of objects that are not whole.
    pub fn parts(&self) -> usize {
        let entries = std::fs::read_dir(self.root()).expect("the server's folder").flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".upload_id-")).count()
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn bucket(&self) -> PathBuf {
        self.root().join(BUCKET)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

const FAULTS: &str = "faults.json";

fn variables(secret: &str) -> Vec<(String, String)> {
    [("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", secret)]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}
