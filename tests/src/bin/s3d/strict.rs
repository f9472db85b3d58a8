//! `s3s-fs`, and what a store must do that it does not (0.14.1):
//!
//! - a body whose checksum is wrong is refused *before* it can be seen, and the checksums of parts are looked at;
//! - of two creations of a key at the same time only one succeeds; a bucket must be there to be written to;
//! - who reads while another writes gets the bytes and the ETag of the same object;
//! - an upload that is not there is `NoSuchUpload`; one that cannot be completed as asked is not lost by asking;
//! - what an upload makes does not inherit the checksums of what it replaces;
//! - long parts of keys are stored under aliases; a key that is too long even so is refused before it can be seen;
//! - a list does not fail over what was just deleted.
//!
//! What is written is checked when all of it was read: a client hears of a refusal, not of a broken pipe.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{FutureExt, StreamExt, TryFutureExt};
use s3s::checksum::ChecksumHasher;
use s3s::dto::{
    AbortMultipartUploadInput, AbortMultipartUploadOutput, Checksum, CommonPrefix, CompleteMultipartUploadInput,
    CompleteMultipartUploadOutput, CopyObjectInput, CopyObjectOutput, CopySource, CreateBucketInput,
    CreateBucketOutput, CreateMultipartUploadInput, CreateMultipartUploadOutput, DeleteBucketInput,
    DeleteBucketOutput, DeleteObjectInput, DeleteObjectOutput, DeleteObjectsInput, DeleteObjectsOutput,
    GetBucketLocationInput, GetBucketLocationOutput, GetObjectInput, GetObjectOutput, HeadBucketInput,
    HeadBucketOutput, HeadObjectInput, HeadObjectOutput, ListBucketsInput, ListBucketsOutput, ListObjectsInput,
    ListObjectsOutput, ListObjectsV2Input, ListObjectsV2Output, ListPartsInput, ListPartsOutput, Object,
    PutObjectInput, PutObjectOutput, StreamingBlob, UploadPartCopyInput, UploadPartCopyOutput, UploadPartInput,
    UploadPartOutput,
};
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, StdError, s3_error};
use s3s_fs::FileSystem;
use tokio::sync::OwnedMutexGuard;

use crate::aliases::Aliases;

/// Locks for keys. Two keys may share one: they only wait for each other.
const LOCKS: usize = 64;

/// How often a list is tried: it fails if an object goes while it is looked at.
const LISTS: usize = 20;

/// Names in a list that does not say how many it wants.
const LIST_NAMES: i32 = 1000;

/// Where aliases are kept, in the folder.
const ALIASES: &str = ".aliases";

/// The key of all uploads. `s3s-fs` only names a file after it, whose name would be too long before others are.
const UPLOAD: &str = "upload";

/// The longest name of a file.
const NAME_BYTES_MAX: usize = 255;

/// What is beside an object: its ETag and its checksums.
const INFO: &str = ".internal.json";

/// What is beside an object: its content type, and so on.
const ATTRIBUTES: &str = ".metadata.json";

/// The smallest part but the last, as S3 has it.
const PART_BYTES_MIN: i64 = 5 << 20;

/// A store over a folder.
pub(crate) struct Strict {
    files: FileSystem,
    root: PathBuf,
    aliases: Aliases,
    locks: Vec<Arc<tokio::sync::Mutex<()>>>,
}

/// A lock of a key.
type Held = OwnedMutexGuard<()>;

