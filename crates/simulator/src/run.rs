//! The life of a world: set up, storm, calm, rest. The server lives in a runtime of its own; killing it is dropping that, with
//! every task at whatever await it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use puffer_store::{ManualCommits, Store};
use rand::RngExt;
use rand_pcg::Pcg64;
use tokio::task::JoinHandle;

use crate::actors::{self, Slot, Stage};
use crate::client::Client;
use crate::dice::{chance, dice};
use crate::invariants::Violation;
use crate::plan::Plan;
use crate::world::World;
use crate::{faults, panics, server, setup};

/// The server is away this long at most, seconds.
const DOWN_S_MAX: u64 = 90;
/// Between two looks whether the world rests.
const LOOK: Duration = Duration::from_secs(20);
/// The longest that a calm world may take to come to rest: an instance refresh that cannot go on, being cancelled too, ends an hour
/// after its last progress; beside that the longest back-off (a quarter of an hour), drains and time-outs of calls, and room.
const REST_WITHIN: Duration = Duration::from_secs(5400);
/// Lives of one server at most: bounds a world that kills faster than it starts.
const LIVES_MAX: u64 = 400;

/// What became of a world.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first invariant violated, if any was.
    pub violation: Option<Violation>,
    /// Hash of all that happened.
    pub hash: u64,
    /// Events in it.
    pub n_events: u64,
    /// Committed transactions.
    pub n_transactions: u64,
    /// Requests of users.
    pub n_calls: u64,
    /// Times that the server was killed.
    pub n_crashes: u64,
    /// Virtual time from beginning to end.
    pub lasted: Duration,
    /// The trace, if the plan asked for it.
    pub lines: Vec<String>,
}

/// How a life of the server ends.
enum End {
    Died,
    Over,
}

/// Who stirs a world.
struct Cast {
    faults: Vec<Slot>,
    users: Vec<Slot>,
}

/// Lives a world from beginning to end, on this thread.
pub fn run(plan: Plan) -> Outcome {
    let seed = plan.seed;
    let panics = panics::watch();
    let cast = Arc::new(Cast { faults: faults::of(&plan), users: actors::of(&plan) });
    let world = World::new(plan);
    let mut crash_dice = dice(seed, "crashes");
    let mut n_lives = 0;
    let mut is_set_up = false;
    loop {
        n_lives += 1;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let Ok(runtime) = runtime else {
            world.violate("runtime", "the runtime cannot be built".into());
            break;
        };
        let end = runtime.block_on(live(&world, &cast, &mut crash_dice, n_lives, &mut is_set_up));
        drop(runtime);
        match end {
            End::Died if n_lives < LIVES_MAX => {}
            End::Died | End::Over => break,
        }
    }
    if let Some(text) = panics.first() {
        world.state.lock().violation =
            Some(Violation { invariant: "nothing_panics", at_ms: world.time.now_ms(), text });
    }
    let mut state = world.state.lock();
    Outcome {
        seed,
        violation: state.violation.take(),
        hash: state.trace.hash(),
        n_events: state.trace.n_events,
        n_transactions: state.n_transactions,
        n_calls: state.n_calls,
        n_crashes: n_lives - 1,
        lasted: world.time.age(),
        lines: std::mem::replace(&mut state.trace, crate::trace::Trace::new(false)).into_lines(),
    }
}

async fn live(
    world: &Arc<World>,
    cast: &Arc<Cast>,
    crash_dice: &mut Pcg64,
    life: u64,
    is_set_up: &mut bool,
) -> End {
    world.time.begin();
    world.life.revive();
    let ticking = Arc::clone(world);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            ticking.second();
        }
    });
    let commits: Mutex<Option<Arc<ManualCommits>>> = Mutex::new(None);
    let down = match life {
        1 => Duration::ZERO,
        _ => Duration::from_millis(crash_dice.random_range(0..DOWN_S_MAX * 1000)),
    };
    let end = tokio::select! {
        biased;
        () = world.life.death() => End::Died,
        () = world.violated() => End::Over,
        () = story(world, cast, down, life, is_set_up, &commits) => End::Over,
    };
    world.set_server(None);
    if let (End::Died, Some(commits)) = (&end, &*commits.lock()) {
        world.note(format_args!("the server is killed"));
        // What was on its way to the disk may have arrived, though nobody was told.
        if chance(crash_dice, 0.5) {
            commits.write_and_die(&mut |changes| world.committed(changes));
        }
    }
    world.time.end();
    end
}

