//! Interactions of test users, and the bot's responses.
//!
//! Tests send commands, buttons, forms and autocomplete over the gateway in Discord's format. The fake checks each
//! response against Discord's own API description. Unit tests of the notifier check Discord's limit of 3 seconds.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{BOT, FakeDiscord, ServerState, payload, permission, rest::refuse, validate};
use crate::process::LIMIT;

/// The user who sends interactions by default.
pub const USER: u64 = BOT + 2;

/// An interaction that a test sends.
#[derive(Debug, Clone)]
pub struct TestInteraction {
    guild: u64,
    channel: u64,
    user: u64,
    permissions: u64,
    kind: u8,
    data: Value,
    shown: Value,
}

/// The bot's response to an interaction.
#[derive(Debug, Clone)]
pub struct InteractionReply {
    /// The body of the first response.
    pub first: Value,
    /// The final message: `data` of the first response, or the edit that replaced a deferred one.
    pub message: Value,
    /// The text of the attached file; empty if there is none.
    pub file: String,
}

/// The state of all interactions.
#[derive(Debug, Default)]
pub(super) struct Interactions {
    asked: BTreeMap<u64, Asked>,
    /// The body of the last command registration.
    registered: Option<Value>,
    files: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Asked {
    token: String,
    /// Another process responded first.
    taken: bool,
    first: Option<Value>,
    later: Option<Value>,
    file: String,
    heard: Arc<Notify>,
}

impl TestInteraction {
    fn new(kind: u8, data: Value) -> Self {
        Self {
            guild: super::GUILD,
            channel: super::CHANNEL,
            user: USER,
            permissions: permission::EVERYTHING,
            kind,
            data,
            shown: Value::Null,
        }
    }

    /// Creates `/killfeed <subcommand>`.
    pub fn command(subcommand: &str) -> Self {
        let options = json!([{"name": subcommand, "type": 1, "options": []}]);
        Self::new(
            2,
            json!({"id": "1", "name": "killfeed", "type": 1, "options": options, "resolved": {}}),
        )
    }

    /// Creates the autocomplete request for option `focused` of a subcommand.
    pub fn typing(subcommand: &str, focused: &str, text: &str) -> Self {
        let mut ask = Self::command(subcommand);
        ask.kind = 4;
        ask.option(json!({"name": focused, "type": 3, "value": text, "focused": true}))
    }

    /// Creates a click on a button of a message.
    pub fn button(custom_id: &str, message: &Value) -> Self {
        let mut ask = Self::new(3, json!({"custom_id": custom_id, "component_type": 2}));
        ask.shown = message.clone();
        ask
    }

    /// Creates the submission of a form.
    pub fn form(custom_id: &str, inputs: &[(&str, &str)]) -> Self {
        let rows: Vec<Value> = inputs
            .iter()
            .map(|(id, value)| json!({"type": 1, "components": [{"type": 4, "custom_id": id, "value": value}]}))
            .collect();
        Self::new(5, json!({"custom_id": custom_id, "components": rows}))
    }

    /// Adds a text option.
    pub fn text(self, name: &str, value: &str) -> Self {
        self.option(json!({"name": name, "type": 3, "value": value}))
    }

    /// Adds an integer option.
    pub fn number(self, name: &str, value: i64) -> Self {
        self.option(json!({"name": name, "type": 4, "value": value}))
    }

    /// Adds a channel option, with the invoking user's permissions in that channel.
    pub fn channel(mut self, name: &str, id: u64, permissions: u64) -> Self {
        self.data["resolved"]["channels"][id.to_string()] =
            json!({"id": id.to_string(), "type": 0, "name": "x", "permissions": permissions.to_string()});
        self.option(json!({"name": name, "type": 7, "value": id.to_string()}))
    }

    /// Adds a file option with the file's URL.
    pub fn file(mut self, name: &str, url: &str, size: usize) -> Self {
        self.data["resolved"]["attachments"]["5"] = json!({
            "id": "5", "filename": "file", "size": size, "url": url, "proxy_url": url, "ephemeral": true,
        });
        self.option(json!({"name": name, "type": 11, "value": "5"}))
    }

    fn option(mut self, option: Value) -> Self {
        self.data["options"][0]["options"]
            .as_array_mut()
            .expect("the interaction is a command")
            .push(option);
        self
    }

    /// Sends the interaction from another guild and channel.
    pub fn at(mut self, guild: u64, channel: u64) -> Self {
        (self.guild, self.channel) = (guild, channel);
        self
    }

