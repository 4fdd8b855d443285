//! Wiring only: flags, settings, logging, signals, exit codes.

use std::{io::IsTerminal as _, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Arg, ArgMatches, Command};
use killfeed_ingestor::{
    log,
    settings::{LogFormat, SETTINGS, Settings},
    start,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// sysexits.h EX_CONFIG: something only the operator can mend; a supervisor need not try again.
const CONFIG: u8 = 78;

fn main() -> ExitCode {
    let matches = command().get_matches();
    let settings = match Settings::load(|setting| flag_or_env(&matches, setting)) {
        Ok(settings) => settings,
        Err(error) => return fail(CONFIG, &error),
    };
    if let Err(error) = init_logging(&settings) {
        return fail(CONFIG, &error);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(1, &format!("the async runtime cannot start: {error}")),
    };
    match matches.subcommand_name() {
        Some("health") => runtime.block_on(health(settings.http_addr)),
        Some("new-log-id") => new_log_id(&settings),
        _ => runtime.block_on(serve(settings)),
    }
}

fn command() -> Command {
    let args = SETTINGS.iter().map(|setting| {
        let default = if setting.default.is_empty() {
            "none"
        } else {
            setting.default
        };
        let help = format!("{} [env: {}] [default: {default}]", setting.help, setting.variable);
        Arg::new(setting.variable)
            .long(setting.flag())
            .value_name("VALUE")
            .help(help)
            .global(true)
    });
    Command::new("killfeed-ingestor")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Walks zKillboard's feed, keeps a durable log of killmails, streams it over gRPC")
        .args(args)
        .subcommand(Command::new("health").about("Asks a running ingestor's /readyz; exits 0 if it is ready"))
        .subcommand(Command::new("new-log-id").about(
            "Begins a new log id in the data folder: needed after restoring a backup, so that no old cursor is misread",
        ))
}

fn flag_or_env(matches: &ArgMatches, setting: &killfeed::setting::Setting) -> Option<String> {
    let flag = matches.get_one::<String>(setting.variable).cloned();
    // An empty variable is as good as none: compose files cannot leave one out.
    flag.or_else(|| {
        std::env::var(setting.variable)
            .ok()
            .filter(|text| !text.trim().is_empty())
    })
}

fn init_logging(settings: &Settings) -> Result<(), killfeed::setting::BadSetting> {
    let filter = EnvFilter::try_new(&settings.log_filter).map_err(|_| {
        let expected = "a filter like info or killfeed_ingestor=debug";
        killfeed::setting::BadSetting::new("RUST_LOG", &settings.log_filter, expected)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match settings.log_format {
        // Colours belong in a terminal, not in a file or a journal.
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

async fn serve(settings: Settings) -> ExitCode {
    let shutdown = CancellationToken::new();
    let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => return fail(1, &format!("signals cannot be received: {error}")),
    };
    let mut any = async move || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let service = async {
        match start(settings, shutdown.clone()).await {
            Ok(running) => running.finished().await.map_err(|error| (1, error.to_string())),
            Err(error) => Err((if error.is_configuration() { CONFIG } else { 1 }, error.to_string())),
        }
    };
    tokio::pin!(service);
    let result = tokio::select! {
        result = &mut service => result,
        () = any() => {
            tracing::info!("draining; a second signal ends at once");
            shutdown.cancel();
            tokio::select! {
                result = &mut service => result,
                () = any() => Err((1, "ended by a second signal, before the drain was over".into())),
            }
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err((code, reason)) => fail(code, &reason),
    }
}

async fn health(addr: SocketAddr) -> ExitCode {
    let host = if addr.ip().is_unspecified() {
        SocketAddr::from(([127, 0, 0, 1], addr.port()))
    } else {
        addr
    };
    let asked = async {
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(5))
            .no_proxy()
            .build()?;
        let answer = client.get(format!("http://{host}/readyz")).send().await?;
        let ready = answer.status().is_success();
        Ok::<_, reqwest::Error>((ready, answer.text().await?))
    };
    match asked.await {
        Ok((true, text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok((false, text)) => fail(1, &text.trim()),
        Err(error) => fail(1, &format!("no answer from http://{host}/readyz: {error}")),
    }
}

fn new_log_id(settings: &Settings) -> ExitCode {
    match log::new_log_id(&settings.data_dir) {
        Ok(id) => {
            println!("the log's id is {id} from now on: cursors of the old one stay valid up to its last offset");
            ExitCode::SUCCESS
        }
        Err(error) => fail(CONFIG, &error),
    }
}

fn fail(code: u8, reason: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("killfeed-ingestor: {reason}");
    ExitCode::from(code)
}
