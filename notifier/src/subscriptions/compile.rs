//! Gets every subscription compiled by an ingestor, and again when the static data or the language change.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use killfeed::{
    filter::LANGUAGE_VERSION,
    v1::{Diagnostic, Filter},
};

use super::{Subscription, SubscriptionSpec, Subscriptions};
use crate::database::{CompiledRow, StorageError};

/// Why a text has no tree.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CompileError {
    /// It is no filter.
    #[error("{}", .0.first().map_or("the filter was rejected without a reason", |first| first.message.as_str()))]
    Bad(Vec<Diagnostic>),
    /// It cannot be said now.
    #[error("{0}")]
    Unavailable(String),
}

/// Text → tree: an ingestor, or a test's own.
#[async_trait]
pub trait Compile: Send + Sync {
    /// The build of the static data that trees are made with now.
    async fn static_data_build(&self) -> Result<String, CompileError>;

    /// The tree of a filter.
    async fn compile(&self, filter: &str) -> Result<Filter, CompileError>;
}

/// What came of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Round {
    /// Trees made anew.
    pub compiled: usize,
    /// Subscriptions that are no filter; they stay inactive until they are edited.
    pub bad: usize,
    /// Subscriptions that match nothing yet because a name could not be looked up: to be tried again.
    pub waiting: usize,
}

/// One round over all subscriptions: those without a tree, and those whose tree is of another build or language. One that
/// has a tree keeps it while there is no better. `Err` = no ingestor answers.
pub async fn compile_pending(
    subscriptions: &Subscriptions,
    compile: &dyn Compile,
) -> Result<Result<Round, CompileError>, StorageError> {
    let mut round = Round::default();
    let build = match compile.static_data_build().await {
        Ok(build) => build,
        Err(error) => return Ok(Err(error)),
    };
    // Many servers want the same: a text is asked for once a round. What cannot be said now is asked for again.
    let compile: &dyn Compile = &Remembering {
        inner: compile,
        known: Mutex::default(),
    };
    let mut done = Vec::new();
    for subscription in subscriptions.list() {
        if !needs(&subscription, &build) {
            continue;
        }
        let (compiled, problem) = match trees(compile, &subscription.spec, &build).await {
            Ok(compiled) => {
                round.compiled += 1;
                (Some(compiled), String::new())
            }
            Err((field, error)) => {
                let kept = subscription.compiled.clone();
                match &error {
                    CompileError::Bad(_) => round.bad += 1,
                    CompileError::Unavailable(_) => round.waiting += usize::from(kept.is_none()),
                }
                let problem = format!("{field}: {error}");
                if subscription.problem != problem {
                    say(&subscription, field, &error);
                }
                (kept, problem)
            }
        };
        done.push((subscription, compiled, problem));
        if done.len() == MAX_STORE_BATCH {
            subscriptions.set_compiled_all(std::mem::take(&mut done)).await?;
        }
    }
    subscriptions.set_compiled_all(done).await?;
    Ok(Ok(round))
}

/// Trees stored in one transaction: each one makes the snapshot anew.
const MAX_STORE_BATCH: usize = 200;

/// Asks for each text once.
struct Remembering<'a> {
    inner: &'a dyn Compile,
    /// Nothing is awaited under it.
    known: Mutex<HashMap<String, Result<Filter, CompileError>>>,
}

#[async_trait]
impl Compile for Remembering<'_> {
    async fn static_data_build(&self) -> Result<String, CompileError> {
        self.inner.static_data_build().await
    }

    async fn compile(&self, filter: &str) -> Result<Filter, CompileError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(answer) = known().get(filter) {
            return answer.clone();
        }
        let answer = self.inner.compile(filter).await;
        if !matches!(answer, Err(CompileError::Unavailable(_))) {
            known().insert(filter.to_owned(), answer.clone());
        }
        answer
    }
}

fn needs(subscription: &Subscription, build: &str) -> bool {
    let current =
        |compiled: &CompiledRow| compiled.static_data_build == build && compiled.language_version == LANGUAGE_VERSION;
    !subscription.compiled.as_ref().is_some_and(current)
}

/// The trees of a wish, made with the static data `build`; or which of its fields has none, and why.
pub async fn trees(
    compile: &dyn Compile,
    wish: &SubscriptionSpec,
    build: &str,
) -> Result<CompiledRow, (&'static str, CompileError)> {
    let filter = compile.compile(&wish.filter).await.map_err(|error| ("filter", error))?;
    let (victim_is_us, attacker_is_us) = if wish.us.is_empty() {
        (None, None)
    } else {
        let role = async |role: &str| {
            let text = format!("{role}({})", wish.us);
            let tree = compile.compile(&text).await;
            tree.map_err(|error| ("us", shifted(error, role.len() + 1, wish.us.len())))
        };
        (Some(role("victim").await?), Some(role("attacker").await?))
    };
    Ok(CompiledRow {
        static_data_build: build.to_owned(),
        language_version: filter.language_version,
        filter: Some(filter),
        victim_is_us,
        attacker_is_us,
    })
}

/// Diagnostics of `victim(us)` as of `us` alone.
fn shifted(error: CompileError, by: usize, length: usize) -> CompileError {
    let shift = |offset: u32| (offset as usize).saturating_sub(by).min(length) as u32;
    match error {
        CompileError::Bad(mut diagnostics) => {
            for diagnostic in &mut diagnostics {
                diagnostic.start = shift(diagnostic.start);
                diagnostic.end = shift(diagnostic.end);
            }
            CompileError::Bad(diagnostics)
        }
        unavailable @ CompileError::Unavailable(_) => unavailable,
    }
}

