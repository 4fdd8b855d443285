//! One command line.

use std::{
    env, fmt,
    path::Path,
    process::{Command, Stdio},
};

/// A command line, with its environment variables and a hint for when it fails.
#[derive(Debug)]
pub(crate) struct Step {
    program: String,
    arguments: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
    hint: Option<&'static str>,
}

impl Step {
    /// Returns a command line of the cargo that runs this program.
    pub(crate) fn cargo(arguments: &[&str]) -> Self {
        Self::program("cargo", arguments)
    }

    /// Returns a command line of another program.
    pub(crate) fn program(program: &str, arguments: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            hint: None,
        }
        .with_arguments(arguments)
    }

    pub(crate) fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    pub(crate) fn with_env(mut self, variable: &'static str, value: &'static str) -> Self {
        self.variables.push((variable, value));
        self
    }

    /// Adds a hint for the developer, which is shown if the command fails.
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }

    /// Prints the command line, and runs it in `folder`.
    pub(crate) fn run(&self, folder: &Path) -> Result<(), String> {
        eprintln!("$ {self}");
        let status = self.command(folder).status();
        let why = match status {
            Ok(status) if status.success() => return Ok(()),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Err(match self.hint {
            Some(hint) => format!("{self} failed: {why}; {hint}"),
            None => format!("{self} failed: {why}"),
        })
    }

    /// Runs it in `folder` and returns what it printed.
    pub(crate) fn output(&self, folder: &Path) -> Result<String, String> {
        let output = self.command(folder).stderr(Stdio::inherit()).output();
        match output {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => Err(format!("{self} failed: {}", output.status)),
            Err(error) => Err(format!("{self} failed: {error}")),
        }
    }

    fn command(&self, folder: &Path) -> Command {
        // Cargo names itself here, so that a step uses the same toolchain.
        let cargo = env::var_os("CARGO").filter(|_| self.program == "cargo");
        let mut command = match cargo {
            Some(cargo) => Command::new(cargo),
            None if self.program.contains('/') => Command::new(folder.join(&self.program)),
            None => Command::new(&self.program),
        };
        command.args(&self.arguments).envs(self.variables.iter().copied());
        // Cargo sets these variables for the program that it runs. Build scripts that read them would run again in
        // every step.
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("CARGO_PKG_")
                || variable.to_string_lossy().starts_with("CARGO_MANIFEST_")
            {
                command.env_remove(variable);
            }
        }
        command.current_dir(folder);
        command
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (variable, value) in &self.variables {
            write!(f, "{variable}={value:?} ")?;
        }
        f.write_str(&self.program)?;
        for argument in &self.arguments {
            write!(f, " {argument}")?;
        }
        Ok(())
    }
}
