//! The gateway: one task per connection, and sessions that outlive their connections.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{BOT, ServerState, TOKEN, payload};

/// The interval that Discord sends.
const HEARTBEAT_MS: u64 = 41_250;
/// The minimum time between two IDENTIFYs.
///
/// Discord's is 5 s. The fake's is shorter, because its clock starts later than the bot's.
const IDENTIFY_INTERVAL: Duration = Duration::from_millis(4_500);
/// The queue of a connection. A connection that falls further behind counts as dead.
const ORDER_CAPACITY: usize = 256;

const HEARTBEAT: u64 = 1;
const IDENTIFY: u64 = 2;
const RESUME: u64 = 6;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    pub(super) identifies: u32,
    pub(super) resumes: u32,
    /// The close code for every IDENTIFY, or `None` to accept them.
    pub(super) refuse: Option<u16>,
    pub(super) down: bool,
    by_id: HashMap<String, Session>,
    identified: Option<Instant>,
}

#[derive(Debug)]
struct Session {
    shard: [u32; 2],
    /// Every dispatched event, for a resume. The first one has sequence number 1.
    sent: Vec<Value>,
    /// The current connection, or `None` while disconnected.
    connection: Option<mpsc::Sender<Order>>,
}

/// An instruction to a connection's task.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// Send the new events of the session.
    Dispatch,
    Close(u16),
    Cut,
}

impl Sessions {
    /// Dispatches an event to the shard of a guild, now or when the shard resumes.
    pub(super) fn tell_guild(&mut self, guild: u64, name: &str, payload: Value) {
        for session in self.by_id.values_mut() {
            let [shard, total] = session.shard;
            if (guild >> 22) % u64::from(total) == u64::from(shard) {
                session.dispatch(name, payload.clone());
            }
        }
    }

    pub(super) fn connected(&self) -> Vec<[u32; 2]> {
        let live = self.by_id.values().filter(|session| session.connection.is_some());
        let mut shards: Vec<_> = live.map(|session| session.shard).collect();
        shards.sort_unstable();
        shards
    }

    pub(super) fn order(&self, shard: u32, order: Order) {
        self.by_id
            .values()
            .filter(|session| session.shard[0] == shard)
            .for_each(|session| session.order(order.clone()));
    }

    pub(super) fn order_all(&self, order: Order) {
        self.by_id.values().for_each(|session| session.order(order.clone()));
    }

    pub(super) fn forget(&mut self) {
        self.by_id.clear();
    }
}

impl Session {
    fn dispatch(&mut self, name: &str, payload: Value) {
        let seq = self.sent.len() + 1;
        self.sent.push(json!({"op": 0, "s": seq, "t": name, "d": payload}));
        self.order(Order::Dispatch);
    }

    fn is_at(&self, connection: &mpsc::Sender<Order>) -> bool {
        self.connection.as_ref().is_some_and(|own| own.same_channel(connection))
    }

    fn order(&self, order: Order) {
        if let Some(connection) = &self.connection {
            // If the queue is full or closed, the connection is dead, and its shard resumes or identifies again.
            let _ = connection.try_send(order);
        }
    }
}

