//! Reads the settings of both services. A flag overrides an environment variable, which overrides the default.
//!
//! A module declares its settings as a struct that derives [`clap::Args`]: the doc comment of a field is its help. This module
//! reads the texts, so that both services treat them alike:
//!
//! - The flag is the variable without its service's prefix, in kebab case.
//! - An empty variable is unset, because a compose file cannot leave a variable out. For an [`OrOff`] it means off.
//! - A secret (`hide_env_values`) may also come from the file that `<variable>_FILE` names.
//! - The error for an invalid value is one line: the variable, the value and the expected form.

mod table;
mod value;

use std::{any::TypeId, collections::BTreeMap, error::Error as _, ffi::OsString, fmt, net::SocketAddr, path::Path};

use clap::{
    Arg, ArgMatches, Args, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue},
    parser::ValueSource,
};

pub use table::table;
pub use value::{
    DisplayDuration, OrOff, Secret, addr, addr_or_off, duration, expect, flag, min_duration, min_number, one_of,
};

/// One setting, as `--help` and the documentation list it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub variable: String,
    /// The flag, without its dashes.
    pub flag: String,
    /// The default as text; empty if there is none.
    pub default: String,
    /// A description in one sentence.
    pub help: String,
    /// Whether the value is never shown, and can also come from the file that `<variable>_FILE` names.
    pub secret: bool,
    /// Whether an empty text turns the setting off instead of selecting the default.
    pub can_be_off: bool,
}

/// An invalid setting: the variable, the value and the expected form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingError {
    /// The environment variable.
    pub variable: String,
    /// The value; `None` if it is missing or a secret.
    pub value: Option<String>,
    /// The expected form.
    pub expected: String,
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value:?}: expected {}", self.variable, self.expected),
            None => write!(f, "{}: expected {}", self.variable, self.expected),
        }
    }
}

impl SettingError {
    /// Creates an error that shows the value.
    pub fn new(variable: &str, value: &str, expected: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            value: Some(value.into()),
            expected: expected.into(),
        }
    }

    /// Creates an error for a missing variable or a secret one, whose value must not be shown.
    pub fn without_value(variable: &str, expected: impl Into<String>) -> Self {
        Self {
            variable: variable.into(),
            value: None,
            expected: expected.into(),
        }
    }
}

/// Lists the settings that `T` declares, in the order of its fields.
pub fn list<T: Args>() -> Vec<Setting> {
    let declared = declared::<T>();
    declared.get_arguments().filter_map(setting).collect()
}

/// Adds the settings of `T` to a program's command line.
///
/// Each setting is a flag. A secret has a second flag for the file with its text. If `global` is true, the flags are
/// also accepted after a subcommand.
pub fn add_to_command<T: Args>(mut command: Command, global: bool) -> Command {
    for setting in list::<T>() {
        let mut argument = argument(&setting.variable, &setting.flag, &setting.help).global(global);
        if !setting.default.is_empty() {
            argument = argument.default_value(setting.default);
        }
        command = command.arg(argument);
        if setting.secret {
            let (variable, flag) = (file_of(&setting.variable), format!("{}-file", setting.flag));
            let help = format!("File with the text of {}", setting.variable);
            command = command.arg(self::argument(&variable, &flag, &help).global(global));
        }
    }
    command
}

fn argument(variable: &str, flag: &str, help: &str) -> Arg {
    Arg::new(variable.to_owned())
        .long(flag.to_owned())
        .env(variable.to_owned())
        .hide_env_values(true)
        .value_name("VALUE")
        .allow_hyphen_values(true)
        .help(help.to_owned())
}

/// The texts of all given settings, by variable.
///
/// A setting that can be off may have an empty text, which turns it off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts(BTreeMap<String, String>);

impl Texts {
    /// Reads the flags of a command made by [`add_to_command`], then the environment, then the files of secrets.
    pub fn read<T: Args>(
        matches: &ArgMatches,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingError> {
        let given = |variable: &str, keep_empty: bool| {
            let from_flag = matches.value_source(variable) == Some(ValueSource::CommandLine);
            let flag = matches.get_one::<String>(variable).filter(|_| from_flag);
            let variable = || environment(variable).filter(|text| keep_empty || !text.trim().is_empty());
            flag.cloned().or_else(variable)
        };
        let mut texts = BTreeMap::new();
        for setting in list::<T>() {
            let mut text = given(&setting.variable, setting.can_be_off);
            let file = file_of(&setting.variable);
            if text.is_none()
                && setting.secret
                && let Some(path) = given(&file, false)
            {
                text = Some(read_secret(&file, &path)?);
            }
            texts.extend(text.map(|text| (setting.variable, text.trim().to_owned())));
        }
        Ok(Self(texts))
    }

    /// Creates the texts from pairs of a variable and a text, for programs that set them without flags.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let pairs = pairs.into_iter();
        Self(
            pairs
                .map(|(variable, text)| (variable.to_owned(), text.trim().to_owned()))
                .collect(),
        )
    }

