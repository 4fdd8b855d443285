//! The settings as a table in the documentation.

use std::fmt::Write as _;

use super::{Setting, file_of};

/// Returns a Markdown table with a row for each setting.
pub fn table(settings: &[Setting]) -> String {
    let mut table = String::from("| variable | default | |\n|---|---|---|\n");
    for setting in settings {
        let default = match setting.default.as_str() {
            "" => "none".to_owned(),
            default => format!("`{default}`"),
        };
        let file = match setting.secret {
            true => format!(" (also `{}`)", file_of(&setting.variable)),
            false => String::new(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{}` | {default} | {}{file} |", setting.variable, setting.help);
    }
    table
}
