//! Guilds that came from another notifier: the piece of the log between where that one was and where this one is, read for
//! them alone, before the stream that is everyone's goes on.

use std::collections::BTreeSet;

use killfeed::client::{EventKind, FollowOptions, Position, Start};
use tokio_util::sync::CancellationToken;

use super::{ConsumeError, MAX_BATCH, StreamConsumer};
use crate::{
    database::{CatchUpRow, PositionRow},
    sink::Destination,
};

impl StreamConsumer {
    /// Reads every piece that is still to be read. Cut short by `shutdown`, the next start goes on with it.
    pub(super) async fn catch_up(&self, shutdown: &CancellationToken) -> Result<(), ConsumeError> {
        for (key, row) in self.outbox.catch_ups()? {
            tracing::info!(guilds = ?row.guilds, "reading the events that moved guilds have missed");
            self.read_piece(&key, row, shutdown).await?;
            if shutdown.is_cancelled() {
                break;
            }
        }
        Ok(())
    }

    async fn read_piece(
        &self,
        key: &[u8],
        mut row: CatchUpRow,
        shutdown: &CancellationToken,
    ) -> Result<(), ConsumeError> {
        let (from, until) = (position(row.from.as_ref()), position(row.until.as_ref()));
        let mut events = self.client.follow(FollowOptions {
            on_expired_continue: true,
            include_updates: true,
            ..FollowOptions::new("", Start::After(from))
        });
        let theirs: BTreeSet<Destination> = self
            .subscriptions
            .list()
            .iter()
            .filter(|one| row.guilds.contains(&one.spec.guild))
            .map(|one| one.spec.destination.clone())
            .collect();
        loop {
            let next = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                next = events.next_ready(MAX_BATCH) => next?,
            };
            // Times never decrease in log order: what is later than where this notifier was lies behind that place, and comes
            // again with everyone's stream, which posts nothing twice. So does all of it once the log's head is reached.
            let met = |event: &killfeed::client::Event| {
                let time = (event.position.time.seconds, event.position.time.nanos);
                let head = matches!(&event.kind, EventKind::Progress(progress) if progress.caught_up);
                head || event.position.cursor == until.cursor || time > (until.time.seconds, until.time.nanos)
            };
            let done = next.iter().any(met);
            let now = self.clock.now().unix_ms();
            let (mut arrivals, position) = self.arrivals(&next, now)?;
            for arrival in &mut arrivals {
                arrival.matches.retain(|found| theirs.contains(&found.destination));
                arrival.posted.retain(|destination| theirs.contains(destination));
            }
            row.from = position.map(|position| PositionRow {
                cursor: position.cursor,
                time: Some(position.time),
            });
            let left = (!done).then_some(&row);
            self.outbox.arrive_late(&arrivals, key, left, now)?;
            self.outbox.flush().await?;
            if done {
                tracing::info!(guilds = ?row.guilds, "moved guilds have caught up");
                return Ok(());
            }
        }
    }
}

fn position(row: Option<&PositionRow>) -> Position {
    let row = row.cloned().unwrap_or_default();
    Position {
        cursor: row.cursor,
        time: row.time.unwrap_or_default(),
    }
}
