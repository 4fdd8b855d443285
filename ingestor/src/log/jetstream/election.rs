//! Taking, keeping and giving up the lease.

use std::sync::{Arc, Mutex, PoisonError};

use async_nats::HeaderMap;
use killfeed_service::clock::{Clock, Uptime};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    cas::{CasRegister, CasSnapshot},
    client::Published,
    error::OperationError,
    lease::{self, CHECK_INTERVAL, Lease, LeaseObserver, RENEWAL_INTERVAL},
};

/// The right to ask zKillboard, as long as it lasts.
#[derive(Debug)]
pub(super) struct LeaseGuard {
    until: Mutex<Uptime>,
    ended: CancellationToken,
}

impl LeaseGuard {
    fn new(until: Uptime) -> Self {
        Self {
            until: Mutex::new(until),
            ended: CancellationToken::new(),
        }
    }

    /// Whether it lasts at this very moment. By the clock, because a process that was stopped for a while finds its timers late.
    pub(super) fn holds(&self) -> bool {
        !self.ended.is_cancelled() && Clock::system().now().up < self.until()
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Until it has ended.
    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    fn until(&self) -> Uptime {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn renewed(&self, sent: Uptime) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = lease::holds_until(sent);
    }
}

/// A candidate for the lease.
#[derive(Debug)]
pub(super) struct Candidate {
    cell: CasRegister,
    holder: String,
    watch: LeaseObserver,
    renewal: u64,
    /// What the holder says, if that is another one.
    heard: watch::Sender<Option<String>>,
}

impl Candidate {
    pub(super) fn new(cell: CasRegister, holder: String, heard: watch::Sender<Option<String>>) -> Self {
        Self {
            cell,
            holder,
            watch: LeaseObserver::default(),
            renewal: 0,
            heard,
        }
    }

    /// Waits until the lease is ours. Errors are told and waited out, and so is their end while it is another one's.
    pub(super) async fn acquire(&mut self, trouble: impl Fn(Option<&OperationError>)) -> AcquiredLease {
        loop {
            match self.try_acquire().await {
                Ok(Some(taken)) => {
                    self.heard.send_replace(None);
                    return taken;
                }
                Ok(None) => trouble(None),
                Err(error) => trouble(Some(&error)),
            }
            sleep(CHECK_INTERVAL).await;
        }
    }

    async fn try_acquire(&mut self) -> Result<Option<AcquiredLease>, OperationError> {
        let held = self.cell.read().await?;
        // What cannot be read was not written by a version that knows how to renew it: as good as silent.
        let lease = read(&held);
        let now = Clock::system().now().up;
        if !self.watch.can_acquire(held.sequence, lease.as_ref(), &self.holder, now) {
            self.heard.send_replace(lease.map(|lease| lease.note));
            return Ok(None);
        }
        let lease = self.next(false, String::new());
        let sent = Clock::system().now().up;
        match write(&self.cell, held.sequence, &lease).await? {
            Published::Rejected => Ok(None),
            Published::Stored(sequence) => {
                tracing::info!(holder = self.holder, "lease acquired, polling zKillboard");
                Ok(Some(AcquiredLease {
                    right: Arc::new(LeaseGuard::new(lease::holds_until(sent))),
                    sequence,
                }))
            }
        }
    }

    /// Renews it until it is lost, or until it is given up by cancelling `leave`. `note` goes with it.
    pub(super) async fn renew_until_lost(
        &mut self,
        taken: &AcquiredLease,
        note: watch::Receiver<String>,
        leave: &CancellationToken,
    ) {
        let _ended = taken.right.ended.clone().drop_guard();
        let mut sequence = taken.sequence;
        let clock = Clock::system();
        let mut due = clock.now().up;
        loop {
            tokio::select! {
                biased;
                () = leave.cancelled() => return self.give_up(sequence).await,
                () = taken.right.ended() => return self.give_up(sequence).await,
                () = clock.sleep_until(taken.right.until()) => {
                    tracing::warn!("lease expired, another ingestor may take over");
                    return;
                }
                () = clock.sleep_until(due) => {}
            }
            let said = note.borrow().clone();
            let lease = self.next(false, said);
            let sent = clock.now().up;
            let renewal = self.renew(&mut sequence, &lease);
            let renewed = tokio::select! {
                biased;
                () = clock.sleep_until(taken.right.until()) => continue,
                renewed = renewal => renewed,
            };
            match renewed {
                Ok(true) => {
                    taken.right.renewed(sent);
                    due = sent + RENEWAL_INTERVAL;
                }
                Ok(false) => {
                    tracing::warn!("another ingestor acquired the lease");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "renewing the lease failed, trying again");
                    due = clock.now().up + RENEWAL_INTERVAL / 8;
                }
            }
        }
    }

    /// False: somebody else has it.
    async fn renew(&self, sequence: &mut u64, lease: &Lease) -> Result<bool, OperationError> {
        match write(&self.cell, *sequence, lease).await? {
            Published::Stored(stored) => {
                *sequence = stored;
                Ok(true)
            }
            // Perhaps by an earlier renewal of ours whose acknowledgement was lost.
            Published::Rejected => {
                let held = self.cell.read().await?;
                let ours = read(&held).is_some_and(|lease| lease.holder == self.holder && !lease.free);
                if !ours {
                    return Ok(false);
                }
                *sequence = held.sequence;
                Err(OperationError::Unavailable("an earlier renewal arrived late".into()))
            }
        }
    }

    /// So that the next one need not wait. What cannot be written any more expires.
    async fn give_up(&mut self, sequence: u64) {
        let lease = self.next(true, String::new());
        if let Err(error) = write(&self.cell, sequence, &lease).await {
            tracing::debug!(%error, "releasing the lease failed, letting it expire");
        }
    }

    fn next(&mut self, free: bool, note: String) -> Lease {
        self.renewal += 1;
        Lease {
            holder: self.holder.clone(),
            renewal: self.renewal,
            free,
            note,
        }
    }
}

/// The lease as it was taken.
#[derive(Debug)]
pub(super) struct AcquiredLease {
    pub(super) right: Arc<LeaseGuard>,
    sequence: u64,
}

fn read(held: &CasSnapshot) -> Option<Lease> {
    let message = held.message.as_ref()?;
    serde_json::from_slice(&message.payload).ok()
}

async fn write(cell: &CasRegister, sequence: u64, lease: &Lease) -> Result<Published, OperationError> {
    let value = serde_json::to_vec(lease).map_err(|error| OperationError::unavailable("writing the lease", error))?;
    cell.compare_and_set(sequence, HeaderMap::new(), value.into()).await
}
