//! Interactions: heard from the gateway, answered within Discord's 3 seconds, carried out one after another for each guild.
//!
//! What takes longer is deferred first. Buttons and forms carry what they do in their `custom_id`, so nothing here is lost by
//! a restart. One failed write to the database ends the process: an answered command is on disk.

mod answer;
mod call;
mod reply;

use std::{
    collections::HashMap,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Method;
use killfeed::backoff::Backoff;
use serenity::all::{Cache, Interaction};
use tokio::{
    sync::{Mutex as Turn, OwnedMutexGuard, mpsc},
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub(super) use answer::{InteractionClient, MAX_FILE_BYTES};
use answer::{Respond, RespondError};
pub(super) use call::{Chosen, CommandOptions, Invocation, InvocationKind};
pub(super) use reply::{
    Attachment, BAD, Button, ButtonStyle, CAREFUL, CUSTOM_ID, Choice, Form, GOOD, Input, InteractionResponse, Reply,
};

use super::{
    BotUser,
    api::{Api, Request},
    commands::{self, CommandContext},
    guild_directory::GuildDirectory,
    invite,
    limiter::Route,
};
use crate::{commands::Commands, database::StorageError, shards::Shards};

/// Interactions that were dropped because too many waited.
pub const METRIC_DROPPED: &str = "notifier_interactions_dropped_total";
/// Interactions, by what became of them: answered, foreign, failed.
pub const METRIC_INTERACTIONS: &str = "notifier_interactions_total";

/// Interactions not begun yet, and begun ones: people type far less than this.
pub(super) const QUEUE_CAPACITY: usize = 256;
const INTERACTION_CONCURRENCY: usize = 128;
/// An answer that is not there by then is deferred: half of what Discord waits.
const DEFER_AFTER: Duration = Duration::from_millis(1_500);
/// An autocomplete that is not there by then is empty.
const AUTOCOMPLETE_TIMEOUT: Duration = Duration::from_millis(900);
/// An interaction's token lives 15 minutes.
const INTERACTION_TIMEOUT: Duration = Duration::from_secs(14 * 60);
/// The delay between two attempts to register the commands.
const REGISTER_BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(600));

/// What the gateway hands over.
pub(super) enum GatewayInput {
    /// A shard is ready: the application's id, and how many guilds it is in.
    Ready { application: u64, guilds: usize },
    /// Somebody asks something.
    Interaction(Box<Interaction>, Arc<Cache>),
}

/// Answers interactions, once it is served.
pub struct Interactions {
    pub(super) heard: mpsc::Receiver<GatewayInput>,
    pub(super) api: Arc<Api>,
    pub(super) api_url: String,
    pub(super) identity: BotUser,
    pub(super) shards: Shards,
}

struct Dispatcher {
    commands: Arc<dyn Commands>,
    answers: InteractionClient,
    api: Arc<Api>,
    identity: BotUser,
    /// Another process answered one of ours.
    answered_elsewhere: AtomicBool,
    turns: Mutex<HashMap<u64, Arc<Turn<()>>>>,
}

impl Interactions {
    /// Serves until `shutdown`; then those begun may end.
    pub async fn serve(mut self, commands: Arc<dyn Commands>, shutdown: CancellationToken) -> anyhow::Result<()> {
        let answers = InteractionClient::new(&self.api_url).map_err(anyhow::Error::msg)?;
        let shared = Arc::new(Dispatcher {
            commands,
            answers,
            api: self.api.clone(),
            identity: self.identity,
            answered_elsewhere: AtomicBool::new(false),
            turns: Mutex::default(),
        });
        let mut registered = !self.shards.contains(0);
        let mut running: JoinSet<Result<(), StorageError>> = JoinSet::new();
        let mut registering = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = running.join_next() => flatten(ended)?,
                heard = self.heard.recv(), if running.len() < INTERACTION_CONCURRENCY => match heard {
                    Some(GatewayInput::Ready { application, guilds }) => {
                        if guilds == 0 {
                            let application = application.to_string();
                            tracing::info!(
                                link = invite::link(&application, false),
                                link_with_pings = invite::link(&application, true),
                                "the bot is in no server on this shard, add it with a link"
                            );
                        }
                        if !registered {
                            registered = true;
                            registering.spawn(register(self.api.clone(), application));
                        }
                    }
                    Some(GatewayInput::Interaction(interaction, cache)) => {
                        let began = Instant::now();
                        if let Some(call) = Invocation::read(&interaction) {
                            running.spawn(shared.clone().handle(call, cache, began));
                        }
                    }
                    None => break,
                }
            }
        }
        while let Some(ended) = running.join_next().await {
            flatten(ended)?;
        }
        Ok(())
    }
}

/// A panic in one command is that command's; a failed write is everybody's.
fn flatten(ended: Result<Result<(), StorageError>, tokio::task::JoinError>) -> Result<(), StorageError> {
    match ended {
        Ok(result) => result,
        Err(error) => {
            tracing::error!(%error, "command panicked, this is a bug");
            Ok(())
        }
    }
}

