use std::collections::BTreeMap;

use proptest::prelude::*;
use puffer_core::{Record, RecordError};
use serde_json::Value;

use super::*;

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct Pet {
    name: String,
    kind: String,
    legs: u32,
}

impl Record for Pet {
    const COLLECTION: &'static str = "pets";
    const INDEXES: &'static [&'static str] = &["kind"];
    fn key(&self) -> String {
        self.name.clone()
    }
    fn index_values(&self, push: &mut dyn FnMut(&'static str, &str)) {
        push("kind", &self.kind);
    }
}

fn pet(name: &str, kind: &str) -> Pet {
    Pet { name: name.into(), kind: kind.into(), legs: 4 }
}

fn schema() -> Schema {
    Schema::new().with::<Pet>()
}

fn open(dir: &tempfile::TempDir) -> Store {
    Store::open(&dir.path().join("store.redb"), &schema()).unwrap()
}

async fn put(store: &Store, pet: Pet) {
    store
        .transact::<_, StoreError>(|tx| {
            tx.put(pet);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn acknowledged_writes_survive_reopening() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(&dir);
        put(&store, pet("rex", "dog")).await;
        put(&store, pet("tom", "cat")).await;
        store
            .transact::<_, StoreError>(|tx| {
                assert!(tx.delete::<Pet>("tom"));
                Ok(())
            })
            .await
            .unwrap();
    }
    let store = open(&dir);
    assert_eq!(store.list::<Pet>().len(), 1);
    assert_eq!(store.list_by::<Pet>("kind", "dog")[0].name, "rex");
    assert!(store.list_by::<Pet>("kind", "cat").is_empty());
}

#[tokio::test]
async fn a_refused_transaction_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    put(&store, pet("rex", "dog")).await;
    let refused = store
        .transact::<(), StoreError>(|tx| {
            tx.put(pet("rex", "wolf"));
            tx.put(pet("new", "wolf"));
            tx.delete::<Pet>("rex");
            Err(StoreError::Closed)
        })
        .await;
    assert!(refused.is_err());
    assert_eq!(store.get::<Pet>("rex").unwrap().kind, "dog");
    assert!(store.list_by::<Pet>("kind", "wolf").is_empty());
    assert_eq!(store.list_by::<Pet>("kind", "dog").len(), 1);
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(&dir);
    let second = Store::open(&dir.path().join("store.redb"), &schema());
    assert!(matches!(second, Err(OpenError::InUse(_))));
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct PetV2 {
    name: String,
    species: String,
}

impl Record for PetV2 {
    const COLLECTION: &'static str = "pets";
    const VERSION: u16 = 2;
    fn key(&self) -> String {
        self.name.clone()
    }
    fn upgrade(from: u16, mut data: Value) -> Result<Value, RecordError> {
        assert_eq!(from, 1);
        data["species"] = data["kind"].take();
        Ok(data)
    }
}

#[tokio::test]
async fn older_records_are_lifted_and_newer_refused() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(&dir), pet("rex", "dog")).await;
    let path = dir.path().join("store.redb");
    {
        let store = Store::open(&path, &Schema::new().with::<PetV2>()).unwrap();
        assert_eq!(store.get::<PetV2>("rex").unwrap().species, "dog");
        store
            .transact::<_, StoreError>(|tx| {
                tx.update::<PetV2>("rex", |_| ());
                Ok(())
            })
            .await
            .unwrap();
    }
    assert!(matches!(Store::open(&path, &schema()), Err(OpenError::Newer { found: 2, known: 1, .. })));
}

#[tokio::test]
async fn subscribers_hear_of_durable_changes_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let subscription = store.subscribe::<Pet>();
    assert_eq!(subscription.next().await, Dirty::All);
    put(&store, pet("rex", "dog")).await;
    put(&store, pet("rex", "dog")).await;
    put(&store, pet("tom", "cat")).await;
    assert_eq!(subscription.next().await, Dirty::Keys(vec!["rex".into(), "tom".into()]));
    assert_eq!(subscription.take(), None);
}

#[tokio::test]
async fn settled_waits_for_what_is_visible() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let writer = store.clone();
    let task = tokio::spawn(async move { put(&writer, pet("rex", "dog")).await });
    while store.get::<Pet>("rex").is_none() {
        tokio::task::yield_now().await;
    }
    store.settled().await.unwrap();
    assert_eq!(store.commit_stats().n_commits, 1);
    task.await.unwrap();
}

