//! Object stores, by the crate `object_store`: S3, Google Cloud Storage, Azure, and folders.

mod upload;

use std::fmt::Display;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, ObjectStoreScheme, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use url::Url;

use crate::env::{Listed, ObjectError, Objects, Upload};
use upload::Broken;

/// How long it is tried to connect.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long one request may take, a part's bytes included.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// How long a request is tried again.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// After how long for the first time.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// How often.
const RETRIES: usize = 4;
/// The longest text of an error, in characters: some stores answer with pages.
const ERROR_CHARS_MAX: usize = 300;

/// What a URL's options must not say: they are shown, and kept in files that many can read.
const SECRETS: [&str; 6] = ["secret", "token", "password", "credential", "key", "sas"];
/// An option that sounds like one, and is none.
const NO_SECRET: &str = "bucket_key";
/// The variables of this process that name credentials and other options.
const VARIABLES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// An object store.
pub struct StoredObjects {
    store: Arc<dyn ObjectStore>,
    /// Of stores that take the parts of an object one by one; a folder does not.
    parts: Option<Arc<dyn MultipartStore>>,
    prefix: Path,
    address: String,
    /// Whether it compares the checksum that is sent along with each request.
    compares: bool,
    /// Of a store that is one: it is made by hand.
    folder: Option<PathBuf>,
    broken: Arc<Mutex<Broken>>,
}

impl StoredObjects {
    /// The store of a URL, with the options of its query and of these variables.
    ///
    /// # Errors
    /// What is wrong with the URL or the options, in words. Whether the store is there is not looked at.
    pub fn open(url: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let options = Options::read(url, variables)?;
        let (address, prefix, broken) = (options.address.clone(), options.prefix.clone(), Arc::default());
        let built = |e: object_store::Error| short(&e);
        let (store, parts): (Arc<dyn ObjectStore>, Arc<dyn MultipartStore>) = match options.builder()? {
            Builder::Folder(folder) => {
                let store = Arc::new(LocalFileSystem::new().with_fsync(true));
                let folder = Some(folder);
                return Ok(Self { store, parts: None, prefix, address, compares: false, folder, broken });
            }
            Builder::S3(builder) => {
                let store = Arc::new(builder.build().map_err(built)?);
                (store.clone(), store)
            }
            Builder::Google(builder) => {
                let store = Arc::new(builder.build().map_err(built)?);
                (store.clone(), store)
            }
            Builder::Azure(builder) => {
                let store = Arc::new(builder.build().map_err(built)?);
                (store.clone(), store)
            }
        };
        // The signature of a request to S3 is over a checksum of its bytes; to others no checksum is sent.
        let compares = matches!(options.scheme, ObjectStoreScheme::AmazonS3) && !options.says("unsigned_payload");
        Ok(Self { store, parts: Some(parts), prefix, address, compares, folder: None, broken })
    }

    /// Whether a URL can be used, as far as that shows without credentials.
    ///
    /// # Errors
    /// As of [`StoredObjects::open`].
    pub fn check(url: &str) -> Result<(), String> {
        Options::read(url, Vec::new())?.builder().map(drop)
    }

    /// Where a file system is not mounted, nothing must be written in its place.
    async fn check_folder(&self) -> Result<(), ObjectError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match tokio::fs::metadata(folder).await {
            Ok(found) if found.is_dir() => Ok(()),
            _ => Err(ObjectError::Failed(format!("the folder {} is not there", folder.display()))),
        }
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }
}

