//! What is there, what is seen of it, and each fault.

use cairn_node::env::Objects as _;
use futures::TryStreamExt as _;
use tokio::time::sleep;

use super::*;

const KEY: &str = "a/objects/b";

fn store(seed: u64) -> Store {
    let store = Store::new(seed);
    store.set_compares(true);
    store
}

/// The first seed whose store goes on with uploads that were broken off, or does not.
fn that_resumes(resumes: bool) -> Store {
    let found = (0..100).map(store).find(|store| store.0.resumes == resumes);
    found.expect("half of them do")
}

async fn put(objects: &MemObjects, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
    let mut upload = objects.upload(key, bytes.len() as u64).await?;
    loop {
        let (from, size) = (usize::try_from(upload.offset()).unwrap(), bytes.len());
        if from == size {
            return upload.finish().await;
        }
        upload.part(Bytes::copy_from_slice(&bytes[from..size.min(from + upload.part_bytes())])).await?;
    }
}

async fn listed(objects: &MemObjects, folder: &str) -> Vec<Listed> {
    let mut all: Vec<Listed> = objects.list(folder).try_collect().await.unwrap();
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}

#[tokio::test(start_paused = true)]
async fn what_is_put_is_there_whole_and_for_all() {
    let store = store(1);
    let (one, other) = (store.open("n1"), store.open("n2"));
    let bytes = SplitMix::new(1).bytes(2_500_000);
    put(&one, KEY, &bytes).await.unwrap();
    assert_eq!(other.size(KEY).await, Ok(bytes.len() as u64));
    assert_eq!(other.read(KEY, 10..2_000_000).await.unwrap(), bytes[10..2_000_000]);
    assert!(matches!(other.read(KEY, 10..2_500_001).await, Err(ObjectError::Failed(_))), "it has no more");
    assert_eq!(other.create(KEY, Bytes::new()).await, Ok(false));
    assert_eq!(other.size("a/objects/c").await, Err(ObjectError::Missing));
    put(&one, "a/objects/empty", b"").await.unwrap();
    assert_eq!(one.size("a/objects/empty").await, Ok(0));
    one.delete(KEY).await.unwrap();
    one.delete(KEY).await.unwrap();
    assert_eq!(other.size(KEY).await, Err(ObjectError::Missing));
    assert_eq!(store.take_removed(), [KEY]);
}