/// The store itself: what is listed is done as `s3s-fs` does it.
macro_rules! store {
    ($($name:ident $input:ident $output:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for Strict {
            $(async fn $name(&self, req: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$name(req).await
            })*

            async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
                self.put(req).await
            }

            async fn get_object(&self, mut req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
                req.input.key = self.aliases.short(&req.input.key)?;
                let _held = self.lock(&req.input.bucket, &req.input.key).lock_owned().await;
                self.files.get_object(req).await
            }

            async fn head_object(
                &self,
                mut req: S3Request<HeadObjectInput>,
            ) -> S3Result<S3Response<HeadObjectOutput>> {
                req.input.key = self.aliases.short(&req.input.key)?;
                let _held = self.lock(&req.input.bucket, &req.input.key).lock_owned().await;
                self.files.head_object(req).await
            }

            async fn copy_object(
                &self,
                mut req: S3Request<CopyObjectInput>,
            ) -> S3Result<S3Response<CopyObjectOutput>> {
                self.source(&mut req.input.copy_source)?;
                (req.input.key, _) = self.place(&req.input.bucket, &req.input.key)?;
                self.files.copy_object(req).await
            }

            async fn delete_object(
                &self,
                mut req: S3Request<DeleteObjectInput>,
            ) -> S3Result<S3Response<DeleteObjectOutput>> {
                req.input.key = self.aliases.short(&req.input.key)?;
                self.files.delete_object(req).await
            }

            async fn delete_objects(
                &self,
                req: S3Request<DeleteObjectsInput>,
            ) -> S3Result<S3Response<DeleteObjectsOutput>> {
                self.delete(req).await
            }

            async fn list_objects(
                &self,
                req: S3Request<ListObjectsInput>,
            ) -> S3Result<S3Response<ListObjectsOutput>> {
                self.list_v1(req).await
            }

            async fn list_objects_v2(
                &self,
                req: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                self.list(req).await
            }

            async fn create_multipart_upload(
                &self,
                req: S3Request<CreateMultipartUploadInput>,
            ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
                self.create(req).await
            }

            async fn upload_part(&self, req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
                self.put_part(req).await
            }

            async fn complete_multipart_upload(
                &self,
                req: S3Request<CompleteMultipartUploadInput>,
            ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
                self.complete(req).await
            }

            async fn abort_multipart_upload(
                &self,
                mut req: S3Request<AbortMultipartUploadInput>,
            ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
                UPLOAD.clone_into(&mut req.input.key);
                self.files.abort_multipart_upload(req).await.map_err(no_upload)
            }

            async fn upload_part_copy(
                &self,
                mut req: S3Request<UploadPartCopyInput>,
            ) -> S3Result<S3Response<UploadPartCopyOutput>> {
                self.source(&mut req.input.copy_source)?;
                self.files.upload_part_copy(req).await.map_err(no_upload)
            }
        }
    };
}

store! {
    create_bucket CreateBucketInput CreateBucketOutput;
    delete_bucket DeleteBucketInput DeleteBucketOutput;
    get_bucket_location GetBucketLocationInput GetBucketLocationOutput;
    head_bucket HeadBucketInput HeadBucketOutput;
    list_buckets ListBucketsInput ListBucketsOutput;
    list_parts ListPartsInput ListPartsOutput;
}

impl Strict {
    /// `root` is the folder of `files`, as an absolute path.
    pub(crate) fn new(files: FileSystem, root: PathBuf) -> io::Result<Self> {
        let aliases = Aliases::open(&root.join(ALIASES))?;
        Ok(Self { files, root, aliases, locks: std::iter::repeat_with(Arc::default).take(LOCKS).collect() })
    }

    async fn put(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let input = &mut req.input;
        let wanted = Checksum {
            checksum_crc32: input.checksum_crc32.clone(),
            checksum_crc32c: input.checksum_crc32c.clone(),
            checksum_crc64nvme: input.checksum_crc64nvme.clone(),
            checksum_sha1: input.checksum_sha1.clone(),
            checksum_sha256: input.checksum_sha256.clone(),
            ..Checksum::default()
        };
        // Taken away: otherwise it would be looked at before the body is read, and without the lock.
        let is_create = input.if_none_match.take_if(|condition| condition.is_any()).is_some();
        let (key, object) = self.place(&input.bucket, &input.key)?;
        input.key = key;
        let gate = Gate {
            bucket: self.root.join(&input.bucket),
            object,
            is_create,
            lock: self.lock(&input.bucket, &input.key),
        };
        let outcome = Outcome::default();
        input.body = input.body.take().map(|body| checked(body, wanted, Some(gate), &outcome));
        let done = self.files.put_object(req).await;
        outcome.or(done)
    }