    /// Sends the interaction as another user with these permissions.
    pub fn by(mut self, user: u64, permissions: u64) -> Self {
        (self.user, self.permissions) = (user, permissions);
        self
    }
}

impl FakeDiscord {
    /// Sends an interaction and waits for its response, or for the edit of a deferred one.
    ///
    /// # Panics
    ///
    /// Panics if no response comes within [`LIMIT`].
    pub async fn ask(&self, ask: &TestInteraction) -> InteractionReply {
        let (id, heard) = self.send(ask, false);
        self.answer(id, &heard).await
    }

    /// Sends an interaction that another process has already acknowledged.
    ///
    /// # Panics
    ///
    /// Panics if the bot does not try to respond.
    pub async fn ask_taken(&self, ask: &TestInteraction) {
        let (id, heard) = self.send(ask, true);
        let tried = async {
            while self.world.lock().interactions.asked[&id].first.is_none() {
                heard.notified().await;
            }
        };
        tokio::time::timeout(LIMIT, tried)
            .await
            .expect("the bot tries to respond");
    }

    /// Sends an interaction without waiting for the response.
    fn send(&self, ask: &TestInteraction, taken: bool) -> (u64, Arc<Notify>) {
        let mut inner = self.world.lock();
        let id = inner.next_id();
        let token = format!("interaction-{id}");
        let heard = Arc::new(Notify::new());
        let asked = Asked {
            token: token.clone(),
            taken,
            first: None,
            later: None,
            file: String::new(),
            heard: Arc::clone(&heard),
        };
        inner.interactions.asked.insert(id, asked);
        let bot = inner.guild_of(ask.channel).map_or(0, |(_, permissions)| permissions);
        let mut member = payload::member();
        member["user"] = payload::user(ask.user);
        member["permissions"] = ask.permissions.to_string().into();
        let mut interaction = json!({
            "id": id.to_string(), "application_id": BOT.to_string(), "type": ask.kind, "data": ask.data, "version": 1,
            "guild_id": ask.guild.to_string(), "channel_id": ask.channel.to_string(), "token": token, "member": member,
            "channel": {"id": ask.channel.to_string(), "type": 0, "name": "x", "permissions": ask.permissions.to_string()},
            "app_permissions": bot.to_string(), "locale": "en-US", "guild_locale": "en-US", "entitlements": [],
            "authorizing_integration_owners": {"0": ask.guild.to_string()}, "context": 0, "attachment_size_limit": 10_485_760,
        });
        if ask.kind == 3 {
            let mut message = payload::plain_message(ask.channel, id);
            for key in ["content", "embeds"] {
                if let Some(value) = ask.shown.get(key) {
                    message[key] = value.clone();
                }
            }
            interaction["message"] = message;
        }
        inner.sessions.tell_guild(ask.guild, "INTERACTION_CREATE", interaction);
        (id, heard)
    }

    async fn answer(&self, id: u64, heard: &Notify) -> InteractionReply {
        let answered = async {
            loop {
                if let Some(answered) = self.answered(id) {
                    return answered;
                }
                heard.notified().await;
            }
        };
        let answered = tokio::time::timeout(LIMIT, answered).await;
        answered.unwrap_or_else(|_| panic!("no response within {LIMIT:?}"))
    }

    /// Returns the response, or `None` until it is complete.
    fn answered(&self, id: u64) -> Option<InteractionReply> {
        let inner = self.world.lock();
        let asked = &inner.interactions.asked[&id];
        let first = asked.first.clone()?;
        let message = match first["type"].as_u64() {
            Some(5 | 6) => asked.later.clone()?,
            _ => first["data"].clone(),
        };
        Some(InteractionReply {
            first,
            message,
            file: asked.file.clone(),
        })
    }

    /// Returns the body of the last command registration.
    pub fn registered(&self) -> Option<Value> {
        self.world.lock().interactions.registered.clone()
    }

    /// Stores a file like a Discord attachment and returns its URL.
    pub fn keep_file(&self, name: &str, text: &str) -> String {
        let mut inner = self.world.lock();
        inner.interactions.files.insert(name.to_owned(), text.to_owned());
        format!("http://{}/attachments/{name}", self.address)
    }
}

impl InteractionReply {
    /// Returns the whole text of the message with embeds and buttons, for golden files.
    pub fn shown(&self) -> String {
        shown(&self.message)
    }

    /// Returns the custom id of the button with this label.
    ///
    /// # Panics
    ///
    /// Panics if the message has no such button.
    pub fn button(&self, label: &str) -> String {
        let rows = self.message["components"].as_array().into_iter().flatten();
        let mut buttons = rows.flat_map(|row| row["components"].as_array().into_iter().flatten());
        let found = buttons.find(|button| button["label"].as_str().is_some_and(|text| text.starts_with(label)));
        let id = found.and_then(|button| button["custom_id"].as_str());
        id.unwrap_or_else(|| panic!("no button {label:?} in the message:\n{}", self.shown()))
            .to_owned()
    }

