use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::{Duration, UNIX_EPOCH},
};

use killfeed_service::clock::{Now, Uptime};

use super::*;
use crate::{
    database::KillOutcome,
    render::{
        self,
        tests::{dreadnought, hostile},
    },
    sink::Destination,
    subscriptions::{Ping, Style},
};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn noon() -> Clock {
    Clock::from_fn(|| Now {
        wall: UNIX_EPOCH + Duration::from_secs(1_785_672_150),
        up: Uptime::default(),
    })
}

async fn printed(message: crate::sink::Message, killmails: Vec<u64>, colour: bool) -> String {
    let shared = Shared::default();
    let console = Console::to(Box::new(shared.clone()), colour).at(noon());
    let post = Post {
        destination: Destination::Channel(223_456_789_012_345_678),
        nonce: "n".into(),
        killmails,
        message,
    };
    assert_eq!(console.send(&post).await, SendOutcome::Sent { message_id: 1 });
    let bytes = shared.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn items<'a>(killmails: &'a [(killfeed::v1::Killmail, KillOutcome, Style)]) -> Vec<render::PostItem<'a>> {
    let item = |(killmail, outcome, style): &'a (_, _, _)| render::PostItem {
        killmail,
        outcome: *outcome,
        style: *style,
        subscriptions: vec!["caps near staging", "everything"],
        distances: Vec::new(),
    };
    killmails.iter().map(item).collect()
}

#[tokio::test]
async fn every_style_is_readable_and_links_once() {
    let killmails = [
        (dreadnought(1), KillOutcome::Loss, Style::Full),
        (hostile(2), KillOutcome::Neutral, Style::Full),
        (dreadnought(3), KillOutcome::Kill, Style::Compact),
        (dreadnought(4), KillOutcome::Neutral, Style::Link),
    ];
    let (message, taken) = render::killmails(&items(&killmails), &[Ping::Here]);
    assert_eq!(taken, 4);
    let text = printed(message, vec![1, 2, 3, 4], false).await;
    for id in 1..=4 {
        assert_eq!(text.matches(&render::link(id)).count(), 1, "{text}");
    }
    assert_eq!(text.matches("223456789012345678").count(), 1);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn folded_ones_link_nothing() {
    let systems = [(30_002_086, "Turnur".to_owned(), 9)];
    let text = printed(render::folded(12, &[3.4e9; 12], &systems), vec![1, 2], false).await;
    assert!(!text.contains("https://zkillboard.com/kill/"));
    insta::assert_snapshot!(text, @r"
    ▌ 12 more killmails, 40.8b ISK                                channel 223456789012345678
    ▌ 9 in Turnur https://zkillboard.com/system/30002086/ · 3 elsewhere
    ▌ https://zkillboard.com/
    ");
}

#[tokio::test]
async fn colours_and_nothing_else_of_a_terminal_s_codes() {
    let (message, _) = render::killmails(&items(&[(hostile(1), KillOutcome::Kill, Style::Full)]), &[]);
    let text = printed(message, vec![1], true).await;
    let codes = text.matches('\x1b').count();
    assert!(codes > 0 && text.matches("\x1b[").count() == codes);
    assert!(!text.contains('\x07') && !text.contains('\u{202e}'));
    assert!(text.contains("\x1b[38;2;0;114;178m"));
}

/// `docs/posts.md` shows each style as it is. `KILLFEED_BLESS=1` writes it anew.
#[tokio::test]
async fn the_documentation_shows_each_style() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/posts.md");
    let mut examples = String::new();
    for (style, outcome) in [
        (Style::Full, KillOutcome::Loss),
        (Style::Compact, KillOutcome::Kill),
        (Style::Link, KillOutcome::Neutral),
    ] {
        let killmails = [(dreadnought(1), outcome, style)];
        let (message, _) = render::killmails(&items(&killmails), &[]);
        let text = printed(message, vec![1], false).await;
        examples.push_str(&format!("\n## {}\n\n```text\n{}\n```\n", style.word(), text.trim_end()));
    }
    let killmails = render::tests::engagement();
    let killmails: Vec<_> = killmails
        .into_iter()
        .map(|(killmail, outcome)| (killmail, outcome, Style::Battle))
        .collect();
    let (message, _) = render::battle(&items(&killmails), &[]);
    let text = printed(message, vec![1, 2, 3], false).await;
    for id in 1..=3 {
        assert_eq!(text.matches(&render::link(id)).count(), 1, "{text}");
    }
    examples.push_str(&format!("\n## battle\n\n```text\n{}\n```\n\n", text.trim_end()));

    let mut document = std::fs::read_to_string(path).unwrap();
    let begin = "<!-- examples -->\n";
    let start = document.find(begin).expect("it has a marker for the examples") + begin.len();
    let end = start + document[start..].find("<!-- end -->").expect("and one for their end");
    if std::env::var_os("KILLFEED_BLESS").is_some() {
        document.replace_range(start..end, &examples);
        std::fs::write(path, document).unwrap();
    } else {
        assert_eq!(
            document[start..end],
            examples,
            "write it anew with KILLFEED_BLESS=1 cargo test -p killfeed-notifier the_documentation"
        );
    }
}
