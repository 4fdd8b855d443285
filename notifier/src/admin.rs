//! `SubscriptionService` on NOTIFIER_ADMIN_ADDR: what the slash commands do, for operators and web front ends; and the
//! subcommands of the program that call it.

pub mod cli;
mod convert;
mod tokens;

use std::sync::Arc;

use async_trait::async_trait;
use killfeed::v1::{
    AddSubscriptionRequest, AddSubscriptionResponse, ExportSubscriptionsRequest, ExportSubscriptionsResponse,
    ImportSubscriptionsRequest, ImportSubscriptionsResponse, ListSubscriptionsRequest, ListSubscriptionsResponse,
    RemoveSubscriptionRequest, RemoveSubscriptionResponse,
    subscription_service_server::{SubscriptionService, SubscriptionServiceServer},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

pub use tokens::{Tokens, TokensFileError};

use crate::{
    commands::{self, Actor, ChangeError, Commands, compile_all},
    database::StorageError,
    subscriptions::{CompileError, Subscription, SubscriptionSource, SubscriptionSpec, file},
};

/// The contract's largest import.
const MAX_IMPORT_BYTES: usize = 1024 * 1024;

/// Serves until `shutdown`. `Err` also where a write to the database failed: the process must end.
pub async fn serve(
    listener: TcpListener,
    commands: Arc<dyn Commands>,
    tokens: Option<Tokens>,
    serves: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let (failed, mut failures) = mpsc::channel(1);
    let service = Admin {
        commands,
        tokens,
        serves,
        failed,
    };
    let service = SubscriptionServiceServer::new(service).max_decoding_message_size(2 * MAX_IMPORT_BYTES);
    let serving = Server::builder()
        .concurrency_limit_per_connection(16)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), shutdown.cancelled_owned());
    tokio::select! {
        ended = serving => Ok(ended?),
        Some(error) = failures.recv() => Err(StorageError::into(error)),
    }
}

struct Admin {
    commands: Arc<dyn Commands>,
    tokens: Option<Tokens>,
    serves: Arc<dyn Fn(u64) -> bool + Send + Sync>,
    failed: mpsc::Sender<StorageError>,
}

impl Admin {
    /// Lets the caller in, or not; logs who changes something.
    fn admit<T>(&self, request: &Request<T>, what: &str) -> Result<(), Status> {
        let Some(tokens) = &self.tokens else {
            return Ok(());
        };
        let given = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| value.strip_prefix("Bearer "));
        match token.and_then(|token| tokens.owner(token)) {
            Some(owner) => {
                tracing::debug!(owner, what, "admin call");
                Ok(())
            }
            None => Err(Status::unauthenticated(
                "token missing or unknown: expected metadata `authorization: Bearer <token>` with a token from NOTIFIER_ADMIN_TOKENS_FILE",
            )),
        }
    }

    fn by(&self) -> Actor {
        Actor {
            user: 0,
            source: SubscriptionSource::Admin,
            now: self.commands.now(),
        }
    }

    fn failed(&self, error: ChangeError) -> Status {
        match error {
            ChangeError::NameTaken(_) => Status::already_exists(error.to_string()),
            ChangeError::NotFound(_) => Status::not_found(error.to_string()),
            ChangeError::TooMany { .. } => Status::resource_exhausted(error.to_string()),
            ChangeError::ManagedByFile(_) => Status::failed_precondition(error.to_string()),
            ChangeError::Conflict(_) => Status::aborted(error.to_string()),
            ChangeError::Storage(error) => self.broken(error),
        }
    }

    fn broken(&self, error: StorageError) -> Status {
        let status = Status::internal(error.to_string());
        // One failure is enough to end the process.
        let _ = self.failed.try_send(error);
        status
    }

    fn message(&self, one: &Subscription) -> Result<killfeed::v1::Subscription, Status> {
        let counters = self.commands.counters(one.id).map_err(|error| self.broken(error))?;
        Ok(convert::message(one, counters))
    }

    /// Whether this process and this caller may have such a subscription.
    fn may(&self, wish: &SubscriptionSpec) -> Result<(), Status> {
        if wish.webhook_url.is_some() {
            return match self.tokens {
                Some(_) => Ok(()),
                None => Err(Status::failed_precondition(
                    "webhook rejected: anyone who reaches this address could post anywhere; set NOTIFIER_ADMIN_TOKENS_FILE",
                )),
            };
        }
        if !(self.serves)(wish.guild) {
            return Err(Status::failed_precondition(format!(
                "guild {} is on the shards of another process: call that process",
                wish.guild
            )));
        }
        if !self.commands.terms().serves(wish.guild) {
            return Err(Status::permission_denied(format!(
                "guild {} is not in NOTIFIER_GUILDS",
                wish.guild
            )));
        }
        Ok(())
    }

    fn of_guild(&self, guild: u64) -> Vec<Arc<Subscription>> {
        match guild {
            0 => self.commands.all(),
            guild => self.commands.subscriptions(guild),
        }
    }
}

