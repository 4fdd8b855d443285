//! A service's process: logging, signals, drain, exit codes.

use std::{fmt, future::Future, io, io::IsTerminal as _, process::ExitCode};

use crate::settings::SettingError;
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The reason why a process ends without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Exit code 1: an error without a more specific code.
    Failed,
    /// Exit code 75 (EX_TEMPFAIL of sysexits.h): the same command may succeed later without a change.
    Later,
    /// Exit code 78 (EX_CONFIG of sysexits.h): only the operator can fix the problem, so a supervisor need not restart
    /// the process.
    Configuration,
}

impl From<Failure> for ExitCode {
    fn from(failure: Failure) -> Self {
        Self::from(match failure {
            Failure::Failed => 1,
            Failure::Later => 75,
            Failure::Configuration => 78,
        })
    }
}

/// Prints the reason why a program ends, in one line, and returns its exit code.
pub fn fail(failure: Failure, reason: &dyn fmt::Display) -> ExitCode {
    eprintln!("{reason}");
    failure.into()
}

/// Runs a program on a runtime of several threads.
///
/// Tasks that still run at the end are canceled: the drain has already waited for the important ones.
pub fn block_on(program: impl Future<Output = ExitCode>) -> io::Result<ExitCode> {
    let runtime = Runtime::new()?;
    let code = runtime.block_on(program);
    runtime.shutdown_background();
    Ok(code)
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Sends log lines to standard error.
///
/// The error for an invalid filter shows an example, in which `program` is the module.
pub fn start_logging(program: &str, filter: &str, format: LogFormat) -> Result<(), SettingError> {
    let parsed = EnvFilter::try_new(filter).map_err(|error| {
        let expected = format!("a filter like info or {program}=debug ({error})");
        SettingError::new("RUST_LOG", filter, expected)
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr);
    match format {
        // Colors belong in a terminal, not in a file or a journal.
        LogFormat::Text => logs.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => logs.json().init(),
    }
    Ok(())
}

/// The outcome of a supervised service.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended<T> {
    /// The service returned, before or after a signal.
    Returned(T),
    /// A second signal ended the process before the drain was complete.
    Forced,
}

/// The signals that end a program: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    /// Starts to receive the signals. Must be called in a Tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of the signals. Cancel safe.
    pub async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The signals that a service handles.
#[derive(Debug)]
pub struct Signals {
    end: EndSignals,
    hangup: Signal,
}

impl Signals {
    /// Starts to receive signals. Must be called in a Tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            end: EndSignals::listen()?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Drives `service` until it returns.
    ///
    /// SIGTERM and SIGINT cancel `shutdown`, so that the service drains; the second of them ends it. SIGHUP calls `on_hangup`.
    pub async fn supervise<T>(
        mut self,
        service: impl Future<Output = T>,
        shutdown: &CancellationToken,
        mut on_hangup: impl FnMut(),
    ) -> Ended<T> {
        tokio::pin!(service);
        loop {
            tokio::select! {
                result = &mut service => return Ended::Returned(result),
                Some(()) = self.hangup.recv() => on_hangup(),
                () = self.end.wait() => {
                    if shutdown.is_cancelled() {
                        return Ended::Forced;
                    }
                    tracing::info!("draining, a second signal stops immediately");
                    shutdown.cancel();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    fn send(signal: Signal) {
        kill_process(getpid(), signal).unwrap();
    }

    // One test, because signals reach the whole process.
    #[tokio::test]
    async fn signals_reload_then_drain_then_end() {
        let (shutdown, hangups) = (CancellationToken::new(), AtomicU32::new(0));
        let signals = Signals::listen().unwrap();
        let service = async {
            send(Signal::HUP);
            while hangups.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(!shutdown.is_cancelled());
            send(Signal::TERM);
            shutdown.cancelled().await;
            "drained"
        };
        let ended = signals
            .supervise(service, &shutdown, || _ = hangups.fetch_add(1, Ordering::Relaxed))
            .await;
        assert_eq!(ended, Ended::Returned("drained"));

        let (shutdown, signals) = (CancellationToken::new(), Signals::listen().unwrap());
        let stuck = async {
            send(Signal::INT);
            shutdown.cancelled().await;
            send(Signal::TERM);
            std::future::pending::<()>().await;
        };
        assert_eq!(signals.supervise(stuck, &shutdown, || ()).await, Ended::Forced);
    }

    #[test]
    fn failures_map_to_the_documented_exit_codes() {
        for (failure, code) in [(Failure::Failed, 1), (Failure::Later, 75), (Failure::Configuration, 78)] {
            assert_eq!(
                format!("{:?}", ExitCode::from(failure)),
                format!("{:?}", ExitCode::from(code))
            );
        }
    }

    #[test]
    fn invalid_log_filter_gives_a_one_line_error() {
        let error = start_logging("killfeed_example", "info,killfeed=loud", LogFormat::Text).unwrap_err();
        let line = error.to_string();
        let expected = r#"RUST_LOG="info,killfeed=loud": expected a filter like info or killfeed_example=debug ("#;
        assert!(line.starts_with(expected) && line.lines().count() == 1, "{line}");
    }
}
