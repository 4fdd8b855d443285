//! How a backfill shows itself: a bar in a terminal, else a line now and then.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use killfeed_ingestor::feed::history::{BackfillProgress, Day};
use killfeed_service::clock::{Clock, Uptime};
use tokio::sync::watch;

/// Without a terminal: a line for each day, and within one no more often than this.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Shows how it goes on stderr, until the other end is dropped.
pub(crate) async fn show(mut progress: watch::Receiver<Option<BackfillProgress>>, from: Day, to: Day) {
    let mut display: Box<dyn FnMut(&BackfillProgress) + Send> = if std::io::stderr().is_terminal() {
        bar(from, to)
    } else {
        lines(from, to)
    };
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        if let Some(now) = now {
            display(&now);
        }
    }
}

fn bar(from: Day, to: Day) -> Box<dyn FnMut(&BackfillProgress) + Send> {
    let bar = ProgressBar::new(0);
    // A template of ours that does not parse would show the default one.
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    Box::new(move |now| {
        bar.set_prefix(day(now, from, to));
        bar.set_length(now.of_day);
        bar.set_position(now.done);
        bar.set_message(now.waits.clone().unwrap_or_else(|| totals(now)));
        if now.outcome.is_some() {
            bar.finish();
        }
    })
}

fn lines(from: Day, to: Day) -> Box<dyn FnMut(&BackfillProgress) + Send> {
    let mut last: Option<(Uptime, BackfillProgress)> = None;
    Box::new(move |now| {
        let due = last.as_ref().is_none_or(|(at, before)| {
            before.day != now.day
                || before.waits != now.waits && now.waits.is_some()
                || Clock::system().now().up - *at >= LINE_INTERVAL
        });
        if due || now.outcome.is_some() {
            eprintln!("{}", line(now, from, to));
            last = Some((Clock::system().now().up, now.clone()));
        }
    })
}

fn line(now: &BackfillProgress, from: Day, to: Day) -> String {
    let doing = match &now.waits {
        Some(waits) => format!("; {waits}"),
        None => String::new(),
    };
    format!(
        "{}: {}/{}, {}{doing}",
        day(now, from, to),
        now.done,
        now.of_day,
        totals(now)
    )
}

fn day(now: &BackfillProgress, from: Day, to: Day) -> String {
    let which = (now.day.days_since(from) + 1).min(to.days_since(from) + 1);
    format!("{} (day {which} of {})", now.day.min(to), to.days_since(from) + 1)
}

/// What became of all killmails so far.
pub(crate) fn totals(now: &BackfillProgress) -> String {
    let mut text = format!("{} new, {} already logged", now.handed_out, now.known);
    if now.unreadable > 0 {
        text.push_str(&format!(", {} could not be fetched", now.unreadable));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_where_it_is_and_what_it_waits_for() {
        let (from, to): (Day, Day) = ("2026-08-01".parse().unwrap(), "2026-08-03".parse().unwrap());
        let mut now = BackfillProgress {
            day: from.next(),
            of_day: 15_000,
            done: 400,
            handed_out: 15_390,
            known: 10,
            unreadable: 0,
            waits: None,
            outcome: None,
        };
        assert_eq!(
            line(&now, from, to),
            "2026-08-02 (day 2 of 3): 400/15000, 15390 new, 10 already logged"
        );
        now.unreadable = 2;
        now.waits = Some("banned by the feed's host: no requests until noon".into());
        assert_eq!(
            line(&now, from, to),
            "2026-08-02 (day 2 of 3): 400/15000, 15390 new, 10 already logged, 2 could not be fetched; banned by the feed's host: no requests until noon"
        );
    }
}
