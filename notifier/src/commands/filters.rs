//! Filter texts put together, and cleaned. Pure; whether the result is a filter is for an ingestor to say.

use crate::{render::text::is_invisible, subscriptions::Side};

/// What came from a keyboard without what cannot be seen: control characters and marks that change the writing direction or
/// have no width. Line breaks and tabs become spaces, so that words stay apart.
pub fn clean(text: &str) -> String {
    let visible = text
        .chars()
        .map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c));
    visible.collect::<String>().trim().to_owned()
}

/// As [`clean`], for text that is still being typed: a space at its end begins the next word.
pub fn clean_start(text: &str) -> String {
    let cleaned = clean(text);
    let open = text.ends_with(char::is_whitespace) && !cleaned.is_empty();
    if open { cleaned + " " } else { cleaned }
}

/// `filter` and `term`: both hold.
pub fn and(filter: &str, term: &str) -> String {
    let (filter, term) = (filter.trim(), term.trim());
    match (filter.is_empty(), term.is_empty()) {
        (true, _) => term.to_owned(),
        (_, true) => filter.to_owned(),
        _ => format!("{} {}", grouped(filter), grouped(term)),
    }
}

/// What a subscription's filter, `us` and `side` ask for together.
pub fn effective(filter: &str, us: &str, side: Side) -> String {
    if us.trim().is_empty() {
        return filter.trim().to_owned();
    }
    let of_us = match side {
        Side::Kills => format!("attacker({us}) NOT victim({us})"),
        Side::Losses => format!("victim({us})"),
        Side::Both => format!("(attacker({us}) OR victim({us}))"),
    };
    if filter.trim().is_empty() {
        return of_us;
    }
    format!("{} {of_us}", grouped(filter.trim()))
}

/// In parentheses if an OR would reach beyond it.
fn grouped(text: &str) -> String {
    if killfeed::filter::is_either(text) {
        format!("({text})")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_left_out() {
        assert_eq!(clean(" npc\u{202e}\tsolo\u{7}\u{200b}\n"), "npc solo");
        assert_eq!(clean("ship:\u{feff}Rifter"), "ship:Rifter");
    }

    #[test]
    fn texts_are_joined_as_they_are_meant() {
        for (filter, term, joined) in [
            ("", "npc", "npc"),
            ("npc", " ", "npc"),
            ("npc solo", "-war", "npc solo -war"),
            ("npc OR solo", "-war", "(npc OR solo) -war"),
            ("npc", "solo or war", "npc (solo or war)"),
            ("ship:(A OR B)", "-war", "ship:(A OR B) -war"),
            ("alliance:\"A or B\"", "-war", "alliance:\"A or B\" -war"),
            ("corporation:\"x\\\" or y\"", "npc", "corporation:\"x\\\" or y\" npc"),
            ("(npc)OR(solo)", "war", "((npc)OR(solo)) war"),
            (
                "corporation:«x ( y» OR npc",
                "-war",
                "(corporation:«x ( y» OR npc) -war",
            ),
            ("region:Orvolle", "war", "region:Orvolle war"),
        ] {
            assert_eq!(and(filter, term), joined);
        }
    }

    #[test]
    fn us_and_side_are_part_of_what_is_asked_for() {
        let us = "alliance:X OR corporation:Y";
        assert_eq!(effective("npc OR solo", "", Side::Both), "npc OR solo");
        assert_eq!(
            effective("npc OR solo", us, Side::Kills),
            "(npc OR solo) attacker(alliance:X OR corporation:Y) NOT victim(alliance:X OR corporation:Y)"
        );
        assert_eq!(effective("", "alliance:X", Side::Losses), "victim(alliance:X)");
        assert_eq!(
            effective("npc", "alliance:X", Side::Both),
            "npc (attacker(alliance:X) OR victim(alliance:X))"
        );
    }
}
