//! The connection, and what is asked of JetStream over it: each question within a time, each answer told apart into "it is so",
//! "not now" and "never".

use std::{sync::Arc, time::Duration};

use async_nats::{
    Client, HeaderMap,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::{GetStreamErrorKind, PublishErrorKind},
        message::StreamMessage,
        response::Response,
        stream::{self, DiscardPolicy, LastRawMessageErrorKind, StorageType, Stream},
    },
};
use bytes::Bytes;
use killfeed::cursor::Offset;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{
    JetStreamOptions,
    auth::{self, ServerErrors},
    error::{JetStreamError, OperationError},
    layout::{self, SubjectNames},
};

/// For an answer of a cluster that has a leader. Without one there is none, and it is asked again.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a start waits for servers that start themselves.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
/// Between two tries of a start.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The way to JetStream. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct JetStreamClient {
    pub(super) client: Client,
    pub(super) context: Context,
    pub(super) names: SubjectNames,
    servers: Arc<str>,
    refusals: ServerErrors,
}

/// As long as the servers are not ready a start tries again, within bounds.
pub(super) struct StartPatience {
    deadline: Instant,
    servers: Arc<str>,
    refusals: ServerErrors,
}

impl StartPatience {
    /// Waits before the next try, unless there is none.
    pub(super) async fn after(&self, what: &str, trouble: OperationError) -> Result<(), JetStreamError> {
        let reason = match trouble {
            OperationError::Fatal(error) => return Err(error),
            OperationError::Unavailable(reason) => reason,
        };
        let servers = self.servers.to_string();
        // Trying again does not change what a user may do.
        if let Some(said) = self.refusals.forbidden() {
            return Err(JetStreamError::Forbidden { servers, said });
        }
        if Instant::now() >= self.deadline {
            return Err(JetStreamError::Unavailable {
                servers,
                reason: format!("{what}: {reason}"),
            });
        }
        tracing::warn!(reason, what, "JetStream is not ready yet");
        sleep(RETRY_DELAY).await;
        Ok(())
    }
}

/// A bucket of keys and values.
#[derive(Debug, Clone)]
pub(super) struct KvBucket {
    pub(super) name: String,
    pub(super) stream: Stream,
}

impl KvBucket {
    /// Where a key's value stands.
    pub(super) fn subject(&self, key: impl std::fmt::Display) -> String {
        format!("$KV.{}.{key}", self.name)
    }
}

/// A message of a stream.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

/// What a stream says of itself.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// When it was made, in nanoseconds since 1970: tells it from another one of its name.
    pub(super) created: String,
    pub(super) first: u64,
    pub(super) last: u64,
    /// Messages that were deleted one by one between the two.
    pub(super) deleted: u64,
}

impl Bounds {
    /// As in [`super::super::Status::trimmed`]. An empty stream's first sequence is the one after its last.
    pub(super) fn trimmed(&self) -> Offset {
        Offset(self.first.saturating_sub(1).min(self.last))
    }
}

/// What became of something published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It is stored, under this sequence.
    Stored(u64),
    /// What was expected is not so.
    Rejected,
}

