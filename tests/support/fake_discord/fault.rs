//! What can go wrong when a message is posted, as it goes wrong in life.

use std::time::Duration;

/// An answer to a post that is not the one hoped for.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// 429 though no limit known to the bot was overrun.
    RateLimited {
        /// `Retry-After`.
        retry_after: Duration,
        /// `X-RateLimit-Scope`: `user`, `global` or `shared`.
        scope: &'static str,
    },
    /// A 4xx with Discord's error code: (403, 50001), (403, 50013), (404, 10003), (400, 50035), ...
    Rejected(u16, u32),
    /// This status and a page of HTML; nothing is posted.
    Status(u16),
    /// It is posted, but the connection is cut before the answer is whole.
    AcceptedThenCut,
    /// It is posted, but the answer is this status.
    AcceptedThenStatus(u16),
    /// It is posted, and never answered: whoever is killed now does not know it.
    AcceptedThenStall,
    /// It is posted and answered, this late.
    Late(Duration),
    /// The request is read and never answered, nor posted.
    Stall,
}

#[derive(Debug)]
pub(super) struct Planned {
    pub(super) fault: Fault,
    /// `None` = until healed.
    pub(super) times: Option<u32>,
}

/// The fault whose turn it is.
pub(super) fn take(plans: &mut Vec<Planned>) -> Option<Fault> {
    let first = plans.first_mut()?;
    let fault = first.fault.clone();
    if let Some(times) = &mut first.times {
        *times = times.saturating_sub(1);
        if *times == 0 {
            plans.remove(0);
        }
    }
    Some(fault)
}