    /// Returns whether a text was given for the variable.
    pub fn has(&self, variable: &str) -> bool {
        self.0.contains_key(variable)
    }

    /// Sets the text of a variable that has none.
    pub fn set_default(&mut self, variable: &str, text: &str) {
        self.0.entry(variable.to_owned()).or_insert_with(|| text.to_owned());
    }

    /// Creates an error for a value that is invalid only in combination with other settings.
    pub fn error<T: Args>(&self, variable: &str, expected: impl Into<String>) -> SettingError {
        let default = || list::<T>().into_iter().find(|setting| setting.variable == variable);
        let text = self.0.get(variable).cloned();
        let text = text.or_else(|| default().map(|setting| setting.default));
        SettingError::new(variable, &text.unwrap_or_default(), expected)
    }

    /// Parses the texts. Settings without a text have their defaults.
    pub fn parse<T: Args>(&self) -> Result<T, SettingError> {
        let command = declared::<T>();
        let mut flags: Vec<OsString> = Vec::new();
        for setting in list::<T>() {
            let Some(text) = self.0.get(&setting.variable) else {
                continue;
            };
            // Without the flag, clap would use the default. The setting's parser decides what an empty text means.
            if !text.is_empty() || !setting.default.is_empty() {
                flags.push(format!("--{}={text}", setting.flag).into());
            }
        }
        let parsed = command.clone().try_get_matches_from(flags);
        let parsed = parsed.and_then(|mut matches| T::from_arg_matches_mut(&mut matches));
        parsed.map_err(|error| invalid(&command, &error))
    }
}

/// Returns a command with the settings of `T` as flags that ignore the environment.
fn declared<T: Args>() -> Command {
    T::augment_args(Command::new("settings").no_binary_name(true).disable_help_flag(true)).mut_args(|argument| {
        // `Texts::read` reads the environment. The argument keeps the variable's name as its value name.
        let variable = argument.get_env().map(ToOwned::to_owned).unwrap_or_default();
        argument
            .env(Resettable::Reset)
            .value_name(variable.to_string_lossy().into_owned())
    })
}

fn setting(argument: &Arg) -> Option<Setting> {
    let variable = argument.get_value_names()?.first()?.to_string();
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    Some(Setting {
        flag: argument.get_long()?.to_owned(),
        default: argument
            .get_default_values()
            .first()
            .map(|default| text(default))
            .unwrap_or_default(),
        help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
        secret: argument.is_hide_env_values_set(),
        can_be_off: argument.get_value_parser().type_id() == TypeId::of::<OrOff<SocketAddr>>(),
        variable,
    })
}

fn file_of(variable: &str) -> String {
    format!("{variable}_FILE")
}

fn read_secret(variable: &str, path: &str) -> Result<String, SettingError> {
    // The file ends with a line break that is not part of the secret. The caller trims it.
    std::fs::read_to_string(Path::new(path.trim()))
        .map_err(|error| SettingError::new(variable, path, format!("a readable file with the secret ({error})")))
}

/// Converts clap's error about a value to a [`SettingError`].
fn invalid(command: &Command, error: &clap::Error) -> SettingError {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    let named = context(ContextKind::InvalidArg);
    let mut command = command.clone();
    // Clap sets the names of the arguments here.
    command.build();
    let setting = command
        .get_arguments()
        .find(|argument| argument.to_string() == named)
        .and_then(setting);
    let expected = match error.source() {
        Some(source) => source.to_string(),
        None => error.kind().to_string(),
    };
    match setting {
        Some(setting) if setting.secret => SettingError::without_value(&setting.variable, expected),
        Some(setting) => SettingError::new(&setting.variable, context(ContextKind::InvalidValue), expected),
        // Every flag is declared and has a value, so only a value can be wrong.
        None => SettingError::without_value(named, expected),
    }
}

#[cfg(test)]
mod tests;
