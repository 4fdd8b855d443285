//! What a person sees: embeds, buttons, forms, choices, as Discord's JSON. Never pings, always ephemeral.

use serde_json::{Value, json};

use crate::{
    render::{limits, text},
    sink::{Embed, Field, Footer},
};

/// Discord's flag for "only you can see this".
const EPHEMERAL: u64 = 1 << 6;
/// Together with a title and a description this is less than one message may have.
const FOOTER: usize = 500;
/// Rows of buttons, and buttons in a row.
const ROWS: usize = 5;
/// What fits on a button.
const LABEL: usize = 80;
/// What a button can carry.
pub(in crate::discord) const CUSTOM_ID: usize = 100;

/// Blue: all is well. Amber: look here. Vermilion: it did not work. Never colour alone: the words say it too.
pub(in crate::discord) const GOOD: u32 = 0x00_72B2;
pub(in crate::discord) const CAREFUL: u32 = 0xE6_9F00;
pub(in crate::discord) const BAD: u32 = 0xD5_5E00;

/// An answer.
#[derive(Debug, Clone)]
pub(in crate::discord) enum InteractionResponse {
    /// A message of its own.
    Say(Reply),
    /// In place of the message whose button was pressed.
    Update(Reply),
    /// A form to fill in.
    Form(Form),
    /// What could be typed.
    Choices(Vec<Choice>),
}

/// A message.
#[derive(Debug, Clone, Default)]
pub(in crate::discord) struct Reply {
    pub(in crate::discord) content: String,
    pub(in crate::discord) embeds: Vec<Embed>,
    pub(in crate::discord) rows: Vec<Vec<Button>>,
    pub(in crate::discord) file: Option<Attachment>,
}

/// An attachment.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Attachment {
    pub(in crate::discord) name: String,
    pub(in crate::discord) text: String,
}

/// A button. What it does is in its `custom_id`, so that it works after a restart.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Button {
    pub(in crate::discord) label: String,
    pub(in crate::discord) custom_id: String,
    pub(in crate::discord) style: ButtonStyle,
}

/// How a button looks.
#[derive(Debug, Clone, Copy)]
pub(in crate::discord) enum ButtonStyle {
    Primary = 1,
    Plain = 2,
    Danger = 4,
}

/// A form of text fields.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Form {
    pub(in crate::discord) custom_id: String,
    pub(in crate::discord) title: String,
    pub(in crate::discord) inputs: Vec<Input>,
}

/// A field of a form.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Input {
    pub(in crate::discord) id: &'static str,
    pub(in crate::discord) label: &'static str,
    pub(in crate::discord) value: String,
    pub(in crate::discord) max: u32,
    pub(in crate::discord) long: bool,
}

/// Something that could be typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::discord) struct Choice {
    /// What is shown, at most 100 characters.
    pub(in crate::discord) name: String,
    /// What is then there, at most 100 characters.
    pub(in crate::discord) value: String,
}

