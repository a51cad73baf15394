//! The fleet actor: who is connected, whose slots are whose, which runs are open here. Never waits for a session or a run, so that both may
//! wait for it.

use super::run::{Leaving, Run, RunArgs};
use super::session::SessionHandle;
use crate::Shared;
use crate::fleet::{FleetMachine, Slots};
use domain::id::{Incarnation, RunId, WorkerName};
use kameo::actor::{ActorId, ActorRef, Spawn as _, WeakActorRef};
use kameo::error::{ActorStopReason, Infallible};
use kameo::message::{Context, Message};
use kameo::{Actor, mailbox};
use proto::message::{FromCoordinator, Welcome};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use tokio::sync::{oneshot, watch};

/// Messages that may wait for the fleet.
const MAILBOX: usize = 4096;
/// A run that fails by a defect is opened again so often.
const MOST_RESTARTS: u32 = 3;

/// The runs that are open here.
pub(crate) type Runs = Arc<BTreeMap<RunId, ActorRef<Run>>>;

/// See the module.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    machine: FleetMachine,
    sessions: HashMap<Incarnation, (u64, SessionHandle)>,
    parked: HashMap<RunId, oneshot::Sender<Slots>>,
    runs: watch::Sender<Runs>,
    restarts: HashMap<RunId, u32>,
    leaving: bool,
}

/// What a fleet starts from.
pub(crate) struct FleetArgs {
    pub(crate) shared: Arc<Shared>,
    pub(crate) runs: watch::Sender<Runs>,
}

impl Actor for Fleet {
    type Args = FleetArgs;
    type Error = Infallible;

    async fn on_start(args: FleetArgs, actor_ref: ActorRef<Self>) -> Result<Self, Infallible> {
        let config = &args.shared.config;
        let terms = config.policy(1).terms;
        // A told tick cannot fail on an empty mailbox of our own.
        let _ = actor_ref.tell(Tick).try_send();
        Ok(Self {
            machine: FleetMachine::new(terms.ttl + terms.grace + config.heartbeat),
            shared: args.shared,
            sessions: HashMap::new(),
            parked: HashMap::new(),
            runs: args.runs,
            restarts: HashMap::new(),
            leaving: false,
        })
    }

