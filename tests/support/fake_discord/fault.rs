//! Scripted failures of posts.

use std::time::Duration;

/// A failure of one post.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// A 429, although the bot exceeded no limit that it knows.
    RateLimited {
        /// The value of `Retry-After`.
        retry_after: Duration,
        /// The value of `X-RateLimit-Scope`: `user`, `global` or `shared`.
        scope: &'static str,
    },
    /// A 4xx status with Discord's error code, such as (403, 50001), (403, 50013) or (404, 10003).
    Rejected(u16, u32),
    /// An error status with an HTML page. The message is not posted.
    Status(u16),
    /// The message is posted, but the connection drops in the middle of the response.
    AcceptedThenCut,
    /// The message is posted, but the response has this status.
    AcceptedThenStatus(u16),
    /// The message is posted, but the response never comes. A killed client cannot know that it was posted.
    AcceptedThenStall,
    /// The message is posted and the response comes after this delay.
    Late(Duration),
    /// The request is read, but the message is not posted and the response never comes.
    Stall,
}

#[derive(Debug)]
pub(super) struct Planned {
    pub(super) fault: Fault,
    /// `None` lasts until the test heals the channel.
    pub(super) times: Option<u32>,
}

/// Returns the current fault and counts one use of it.
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
