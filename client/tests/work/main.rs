//! Saving, loading and retrying, against a node that is played.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

mod fake;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_client::api::{Code, Error, Event, ListRequest, Outcome, Progress, Saved, Watched};
use cairn_client::claim::ClaimOptions;
use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::fetch::Range;
use cairn_client::load::LoadOptions;
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};
use cairn_client::spool::Spool;
use cairn_client::watch::News;
use cairn_store::id::ClusterId;
use cairn_store::meta::Change;
use cairn_store::segment::Epoch;
use cairn_store::time::WallTime;
use uuid::Uuid;

use crate::fake::{Fake, Script, bytes, loaded, name, saved};

const TIMEOUT: Duration = Duration::from_secs(5);

fn client(nodes: &[&Fake]) -> Client {
    Client::new(nodes.iter().map(|n| n.endpoint()).collect(), TIMEOUT)
}

fn file(path: &std::path::Path, take: bool) -> Source {
    Source::File { path: path.into(), take }
}

fn code(fault: &Fault) -> Option<Code> {
    if let Fault::Request(error) = fault { Some(error.code) } else { None }
}

#[tokio::test]
async fn a_save_is_polled_with_one_request_id_and_leaves_the_spool_empty() {
    let running = |done| Ok(Progress::Running { done, total: 10, steps: done });
    let node =
        Fake::start(Script { saves: vec![running(0), running(5), Ok(Progress::Done(saved()))], ..Script::default() })
            .await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    let answer = client(&[&node]).save(SaveOptions::new(name(), file(&path, false))).await.unwrap();
    assert_eq!(answer, saved());
    let asked = node.saves();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|(request, bytes)| request == &asked[0].0 && bytes == b"state"));
    assert_eq!(node.spooled(), 0);
    assert!(path.exists());
}

#[tokio::test]
async fn what_may_pass_is_retried_and_what_may_not_is_told() {
    let passing = Err(Error::unavailable("no leader"));
    let node = Fake::start(Script {
        saves: vec![passing.clone(), passing, Ok(Progress::Done(saved()))],
        ..Script::default()
    })
    .await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    client(&[&node]).save(SaveOptions::new(name(), file(&path, false))).await.unwrap();

    let conflict = Error::new(Code::Conflict, "n9 owns it");
    let node = Fake::start(Script { saves: vec![Err(conflict.clone())], ..Script::default() }).await;
    let fault = client(&[&node]).save(SaveOptions::new(name(), file(&path, true))).await.unwrap_err();
    assert_eq!(fault, Fault::Request(conflict));
    assert_eq!(fs::read(&path).unwrap(), b"state", "a file that was taken is put back");
    assert_eq!(node.spooled(), 0);
}

#[tokio::test]
async fn what_a_busy_node_did_not_begin_has_not_happened() {
    let node = Fake::start(Script { busy: true, ..Script::default() }).await;
    let client = Client::new(vec![node.endpoint()], Duration::from_millis(200));
    let error = client.claim(ClaimOptions::new(name())).await.unwrap_err();
    assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::None), "{error}");
    assert!(error.message.contains("is busy"), "{error}");
}