    async fn put_part(&self, mut req: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let input = &mut req.input;
        let wanted = Checksum {
            checksum_crc32: input.checksum_crc32.clone(),
            checksum_crc32c: input.checksum_crc32c.clone(),
            checksum_crc64nvme: input.checksum_crc64nvme.clone(),
            checksum_sha1: input.checksum_sha1.clone(),
            checksum_sha256: input.checksum_sha256.clone(),
            ..Checksum::default()
        };
        let outcome = Outcome::default();
        input.body = input.body.take().map(|body| checked(body, wanted.clone(), None, &outcome));
        let done = self.files.upload_part(req).await.map_err(no_upload);
        let mut response = outcome.or(done)?;
        response.output.checksum_crc32 = wanted.checksum_crc32;
        response.output.checksum_crc32c = wanted.checksum_crc32c;
        response.output.checksum_crc64nvme = wanted.checksum_crc64nvme;
        response.output.checksum_sha1 = wanted.checksum_sha1;
        response.output.checksum_sha256 = wanted.checksum_sha256;
        Ok(response)
    }

    async fn create(
        &self,
        mut req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.place(&req.input.bucket, &req.input.key)?;
        let key = std::mem::replace(&mut req.input.key, UPLOAD.to_owned());
        let created = self.files.create_multipart_upload(req).await?;
        Ok(created.map_output(|output| CreateMultipartUploadOutput { key: Some(key), ..output }))
    }

    /// `s3s-fs` forgets the upload before it looks at its parts, so they are looked at here.
    async fn complete(
        &self,
        mut req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let (short, object) = self.place(&req.input.bucket, &req.input.key)?;
        let key = std::mem::replace(&mut req.input.key, short);
        let input = &req.input;
        let beside = |key: &str, what: &str| self.root.join(beside(&input.bucket, key, what));
        let info = beside(&input.key, INFO);
        let attributes = beside(UPLOAD, &format!(".upload-{}{ATTRIBUTES}", input.upload_id));
        let attributes_then = beside(&input.key, ATTRIBUTES);
        let _held = self.lock(&input.bucket, &input.key).lock_owned().await;
        let list = ListPartsInput {
            bucket: input.bucket.clone(),
            key: input.key.clone(),
            upload_id: input.upload_id.clone(),
            ..ListPartsInput::default()
        };
        let there = self.files.list_parts(req.clone().map_input(|_| list)).await?.output.parts.unwrap_or_default();
        let asked = input.multipart_upload.as_ref().and_then(|upload| upload.parts.as_deref()).unwrap_or_default();
        for (index, part) in asked.iter().enumerate() {
            let Some(found) = there.iter().find(|found| found.part_number == part.part_number) else {
                // None at all: then the upload itself is not there, and that is what is said.
                if there.is_empty() {
                    break;
                }
                return Err(s3_error!(InvalidPart));
            };
            if found.part_number != i32::try_from(index + 1).ok() {
                return Err(s3_error!(InvalidPartOrder, "here parts are 1, 2, 3 and so on"));
            }
            if index + 1 < asked.len() && found.size.unwrap_or_default() < PART_BYTES_MIN {
                return Err(s3_error!(EntityTooSmall));
            }
        }
        let is_condition = input.if_none_match.is_some() || input.if_match.is_some();
        let is_checked_later = is_condition && object.is_file();
        if !there.is_empty() && !is_checked_later {
            // It would be kept, with what it says of an object before.
            let _ = tokio::fs::remove_file(info).await;
        }
        let mut response = self.files.complete_multipart_upload(req).await.map_err(no_upload)?;
        let _ = tokio::fs::rename(attributes, attributes_then).await;
        response.output.future = response.output.future.map(|done| {
            let done = done.map_ok(|output| CompleteMultipartUploadOutput { key: Some(key), ..output });
            done.boxed()
        });
        Ok(response)
    }

