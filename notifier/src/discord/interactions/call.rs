//! serenity's interactions → what the commands know: who asks what, where, and what they may do there.

use std::collections::BTreeMap;

use serenity::all::{
    ActionRowComponent, CommandDataOption, CommandDataOptionValue, CommandDataResolved, CommandInteraction,
    ComponentInteraction, Interaction, Member, ModalInteraction,
};

/// One interaction.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Invocation {
    pub(in crate::discord) id: u64,
    pub(in crate::discord) token: String,
    pub(in crate::discord) application: u64,
    pub(in crate::discord) guild: u64,
    /// Where it was given.
    pub(in crate::discord) channel: u64,
    pub(in crate::discord) user: u64,
    pub(in crate::discord) roles: Vec<u64>,
    /// What the invoker may do in `channel`, as Discord says.
    pub(in crate::discord) permissions: Option<u64>,
    /// What the bot may do in `channel`, as Discord says.
    pub(in crate::discord) bot_permissions: Option<u64>,
    pub(in crate::discord) what: InvocationKind,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(in crate::discord) enum InvocationKind {
    /// A slash command.
    Command(CommandOptions),
    /// Somebody types: the option and its text so far.
    Autocomplete(CommandOptions, String, String),
    /// A button; the text of the message that it stands under.
    Button { custom_id: String, shown: String },
    /// A form that was sent.
    Form {
        custom_id: String,
        inputs: BTreeMap<String, String>,
    },
}

/// A subcommand with its options.
#[derive(Debug, Clone, Default)]
pub(in crate::discord) struct CommandOptions {
    pub(in crate::discord) command: String,
    pub(in crate::discord) subcommand: String,
    pub(in crate::discord) texts: BTreeMap<String, String>,
    pub(in crate::discord) numbers: BTreeMap<String, i64>,
    pub(in crate::discord) channels: BTreeMap<String, Chosen>,
    pub(in crate::discord) files: BTreeMap<String, Attached>,
}

/// A channel that was chosen.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Chosen {
    pub(in crate::discord) id: u64,
    pub(in crate::discord) kind: Option<u8>,
    /// What the invoker may do there, as Discord says.
    pub(in crate::discord) permissions: Option<u64>,
}

/// A file that was attached.
#[derive(Debug, Clone)]
pub(in crate::discord) struct Attached {
    pub(in crate::discord) url: String,
    pub(in crate::discord) size: u32,
}

impl Invocation {
    /// `None` for what is none of ours: pings, and what does not come from a guild.
    pub(super) fn read(interaction: &Interaction) -> Option<Self> {
        match interaction {
            Interaction::Command(command) => Self::command(command, None),
            Interaction::Autocomplete(command) => {
                let focused = command.data.autocomplete()?;
                Self::command(command, Some((focused.name.to_owned(), focused.value.to_owned())))
            }
            Interaction::Component(component) => Self::component(component),
            Interaction::Modal(modal) => Self::modal(modal),
            _ => None,
        }
    }

    fn command(command: &CommandInteraction, focused: Option<(String, String)>) -> Option<Self> {
        let given = CommandOptions::read(&command.data.name, &command.data.options, &command.data.resolved);
        Some(Self {
            id: command.id.get(),
            token: command.token.clone(),
            application: command.application_id.get(),
            guild: command.guild_id?.get(),
            channel: command.channel_id.get(),
            user: command.user.id.get(),
            roles: roles(command.member.as_deref()),
            permissions: permissions(command.member.as_deref()),
            bot_permissions: command.app_permissions.map(|permissions| permissions.bits()),
            what: match focused {
                Some((option, text)) => InvocationKind::Autocomplete(given, option, text),
                None => InvocationKind::Command(given),
            },
        })
    }

    fn component(component: &ComponentInteraction) -> Option<Self> {
        let shown = component.message.embeds.first();
        Some(Self {
            id: component.id.get(),
            token: component.token.clone(),
            application: component.application_id.get(),
            guild: component.guild_id?.get(),
            channel: component.channel_id.get(),
            user: component.user.id.get(),
            roles: roles(component.member.as_ref()),
            permissions: permissions(component.member.as_ref()),
            bot_permissions: component.app_permissions.map(|permissions| permissions.bits()),
            what: InvocationKind::Button {
                custom_id: component.data.custom_id.clone(),
                shown: shown.and_then(|embed| embed.description.clone()).unwrap_or_default(),
            },
        })
    }

    fn modal(modal: &ModalInteraction) -> Option<Self> {
        let fields = modal.data.components.iter().flat_map(|row| &row.components);
        let inputs = fields.filter_map(|field| match field {
            ActionRowComponent::InputText(input) => {
                Some((input.custom_id.clone(), input.value.clone().unwrap_or_default()))
            }
            _ => None,
        });
        Some(Self {
            id: modal.id.get(),
            token: modal.token.clone(),
            application: modal.application_id.get(),
            guild: modal.guild_id?.get(),
            channel: modal.channel_id.get(),
            user: modal.user.id.get(),
            roles: roles(modal.member.as_ref()),
            permissions: permissions(modal.member.as_ref()),
            bot_permissions: modal.app_permissions.map(|permissions| permissions.bits()),
            what: InvocationKind::Form {
                custom_id: modal.data.custom_id.clone(),
                inputs: inputs.collect(),
            },
        })
    }
}

impl CommandOptions {
    fn read(command: &str, options: &[CommandDataOption], resolved: &CommandDataResolved) -> Self {
        let mut given = Self {
            command: command.to_owned(),
            ..Default::default()
        };
        let Some((subcommand, options)) = options.iter().find_map(|option| match &option.value {
            CommandDataOptionValue::SubCommand(options) => Some((&option.name, options)),
            _ => None,
        }) else {
            return given;
        };
        given.subcommand.clone_from(subcommand);
        for option in options {
            let name = option.name.clone();
            match &option.value {
                CommandDataOptionValue::String(text) => drop(given.texts.insert(name, text.clone())),
                CommandDataOptionValue::Autocomplete { value, .. } => drop(given.texts.insert(name, value.clone())),
                CommandDataOptionValue::Integer(number) => drop(given.numbers.insert(name, *number)),
                CommandDataOptionValue::Channel(id) => {
                    let known = resolved.channels.get(id);
                    let chosen = Chosen {
                        id: id.get(),
                        kind: known.map(|channel| u8::from(channel.kind)),
                        permissions: known
                            .and_then(|channel| channel.permissions)
                            .map(|permissions| permissions.bits()),
                    };
                    given.channels.insert(name, chosen);
                }
                CommandDataOptionValue::Attachment(id) => {
                    if let Some(file) = resolved.attachments.get(id) {
                        let attached = Attached {
                            url: file.url.clone(),
                            size: file.size,
                        };
                        given.files.insert(name, attached);
                    }
                }
                _ => {}
            }
        }
        given
    }

    pub(in crate::discord) fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }
}

fn roles(member: Option<&Member>) -> Vec<u64> {
    member.map_or_else(Vec::new, |member| member.roles.iter().map(|role| role.get()).collect())
}

fn permissions(member: Option<&Member>) -> Option<u64> {
    member
        .and_then(|member| member.permissions)
        .map(|permissions| permissions.bits())
}