#[tokio::test]
async fn a_taken_file_is_gone_once_it_is_saved() {
    let node = Fake::start(Script { saves: vec![Ok(Progress::Done(saved()))], ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    client(&[&node]).save(SaveOptions::new(name(), file(&path, true))).await.unwrap();
    assert!(!path.exists());
    assert_eq!(node.spooled(), 0);
}

#[tokio::test]
async fn a_save_goes_on_through_the_next_node_with_the_same_request_id() {
    let running = Ok(Progress::Running { done: 1, total: 2, steps: 1 });
    let first = Fake::start(Script { saves: vec![running], break_after: Some(2), ..Script::default() }).await;
    let second = Fake::start(Script { saves: vec![Ok(Progress::Done(saved()))], ..Script::default() }).await;
    let path = first.dir().join("state");
    fs::write(&path, "state").unwrap();
    client(&[&first, &second]).save(SaveOptions::new(name(), file(&path, true))).await.unwrap();
    assert_eq!(first.saves()[0].0, second.saves()[0].0);
    assert_eq!(second.saves()[0].1, b"state");
    assert_eq!((first.spooled(), second.spooled()), (0, 0));
    assert!(!path.exists());
}

#[tokio::test]
async fn a_node_that_was_started_anew_gets_the_bytes_anew() {
    let answers = vec![Err(Error::unavailable("it ends")), Ok(Progress::Done(saved()))];
    let node = Fake::start(Script { saves: answers, forgets: true, ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    client(&[&node]).save(SaveOptions::new(name(), file(&path, false))).await.unwrap();
    let bytes: Vec<_> = node.saves().into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(bytes, [b"state", b"state"]);
    assert_eq!(node.spooled(), 0);
}

/// A save under an id that the user chose.
fn repeated(path: &std::path::Path, take: bool) -> SaveOptions {
    SaveOptions { repeats: true, ..SaveOptions::new(name(), file(path, take)) }
}

#[tokio::test]
async fn a_save_that_took_its_file_gives_the_same_result_again() {
    let done = || Ok(Progress::Done(saved()));
    let node = Fake::start(Script { saves: vec![done(), done()], ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    for _ in 0..2 {
        assert_eq!(client(&[&node]).save(repeated(&path, true)).await, Ok(saved()));
        assert!(!path.exists());
    }
    // A node that knows nothing of it can only say that it got no file.
    let nothing = || Err(Error::new(Code::Invalid, "the file \"\" of the spool cannot be used"));
    let node = Fake::start(Script { saves: vec![nothing()], ..Script::default() }).await;
    let fault = client(&[&node]).save(repeated(&path, true)).await.unwrap_err();
    assert_eq!((fault.code().as_str(), fault.exit(), fault.outcome()), ("io", 1, Outcome::None), "{fault}");
    assert!(fault.to_string().contains(path.to_str().unwrap()), "{fault}");
    // What else it says stands, and without an id of the user's no node is asked.
    let node = Fake::start(Script { saves: vec![Err(Error::new(Code::Conflict, "n9"))], ..Script::default() }).await;
    assert_eq!(code(&client(&[&node]).save(repeated(&path, true)).await.unwrap_err()), Some(Code::Conflict));
    let fault = client(&[&node]).save(SaveOptions::new(name(), file(&path, true))).await.unwrap_err();
    assert_eq!((fault.code().as_str(), node.saves().len()), ("io", 1));
}

#[tokio::test]
async fn an_id_that_was_used_for_other_bytes_is_a_conflict() {
    for (bytes, take) in [("other", true), ("other", false), ("longer than it", true), ("", false)] {
        let node = Fake::start(Script { saves: vec![Ok(Progress::Done(saved()))], ..Script::default() }).await;
        let path = node.dir().join("state");
        fs::write(&path, bytes).unwrap();
        let fault = client(&[&node]).save(repeated(&path, take)).await.unwrap_err();
        assert_eq!((code(&fault), fault.outcome()), (Some(Code::Conflict), Outcome::None), "{fault}");
        assert!(fault.hint().unwrap().contains("--request-id"));
        assert_eq!(fs::read(&path).unwrap(), bytes.as_bytes(), "it is where it was");
        assert_eq!(node.spooled(), 0);
    }
}

#[tokio::test]
async fn a_broken_save_has_an_unknown_outcome() {
    let node = Fake::start(Script { saves: vec![], break_after: Some(1), ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    let kept = fs::File::open(&path).unwrap();
    let client = Client::new(vec![node.endpoint()], Duration::from_millis(400));
    let fault = client.save(SaveOptions::new(name(), file(&path, true))).await.unwrap_err();
    assert_eq!((code(&fault), fault.outcome()), (Some(Code::Unavailable), Outcome::Unknown), "{fault}");
    assert_eq!(fs::read(&path).unwrap(), b"state");
    assert_eq!(node.spooled(), 0);
    assert_ne!(path.metadata().unwrap().ino(), kept.metadata().unwrap().ino(), "the file itself may be a copy now");
}

#[tokio::test]
async fn a_file_with_another_name_is_copied_and_its_given_name_removed() {
    let node = Fake::start(Script { saves: vec![Ok(Progress::Done(saved()))], ..Script::default() }).await;
    let (path, other) = (node.dir().join("state"), node.dir().join("other"));
    fs::write(&path, "state").unwrap();
    fs::hard_link(&path, &other).unwrap();
    client(&[&node]).save(SaveOptions::new(name(), file(&path, true))).await.unwrap();
    assert!(!path.exists());
    assert_eq!((fs::read(&other).unwrap(), other.metadata().unwrap().nlink()), (b"state".to_vec(), 1));
    assert_eq!(node.spooled(), 0);
}

#[tokio::test]
async fn the_refusal_of_another_node_does_not_say_that_nothing_happened() {
    let refused = Error::new(Code::Conflict, "n1 owns it");
    for (sent, outcome) in [(true, Outcome::Unknown), (false, Outcome::None)] {
        // The first one breaks at the save, or before it at the hello.
        let break_after = Some(usize::from(sent));
        let first = Fake::start(Script { break_after, ..Script::default() }).await;
        let second = Fake::start(Script { saves: vec![Err(refused.clone())], ..Script::default() }).await;
        let path = first.dir().join("state");
        fs::write(&path, "state").unwrap();
        let save = SaveOptions::new(name(), file(&path, false));
        let fault = client(&[&first, &second]).save(save).await.unwrap_err();
        assert_eq!((code(&fault), fault.outcome()), (Some(Code::Conflict), outcome), "{fault}");
    }
}

#[tokio::test]
async fn a_node_elsewhere_cannot_save() {
    let node = Fake::start(Script { elsewhere: true, ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    let fault = client(&[&node]).save(SaveOptions::new(name(), file(&path, false))).await.unwrap_err();
    assert_eq!((code(&fault), fault.outcome()), (Some(Code::Invalid), Outcome::None));
}

#[tokio::test]
async fn among_several_nodes_the_one_on_this_machine_saves() {
    let elsewhere = Fake::start(Script { elsewhere: true, ..Script::default() }).await;
    let here = Fake::start(Script { saves: vec![Ok(Progress::Done(saved()))], ..Script::default() }).await;
    let path = here.dir().join("state");
    fs::write(&path, "state").unwrap();
    client(&[&elsewhere, &here]).save(SaveOptions::new(name(), file(&path, false))).await.unwrap();
    let fault = client(&[&elsewhere]).save(SaveOptions::new(name(), file(&path, false))).await.unwrap_err();
    assert_eq!(code(&fault), Some(Code::Invalid));
}

#[tokio::test]
async fn a_save_that_makes_no_progress_ends() {
    let stuck = |answer: fn() -> Result<Progress<Saved>, Error>| Script {
        saves: (0..100).map(|_| answer()).collect(),
        ..Script::default()
    };
    let scripts = [
        (stuck(|| Err(Error::unavailable("no leader"))), Outcome::None),
        (stuck(|| Ok(Progress::Running { done: 7, total: 9, steps: 7 })), Outcome::Unknown),
    ];
    for (script, outcome) in scripts {
        let node = Fake::start(script).await;
        let path = node.dir().join("state");
        fs::write(&path, "state").unwrap();
        let client = Client::new(vec![node.endpoint()], Duration::from_millis(500));
        let save = client.save(SaveOptions::new(name(), file(&path, false)));
        let fault = tokio::time::timeout(TIMEOUT, save).await.unwrap().unwrap_err();
        assert_eq!((code(&fault), fault.outcome()), (Some(Code::Unavailable), outcome), "{fault}");
    }
}

#[tokio::test]
async fn work_without_bytes_is_progress_too() {
    let running = |steps| Ok(Progress::Running { done: 9, total: 9, steps });
    let saves = (0..60).map(running).chain([Ok(Progress::Done(saved()))]).collect();
    let node = Fake::start(Script { saves, ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    let client = Client::new(vec![node.endpoint()], Duration::from_millis(500));
    assert_eq!(client.save(SaveOptions::new(name(), file(&path, false))).await, Ok(saved()));
}

#[tokio::test]
async fn an_application_saves_what_it_wrote_into_the_spool() {
    let node = Fake::start(Script { saves: vec![Ok(Progress::Done(saved()))], ..Script::default() }).await;
    let client = client(&[&node]);
    let hello = client.hello().await.unwrap();
    let mut file = Spool::recognise(&hello.spool, hello.incarnation).unwrap().unwrap().writer().unwrap();
    file.write_all(b"direct").unwrap();
    client.save(SaveOptions::new(name(), Source::Spooled(file.commit()))).await.unwrap();
    assert_eq!(node.saves()[0].1, b"direct");
    assert_eq!(node.spooled(), 0);
}

#[tokio::test]
async fn a_dropped_save_leaves_nothing() {
    let node = Fake::start(Script { saves: vec![], ..Script::default() }).await;
    let path = node.dir().join("state");
    fs::write(&path, "state").unwrap();
    let client = client(&[&node]);
    let save = client.save(SaveOptions::new(name(), file(&path, true)));
    assert!(tokio::time::timeout(Duration::from_millis(300), save).await.is_err());
    assert!(path.exists() && node.spooled() == 0);
}

#[tokio::test]
async fn a_read_moves_on_to_a_node_that_answers() {
    let without =
        Fake::start(Script { lists: Some(Err(Error::unavailable("no leader"))), ..Script::default() }).await;
    let with = Fake::start(Script { lists: Some(Ok(vec![])), ..Script::default() }).await;
    let nobody = "127.0.0.1:1".to_owned();
    let client = Client::new(vec![nobody, without.endpoint(), with.endpoint()], TIMEOUT);
    assert_eq!(client.list(ListRequest::default()).await, Ok(vec![]));
}

#[tokio::test]
async fn what_is_no_node_is_told_at_once() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 64]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let error = Client::new(vec![address], TIMEOUT).status().await.unwrap_err();
    assert_eq!(error.code, Code::Internal);
    assert!(error.message.contains("does not speak Cairn's protocol"), "{error}");
    let error = Client::new(vec!["localhost".into()], TIMEOUT).status().await.unwrap_err();
    assert_eq!(error.code, Code::Invalid);
}

/// A node with a copy of `bytes()`; `local` says whether its local storage is recognised.
async fn holder(local: bool) -> Fake {
    let node = Fake::start(Script { elsewhere: !local, copy: bytes(), ..Script::default() }).await;
    node.load_gives(vec![Ok(Progress::Running { done: 0, total: 0, steps: 0 }), Ok(Progress::Done(loaded(&node)))]);
    node
}

fn to(path: &std::path::Path) -> Option<Output> {
    Some(Output::File { path: path.into(), force: false, link: false })
}

fn files(dir: &std::path::Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[tokio::test]
async fn a_load_delivers_from_local_storage_and_from_afar() {
    for local in [true, false] {
        let node = holder(local).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let options = || LoadOptions { output: to(&path), ..LoadOptions::new(name()) };
        client(&[&node]).load(options()).await.unwrap();
        assert!(fs::read(&path).unwrap() == bytes());
        assert_eq!(files(dir.path()), 1);
        assert_eq!(node.pulls() > 0, !local);

        let asked = node.loads().len();
        let fault = client(&[&node]).load(options()).await.unwrap_err();
        assert_eq!(code(&fault), Some(Code::Invalid));
        assert_eq!(node.loads().len(), asked, "an existing output is refused before the node is asked");
    }
}

#[tokio::test]
async fn a_range_is_cut_out() {
    let range = Range { offset: (1 << 20) - 3, length: 10 };
    let expected = &bytes()[(1 << 20) - 3..(1 << 20) + 7];
    for local in [true, false] {
        let node = holder(local).await;
        let path = node.dir().join("part");
        let options = LoadOptions { output: to(&path), range: Some(range), ..LoadOptions::new(name()) };
        client(&[&node]).load(options).await.unwrap();
        assert_eq!(fs::read(&path).unwrap(), expected, "local: {local}");
    }
    let node = holder(true).await;
    let range = Some(Range { offset: 0, length: bytes().len() as u64 + 1 });
    let options = LoadOptions { output: to(&node.dir().join("part")), range, ..LoadOptions::new(name()) };
    assert_eq!(code(&client(&[&node]).load(options).await.unwrap_err()), Some(Code::Invalid));
}

#[tokio::test]
async fn wrong_bytes_are_never_delivered() {
    for local in [true, false] {
        let node = holder(local).await;
        node.corrupt();
        let dir = tempfile::tempdir().unwrap();
        let options = LoadOptions { output: to(&dir.path().join("state")), ..LoadOptions::new(name()) };
        let fault = client(&[&node]).load(options).await.unwrap_err();
        assert_eq!((code(&fault), fault.exit()), (Some(Code::Corrupt), 6), "{fault}");
        assert_eq!(files(dir.path()), 0);
        let mut asked = node.loads();
        asked.dedup();
        assert_eq!(asked.len(), 4, "it is loaded again, a bounded number of times, each under another id");
    }
}

#[tokio::test]
async fn a_broken_fetch_goes_on_from_the_same_block() {
    let node = holder(false).await;
    node.break_pulls(2);
    let path = node.dir().join("state");
    let options = LoadOptions { output: to(&path), ..LoadOptions::new(name()) };
    client(&[&node]).load(options).await.unwrap();
    assert!(fs::read(&path).unwrap() == bytes());
    assert_eq!(node.pulls(), 3);
}

#[tokio::test]
async fn a_link_shares_the_file_and_force_replaces() {
    let node = holder(true).await;
    let path = node.dir().join("state");
    fs::write(&path, "old").unwrap();
    for _ in 0..2 {
        let output = Some(Output::File { path: path.clone(), force: true, link: true });
        client(&[&node]).load(LoadOptions { output, ..LoadOptions::new(name()) }).await.unwrap();
        assert!(fs::read(&path).unwrap() == bytes());
    }
    let parts = fs::read_dir(node.dir())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".cairn"));
    assert_eq!(parts.count(), 0);
}

#[tokio::test]
async fn a_stale_load_s_file_leaves_the_spool_once_it_is_delivered() {
    let node = holder(true).await;
    let inside = node.dir().join("spool/stale");
    fs::write(&inside, bytes()).unwrap();
    let mut stale = loaded(&node);
    (stale.stale, stale.path) = (true, inside.clone());
    node.load_gives(vec![Ok(Progress::Done(stale))]);
    client(&[&node]).load(LoadOptions { stale: true, ..LoadOptions::new(name()) }).await.unwrap();
    assert!(inside.exists(), "it stays as long as nobody took it");
    let path = node.dir().join("state");
    let options = LoadOptions { stale: true, output: to(&path), ..LoadOptions::new(name()) };
    client(&[&node]).load(options).await.unwrap();
    assert!(!inside.exists() && path.exists());
}

/// A disk that is full after some bytes.
struct Full(AtomicUsize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.fetch_add(bytes.len(), Ordering::Relaxed) {
            0 => Ok(bytes.len()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_a_claim_that_stands_too() {
    for (local, claimed) in [(true, false), (false, true)] {
        let node = holder(local).await;
        let mut answer = loaded(&node);
        answer.claimed = claimed;
        node.load_gives(vec![Ok(Progress::Done(answer))]);
        let output = Some(Output::stream(Full(AtomicUsize::new(0))));
        let fault = client(&[&node])
            .load(LoadOptions { output, claim: claimed, ..LoadOptions::new(name()) })
            .await
            .unwrap_err();
        assert_eq!((fault.code().as_str(), fault.exit()), ("io", 1), "{fault}");
        assert_eq!(fault.outcome() == Outcome::Unknown, claimed);
        assert!(fault.hint().unwrap().contains("make room"));
    }
}

#[tokio::test]
async fn a_claim_has_an_id_of_its_own_on_every_node() {
    let first = Fake::start(Script { break_after: Some(1), ..Script::default() }).await;
    let second = Fake::start(Script::default()).await;
    let request = request::new_id();
    client(&[&first, &second]).claim(ClaimOptions { request, ..ClaimOptions::new(name()) }).await.unwrap();
    let (first, second) = (first.claims(), second.claims());
    assert_eq!(second.len(), 1);
    assert!(!first.contains(&second[0]) && second[0] != request);
}

#[tokio::test]
async fn a_watcher_goes_on_at_its_revision_on_the_next_node() {
    let cluster = ClusterId(Uuid::from_u128(9));
    let event = |revision| Event {
        revision,
        at: WallTime(0),
        change: Change::Created,
        name: name(),
        version: None,
        epoch: Epoch(1),
        owner: None,
    };
    let answer = |events, next, relist| Watched { cluster, events, next, relist };
    let quiet = answer(vec![], 5, false);
    let first = Script {
        watches: vec![quiet, answer(vec![event(7), event(7)], 8, false)],
        break_after: Some(2),
        ..Script::default()
    };
    let second =
        Script { watches: vec![answer(vec![], 20, true), answer(vec![event(21)], 22, false)], ..Script::default() };
    let (first, second) = (Fake::start(first).await, Fake::start(second).await);
    let mut watch = client(&[&first, &second]).watch("db/", None);
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(watch.next().await.unwrap());
    }
    assert_eq!(told, [News::Event(event(7)), News::Event(event(7)), News::Relist(20), News::Event(event(21))]);
    let asked = |node: &Fake| node.watches().iter().map(|r| (r.from, r.cluster)).collect::<Vec<_>>();
    assert_eq!(asked(&first)[..2], [(None, None), (Some(5), Some(cluster))]);
    assert_eq!(asked(&second), [(Some(8), Some(cluster)), (Some(20), Some(cluster))]);
    // Dropped while it waits, it asks the same again.
    for count in [3, 4] {
        let asked = async {
            while second.watches().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            news = watch.next() => panic!("{news:?}"),
            () = asked => {}
        }
    }
    assert_eq!(asked(&second)[2..], [(Some(22), Some(cluster)); 2]);
}