#[tokio::test(start_paused = true)]
async fn lists_have_all_of_one_folder_and_nothing_else() {
    let objects = store(2).open("n1");
    for number in 0..PAGE * 2 {
        assert_eq!(objects.create(&format!("a/objects/{number:02}"), Bytes::from_static(b"x")).await, Ok(true));
    }
    for key in ["a/objectsx", "a/tables/1", "b/objects/1", "top"] {
        assert_eq!(objects.create(key, Bytes::new()).await, Ok(true));
    }
    let keys: Vec<String> = listed(&objects, "a/objects").await.into_iter().map(|one| one.key).collect();
    assert_eq!(keys, (0..PAGE * 2).map(|number| format!("a/objects/{number:02}")).collect::<Vec<_>>());
    assert_eq!(listed(&objects, "c").await, []);
    assert_eq!(objects.folders().await.unwrap(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_off_cannot_be_seen_and_may_go_on() {
    for resumes in [true, false] {
        let objects = that_resumes(resumes).open("n1");
        let bytes = SplitMix::new(3).bytes(2_500_000);
        let mut upload = objects.upload(KEY, bytes.len() as u64).await.unwrap();
        let part = upload.part_bytes();
        upload.part(Bytes::copy_from_slice(&bytes[..part])).await.unwrap();
        assert!(upload.part(Bytes::copy_from_slice(&bytes[..part - 1])).await.is_err(), "it is too short");
        drop(upload);
        assert_eq!(objects.size(KEY).await, Err(ObjectError::Missing));
        let other = objects.upload(KEY, 7).await.unwrap().offset();
        let again = objects.upload(KEY, bytes.len() as u64).await.unwrap().offset();
        assert_eq!((other, again), (0, if resumes { part as u64 } else { 0 }));
        put(&objects, KEY, &bytes).await.unwrap();
        assert_eq!(objects.read(KEY, 0..bytes.len() as u64).await.unwrap(), bytes);
        let unfinished = objects.upload(KEY, 5).await.unwrap();
        assert!(unfinished.finish().await.is_err(), "it is not whole");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_wrong_for_whom_it_is_until_it_is_mended() {
    let store = store(4);
    let (one, other) = (store.open("n1"), store.open("n2"));
    put(&one, KEY, b"bytes").await.unwrap();
    store.fail(Some("n1"), Fault::Down);
    assert!(matches!(one.size(KEY).await, Err(ObjectError::Failed(_))));
    assert_eq!(other.size(KEY).await, Ok(5));
    store.fail(None, Fault::Denied);
    assert!(matches!(other.delete(KEY).await, Err(ObjectError::Denied(_))));
    assert!(matches!(one.size(KEY).await, Err(ObjectError::Failed(_))), "its own comes first");
    store.mend();
    store.fail(None, Fault::Gone);
    assert_eq!(one.size(KEY).await, Err(ObjectError::Missing));
    assert_eq!(listed(&one, "a/objects").await, []);
    assert!(matches!(one.create("a/b", Bytes::new()).await, Err(ObjectError::Failed(_))));
    assert!(put(&one, KEY, b"other").await.is_err());
    store.mend();
    assert_eq!(one.read(KEY, 0..5).await.unwrap(), b"bytes"[..]);
    store.fail(None, Fault::Flaky(3));
    let mut failures = 0;
    for _ in 0..30 {
        failures += usize::from(one.size(KEY).await.is_err());
    }
    assert_eq!(failures, 10);
}

#[tokio::test(start_paused = true)]
async fn a_silent_store_does_what_it_was_asked_and_says_nothing() {
    let store = store(5);
    let objects = store.open("n1");
    store.fail(None, Fault::Silent);
    let mut done = 0;
    for number in 0..40 {
        let key = format!("a/{number}");
        let asked = objects.create(&key, Bytes::new());
        assert!(tokio::time::timeout(Duration::from_secs(60), asked).await.is_err(), "it answered");
        done += usize::from(store.bytes(&key).is_some());
    }
    assert!(done > 5 && done < 35, "{done} of 40 were done");
    let hears = async {
        sleep(Duration::from_secs(5)).await;
        store.mend();
    };
    let (answered, ()) = tokio::join!(objects.create("a/last", Bytes::new()), hears);
    assert_eq!(answered, Ok(true), "it answers in the end, and tells what it did");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_says_nothing_about_what_was_done() {
    let store = store(6);
    let objects = store.open("n1");
    store.fail(None, Fault::Lost);
    let (mut told, mut done) = (0, 0);
    for number in 0..60 {
        let key = format!("a/{number}");
        let failed = put(&objects, &key, b"x").await.is_err();
        told += usize::from(failed);
        done += usize::from(failed && store.bytes(&key).is_some());
    }
    assert!(told > 10 && done > 5, "{told} failures, and {done} of those were none");
}

#[tokio::test(start_paused = true)]
async fn what_is_garbled_on_its_way_is_refused_by_who_compares() {
    for compares in [true, false] {
        let store = store(7);
        store.set_compares(compares);
        let objects = store.open("n1");
        store.fail(None, Fault::Garbled);
        let (mut refused, mut wrong) = (0, 0);
        for number in 0..40 {
            let key = format!("a/{number}");
            match objects.create(&key, Bytes::from_static(b"bytes")).await {
                Ok(_) => wrong += usize::from(store.bytes(&key).is_none_or(|bytes| bytes != b"bytes"[..])),
                Err(_) => refused += 1,
            }
        }
        assert_eq!((refused > 5, wrong > 5), (compares, !compares), "{refused} refused, {wrong} wrong");
    }
}

#[test]
fn what_is_late_comes_in_its_order() {
    let mut shelf = Shelf::default();
    let put = |text: &'static [u8]| Write::Put(KEY.to_owned(), Bytes::from_static(text));
    let seconds = Duration::from_secs;
    shelf.carry_out_at(seconds(3), put(b"third"));
    shelf.carry_out_at(seconds(1), put(b"first"));
    shelf.carry_out_at(seconds(2), Write::Delete(KEY.to_owned()));
    let mut seen = Vec::new();
    for at in 0..=3 {
        shelf.catch_up(seconds(at));
        seen.push(shelf.get(KEY).cloned());
    }
    assert_eq!(seen, [None, Some(Bytes::from_static(b"first")), None, Some(Bytes::from_static(b"third"))]);
}

#[test]
fn what_is_done_by_hand_is_known_until_it_is_put_there_again() {
    let store = store(8);
    store.carry_out(Write::Put(KEY.to_owned(), Bytes::from_static(b"bytes")));
    store.flip(KEY, 1).unwrap();
    assert!(store.is_harmed(KEY) && store.bytes(KEY).unwrap() != b"bytes"[..]);
    store.cut(KEY, 2).unwrap();
    assert_eq!(store.bytes(KEY).unwrap().len(), 2);
    assert!(store.cut(KEY, 2).is_err() && store.flip(KEY, 2).is_err(), "it has no more");
    store.remove(KEY).unwrap();
    assert!(store.remove(KEY).is_err() && store.is_harmed(KEY) && store.take_removed().is_empty());
    store.carry_out(Write::Put(KEY.to_owned(), Bytes::from_static(b"bytes")));
    assert!(!store.is_harmed(KEY));
}