async fn story(
    world: &Arc<World>,
    cast: &Arc<Cast>,
    down: Duration,
    life: u64,
    is_set_up: &mut bool,
    commits: &Mutex<Option<Arc<ManualCommits>>>,
) {
    let mut playing: Vec<JoinHandle<()>> = Vec::new();
    if *is_set_up {
        playing.extend(cast.faults.iter().map(|slot| slot.play(world)));
        tokio::time::sleep(down).await;
    }
    let opened = Store::on(&world.disk, &puffer_inventory::schema());
    let (store, by_hand) = match opened {
        Ok(opened) => opened,
        Err(error) => return world.violate("the_store_opens", error.to_string()),
    };
    let by_hand = Arc::new(by_hand);
    *commits.lock() = Some(Arc::clone(&by_hand));
    tokio::spawn(server::commit(Arc::clone(world), by_hand));
    let mut attempt = server::start(world, store.clone(), life).await;
    while attempt.is_err() {
        // A disk that refuses keeps a server from starting; whoever runs it tries again.
        tokio::time::sleep(Duration::from_secs(1)).await;
        attempt = server::start(world, store.clone(), life).await;
    }
    let Ok(server) = attempt else { return };
    world.set_server(Some(server));
    world.note(format_args!("the server answers (life {life})"));
    let client = Client::new(world);
    if !*is_set_up {
        if let Err(text) = setup::set_up(world, &client).await {
            return world.violate("the_world_is_set_up", text);
        }
        *is_set_up = true;
        playing.extend(cast.faults.iter().map(|slot| slot.play(world)));
    }
    playing.extend(cast.users.iter().map(|slot| slot.play(world)));
    let storm = world.plan.storm.saturating_sub(world.time.age());
    tokio::time::sleep(storm).await;
    calm(world, cast, &client, playing).await;
    rest(world).await;
}

/// The storm ends: nobody stirs the world any more, and what was broken works again.
async fn calm(world: &Arc<World>, cast: &Cast, client: &Client, playing: Vec<JoinHandle<()>>) {
    playing.iter().for_each(JoinHandle::abort);
    world.life.extinguish();
    world.calm();
    let stage = Stage { world, client: client.clone() };
    for slot in cast.faults.iter().chain(&cast.users) {
        slot.calm(&stage).await;
    }
    world.machines_changed.notify_one();
    world.note(format_args!("the storm is over"));
    setup::tidy(world, client).await;
}

/// Waits until nothing moves, twice in a row, and until what is wanted of the groups has stayed the same: the load is constant now.
async fn rest(world: &Arc<World>) {
    let since = world.time.age();
    let mut quiet = 0;
    let mut settling = Settling::default();
    while quiet < 2 {
        tokio::time::sleep(LOOK).await;
        let unrest = world.unrest().or_else(|| settling.unrest(world.wanted(), world.time.age()));
        quiet = if unrest.is_some() { 0 } else { quiet + 1 };
        if let Some(why) = unrest
            && world.time.age() - since > REST_WITHIN
        {
            return world.violate("converges", why);
        }
    }
    world.at_rest();
}

/// What was wanted of each group at the last change, and when that was seen.
#[derive(Default)]
struct Settling {
    groups: BTreeMap<String, (u32, Duration, Vec<u32>)>,
}

impl Settling {
    fn unrest(&mut self, wanted: Vec<(String, u32, Duration)>, now: Duration) -> Option<String> {
        let mut unrest = None;
        for (name, desired, settled_after) in wanted {
            let (last, since, all) =
                self.groups.entry(name.clone()).or_insert_with(|| (desired, now, vec![desired]));
            if *last != desired {
                (*last, *since) = (desired, now);
                all.push(desired);
            }
            if now - *since < settled_after {
                unrest = Some(format!("{name} does not settle: it wanted {all:?}"));
            }
        }
        unrest
    }
}
