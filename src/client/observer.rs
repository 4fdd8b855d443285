//! What happens while a client follows, told to whoever counts it.

use std::{fmt, sync::Arc, time::Duration};

use tonic::Code;

use super::{Event, FollowError};

/// Something that happened to a stream. Told by [`super::Builder::observe`]'s function at once, each exactly when it happens.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientEvent<'a> {
    /// A stream is being opened.
    Connecting {
        /// Where to.
        endpoint: &'a str,
    },
    /// A stream is open.
    Connected {
        /// Where to.
        endpoint: &'a str,
    },
    /// An event is about to be handed out.
    Event {
        /// Which. Its lag is now minus the killmail's `ingested_time`.
        event: &'a Event,
    },
    /// A killmail came that [`super::FollowOptions::seen`] knows, and is left out.
    Duplicate {
        /// Which.
        killmail_id: u64,
        /// In which revision.
        revision: u32,
    },
    /// An attempt, or an open stream, failed.
    Failed {
        /// Where.
        endpoint: &'a str,
        /// How; `Ok` = the stream ended without a reason, `DeadlineExceeded` = not a sign of life came.
        code: Code,
        /// In the server's words, or what went wrong on the way.
        message: &'a str,
    },
    /// This endpoint has another log: it is asked by time, and what comes twice is left to [`super::FollowOptions::seen`].
    LogChanged {
        /// Which.
        endpoint: &'a str,
    },
    /// All endpoints were tried in vain.
    Waiting {
        /// How long it waits.
        wait: Duration,
        /// How many rounds have failed since the last event.
        failed_rounds: u32,
    },
    /// It is over: no attempt follows.
    Ended {
        /// Why.
        error: &'a FollowError,
    },
}

/// Whom to tell; nobody, unless the builder was given a function.
#[derive(Clone, Default)]
pub(crate) struct Observer(Option<Tell>);

type Tell = Arc<dyn Fn(&ClientEvent<'_>) + Send + Sync>;

impl Observer {
    pub(crate) fn new(tell: impl Fn(&ClientEvent<'_>) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    pub(crate) fn notify(&self, moment: &ClientEvent<'_>) {
        if let Some(tell) = &self.0 {
            tell(moment);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}