impl JetStreamClient {
    /// Connects, and goes on trying for as long as a start may take.
    pub(super) async fn connect(options: &JetStreamOptions) -> Result<Self, JetStreamError> {
        let servers = options.servers.join(",");
        let deadline = Instant::now() + STARTUP_TIMEOUT;
        let refusals = ServerErrors::default();
        loop {
            let connecting = auth::connect_options(options, &refusals)
                .await?
                .connect(options.servers.clone());
            match connecting.await {
                Ok(client) => {
                    let mut context = jetstream::new(client.clone());
                    context.set_timeout(REQUEST_TIMEOUT);
                    return Ok(Self {
                        client,
                        context,
                        names: SubjectNames {
                            stream: options.stream.clone(),
                        },
                        servers: servers.into(),
                        refusals,
                    });
                }
                Err(error) if Instant::now() >= deadline => {
                    let reason = error.to_string();
                    return Err(if auth::is_refusal(&reason) {
                        JetStreamError::Unauthorized { servers, reason }
                    } else {
                        JetStreamError::Unavailable { servers, reason }
                    });
                }
                Err(error) => {
                    tracing::warn!(servers, %error, "connecting to NATS failed, trying again");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    /// For the tries of a start.
    pub(super) fn patience(&self) -> StartPatience {
        StartPatience {
            deadline: Instant::now() + STARTUP_TIMEOUT,
            servers: self.servers.clone(),
            refusals: self.refusals.clone(),
        }
    }

    /// With what the servers refused meanwhile: a question that may not be asked gets no answer.
    pub(super) fn explain(&self, trouble: OperationError) -> OperationError {
        match (trouble, self.refusals.recent()) {
            (OperationError::Unavailable(reason), Some(said)) => {
                OperationError::Unavailable(format!("{reason} (NATS reports: {said})"))
            }
            (trouble, _) => trouble,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Bytes that a message may have, headers included.
    pub(super) fn max_payload(&self) -> usize {
        self.client.server_info().max_payload
    }

    /// The stream of the records, if it is there.
    pub(super) async fn log_stream(&self) -> Result<Option<Stream>, OperationError> {
        self.stream(&self.names.stream).await
    }

    async fn stream(&self, name: &str) -> Result<Option<Stream>, OperationError> {
        match timeout(REQUEST_TIMEOUT, self.context.get_stream(name)).await {
            Err(_) => Err(OperationError::Unavailable(format!(
                "no response to a request for the stream {name}"
            ))),
            Ok(Ok(stream)) => Ok(Some(stream)),
            Ok(Err(error)) => match error.kind() {
                GetStreamErrorKind::JetStream(said) if said.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
                _ => Err(OperationError::unavailable("reading the stream's information", error)),
            },
        }
    }

    /// Makes the stream of the records, or finds it made alike by another ingestor.
    pub(super) async fn make_log_stream(&self, options: &JetStreamOptions) -> Result<Stream, OperationError> {
        let config = log_config(&self.names, options);
        let made = self.context.create_stream(config).await;
        made.map_err(|error| refused(&format!("the stream {}", self.names.stream), &error))
    }

    /// Brings retention and replicas of a stream that was made earlier to what is set now.
    pub(super) async fn adapt_log_stream(
        &self,
        stream: &Stream,
        options: &JetStreamOptions,
    ) -> Result<(), OperationError> {
        let wanted = log_config(&self.names, options);
        let has = &stream.cached_info().config;
        if (has.max_age, has.num_replicas) == (wanted.max_age, wanted.num_replicas) {
            return Ok(());
        }
        tracing::info!(stream = self.names.stream, retention = ?wanted.max_age, replicas = wanted.num_replicas, "updating the stream's settings");
        let what = format!("new settings for the stream {}", self.names.stream);
        let nanoseconds = u64::try_from(wanted.max_age.as_nanos()).unwrap_or(u64::MAX);
        let changes = [("max_age", nanoseconds), ("num_replicas", wanted.num_replicas as u64)];
        self.update(&self.names.stream, &what, &changes).await
    }

    /// Changes these settings of a stream, and no others: an operator may have made some that this program does not know (compression,
    /// placement), and what is sent replaces them all.
    async fn update(&self, name: &str, what: &str, changes: &[(&str, u64)]) -> Result<(), OperationError> {
        let asked = self.context.request(format!("STREAM.INFO.{name}"), &()).await;
        let mut info: Value = match asked {
            Ok(Response::Ok(info)) => info,
            Ok(Response::Err { error }) => return Err(refused(what, &error)),
            Err(error) => return Err(refused(what, &error)),
        };
        let config = &mut info["config"];
        for (setting, value) in changes {
            config[*setting] = (*value).into();
        }
        let asked = self.context.request(format!("STREAM.UPDATE.{name}"), config).await;
        match asked {
            Ok(Response::Ok(Value::Object(_))) => Ok(()),
            Ok(Response::Ok(other)) => Err(refused(what, &other)),
            Ok(Response::Err { error }) => Err(refused(what, &error)),
            Err(error) => Err(refused(what, &error)),
        }
    }

    /// A bucket that keeps the newest value of each key for good, made if need be. Laid out as every NATS client knows buckets; made as
    /// the stream that it is, because the library asks servers for an account's limits first, and does not read what those of version
    /// 2.9 answer.
    pub(super) async fn bucket(&self, name: &str, replicas: usize) -> Result<KvBucket, OperationError> {
        let wanted = stream::Config {
            name: format!("KV_{name}"),
            subjects: vec![format!("$KV.{name}.>")],
            max_messages_per_subject: 1,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: replicas,
            duplicate_window: Duration::from_secs(120),
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..stream::Config::default()
        };
        let stream = match self.stream(&wanted.name).await? {
            Some(stream) => stream,
            None => {
                let made = self.context.create_stream(&wanted).await;
                made.map_err(|error| refused(&format!("the bucket {name}"), &error))?
            }
        };
        let has = &stream.cached_info().config;
        if has.num_replicas != replicas {
            let changes = [("num_replicas", replicas as u64)];
            self.update(&wanted.name, &format!("the bucket {name}"), &changes)
                .await?;
        }
        Ok(KvBucket {
            name: name.to_owned(),
            stream,
        })
    }

    /// A stream's bounds, as its leader knows them; `None` = it is not there.
    pub(super) async fn bounds(&self, stream: &Stream) -> Result<Option<Bounds>, OperationError> {
        let Some(stream) = self.stream(&stream.cached_info().config.name).await? else {
            return Ok(None);
        };
        let info = stream.cached_info();
        Ok(Some(Bounds {
            created: info.created.unix_timestamp_nanos().to_string(),
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            deleted: info.state.deleted_count.unwrap_or(0),
        }))
    }

    /// A message by its sequence, from whichever server answers. `None` = that server has none: it may be behind.
    pub(super) async fn get_direct(&self, stream: &Stream, sequence: u64) -> Result<Option<Message>, OperationError> {
        let name = &stream.cached_info().config.name;
        self.direct(
            format!("$JS.API.DIRECT.GET.{name}"),
            json!({ "seq": sequence }).to_string(),
        )
        .await
    }

    /// The last message of a subject, from whichever server answers.
    pub(super) async fn any_last(&self, stream: &Stream, subject: &str) -> Result<Option<Message>, OperationError> {
        let name = &stream.cached_info().config.name;
        self.direct(
            format!("$JS.API.DIRECT.GET.{name}"),
            json!({ "last_by_subj": subject }).to_string(),
        )
        .await
    }

    async fn direct(&self, subject: String, question: String) -> Result<Option<Message>, OperationError> {
        let asked = timeout(REQUEST_TIMEOUT, self.client.request(subject, question.into())).await;
        let asked = asked.map_err(|_| OperationError::Unavailable("no response to a read".into()))?;
        let message = asked.map_err(|error| OperationError::unavailable("reading a message", error))?;
        match message.status {
            Some(status) if status == async_nats::StatusCode::NOT_FOUND => return Ok(None),
            Some(status) => {
                let description = message.description.unwrap_or_default();
                return Err(OperationError::Unavailable(format!(
                    "reading a message: {status} {description}"
                )));
            }
            None => {}
        }
        let headers = message.headers.unwrap_or_default();
        let told = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        let sequence = told("Nats-Sequence").and_then(|text| text.parse().ok());
        match (sequence, told("Nats-Subject")) {
            (Some(sequence), Some(subject)) => Ok(Some(Message {
                sequence,
                subject,
                headers,
                payload: message.payload,
            })),
            _ => Err(OperationError::Unavailable(
                "reading a message: the response has no sequence or subject".into(),
            )),
        }
    }

    /// A message by its sequence, as the stream's leader has it.
    pub(super) async fn get_from_leader(
        &self,
        stream: &Stream,
        sequence: u64,
    ) -> Result<Option<Message>, OperationError> {
        let asked = timeout(REQUEST_TIMEOUT, stream.get_raw_message(sequence)).await;
        let asked = asked.map_err(|_| OperationError::Unavailable("no response to a read".into()))?;
        raw(asked)
    }

    /// The last message of a subject (which may have wildcards), as the stream's leader has it.
    pub(super) async fn certain_last(&self, stream: &Stream, subject: &str) -> Result<Option<Message>, OperationError> {
        let asked = timeout(REQUEST_TIMEOUT, stream.get_last_raw_message_by_subject(subject)).await;
        let asked = asked.map_err(|_| OperationError::Unavailable("no response to a read".into()))?;
        raw(asked)
    }

    /// Publishes, and waits until it is stored by as many servers as have to.
    pub(super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Published, OperationError> {
        let sent = self.context.publish_with_headers(subject, headers, payload);
        let acknowledged = async { sent.await?.await };
        match timeout(REQUEST_TIMEOUT, acknowledged).await {
            Err(_) => Err(OperationError::Unavailable("no acknowledgment arrived".into())),
            Ok(Ok(acknowledgement)) => Ok(Published::Stored(acknowledgement.sequence)),
            Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Published::Rejected),
            Ok(Err(error)) => Err(OperationError::unavailable("publishing", error)),
        }
    }
}

fn raw(asked: Result<StreamMessage, stream::LastRawMessageError>) -> Result<Option<Message>, OperationError> {
    match asked {
        Ok(message) => Ok(Some(Message {
            sequence: message.sequence,
            subject: message.subject.to_string(),
            headers: message.headers,
            payload: message.payload,
        })),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(OperationError::unavailable("reading a message", error)),
    }
}

/// Servers that are starting say no to much; what stays is told to the operator when the time of a start is over.
fn refused(what: &str, error: &dyn std::fmt::Display) -> OperationError {
    let reason = error.to_string();
    let for_good = [
        "replicas > 1 not supported",
        "insufficient",
        "already in use",
        "maximum",
    ];
    if for_good.iter().any(|sign| reason.contains(sign)) {
        let what = what.to_owned();
        return OperationError::Fatal(JetStreamError::Rejected { what, reason });
    }
    OperationError::unavailable(&format!("requesting {what}"), reason)
}

fn log_config(names: &SubjectNames, options: &JetStreamOptions) -> stream::Config {
    stream::Config {
        name: names.stream.clone(),
        subjects: names.subjects(),
        max_age: layout::max_age(options.retention),
        storage: StorageType::File,
        discard: DiscardPolicy::Old,
        num_replicas: options.replicas,
        allow_direct: true,
        ..stream::Config::default()
    }
}