    async fn delete(&self, mut req: S3Request<DeleteObjectsInput>) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let mut keys = Vec::new();
        for object in &mut req.input.delete.objects {
            let short = self.aliases.short(&object.key)?;
            keys.push(std::mem::replace(&mut object.key, short));
        }
        let mut response = self.files.delete_objects(req).await?;
        for (deleted, key) in response.output.deleted.iter_mut().flatten().zip(keys) {
            deleted.key = Some(key);
        }
        Ok(response)
    }

    async fn list_v1(&self, req: S3Request<ListObjectsInput>) -> S3Result<S3Response<ListObjectsOutput>> {
        let marker = req.input.marker.clone();
        let response = self.list(req.map_input(Into::into)).await?;
        Ok(response.map_output(|output| ListObjectsOutput {
            name: output.name,
            prefix: output.prefix,
            marker,
            max_keys: output.max_keys,
            is_truncated: output.is_truncated,
            contents: output.contents,
            common_prefixes: output.common_prefixes,
            delimiter: output.delimiter,
            next_marker: output.next_continuation_token,
            encoding_type: output.encoding_type,
            ..ListObjectsOutput::default()
        }))
    }

    /// `s3s-fs` finds the objects; what is asked of them is looked at here: aliases are sorted otherwise than keys.
    async fn list(&self, req: S3Request<ListObjectsV2Input>) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input.clone();
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let delimiter = input.delimiter.as_deref().filter(|end| !end.is_empty());
        let mut names = BTreeMap::new();
        for mut object in self.objects(req, input.bucket.clone(), prefix).await? {
            let key = self.aliases.long(object.key.as_deref().unwrap_or_default());
            let Some(rest) = key.strip_prefix(prefix) else { continue };
            let folder = delimiter.and_then(|end| Some(format!("{prefix}{}{end}", rest.split_once(end)?.0)));
            if let Some(folder) = folder {
                names.insert(folder, None);
            } else {
                object.key = Some(key.clone());
                names.insert(key, Some(object));
            }
        }
        let after = input.start_after.as_deref().max(input.continuation_token.as_deref()).unwrap_or_default();
        names.retain(|name, _| name.as_str() > after);
        let max_keys = input.max_keys.unwrap_or(LIST_NAMES);
        let most = usize::try_from(max_keys).unwrap_or_default();
        let is_truncated = most > 0 && names.len() > most;
        let (mut contents, mut common_prefixes, mut last) = (Vec::new(), Vec::new(), None);
        for (name, object) in names.into_iter().take(most) {
            last = Some(name.clone());
            match object {
                Some(object) => contents.push(object),
                None => common_prefixes.push(CommonPrefix { prefix: Some(name) }),
            }
        }
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: input.prefix,
            max_keys: Some(max_keys),
            key_count: i32::try_from(contents.len() + common_prefixes.len()).ok(),
            continuation_token: input.continuation_token,
            is_truncated: Some(is_truncated),
            next_continuation_token: last.filter(|_| is_truncated),
            contents: Some(contents),
            common_prefixes: Some(common_prefixes),
            delimiter: input.delimiter,
            encoding_type: input.encoding_type,
            start_after: input.start_after,
            ..ListObjectsV2Output::default()
        }))
    }

    /// All objects in the folder that a prefix names, by the names that they have here.
    async fn objects<T>(&self, req: S3Request<T>, bucket: String, prefix: &str) -> S3Result<Vec<Object>> {
        let folder = prefix.rsplit_once('/').map(|(folder, _)| self.aliases.short(folder)).transpose()?;
        let all = ListObjectsV2Input {
            bucket,
            prefix: folder.map(|folder| folder + "/"),
            max_keys: Some(i32::MAX),
            ..ListObjectsV2Input::default()
        };
        let req = req.map_input(|_| all);
        for _ in 1..LISTS {
            match self.files.list_objects_v2(req.clone()).await {
                Err(error) if *error.code() == S3ErrorCode::InternalError => {}
                done => return Ok(done?.output.contents.unwrap_or_default()),
            }
        }
        Ok(self.files.list_objects_v2(req).await?.output.contents.unwrap_or_default())
    }

    /// What an object is called here, and where it lies. Keys that `s3s-fs` would take for other ones are refused.
    fn place(&self, bucket: &str, key: &str) -> S3Result<(String, PathBuf)> {
        let is_plain = Path::new(key).components().all(|part| matches!(part, Component::Normal(_)));
        if !is_plain || key.contains("//") || key.contains("/./") || key.ends_with("/.") {
            return Err(s3_error!(NotImplemented, "a key that is no plain path"));
        }
        if beside(bucket, &self.aliases.short(key)?, INFO).len() > NAME_BYTES_MAX {
            return Err(s3_error!(KeyTooLongError));
        }
        let short = self.aliases.keep(key)?;
        let object = self.root.join(bucket).join(&short);
        Ok((short, object))
    }

    /// What is copied, by the name that it has here.
    fn source(&self, source: &mut CopySource) -> S3Result<()> {
        if let CopySource::Bucket { key, .. } = source {
            *key = self.aliases.short(key)?.into();
        }
        Ok(())
    }

    fn lock(&self, bucket: &str, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut hasher = DefaultHasher::new();
        (bucket, key).hash(&mut hasher);
        let index = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        self.locks.get(index).map(Arc::clone).unwrap_or_default()
    }
}