    /// Returns the values of the autocomplete choices.
    pub fn choices(&self) -> Vec<String> {
        let choices = self.message["choices"].as_array().into_iter().flatten();
        choices
            .filter_map(|choice| Some(choice["value"].as_str()?.to_owned()))
            .collect()
    }
}

/// Formats a message as a user reads it.
fn shown(message: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines = vec![text(&message["content"])];
    for embed in message["embeds"].as_array().into_iter().flatten() {
        lines.push(format!("# {}", text(&embed["title"])));
        lines.push(text(&embed["description"]));
        for field in embed["fields"].as_array().into_iter().flatten() {
            lines.push(format!("## {}\n{}", text(&field["name"]), text(&field["value"])));
        }
        let footer = text(&embed["footer"]["text"]);
        if !footer.is_empty() {
            lines.push(format!("-- {footer}"));
        }
    }
    for row in message["components"].as_array().into_iter().flatten() {
        let buttons = row["components"].as_array().into_iter().flatten();
        let labels: Vec<String> = buttons.map(|button| format!("[{}]", text(&button["label"]))).collect();
        lines.push(labels.join(" "));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

/// Handles `PUT /applications/{id}/commands`.
pub(super) async fn register(State(world): State<Arc<ServerState>>, Json(body): Json<Value>) -> Response {
    let mut inner = world.lock();
    if let Some(wrong) = validate::registration(&body) {
        inner.rejected.push(format!("registration: {wrong}"));
        return refuse(400, 50_035, "Invalid Form Body");
    }
    inner.interactions.registered = Some(body.clone());
    Json(body).into_response()
}

/// Handles `POST /interactions/{id}/{token}/callback`.
pub(super) async fn callback(
    State(world): State<Arc<ServerState>>,
    Path((id, token)): Path<(u64, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (body, file) = parts(&headers, &body);
    let wrong = validate::callback(&body);
    let mut inner = world.lock();
    let Some(asked) = inner
        .interactions
        .asked
        .get_mut(&id)
        .filter(|asked| asked.token == token)
    else {
        return refuse(404, 10_062, "Unknown interaction");
    };
    // The waiting test acquires the lock of `inner` before it reads the response.
    asked.heard.notify_one();
    if asked.taken || asked.first.is_some() {
        asked.first.get_or_insert(body);
        return refuse(400, 40_060, "Interaction has already been acknowledged.");
    }
    asked.file = file;
    asked.first = Some(body);
    if let Some(wrong) = wrong {
        inner.rejected.push(format!("interaction: {wrong}"));
        return refuse(400, 50_035, "Invalid Form Body");
    }
    StatusCode::NO_CONTENT.into_response()
}

/// Handles `PATCH /webhooks/{application}/{token}/messages/@original`.
pub(super) async fn later(
    State(world): State<Arc<ServerState>>,
    Path((application, token)): Path<(u64, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (body, file) = parts(&headers, &body);
    let wrong = validate::edited(&body);
    let mut inner = world.lock();
    let found = inner
        .interactions
        .asked
        .iter_mut()
        .find(|(_, asked)| asked.token == token && application == BOT);
    let Some((&id, asked)) = found else {
        return refuse(401, 50_027, "Invalid Webhook Token");
    };
    asked.later = Some(body);
    asked.file = file;
    asked.heard.notify_one();
    if let Some(wrong) = wrong {
        inner.rejected.push(format!("edit of an interaction response: {wrong}"));
        return refuse(400, 50_035, "Invalid Form Body");
    }
    Json(payload::plain_message(0, id)).into_response()
}

/// Handles `GET /attachments/{name}`.
pub(super) async fn attachment(State(world): State<Arc<ServerState>>, Path(name): Path<String>) -> Response {
    match world.lock().interactions.files.get(&name) {
        Some(text) => text.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Returns the JSON and the text of the first file of a request body.
///
/// The body is multipart if it has a file, and plain JSON otherwise.
fn parts(headers: &HeaderMap, body: &[u8]) -> (Value, String) {
    let kind = headers
        .get("content-type")
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let Some((_, boundary)) = kind.split_once("boundary=") else {
        return (serde_json::from_slice(body).unwrap_or_default(), String::new());
    };
    let text = String::from_utf8_lossy(body).into_owned();
    let (mut json, mut file) = (Value::Null, String::new());
    for part in text.split(&format!("--{}", boundary.trim_matches('"'))) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let content = content.strip_suffix("\r\n").unwrap_or(content);
        if head.contains("name=\"payload_json\"") {
            json = serde_json::from_str(content).unwrap_or_default();
        } else if head.contains("name=\"files[0]\"") {
            file = content.to_owned();
        }
    }
    (json, file)
}