/// The index answers as a scan would, after any history, also after reopening.
fn history() -> impl Strategy<Value = Vec<(u8, Option<u8>, bool)>> {
    prop::collection::vec((0u8..6, prop::option::of(0u8..3), any::<bool>()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn index_equals_scan(history in history()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut model: BTreeMap<String, String> = BTreeMap::new();
        let check = |store: &Store, model: &BTreeMap<String, String>| {
            for kind in ["k0", "k1", "k2"] {
                let found: Vec<_> = store.list_by::<Pet>("kind", kind).iter().map(|p| p.name.clone()).collect();
                let expected: Vec<_> = model.iter().filter(|(_, k)| *k == kind).map(|(n, _)| n.clone()).collect();
                assert_eq!(found, expected);
            }
        };
        {
            let store = open(&dir);
            for (name, kind, keep) in history {
                let name = format!("n{name}");
                let _ = runtime.block_on(store.transact::<(), StoreError>(|tx| {
                    match kind {
                        Some(k) => { tx.put(pet(&name, &format!("k{k}"))); }
                        None => { tx.delete::<Pet>(&name); }
                    }
                    if keep { Ok(()) } else { Err(StoreError::Closed) }
                }));
                if keep {
                    match kind {
                        Some(k) => { model.insert(name, format!("k{k}")); }
                        None => { model.remove(&name); }
                    }
                }
            }
            check(&store, &model);
        }
        check(&open(&dir), &model);
    }
}

#[tokio::test]
async fn a_crash_keeps_what_was_written_by_hand_and_loses_the_rest() {
    let disk = MemoryDisk::new();
    let (store, commits) = Store::on(&disk, &schema()).unwrap();
    let first = tokio::spawn({
        let store = store.clone();
        async move { put(&store, pet("rex", "dog")).await }
    });
    commits.wanted().await;
    let mut seen = Vec::new();
    commits.commit(&mut |changes| {
        seen.extend(changes.iter().map(|c| (c.key().to_owned(), c.after::<Pet>().unwrap().legs)));
    });
    first.await.unwrap();
    assert_eq!(seen, [("rex".to_owned(), 4)]);
    // Neither of these is answered; one of them is on disk.
    for (name, dies_after_writing) in [("tom", true), ("kit", false)] {
        let (store, commits) = Store::on(&disk, &schema()).unwrap();
        let waiting = tokio::spawn(async move { put(&store, pet(name, "cat")).await });
        commits.wanted().await;
        if dies_after_writing {
            commits.write_and_die(&mut |_| {});
        }
        assert!(!waiting.is_finished());
        waiting.abort();
    }
    let (store, _) = Store::on(&disk, &schema()).unwrap();
    let names: Vec<String> = store.list::<Pet>().iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["rex", "tom"]);
    assert!(disk.row("pets", "tom").is_some() && disk.row("pets", "kit").is_none());
}

#[tokio::test]
async fn a_disk_that_refuses_by_hand_undoes_what_was_queued() {
    let (store, commits) = Store::on(&MemoryDisk::new(), &schema()).unwrap();
    let put = |p: Pet| {
        store.transact::<_, StoreError>(move |tx| {
            tx.put(p);
            Ok(())
        })
    };
    let (refused, ()) = tokio::join!(put(pet("rex", "dog")), async {
        commits.wanted().await;
        commits.refuse("full");
    });
    assert!(matches!(refused, Err(StoreError::Disk(_))));
    assert!(store.list::<Pet>().is_empty());
}

/// A disk that can be full: then nothing is written to it, or everything but the last word of a commit gets lost.
#[derive(Debug, Clone)]
struct FullDisk {
    bytes: Arc<redb::backends::InMemoryBackend>,
    full: Arc<std::sync::atomic::AtomicBool>,
    /// Syncs fail, though what was written stays.
    deaf: Arc<std::sync::atomic::AtomicBool>,
}

impl FullDisk {
    fn new() -> FullDisk {
        FullDisk {
            bytes: Arc::new(redb::backends::InMemoryBackend::new()),
            full: Arc::default(),
            deaf: Arc::default(),
        }
    }

    fn store(&self) -> Store {
        let disk = self.clone();
        let open = move || {
            let database = redb::Database::builder().create_with_backend(disk.clone());
            crate::disk::with_layout(database.map_err(|e| OpenError::Disk(e.to_string()))?)
        };
        let disk = crate::disk::RedbDisk::open_by(Box::new(open)).unwrap();
        Store::start(disk, &schema()).unwrap()
    }

    fn refuse(&self, why: &std::sync::atomic::AtomicBool) -> std::io::Result<()> {
        match why.load(std::sync::atomic::Ordering::Relaxed) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

impl redb::StorageBackend for FullDisk {
    fn len(&self) -> std::io::Result<u64> {
        self.bytes.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.bytes.read(offset, out)
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.refuse(&self.full)?;
        self.bytes.set_len(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        self.refuse(&self.deaf)
    }
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.refuse(&self.full)?;
        self.bytes.write(offset, data)
    }
}

async fn try_put(store: &Store, pet: Pet) -> Result<(), StoreError> {
    store.transact(|tx| Ok(tx.put(pet))).await.map(drop)
}

#[tokio::test]
async fn a_disk_that_refused_for_a_while_is_used_again() {
    use std::sync::atomic::Ordering::Relaxed;
    let disk = FullDisk::new();
    let mut expected = Vec::new();
    let store = disk.store();
    for (round, fault) in [&disk.full, &disk.deaf, &disk.full, &disk.deaf].into_iter().enumerate() {
        let (good, bad) = (format!("good{round}"), format!("bad{round}"));
        put(&store, pet(&good, "dog")).await;
        expected.push(good.clone());
        fault.store(true, Relaxed);
        for _ in 0..3 {
            let refused = try_put(&store, pet(&bad, "cat")).await;
            assert!(matches!(refused, Err(StoreError::Disk(_))), "{refused:?}");
            try_put(&store, pet(&good, "wolf")).await.unwrap_err();
            assert_eq!(store.get::<Pet>(&bad), None, "undone");
            assert_eq!(store.get::<Pet>(&good).unwrap().kind, "dog", "as it was");
        }
        fault.store(false, Relaxed);
        put(&store, pet(&format!("more{round}"), "dog")).await;
        expected.push(format!("more{round}"));
    }
    drop(store);
    let found: Vec<(String, String)> =
        disk.store().list::<Pet>().iter().map(|p| (p.name.clone(), p.kind.clone())).collect();
    expected.sort();
    let expected: Vec<_> = expected.into_iter().map(|name| (name, "dog".to_owned())).collect();
    assert_eq!(found, expected, "what was acknowledged and nothing else");
}