/// What a URL and the variables say.
struct Options {
    scheme: ObjectStoreScheme,
    /// Without its query.
    url: Url,
    /// As it was given, for people.
    address: String,
    prefix: Path,
    known: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

/// A store that is not opened yet.
enum Builder {
    Folder(PathBuf),
    S3(AmazonS3Builder),
    Google(GoogleCloudStorageBuilder),
    Azure(MicrosoftAzureBuilder),
}

impl Options {
    fn read(url: &str, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, String> {
        let mut url = Url::parse(url).map_err(|e| format!("it is no URL: {e}"))?;
        // An Azure account may stand before the `@`.
        let account = matches!(url.scheme(), "az" | "abfs" | "abfss");
        if url.password().is_some() || (!url.username().is_empty() && !account) {
            return Err("credentials do not belong into a URL: set them as variables of the daemon".into());
        }
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        if let Some((key, _)) = query.iter().find(|(key, _)| is_secret(key)) {
            return Err(format!("{key} does not belong into a URL: set it as a variable of the daemon"));
        }
        let address = url.to_string();
        url.set_query(None);
        let forms = "write file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|_| forms.to_owned())?;
        let known = variables.into_iter().filter(|(key, _)| VARIABLES.iter().any(|known| key.starts_with(known)));
        let known = known.map(|(key, value)| (key.to_lowercase(), value)).collect();
        Ok(Self { scheme, url, address, prefix, known, query })
    }

    fn builder(&self) -> Result<Builder, String> {
        match self.scheme {
            ObjectStoreScheme::Local if !self.query.is_empty() => Err("a folder has no options".into()),
            ObjectStoreScheme::Local => {
                self.url.to_file_path().map(Builder::Folder).map_err(|()| "it is no folder of this machine".into())
            }
            ObjectStoreScheme::AmazonS3 => {
                let store = AmazonS3Builder::new().with_url(self.url.as_str());
                let store = store.with_client_options(client(self)).with_retry(retry());
                self.apply(store, AmazonS3Builder::with_config).map(Builder::S3)
            }
            ObjectStoreScheme::GoogleCloudStorage => {
                let store = GoogleCloudStorageBuilder::new().with_url(self.url.as_str());
                let store = store.with_client_options(client(self)).with_retry(retry());
                self.apply(store, GoogleCloudStorageBuilder::with_config).map(Builder::Google)
            }
            ObjectStoreScheme::MicrosoftAzure => {
                let store = MicrosoftAzureBuilder::new().with_url(self.url.as_str());
                let store = store.with_client_options(client(self)).with_retry(retry());
                self.apply(store, MicrosoftAzureBuilder::with_config).map(Builder::Azure)
            }
            _ => Err(format!("{}:// is no store that is known", self.url.scheme())),
        }
    }

    /// The URL's own above the variables; of those, what the store does not know is somebody else's.
    fn apply<B, K: std::str::FromStr>(&self, builder: B, with: impl Fn(B, K, String) -> B) -> Result<B, String> {
        let mut builder = builder;
        for (key, value) in &self.known {
            if let Ok(key) = key.parse() {
                builder = with(builder, key, value.clone());
            }
        }
        for (key, value) in &self.query {
            if key == ALLOW_HTTP {
                continue;
            }
            let key = key.parse().map_err(|_| format!("the store has no option {key}"))?;
            builder = with(builder, key, value.clone());
        }
        Ok(builder)
    }

    fn says(&self, key: &str) -> bool {
        let all = self.known.iter().chain(&self.query);
        all.rev().find(|(known, _)| known.ends_with(key)).is_some_and(|(_, value)| value == "true")
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    SECRETS.iter().any(|secret| key.contains(secret)) && !key.contains(NO_SECRET)
}

/// An option of all stores: an `http://` endpoint may be used.
const ALLOW_HTTP: &str = "allow_http";

fn client(options: &Options) -> ClientOptions {
    // Whoever came first has set it; another provider would do as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let options = ClientOptions::new().with_allow_http(options.says(ALLOW_HTTP));
    options.with_connect_timeout(CONNECT_MAX).with_timeout(REQUEST_MAX).with_http1_only()
}

fn retry() -> RetryConfig {
    // Half a second, one, two and four, more or less: a store that is restarted is waited for.
    let backoff = BackoffConfig { init_backoff: RETRY_FIRST, max_backoff: RETRY_MAX / 2, base: 2.0 };
    RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_MAX, backoff }
}

fn failed(error: object_store::Error) -> ObjectError {
    match &error {
        object_store::Error::NotFound { .. } => ObjectError::Missing,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            ObjectError::Denied(short(&error))
        }
        _ => ObjectError::Failed(short(&error)),
    }
}

/// Of a write: what is not found is the place itself.
fn not_written(error: object_store::Error) -> ObjectError {
    match failed(error) {
        ObjectError::Missing => ObjectError::Failed("the bucket or the folder is gone".into()),
        error => error,
    }
}

/// On one line, and no longer than anybody reads.
fn short(error: &dyn Display) -> String {
    let text = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= ERROR_CHARS_MAX {
        return text;
    }
    // What was asked for stands first, and why it failed last.
    let (first, rest) = chars.split_at(ERROR_CHARS_MAX / 4);
    let last = rest.split_at(rest.len() - rest.len().min(ERROR_CHARS_MAX * 3 / 4)).1;
    format!("{}… …{}", first.iter().collect::<String>(), last.iter().collect::<String>())
}

#[async_trait]
impl Objects for StoredObjects {
    fn address(&self) -> String {
        self.address.clone()
    }

    fn compares(&self) -> bool {
        self.compares
    }

    async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError> {
        self.check_folder().await?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        match self.store.put_opts(&self.path(key), PutPayload::from_bytes(bytes), options).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(not_written(error)),
        }
    }

    async fn upload(&self, key: &str, size: u64) -> Result<Box<dyn Upload>, ObjectError> {
        self.check_folder().await?;
        upload::begin(&self.store, self.parts.as_ref(), &self.broken, self.path(key), size).await
    }