    async fn on_link_died(
        &mut self,
        actor_ref: WeakActorRef<Self>,
        id: ActorId,
        reason: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, Infallible> {
        let dead = self.runs.borrow().iter().find(|(_, run)| run.id() == id).map(|(run, _)| run.clone());
        if let Some(run) = dead {
            self.close(&run);
            if let (false, Some(me)) = (matches!(reason, ActorStopReason::Normal), actor_ref.upgrade()) {
                let restarts = self.restarts.entry(run.clone()).or_default();
                *restarts += 1;
                tracing::error!(run = %run, restarts, %reason, "a run failed by a defect");
                if *restarts <= MOST_RESTARTS && !self.leaving {
                    // It starts from nothing but the folder.
                    self.open(&me, run).await;
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Fleet {
    pub(crate) fn start(args: FleetArgs) -> ActorRef<Self> {
        Self::spawn_with_mailbox(args, mailbox::bounded(MAILBOX))
    }

    fn send(handle: &SessionHandle, message: FromCoordinator) {
        handle.send(message);
    }

    fn tell_shares(&self) {
        let share = self.machine.share();
        for (_, handle) in self.sessions.values() {
            let message = FromCoordinator::Budget { generation: share.generation, share: share.share };
            Self::send(handle, message);
        }
    }

    /// Hands out what is free. A run that no longer waits gives its part back.
    fn give(&mut self) {
        loop {
            let given = self.machine.give();
            if given.is_empty() {
                return;
            }
            for (run, slots) in given {
                let back = match self.parked.remove(&run) {
                    Some(reply) => reply.send(slots).err(),
                    None => Some(slots),
                };
                if let Some(back) = back {
                    self.machine.release(&run, &back);
                }
            }
        }
    }

    async fn open(&mut self, me: &ActorRef<Self>, run: RunId) -> ActorRef<Run> {
        let args = RunArgs { shared: Arc::clone(&self.shared), fleet: me.clone(), run: run.clone() };
        let actor = Run::spawn_link_with_mailbox(me, args, mailbox::bounded(super::run::MAILBOX)).await;
        let mut runs = BTreeMap::clone(&self.runs.borrow());
        runs.insert(run, actor.clone());
        self.runs.send_replace(Arc::new(runs));
        actor
    }

    fn close(&mut self, run: &RunId) {
        let mut runs = BTreeMap::clone(&self.runs.borrow());
        runs.remove(run);
        self.runs.send_replace(Arc::new(runs));
        self.parked.remove(run);
        self.machine.run_ended(run);
        self.give();
    }
}

/// A worker has a new stream.
pub(crate) struct Join {
    pub(crate) worker: Incarnation,
    pub(crate) name: WorkerName,
    pub(crate) welcome: Welcome,
    pub(crate) handle: SessionHandle,
}

impl Message<Join> for Fleet {
    type Reply = Result<u64, Infallible>;

    async fn handle(&mut self, join: Join, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let session = self.machine.join(&join.worker, join.name);
        Self::send(&join.handle, FromCoordinator::Welcome(join.welcome));
        if self.leaving {
            join.handle.stop.cancel();
        }
        if let Some((_, old)) = self.sessions.insert(join.worker, (session, join.handle)) {
            old.stop.cancel();
        }
        self.tell_shares();
        Ok(session)
    }
}

/// A worker says how many trials it wants to hold.
pub(crate) struct Ready {
    pub(crate) worker: Incarnation,
    pub(crate) session: u64,
    pub(crate) credits: u32,
}

impl Message<Ready> for Fleet {
    type Reply = ();

    async fn handle(&mut self, ready: Ready, _: &mut Context<Self, ()>) {
        self.machine.ready(&ready.worker, ready.session, ready.credits);
        self.give();
    }
}

/// A worker's stream is lost.
pub(crate) struct Lost {
    pub(crate) worker: Incarnation,
    pub(crate) session: u64,
    pub(crate) left: bool,
}

impl Message<Lost> for Fleet {
    type Reply = ();

    async fn handle(&mut self, lost: Lost, _: &mut Context<Self, ()>) {
        self.machine.lost(self.shared.now(), &lost.worker, lost.session, lost.left);
        if self.sessions.get(&lost.worker).is_some_and(|(session, _)| *session == lost.session) {
            self.sessions.remove(&lost.worker);
        }
        if lost.left {
            self.tell_shares();
        }
    }
}

/// A run could use slots; answered when there are some.
pub(crate) struct Take {
    pub(crate) run: RunId,
    pub(crate) slots: u32,
    pub(crate) reply: oneshot::Sender<Slots>,
}

impl Message<Take> for Fleet {
    type Reply = ();

    async fn handle(&mut self, take: Take, _: &mut Context<Self, ()>) {
        self.machine.take(take.run.clone(), take.slots);
        self.parked.insert(take.run, take.reply);
        self.give();
    }
}

/// A run gives slots back.
pub(crate) struct Release {
    pub(crate) run: RunId,
    pub(crate) slots: Slots,
}

impl Message<Release> for Fleet {
    type Reply = ();

    async fn handle(&mut self, release: Release, _: &mut Context<Self, ()>) {
        self.machine.release(&release.run, &release.slots);
        self.give();
    }
}

/// A run has adopted attempts.
pub(crate) struct Occupy {
    pub(crate) run: RunId,
    pub(crate) worker: Incarnation,
    pub(crate) slots: u32,
}

impl Message<Occupy> for Fleet {
    type Reply = ();

    async fn handle(&mut self, occupy: Occupy, _: &mut Context<Self, ()>) {
        self.machine.occupy(&occupy.run, &occupy.worker, occupy.slots);
    }
}

/// A run is over here.
pub(crate) struct RunEnded {
    pub(crate) run: RunId,
    pub(crate) actor: ActorId,
}

impl Message<RunEnded> for Fleet {
    type Reply = ();

    async fn handle(&mut self, ended: RunEnded, _: &mut Context<Self, ()>) {
        let is_it = self.runs.borrow().get(&ended.run).is_some_and(|run| run.id() == ended.actor);
        if is_it {
            self.close(&ended.run);
        }
    }
}

/// Opens a run, or answers the one that is open. `None` when the coordinator is leaving.
pub(crate) struct OpenRun(pub(crate) RunId);

impl Message<OpenRun> for Fleet {
    type Reply = Result<Option<ActorRef<Run>>, Infallible>;

    async fn handle(
        &mut self,
        OpenRun(run): OpenRun,
        context: &mut Context<Self, Self::Reply>,
    ) -> Self::Reply {
        if self.leaving {
            return Ok(None);
        }
        let open = self.runs.borrow().get(&run).filter(|run| run.is_alive()).cloned();
        if let Some(open) = open {
            return Ok(Some(open));
        }
        let me = context.actor_ref().clone();
        self.restarts.remove(&run);
        Ok(Some(self.open(&me, run).await))
    }
}

/// The coordinator is leaving: ends sessions and runs. The runs stay open in their folders.
pub(crate) struct Leave {
    pub(crate) text: String,
}

impl Message<Leave> for Fleet {
    type Reply = Result<Vec<ActorRef<Run>>, Infallible>;

    async fn handle(&mut self, leave: Leave, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.leaving = true;
        for (_, handle) in self.sessions.values() {
            Self::send(handle, FromCoordinator::Drain { text: leave.text.clone() });
            handle.stop.cancel();
        }
        let runs: Vec<ActorRef<Run>> = self.runs.borrow().values().cloned().collect();
        for run in &runs {
            // Not waited for: a full mailbox of a run must not stop the fleet. `serve` waits for the runs and kills what does not end.
            let leaving = Leaving { text: leave.text.clone() };
            if run.tell(leaving).try_send().is_err() {
                run.kill();
            }
        }
        Ok(runs)
    }
}

/// Time passes.
struct Tick;

impl Message<Tick> for Fleet {
    type Reply = ();

    async fn handle(&mut self, _: Tick, context: &mut Context<Self, ()>) {
        if self.machine.tick(self.shared.now()) {
            self.tell_shares();
        }
        let period = self.shared.config.tick();
        let me = context.actor_ref().downgrade();
        context.spawn_tick(me, period);
    }
}

/// Arms the next tick without keeping the actor alive.
trait Ticking {
    fn spawn_tick(&self, me: WeakActorRef<Fleet>, period: std::time::Duration);
}

impl Ticking for Context<Fleet, ()> {
    fn spawn_tick(&self, me: WeakActorRef<Fleet>, period: std::time::Duration) {
        tokio::spawn(async move {
            tokio::time::sleep(period).await;
            if let Some(me) = me.upgrade() {
                // A fleet that has stopped needs no tick.
                let _ = me.tell(Tick).send().await;
            }
        });
    }
}