impl Dispatcher {
    async fn handle(self: Arc<Self>, call: Invocation, cache: Arc<Cache>, began: Instant) -> Result<(), StorageError> {
        if !self.commands.terms().serves(call.guild) {
            let answer = match call.what {
                InvocationKind::Autocomplete(..) => InteractionResponse::Choices(vec![]),
                _ => InteractionResponse::Say(commands::not_served()),
            };
            let sent = self.answers.respond(&call, &answer).await;
            self.note(&call, sent);
            return Ok(());
        }
        let desk = CommandContext {
            commands: &*self.commands,
            world: GuildDirectory {
                cache,
                api: self.api.clone(),
                identity: self.identity.clone(),
            },
            answers: &self.answers,
            foreign: self.answered_elsewhere.load(Ordering::Relaxed),
        };
        if matches!(call.what, InvocationKind::Autocomplete(..)) {
            let answer = choices(began, commands::complete(&desk, &call)).await;
            let sent = self.answers.respond(&call, &answer).await;
            self.note(&call, sent);
            return Ok(());
        }
        let work = async {
            let _turn = self.lock_guild(&call).await;
            commands::answer(&desk, &call).await
        };
        let sent = respond(&self.answers, &call, began, work).await?;
        self.note(&call, sent);
        Ok(())
    }

    /// Those that change something take turns in their guild.
    async fn lock_guild(&self, call: &Invocation) -> Option<OwnedMutexGuard<()>> {
        if !commands::changes(call) {
            return None;
        }
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            // Guilds where nothing waits are forgotten.
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(call.guild).or_default().clone()
        };
        Some(turn.lock_owned().await)
    }

    fn note(&self, call: &Invocation, sent: Result<(), RespondError>) {
        let outcome = match &sent {
            Ok(()) => "answered",
            Err(error) if error.by_another() => {
                self.answered_elsewhere.store(true, Ordering::Relaxed);
                tracing::error!(
                    guild = call.guild,
                    hint = "run one process per shard: check NOTIFIER_SHARDS, and where else this token is used",
                    "answered twice: another process serves this shard"
                );
                "foreign"
            }
            Err(error) => {
                tracing::warn!(guild = call.guild, %error, "interaction could not be answered");
                "failed"
            }
        };
        metrics::counter!(METRIC_INTERACTIONS, "outcome" => outcome).increment(1);
    }
}

/// Returns what `work` completes, or no choices if it takes longer than [`AUTOCOMPLETE_TIMEOUT`].
async fn choices(began: Instant, work: impl Future<Output = Vec<Choice>>) -> InteractionResponse {
    InteractionResponse::Choices(timeout_at(began + AUTOCOMPLETE_TIMEOUT, work).await.unwrap_or_default())
}

/// Sends what `work` answers: within [`DEFER_AFTER`] as the first response, later in place of a deferred one.
///
/// `Err` means that the process must end; the inner result says whether the response reached Discord.
async fn respond(
    answers: &impl Respond,
    call: &Invocation,
    began: Instant,
    work: impl Future<Output = Result<InteractionResponse, StorageError>>,
) -> Result<Result<(), RespondError>, StorageError> {
    let mut work = pin!(work);
    if let Ok(answer) = timeout_at(began + DEFER_AFTER, &mut work).await {
        return Ok(answers.respond(call, &answer?).await);
    }
    let deferred = answers.defer(call, commands::updates(call)).await;
    // What was begun is carried out, whether it can be answered or not: it may be half done.
    let answer = timeout_at(began + INTERACTION_TIMEOUT, work).await;
    let answer = answer.unwrap_or_else(|_| Ok(InteractionResponse::Say(commands::took_too_long())))?;
    Ok(match (deferred, answer) {
        // A deferral without an answer may have reached Discord, which then waits for this reply.
        (Ok(()) | Err(RespondError::Lost(_)), InteractionResponse::Say(reply) | InteractionResponse::Update(reply)) => {
            answers.edit_response(call, &reply).await
        }
        (deferred, _) => deferred,
    })
}

/// Registers the command with Discord, for all guilds at once, and tries for as long as it takes.
async fn register(api: Arc<Api>, application: u64) {
    let body = serde_json::Value::Array(vec![commands::registration()]).to_string();
    let mut backoff = REGISTER_BACKOFF;
    loop {
        let path = format!("/applications/{application}/commands");
        let request = Request {
            method: Method::PUT,
            route: Route {
                template: "PUT /applications/{}/commands",
                major: application,
            },
            path: &path,
            body: Some(body.clone().into_bytes()),
        };
        let reason = match api.call(request).await {
            Ok(answer) if answer.status.is_success() => {
                tracing::info!("command /killfeed registered");
                return;
            }
            Ok(answer) => {
                let refusal = answer.refusal();
                if matches!(refusal.status, 400 | 401 | 403 | 404) {
                    tracing::error!(%refusal, "cannot register /killfeed: check the scope");
                    return;
                }
                refusal.to_string()
            }
            Err(error) => error.to_string(),
        };
        // At least half of the ceiling: Discord counts invalid requests.
        let least = backoff.ceiling() / 2;
        let pause = backoff.next_delay_after(Some(least));
        tracing::warn!(reason, pause_s = pause.as_secs(), "cannot register /killfeed, retrying");
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