#[async_trait]
impl SubscriptionService for Admin {
    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsResponse>, Status> {
        self.admit(&request, "ListSubscriptions")?;
        let all = self.of_guild(request.get_ref().guild_id);
        let subscriptions: Result<Vec<_>, Status> = all.iter().map(|one| self.message(one)).collect();
        Ok(Response::new(ListSubscriptionsResponse {
            subscriptions: subscriptions?,
        }))
    }

    async fn add_subscription(
        &self,
        request: Request<AddSubscriptionRequest>,
    ) -> Result<Response<AddSubscriptionResponse>, Status> {
        self.admit(&request, "AddSubscription")?;
        let message = request.into_inner().subscription;
        let message =
            message.ok_or_else(|| Status::invalid_argument("subscription: expected a value, it is missing"))?;
        let wish = convert::wish(message, &self.commands.terms().discord_api_url).map_err(Status::invalid_argument)?;
        self.may(&wish)?;
        let build = self
            .commands
            .build()
            .await
            .map_err(|away| Status::unavailable(away.0))?;
        let compiled = self
            .commands
            .compile(&wish, &build)
            .await
            .map_err(|(field, error)| match error {
                CompileError::Bad(_) => Status::invalid_argument(format!("{field}: {error}")),
                CompileError::Unavailable(reason) => Status::unavailable(reason),
            })?;
        let added = self.commands.add(vec![(wish, compiled)], self.by()).await;
        let added = added.map_err(|error| self.failed(error))?;
        Ok(Response::new(AddSubscriptionResponse {
            subscription: added.first().map(|one| self.message(one)).transpose()?,
        }))
    }

    async fn remove_subscription(
        &self,
        request: Request<RemoveSubscriptionRequest>,
    ) -> Result<Response<RemoveSubscriptionResponse>, Status> {
        self.admit(&request, "RemoveSubscription")?;
        let RemoveSubscriptionRequest { guild_id, name } = request.into_inner();
        let removed = self.commands.remove(guild_id, &[name]).await;
        removed.map_err(|error| self.failed(error))?;
        Ok(Response::new(RemoveSubscriptionResponse {}))
    }

    async fn export_subscriptions(
        &self,
        request: Request<ExportSubscriptionsRequest>,
    ) -> Result<Response<ExportSubscriptionsResponse>, Status> {
        self.admit(&request, "ExportSubscriptions")?;
        let all = self.of_guild(request.get_ref().guild_id);
        let json = commands::export::json(all.iter().map(AsRef::as_ref));
        Ok(Response::new(ExportSubscriptionsResponse {
            json: json.into_bytes(),
        }))
    }

    async fn import_subscriptions(
        &self,
        request: Request<ImportSubscriptionsRequest>,
    ) -> Result<Response<ImportSubscriptionsResponse>, Status> {
        self.admit(&request, "ImportSubscriptions")?;
        let json = request.into_inner().json;
        if json.len() > MAX_IMPORT_BYTES {
            return Err(Status::invalid_argument("json: expected at most 1 MiB"));
        }
        let text = String::from_utf8(json).map_err(|_| Status::invalid_argument("json: expected UTF-8"))?;
        let rows = file::parse_each(&text, &self.commands.terms().discord_api_url);
        let rows = rows.map_err(|error| Status::invalid_argument(format!("json: {error}")))?;
        let (mut wishes, mut wrong) = (Vec::new(), Vec::new());
        for row in rows {
            match row {
                Ok(wish) => match self.may(&wish) {
                    Ok(()) => wishes.push(wish),
                    Err(status) => wrong.push(format!("{:?}: {}", wish.name, status.message())),
                },
                Err(error) => wrong.push(error.to_string()),
            }
        }
        if wrong.is_empty() {
            let count = u32::try_from(wishes.len()).unwrap_or(u32::MAX);
            let compiled = compile_all(&*self.commands, wishes).await;
            match compiled.map_err(|away| Status::unavailable(away.0))? {
                Ok(compiled) => {
                    let added = self.commands.add(compiled, self.by()).await;
                    added.map_err(|error| self.failed(error))?;
                    return Ok(Response::new(ImportSubscriptionsResponse { added: count }));
                }
                Err(offenders) => wrong.extend(offenders.into_iter().map(|one| format!("{:?}: {}", one.name, one.why))),
            }
        }
        wrong.truncate(50);
        Err(Status::new(
            Code::InvalidArgument,
            format!("nothing was stored: {}", wrong.join("; ")),
        ))
    }
}