    async fn size(&self, key: &str) -> Result<u64, ObjectError> {
        Ok(self.store.head(&self.path(key)).await.map_err(failed)?.size)
    }

    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, ObjectError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let read = self.store.get_range(&self.path(key), range).await.map_err(failed)?;
        if read.len() as u64 == wanted {
            Ok(read)
        } else {
            Err(ObjectError::Failed(format!("the object ended early: {} of {wanted} bytes came", read.len())))
        }
    }

    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ObjectError>> {
        let (path, depth) = (self.path(folder), self.prefix.parts().count());
        let key = move |path: &Path| path.parts().skip(depth).collect::<Path>().to_string();
        let listed = move |meta: object_store::ObjectMeta| Listed { key: key(&meta.location), size: meta.size };
        self.store.list(Some(&path)).map_ok(listed).map_err(failed).boxed()
    }

    async fn folders(&self) -> Result<Vec<String>, ObjectError> {
        let found = self.store.list_with_delimiter(Some(&self.prefix)).await.map_err(failed)?;
        let names = found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned));
        Ok(names.collect())
    }

    async fn delete(&self, key: &str) -> Result<(), ObjectError> {
        match self.store.delete(&self.path(key)).await.map_err(failed) {
            Err(ObjectError::Missing) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;

    use super::*;
    use crate::env::PART_BYTES;

    fn refused(url: &str) -> String {
        StoredObjects::open(url, Vec::new()).map(drop).unwrap_err()
    }

    #[test]
    fn what_is_no_store_is_told_in_words() {
        assert!(refused("tier").contains("it is no URL"));
        assert!(refused("ftp://host/x").contains("s3://BUCKET"));
        assert!(refused("memory:///x").contains("no store that is known"));
        assert!(refused("file:///x?fsync=no").contains("no options"));
        assert!(refused("s3://key:secret@bucket/x").contains("variables of the daemon"));
        assert!(refused("s3://bucket/x?secret_access_key=1").contains("variable of the daemon"));
        assert!(refused("s3://bucket/x?regoin=eu").contains("no option regoin"));
        for url in ["file:///x", "s3://bucket/x?region=eu-west-1&endpoint=http://127.0.0.1:9&allow_http=true"] {
            assert_eq!(StoredObjects::open(url, Vec::new()).unwrap().address(), url);
        }
    }

    #[tokio::test]
    async fn a_folder_is_a_store_and_nothing_is_written_where_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("tier");
        let store = StoredObjects::open(&format!("file://{}", folder.display()), Vec::new()).unwrap();
        let bytes = Bytes::from(vec![7; PART_BYTES + 5]);
        assert!(
            matches!(store.create("a/b", bytes.clone()).await, Err(ObjectError::Failed(why)) if why.contains("not there"))
        );
        assert!(store.upload("a/b", 1).await.is_err() && !folder.exists());
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(store.size("a/b").await, Err(ObjectError::Missing));
        assert_eq!(
            (store.create("a/b", "one".into()).await, store.create("a/b", "two".into()).await),
            (Ok(true), Ok(false))
        );
        assert_eq!(store.read("a/b", 0..3).await.unwrap(), "one");
        assert!(store.read("a/b", 0..4).await.is_err(), "no more than there is");
        // An upload that is dropped leaves nothing; one of fewer bytes than were told is none.
        let size = bytes.len() as u64;
        let mut dropped = store.upload("c", size).await.unwrap();
        dropped.part(bytes.slice(..PART_BYTES)).await.unwrap();
        drop(dropped);
        assert_eq!(store.size("c").await, Err(ObjectError::Missing));
        let mut whole = store.upload("c", size).await.unwrap();
        while whole.offset() < size {
            let from = usize::try_from(whole.offset()).unwrap();
            whole.part(bytes.slice(from..bytes.len().min(from + whole.part_bytes()))).await.unwrap();
        }
        whole.finish().await.unwrap();
        assert_eq!(store.read("c", 0..size).await.unwrap(), bytes);
        let mut listed: Vec<Listed> = store.list("a").try_collect().await.unwrap();
        assert_eq!(listed.pop(), Some(Listed { key: "a/b".into(), size: 3 }));
        assert_eq!(store.folders().await.unwrap(), ["a"]);
        store.delete("c").await.unwrap();
        store.delete("c").await.unwrap();
        assert_eq!(store.size("c").await, Err(ObjectError::Missing));
    }

    #[test]
    fn a_large_object_goes_in_parts_that_a_store_takes() {
        for (size, part) in [(0, 8 << 20), (80_000 << 20, 8 << 20), (1 << 40, 105 << 20)] {
            let bytes = upload::part_bytes(size);
            assert_eq!(bytes, part, "{size}");
            assert!(size.div_ceil(bytes as u64) <= 10_000 && bytes.is_multiple_of(1 << 20));
        }
    }
}
