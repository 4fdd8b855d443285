//! The console sink: prints what would be posted, for trying things out without a token. Standard output carries nothing else.

mod card;

use std::{
    io::{self, IsTerminal as _, Write},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use killfeed_service::clock::Clock;

use super::{Edit, LookupOutcome, Post, SendOutcome, Sink};

/// Prints posts.
pub struct Console {
    /// Posts of several channels come from several tasks; a std mutex is enough, nothing is awaited under it.
    out: Mutex<Out>,
    colour: bool,
    clock: Clock,
}

struct Out {
    writer: Box<dyn Write + Send>,
    /// Console messages have no id of Discord's; counting them gives each one its own.
    printed: u64,
}

impl Console {
    /// To standard output: in colour if that is a terminal, or as `CLICOLOR_FORCE` and `NO_COLOR` say.
    pub fn stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
        let colour = !set("NO_COLOR") && (set("CLICOLOR_FORCE") || io::stdout().is_terminal());
        Self::to(Box::new(io::stdout()), colour)
    }

    /// To `writer`, in colour or without.
    pub fn to(writer: Box<dyn Write + Send>, colour: bool) -> Self {
        Self {
            out: Mutex::new(Out { writer, printed: 0 }),
            colour,
            clock: Clock::system(),
        }
    }

    #[cfg(test)]
    fn at(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }
}

#[async_trait]
impl Sink for Console {
    async fn send(&self, post: &Post) -> SendOutcome {
        let text = card::post(post, self.clock.now().wall_ms() / 1_000, self.colour);
        // A print that panicked half-way leaves nothing that a later one could trip over.
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let result = out.writer.write_all(text.as_bytes()).and_then(|()| out.writer.flush());
        match result {
            Ok(()) => {
                out.printed += 1;
                SendOutcome::Sent {
                    message_id: out.printed,
                }
            }
            Err(error) => SendOutcome::Unknown {
                reason: format!("cannot write to standard output: {error}"),
            },
        }
    }

    /// What was printed stays; only the killmails that came to it are printed.
    async fn edit(&self, edit: &Edit) -> SendOutcome {
        if edit.added.is_empty() {
            return SendOutcome::Sent {
                message_id: edit.message_id,
            };
        }
        let links: Vec<String> = edit.added.iter().copied().map(crate::render::link).collect();
        let post = Post {
            destination: edit.destination.clone(),
            nonce: String::new(),
            killmails: edit.added.clone(),
            message: super::Message {
                content: links.join("\n"),
                ..Default::default()
            },
        };
        self.send(&post).await
    }

    /// What was printed cannot be looked up. "No" means that after a kill -9 the last post is printed again rather than lost.
    async fn lookup(&self, _post: &Post, _since: SystemTime) -> LookupOutcome {
        LookupOutcome::No
    }
}

#[cfg(test)]
mod tests;