impl Reply {
    /// One embed.
    pub(in crate::discord) fn new(color: u32, title: &str, description: impl Into<String>) -> Self {
        Self {
            embeds: vec![Embed {
                title: text::plain(title, 256),
                description: text::cut(&description.into(), limits::DESCRIPTION),
                color,
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    /// One more field of the first embed; an empty value is left out.
    pub(in crate::discord) fn field(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let value = value.as_ref().trim();
        if let Some(embed) = self
            .embeds
            .first_mut()
            .filter(|embed| !value.is_empty() && embed.fields.len() < 25)
        {
            embed.fields.push(Field {
                name: text::plain(name, 256),
                value: text::cut(value, limits::FIELD_VALUE),
                inline: false,
            });
        }
        self
    }

    pub(in crate::discord) fn footer(mut self, footer: &str) -> Self {
        if let Some(embed) = self.embeds.first_mut() {
            embed.footer = Some(Footer {
                text: text::plain(footer, FOOTER),
            });
        }
        self
    }

    pub(in crate::discord) fn row(mut self, buttons: impl IntoIterator<Item = Button>) -> Self {
        let buttons: Vec<Button> = buttons.into_iter().collect();
        for some in buttons.chunks(ROWS) {
            if self.rows.len() < ROWS {
                self.rows.push(some.to_vec());
            }
        }
        self
    }

    /// As Discord takes it. What is too much for one message is left out from its end: whole embeds, but of the first one, without
    /// which there would be no answer, only fields.
    pub(super) fn json(&self) -> Value {
        let mut left = limits::TOTAL;
        let mut embeds = Vec::new();
        for embed in self.embeds.iter().take(limits::EMBEDS) {
            let embed = if embeds.is_empty() {
                fitting(embed.clone())
            } else {
                embed.clone()
            };
            let Some(rest) = left.checked_sub(limits::characters(&embed)) else {
                break;
            };
            left = rest;
            embeds.push(embed);
        }
        let mut json = json!({
            "embeds": embeds,
            "components": self.rows.iter().map(|row| row_of(row)).collect::<Vec<_>>(),
            "allowed_mentions": { "parse": [] },
        });
        if !self.content.is_empty() {
            json["content"] = text::cut(&self.content, 2_000).into();
        }
        if let Some(file) = &self.file {
            json["attachments"] = json!([{ "id": "0", "filename": file.name }]);
        }
        json
    }
}

impl Button {
    pub(in crate::discord) fn new(style: ButtonStyle, label: &str, custom_id: impl Into<String>) -> Self {
        Self {
            label: text::cut(&text::plain(label, LABEL), LABEL),
            custom_id: custom_id.into(),
            style,
        }
    }
}

impl InteractionResponse {
    /// The body of the first answer.
    pub(super) fn callback(&self) -> Value {
        match self {
            Self::Say(reply) => {
                let mut data = reply.json();
                data["flags"] = EPHEMERAL.into();
                json!({ "type": 4, "data": data })
            }
            Self::Update(reply) => json!({ "type": 7, "data": reply.json() }),
            Self::Form(form) => json!({ "type": 9, "data": form.json() }),
            Self::Choices(choices) => {
                let choices: Vec<Value> = choices
                    .iter()
                    .take(25)
                    .map(|choice| json!({ "name": choice.name, "value": choice.value }))
                    .collect();
                json!({ "type": 8, "data": { "choices": choices } })
            }
        }
    }

    pub(super) fn file(&self) -> Option<&Attachment> {
        match self {
            Self::Say(reply) | Self::Update(reply) => reply.file.as_ref(),
            Self::Form(_) | Self::Choices(_) => None,
        }
    }
}

impl Form {
    fn json(&self) -> Value {
        let input = |input: &Input| {
            let mut field = json!({
                "type": 4, "custom_id": input.id, "label": input.label, "style": if input.long { 2 } else { 1 },
                "required": false, "max_length": input.max,
            });
            if !input.value.is_empty() {
                field["value"] = input.value.clone().into();
            }
            json!({ "type": 1, "components": [field] })
        };
        json!({
            "custom_id": self.custom_id, "title": text::plain(&self.title, 45),
            "components": self.inputs.iter().map(input).collect::<Vec<_>>(),
        })
    }
}

/// The first answer where the real one takes longer: "thinking", for a message of its own or for an update.
pub(super) fn deferred(update: bool) -> Value {
    if update {
        json!({ "type": 6 })
    } else {
        json!({ "type": 5, "data": { "flags": EPHEMERAL } })
    }
}

fn row_of(buttons: &[Button]) -> Value {
    let buttons: Vec<Value> = buttons
        .iter()
        .map(|button| {
            json!({ "type": 2, "style": button.style as u8, "label": button.label, "custom_id": button.custom_id })
        })
        .collect();
    json!({ "type": 1, "components": buttons })
}

/// The embed without as many of its last fields as are too much for a message, and with a word about them.
fn fitting(mut embed: Embed) -> Embed {
    let mut left_out = 0;
    let said = embed.footer.take().map(|footer| footer.text);
    loop {
        let told = match left_out {
            0 => None,
            1 => Some("1 more part does not fit into this message".to_owned()),
            _ => Some(format!("{left_out} more parts do not fit into this message")),
        };
        let parts: Vec<String> = said.clone().into_iter().chain(told).collect();
        embed.footer = (!parts.is_empty()).then(|| Footer { text: parts.join("; ") });
        if limits::characters(&embed) <= limits::TOTAL || embed.fields.pop().is_none() {
            return embed;
        }
        left_out += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_ephemeral_and_pings_nobody() {
        let reply = Reply::new(GOOD, "Title", "text @everyone")
            .field("empty is left out", " ")
            .row([Button::new(ButtonStyle::Plain, "Next", "kf:list:0:1")]);
        let body = InteractionResponse::Say(reply.clone()).callback();
        assert_eq!(body["data"]["flags"], 64);
        assert_eq!(body["data"]["allowed_mentions"]["parse"], json!([]));
        assert_eq!(body["data"]["embeds"][0].get("fields"), None);
        assert_eq!(body["data"]["components"][0]["components"][0]["label"], "Next");
        assert_eq!(InteractionResponse::Update(reply).callback()["type"], 7);
        assert_eq!(deferred(false)["data"]["flags"], 64);
    }

    #[test]
    fn too_much_is_left_out_from_the_end() {
        let mut reply = Reply::new(GOOD, "", "x".repeat(5_000));
        reply.embeds.push(Embed {
            description: "y".repeat(1_904),
            ..Default::default()
        });
        reply.embeds.push(Embed {
            description: "z".into(),
            ..Default::default()
        });
        let json = reply.json();
        assert_eq!(json["embeds"].as_array().unwrap().len(), 2);
        assert_eq!(
            json["embeds"][0]["description"].as_str().unwrap().chars().count(),
            4_096
        );
    }

    #[test]
    fn an_answer_is_never_empty_however_much_there_is_to_say() {
        let mut reply = Reply::new(GOOD, "Killmail 1", "x".repeat(300)).footer("3 more subscriptions");
        for number in 0..10 {
            reply = reply.field(&format!("subscription {number}"), "y".repeat(1_000));
        }
        let json = reply.json();
        let embed = &json["embeds"][0];
        assert_eq!(embed["fields"].as_array().unwrap().len(), 5);
        assert_eq!(
            embed["footer"]["text"],
            "3 more subscriptions; 5 more parts do not fit into this message"
        );
        let embed: Embed = serde_json::from_value(embed.clone()).unwrap();
        assert!(limits::characters(&embed) <= limits::TOTAL);
    }
}