fn say(subscription: &Subscription, field: &str, error: &CompileError) {
    let wish = &subscription.spec;
    let consequence = match subscription.compiled {
        Some(_) => "keeps its old compiled filter",
        None => "not active",
    };
    match error {
        CompileError::Bad(diagnostics) => {
            let text = if field == "us" { &wish.us } else { &wish.filter };
            let shown = diagnostics.first().map(|first| caret(text, first)).unwrap_or_default();
            tracing::warn!(
                name = wish.name,
                guild = wish.guild,
                field,
                "filter rejected, {consequence}: {error}\n{shown}"
            );
        }
        CompileError::Unavailable(_) => {
            tracing::warn!(name = wish.name, guild = wish.guild, field, %error, "filter cannot be compiled now, {consequence}");
        }
    }
}

/// The text with a caret under the first character of the diagnostic's span, and what could stand there instead.
pub fn caret(text: &str, diagnostic: &Diagnostic) -> String {
    let start = diagnostic.start as usize;
    let before = text.get(..start.min(text.len())).unwrap_or(text).chars().count();
    let mut shown = format!("  {text}\n  {}^ {}", " ".repeat(before), diagnostic.message);
    if !diagnostic.suggestions.is_empty() {
        shown.push_str(&format!("; did you mean {}?", diagnostic.suggestions.join(" or ")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use super::*;
    use crate::{
        database,
        subscriptions::{file, service::Subscriptions},
    };

    /// Knows the words it was told, at a build.
    struct Fake(Mutex<(String, Vec<&'static str>)>);

    #[async_trait]
    impl Compile for Fake {
        async fn static_data_build(&self) -> Result<String, CompileError> {
            Ok(self.0.lock().unwrap().0.clone())
        }

        async fn compile(&self, filter: &str) -> Result<Filter, CompileError> {
            match filter {
                "later" => Err(CompileError::Unavailable("ESI is away".into())),
                _ if self.0.lock().unwrap().1.contains(&filter) => Ok(crate::matching::tests::everything()),
                _ => Err(CompileError::Bad(vec![Diagnostic {
                    message: "unknown name".into(),
                    start: 7,
                    end: 9,
                    suggestions: vec!["Jita".into()],
                }])),
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_compiled_is_not_active_and_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let database = Arc::new(database::open(dir.path(), SystemTime::now()).unwrap().database);
        let subscriptions = Subscriptions::open(database, Duration::from_secs(60)).unwrap();
        let row =
            |name: &str, rest: &str| format!("[[subscription]]\nname = \"{name}\"\nguild = 1\nchannel = 2\n{rest}\n");
        let text = [
            row("good", "filter = \"npc\"\nus = \"a:1\""),
            row("bad", "filter = \"system:Jia\""),
            row("later", "filter = \"later\""),
        ];
        let wishes = file::parse(&text.concat(), "").unwrap();
        subscriptions.take_file(wishes, 1).await.unwrap();
        let fake = Fake(Mutex::new(("1".into(), vec!["npc", "victim(a:1)", "attacker(a:1)"])));
        let round = compile_pending(&subscriptions, &fake).await.unwrap().unwrap();
        assert_eq!((round.compiled, round.bad, round.waiting), (1, 1, 1));
        let list = subscriptions.list();
        let problems: Vec<_> = list.iter().map(|s| s.problem.as_str()).collect();
        assert_eq!(problems, ["filter: unknown name", "", "filter: ESI is away"]);
        assert_eq!(subscriptions.snapshot().len(), 1);
        // A new build: what compiled before and does not now keeps its tree, marked.
        *fake.0.lock().unwrap() = ("2".into(), vec![]);
        let round = compile_pending(&subscriptions, &fake).await.unwrap().unwrap();
        assert_eq!((round.compiled, round.bad), (0, 2));
        assert_eq!(subscriptions.snapshot().len(), 1);
        assert_eq!(subscriptions.list()[1].problem, "filter: unknown name");
        // Nothing to do once all is well again.
        *fake.0.lock().unwrap() = ("2".into(), vec!["npc", "victim(a:1)", "attacker(a:1)", "system:Jia"]);
        let round = compile_pending(&subscriptions, &fake).await.unwrap().unwrap();
        assert_eq!((round.compiled, round.waiting), (2, 1));
        let round = compile_pending(&subscriptions, &fake).await.unwrap().unwrap();
        assert_eq!((round.compiled, round.waiting), (0, 1));
    }

    #[test]
    fn a_diagnostic_is_shown_under_the_text() {
        let diagnostic = Diagnostic {
            message: "no system is called Jia".into(),
            start: 11,
            end: 14,
            suggestions: vec!["Jita".into()],
        };
        // The é is two bytes and one column.
        let expected = "  é system:Jia\n            ^ no system is called Jia; did you mean Jita?";
        let diagnostic = Diagnostic {
            start: 10,
            ..diagnostic
        };
        assert_eq!(
            caret("é system:Jia", &diagnostic),
            expected.replacen("            ^", "           ^", 1)
        );
        let CompileError::Bad(shifted) = shifted(CompileError::Bad(vec![diagnostic]), 7, 5) else {
            panic!("still bad");
        };
        assert_eq!((shifted[0].start, shifted[0].end), (3, 5));
    }
}