pub(super) async fn connect(State(world): State<Arc<ServerState>>, upgrade: WebSocketUpgrade) -> Response {
    if world.lock().sessions.down {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    upgrade.on_upgrade(move |socket| async move {
        let mut connection = Connection {
            world,
            socket,
            session: None,
            sent: 0,
            orders: mpsc::channel(ORDER_CAPACITY),
        };
        let end = connection.run().await;
        connection.end(end).await;
    })
}

#[derive(Debug)]
enum CloseReason {
    Gone,
    /// The client closed the connection with 1000 or 1001.
    Goodbye,
    Cut,
    Close(u16),
}

struct Connection {
    world: Arc<ServerState>,
    socket: WebSocket,
    session: Option<String>,
    /// The number of session events that this client has received.
    sent: usize,
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
}

impl Connection {
    async fn run(&mut self) -> CloseReason {
        if !self
            .send(&json!({"op": 10, "d": {"heartbeat_interval": HEARTBEAT_MS}}))
            .await
        {
            return CloseReason::Gone;
        }
        loop {
            let heard = tokio::select! {
                order = self.orders.1.recv() => match order {
                    Some(Order::Close(code)) => return CloseReason::Close(code),
                    Some(Order::Cut) | None => return CloseReason::Cut,
                    Some(Order::Dispatch) => self.catch_up().await,
                },
                frame = self.socket.recv() => match frame {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(frame) => match self.answer(&frame).await {
                            Ok(alive) => alive,
                            Err(end) => return end,
                        },
                        Err(_) => return CloseReason::Close(4002),
                    },
                    Some(Ok(Message::Close(Some(frame)))) if matches!(frame.code, 1000 | 1001) => return CloseReason::Goodbye,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return CloseReason::Gone,
                    Some(Ok(_)) => true,
                },
            };
            if !heard {
                return CloseReason::Gone;
            }
        }
    }

    async fn answer(&mut self, frame: &Value) -> Result<bool, CloseReason> {
        match frame["op"].as_u64() {
            Some(HEARTBEAT) => Ok(self.send(&json!({"op": 11})).await),
            Some(IDENTIFY) => self.identify(&frame["d"]).await,
            Some(RESUME) => self.resume(&frame["d"]).await,
            // Presence updates and other requests without a response.
            Some(3 | 4 | 8) => Ok(true),
            _ => Err(CloseReason::Close(4001)),
        }
    }

    async fn identify(&mut self, wish: &Value) -> Result<bool, CloseReason> {
        let number = |at: usize| wish["shard"][at].as_u64().and_then(|it| u32::try_from(it).ok());
        let shard = [number(0).unwrap_or(0), number(1).unwrap_or(1)];
        {
            let inner = &mut *self.world.lock();
            inner.sessions.identifies += 1;
            inner.bot.remaining = inner.bot.remaining.saturating_sub(1);
            if !is_ours(&wish["token"]) {
                return Err(CloseReason::Close(4004));
            }
            if let Some(code) = inner.sessions.refuse {
                return Err(CloseReason::Close(code));
            }
            if shard[0] >= shard[1] {
                return Err(CloseReason::Close(4010));
            }
            if self.session.is_some() {
                return Err(CloseReason::Close(4005));
            }
            let now = Instant::now();
            let last = inner.sessions.identified;
            if last.is_none_or(|last| now - last >= IDENTIFY_INTERVAL) {
                inner.sessions.identified = Some(now);
                let id = format!("session-{}", inner.sessions.identifies);
                let mut session = Session {
                    shard,
                    sent: Vec::new(),
                    connection: Some(self.orders.0.clone()),
                };
                let own = |guild: u64| (guild >> 22) % u64::from(shard[1]) == u64::from(shard[0]);
                let guilds: Vec<_> = inner.guilds.iter().filter(|(id, _)| own(**id)).collect();
                let listed: Vec<Value> = guilds
                    .iter()
                    .map(|(id, _)| json!({"id": id.to_string(), "unavailable": true}))
                    .collect();
                let ready = json!({
                    "v": 10, "user": payload::user(BOT), "guilds": listed, "session_id": id, "shard": shard,
                    "resume_gateway_url": format!("ws://{}", self.world.address),
                    "application": {"id": BOT.to_string(), "flags": 0},
                });
                session.dispatch("READY", ready);
                for (id, guild) in guilds {
                    session.dispatch("GUILD_CREATE", payload::guild_create(*id, guild));
                }
                inner.sessions.by_id.insert(id.clone(), session);
                self.session = Some(id);
            }
        }
        if self.session.is_none() {
            return Ok(self.send(&json!({"op": 9, "d": false})).await);
        }
        Ok(true)
    }

    async fn resume(&mut self, wish: &Value) -> Result<bool, CloseReason> {
        if !is_ours(&wish["token"]) {
            return Err(CloseReason::Close(4004));
        }
        let id = wish["session_id"].as_str().unwrap_or_default().to_owned();
        {
            let sessions = &mut self.world.lock().sessions;
            if let Some(session) = sessions.by_id.get_mut(&id) {
                session.connection = Some(self.orders.0.clone());
                self.sent = wish["seq"]
                    .as_u64()
                    .and_then(|seq| usize::try_from(seq).ok())
                    .unwrap_or(0);
                session.dispatch("RESUMED", json!({}));
                sessions.resumes += 1;
                self.session = Some(id);
            }
        }
        if self.session.is_none() {
            return Ok(self.send(&json!({"op": 9, "d": false})).await);
        }
        Ok(self.catch_up().await)
    }

    /// Sends all events of the session that this client does not have yet.
    async fn catch_up(&mut self) -> bool {
        loop {
            let next = {
                let inner = self.world.lock();
                let session = self.session.as_ref().and_then(|id| inner.sessions.by_id.get(id));
                session.and_then(|session| session.sent.get(self.sent)).cloned()
            };
            let Some(next) = next else { return true };
            self.sent += 1;
            if !self.send(&next).await {
                return false;
            }
        }
    }

    async fn send(&mut self, frame: &Value) -> bool {
        self.socket.send(Message::text(frame.to_string())).await.is_ok()
    }

    async fn end(mut self, end: CloseReason) {
        if let Some(id) = self.session.take() {
            let by_id = &mut self.world.lock().sessions.by_id;
            let goodbye = matches!(end, CloseReason::Goodbye);
            match by_id.get_mut(&id) {
                // A close with 1000 or 1001 ends the session. After any other end the client may resume.
                Some(_) if goodbye => drop(by_id.remove(&id)),
                // Keep the connection if the session was resumed on another one meanwhile.
                Some(session) if session.is_at(&self.orders.0) => session.connection = None,
                _ => {}
            }
        }
        if let CloseReason::Close(code) = end {
            let frame = CloseFrame {
                code,
                reason: "".into(),
            };
            // The client may already be gone, so a failed send is fine.
            let _ = self.socket.send(Message::Close(Some(frame))).await;
            let answer = async { while let Some(Ok(_)) = self.socket.recv().await {} };
            let _ = tokio::time::timeout(Duration::from_secs(1), answer).await;
        }
    }
}

fn is_ours(token: &Value) -> bool {
    let token = token.as_str().unwrap_or_default();
    token.strip_prefix("Bot ").unwrap_or(token) == TOKEN
}