/// The name of a file in which `s3s-fs` has more of an object.
fn beside(bucket: &str, key: &str, what: &str) -> String {
    let encode = |name: &str| base64_simd::URL_SAFE_NO_PAD.encode_to_string(name);
    format!(".bucket-{}.object-{}{what}", encode(bucket), encode(key))
}

/// What `s3s-fs` calls forbidden is an upload that it does not have.
fn no_upload(error: S3Error) -> S3Error {
    if *error.code() == S3ErrorCode::AccessDenied { s3_error!(NoSuchUpload) } else { error }
}

/// What must hold when an object is about to be seen.
struct Gate {
    bucket: PathBuf,
    object: PathBuf,
    is_create: bool,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl Gate {
    /// The lock of the key, if it may be written.
    async fn pass(self) -> Result<Held, S3Error> {
        let held = self.lock.lock_owned().await;
        if !self.bucket.is_dir() {
            return Err(s3_error!(NoSuchBucket));
        }
        if self.is_create && self.object.is_file() {
            return Err(s3_error!(PreconditionFailed, "the object exists"));
        }
        Ok(held)
    }
}

/// How the body of a request ended. It keeps the lock of its key until the request is done.
#[derive(Clone, Default)]
struct Outcome(Arc<Mutex<Option<Result<Held, S3Error>>>>);

impl Outcome {
    fn set(&self, ended: Result<Held, S3Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    /// Why the body was refused; if it was not, what `s3s-fs` says, and the lock is given back.
    fn or<T>(self, done: S3Result<T>) -> S3Result<T> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(Err(refused)) => Err(refused),
            _ => done,
        }
    }
}

/// A body that fails where it would end if it is not what was announced, or may not be written.
fn checked(body: StreamingBlob, wanted: Checksum, gate: Option<Gate>, outcome: &Outcome) -> StreamingBlob {
    let hasher = ChecksumHasher {
        crc32: wanted.checksum_crc32.as_ref().map(|_| Default::default()),
        crc32c: wanted.checksum_crc32c.as_ref().map(|_| Default::default()),
        sha1: wanted.checksum_sha1.as_ref().map(|_| Default::default()),
        sha256: wanted.checksum_sha256.as_ref().map(|_| Default::default()),
        crc64nvme: wanted.checksum_crc64nvme.as_ref().map(|_| Default::default()),
    };
    let reading = Reading { body, hasher, wanted, gate, outcome: outcome.clone() };
    StreamingBlob::wrap(futures::stream::try_unfold(reading, Reading::next))
}

/// How far a body is.
struct Reading {
    body: StreamingBlob,
    hasher: ChecksumHasher,
    wanted: Checksum,
    gate: Option<Gate>,
    outcome: Outcome,
}

impl Reading {
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.hasher.update(&bytes);
                Ok(Some((bytes, self)))
            }
            Some(Err(error)) => {
                let refused = broken(&error);
                self.outcome.set(Err(refused));
                Err(io::Error::other(error))
            }
            None if self.hasher.finalize() != self.wanted => {
                self.outcome.set(Err(s3_error!(BadDigest)));
                Err(io::Error::other("the checksum is wrong"))
            }
            None => {
                let Some(gate) = self.gate else { return Ok(None) };
                let passed = gate.pass().await;
                let ended = if passed.is_ok() { Ok(None) } else { Err(io::Error::other("it may not be written")) };
                self.outcome.set(passed);
                ended
            }
        }
    }
}

/// A body that did not come as its signature says.
fn broken(error: &StdError) -> S3Error {
    if !error.to_string().contains("Sha256Mismatch") {
        return s3_error!(IncompleteBody);
    }
    let mut refused = S3Error::new(S3ErrorCode::Custom("XAmzContentSHA256Mismatch".into()));
    refused.set_status_code(hyper::StatusCode::BAD_REQUEST);
    refused
}
