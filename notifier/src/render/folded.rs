//! Killmails that came too late or too many at once: counted in one post, and where to look at them.

use super::{full, limits, text};
use crate::sink::{Embed, Message};

/// So many systems are named.
pub const SYSTEMS: usize = 3;
/// Names of systems are shorter.
const NAME: usize = 80;

/// `83 more killmails, 41.2b ISK`, and zKillboard's pages of the systems where most of them happened (id, name, how many);
/// never of a killmail, since who sees its link takes it as posted. `values` are those that are known.
pub fn folded(count: usize, values: &[f64], systems: &[(u32, String, usize)]) -> Message {
    let noun = if count == 1 { "killmail" } else { "killmails" };
    let mut lines = vec![format!("{} more {noun}{}", number(count), worth(count, values))];
    lines.push(links(count, systems));
    Message {
        embeds: vec![Embed {
            description: text::cut(&lines.join("\n"), limits::DESCRIPTION),
            color: full::NEUTRAL,
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn worth(count: usize, values: &[f64]) -> String {
    let known: Vec<f64> = values.iter().copied().filter(|value| text::is_amount(*value)).collect();
    let sum = known.iter().sum();
    let (any, sum) = (!known.is_empty() && text::is_amount(sum), text::isk(sum));
    match known.len() {
        _ if !any => String::new(),
        all if all == count => format!(", {sum}"),
        _ => format!(", at least {sum}"),
    }
}

fn links(count: usize, systems: &[(u32, String, usize)]) -> String {
    let named = systems.iter().take(SYSTEMS);
    let mut parts: Vec<String> = named
        .map(|(id, name, here)| {
            let name = text::plain(name, NAME);
            let name = if name.is_empty() { format!("system {id}") } else { name };
            let url = format!("https://zkillboard.com/system/{id}/");
            format!("{} in {}", number(*here), text::link(&text::label(&name, NAME), &url))
        })
        .collect();
    let elsewhere = count.saturating_sub(systems.iter().take(SYSTEMS).map(|(.., here)| here).sum());
    if parts.is_empty() {
        return text::link("zKillboard", "https://zkillboard.com/");
    }
    if elsewhere > 0 {
        let zkillboard = text::link("elsewhere", "https://zkillboard.com/");
        parts.push(format!("{} {zkillboard}", number(elsewhere)));
    }
    parts.join(" · ")
}

fn number(count: usize) -> String {
    text::grouped(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_counted_and_what_is_not_is_not_made_up() {
        let system = |id, name: &str, count| (id, name.to_owned(), count);
        for (count, values, systems, expected) in [
            (
                1,
                vec![],
                vec![],
                "1 more killmail\n[zKillboard](https://zkillboard.com/)",
            ),
            (
                83,
                vec![0.5e9; 83],
                vec![system(30_002_086, "Turnur", 83)],
                "83 more killmails, 41.5b ISK\n83 in [Turnur](https://zkillboard.com/system/30002086/)",
            ),
            (
                1_200,
                vec![1e9, f64::NAN],
                vec![
                    system(1, "a](https://evil) [", 700),
                    system(2, "", 300),
                    system(3, "C", 100),
                    system(4, "D", 50),
                ],
                "1,200 more killmails, at least 1.00b ISK\n700 in \
                 [a\\)\\(https\\://evil\\) \\(](https://zkillboard.com/system/1/) · \
                 300 in [system 2](https://zkillboard.com/system/2/) · 100 in [C](https://zkillboard.com/system/3/) · \
                 100 [elsewhere](https://zkillboard.com/)",
            ),
        ] {
            assert_eq!(folded(count, &values, &systems).embeds[0].description, expected);
        }
    }
}
