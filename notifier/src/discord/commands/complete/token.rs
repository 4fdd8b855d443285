//! The token at the end of a filter that is being typed, and what could stand there. Pure.

use killfeed::{
    filter::{names_of, participant_fields},
    v1::EntityKind,
};

/// What is being typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartialToken {
    /// Everything before it, which stays as it is.
    pub(super) before: String,
    pub(super) wanted: Candidates,
}

/// What could stand for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Candidates {
    /// These, with notes.
    Words(Vec<(String, String)>),
    /// A name of this kind; `close` comes after it.
    Name {
        kind: EntityKind,
        typed: String,
        close: &'static str,
    },
}

/// Whole words, in the order in which they are offered where nothing was typed.
const WORDS: [(&str, &str); 34] = [
    ("alliance:", "victim or an attacker"),
    ("corporation:", "victim or an attacker"),
    ("character:", "victim or an attacker"),
    ("ship:", "type flown"),
    ("group:", "ship group, like Titan"),
    ("system:", "place"),
    ("region:", "place"),
    ("near(", "within light years or jumps"),
    ("space:", "highsec, lowsec, ..."),
    ("value>=", "ISK, like 1b"),
    ("victim.", "only the victim"),
    ("attacker.", "an attacker"),
    ("final.", "the final blow"),
    ("attacker(", "all on the same attacker"),
    ("victim(", "all on the victim"),
    ("attackers>=", "number of attackers"),
    ("NOT ", "must not match"),
    ("npc", "only NPC attackers"),
    ("solo", "solo kill, as on zKillboard"),
    ("ganked", "zKillboard label, may arrive later"),
    ("awox", "killed by their own side"),
    ("war", "in a war"),
    ("class:", "wormhole class"),
    ("security<", "displayed security"),
    ("faction:", "victim or an attacker"),
    ("category:", "like Structure"),
    ("constellation:", "place"),
    ("weapon:", "of an attacker"),
    ("item:", "carried by the victim"),
    ("item_group:", "carried by the victim"),
    ("hour:", "EVE time, like 22-3"),
    ("age<", "from kill to arrival, like 2h"),
    ("pilots>=", "attackers with a pilot"),
    ("label:", "zKillboard label"),
];

/// What can stand after `us`'s fields: nothing but who.
const US: [&str; 4] = ["alliance:", "corporation:", "character:", "faction:"];

const SPACES: [&str; 6] = ["highsec", "lowsec", "nullsec", "wormhole", "abyssal", "pochven"];

impl PartialToken {
    /// Whatever stands at the end of `text`; for `us` only participants' fields.
    pub(super) fn at_end(text: &str, us: bool) -> Self {
        let (start, quoted) = last_token(text);
        let (before, token) = text.split_at(start);
        // `field:` or `field:(A OR`: a value, also without its own field before it.
        let head = if token.is_empty() || quoted || !token.contains([':', '=']) {
            list_field(before)
        } else {
            None
        };
        if let Some(field) = head {
            return Self::value(before.to_owned(), &field, token);
        }
        let operator = token.find([':', '=', '<', '>']);
        let Some(operator) = operator.filter(|_| !quoted) else {
            return Self::word(before, token, us);
        };
        let mut end = operator + 1;
        if token[end..].starts_with('=') {
            end += 1;
        }
        let field = token[..operator]
            .trim_start_matches('-')
            .trim_end_matches('!')
            .to_lowercase();
        Self::value(format!("{before}{}", &token[..end]), &field, &token[end..])
    }

    fn value(before: String, field: &str, typed: &str) -> Self {
        let typed_name = typed.trim_start_matches(['"', '“', '„']).replace('\\', "");
        if field == "near(" {
            return Self {
                before,
                wanted: Candidates::Name {
                    kind: EntityKind::System,
                    typed: typed_name,
                    close: ", 7ly)",
                },
            };
        }
        let bare = field.rsplit('.').next().unwrap_or(field);
        if let Some(kind) = names_of(bare) {
            return Self {
                before,
                wanted: Candidates::Name {
                    kind,
                    typed: typed_name,
                    close: "",
                },
            };
        }
        let words: Vec<String> = match bare {
            "space" => SPACES.iter().map(|space| (*space).to_owned()).collect(),
            "value" | "dropped" | "destroyed" | "fitted" => {
                ["100m", "500m", "1b", "5b", "10b", "50b"].map(str::to_owned).to_vec()
            }
            "attackers" | "pilots" => ["2", "5", "10", "20", "50"].map(str::to_owned).to_vec(),
            "class" => (1..=6)
                .map(|class: u8| class.to_string())
                .chain(["13".to_owned()])
                .collect(),
            "security" => ["0.0", "0.5", "0.4", "0.9"].map(str::to_owned).to_vec(),
            "hour" => ["18-23", "22-3", "11-15"].map(str::to_owned).to_vec(),
            "age" => ["15m", "1h", "6h"].map(str::to_owned).to_vec(),
            "label" => [
                "\"#:10+\"",
                "\"#:100+\"",
                "\"isk:5b+\"",
                "\"cat:65\"",
                "\"ganked\"",
                "\"solo\"",
            ]
            .map(str::to_owned)
            .to_vec(),
            _ => Vec::new(),
        };
        let folded = typed.to_lowercase();
        let fitting = words
            .into_iter()
            .filter(|word| word.starts_with(&folded) && *word != folded);
        Self {
            before,
            wanted: Candidates::Words(fitting.map(|word| (word, String::new())).collect()),
        }
    }

    fn word(before: &str, token: &str, us: bool) -> Self {
        let negated = token.starts_with('-');
        let typed = token.trim_start_matches('-').to_lowercase();
        let before = format!("{before}{}", if negated { "-" } else { "" });
        let mut words: Vec<(String, String)> = Vec::new();
        if us {
            words.extend(US.iter().map(|word| ((*word).to_owned(), "your side".to_owned())));
        } else if let Some((role, _)) = typed
            .split_once('.')
            .filter(|(role, _)| matches!(*role, "any" | "victim" | "attacker" | "final"))
        {
            let fields = participant_fields().filter(|field| role != "victim" || !field.starts_with("weapon"));
            words.extend(fields.map(|field| (format!("{role}.{field}:"), String::new())));
        } else {
            words.extend(
                WORDS
                    .iter()
                    .map(|(word, note)| ((*word).to_owned(), (*note).to_owned())),
            );
            if !before.trim().is_empty() && !negated {
                words.push(("OR ".to_owned(), "one or the other".to_owned()));
            }
        }
        words.retain(|(word, _)| word.to_lowercase().starts_with(&typed) && word.trim().to_lowercase() != typed);
        // A choice with a space at its end would lose it.
        words.retain(|(word, _)| !word.ends_with(' ') || !typed.is_empty());
        Self {
            before,
            wanted: Candidates::Words(words),
        }
    }
}

/// Where the last token begins (in bytes), and whether it is in quotes that are still open and stand alone.
fn last_token(text: &str) -> (usize, bool) {
    let mut start = 0;
    let mut in_quotes = false;
    let mut escaped = false;
    let mut quote_alone = false;
    for (index, c) in text.char_indices() {
        if in_quotes {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' | '”' | '“' | '„' => in_quotes = false,
                _ => {}
            }
            continue;
        }
        match c {
            '"' | '“' | '”' | '„' => {
                in_quotes = true;
                quote_alone = index == start;
            }
            c if c.is_whitespace() || matches!(c, '(' | ')' | ',') => start = index + c.len_utf8(),
            _ => {}
        }
    }
    (start, in_quotes && quote_alone)
}

/// The field whose list or parentheses `before` ends in: `ship:(A OR `, `near(`.
fn list_field(before: &str) -> Option<String> {
    let mut depth = 0_usize;
    let bytes: Vec<(usize, char)> = before.char_indices().collect();
    let mut in_quotes = false;
    for &(index, c) in bytes.iter().rev() {
        match c {
            '"' | '“' | '”' | '„' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            ')' => depth += 1,
            '(' if depth > 0 => depth -= 1,
            '(' => {
                let head = &before[..index];
                let inside = &before[index + 1..];
                let (start, _) = last_token(head);
                let word = head[start..].trim_start_matches('-').to_lowercase();
                if word == "near" && !inside.contains(',') {
                    return Some("near(".to_owned());
                }
                let field = word.strip_suffix([':', '=']);
                return field.map(|field| field.trim_end_matches('!').to_owned());
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let token = PartialToken::at_end(text, false);
        match token.wanted {
            Candidates::Words(words) => words
                .into_iter()
                .map(|(word, _)| format!("{}{word}", token.before))
                .collect(),
            Candidates::Name { .. } => panic!("{text}: words were expected"),
        }
    }

    fn name(text: &str) -> (String, EntityKind, String) {
        let token = PartialToken::at_end(text, false);
        match token.wanted {
            Candidates::Name { kind, typed, .. } => (token.before, kind, typed),
            Candidates::Words(words) => panic!("{text}: a name was expected, not {words:?}"),
        }
    }

    #[test]
    fn fields_first() {
        assert_eq!(words("al"), ["alliance:"]);
        assert_eq!(words("npc -al"), ["npc -alliance:"]);
        assert_eq!(words("(npc OR sys"), ["(npc OR system:"]);
        assert!(words("victim.w").is_empty());
        assert_eq!(words("victim.al"), ["victim.alliance:"]);
        assert_eq!(words("attacker(al"), ["attacker(alliance:"]);
        assert_eq!(words("attacker.weapon_"), ["attacker.weapon_group:"]);
        assert!(words("npc o").contains(&"npc OR ".to_owned()));
        assert!(words("").len() > 25);
    }

    #[test]
    fn then_values_of_the_field() {
        for (text, before, kind, typed) in [
            ("alliance:goon", "alliance:", EntityKind::Alliance, "goon"),
            (
                "npc -victim.alliance:\"Goonswarm F",
                "npc -victim.alliance:",
                EntityKind::Alliance,
                "Goonswarm F",
            ),
            ("ship:(Rifter OR Mega", "ship:(Rifter OR ", EntityKind::Type, "Mega"),
            (
                "ship:(\"Brutix Navy Issue\" OR \"Meg",
                "ship:(\"Brutix Navy Issue\" OR ",
                EntityKind::Type,
                "Meg",
            ),
            ("group:(", "group:(", EntityKind::Group, ""),
            ("near(Tur", "near(", EntityKind::System, "Tur"),
            ("system=Ji", "system=", EntityKind::System, "Ji"),
            ("region!=Dev", "region!=", EntityKind::Region, "Dev"),
            (
                "attacker(alliance:goon",
                "attacker(alliance:",
                EntityKind::Alliance,
                "goon",
            ),
            ("system:C-J", "system:", EntityKind::System, "C-J"),
        ] {
            assert_eq!(name(text), (before.to_owned(), kind, typed.to_owned()), "{text}");
        }
        assert_eq!(words("space:n"), ["space:nullsec"]);
        assert_eq!(words("space:(lowsec OR n"), ["space:(lowsec OR nullsec"]);
        assert_eq!(words("value>=1"), ["value>=100m", "value>=1b", "value>=10b"]);
    }

    #[test]
    fn only_who_for_us() {
        let token = PartialToken::at_end("alliance:X OR c", true);
        let Candidates::Words(words) = token.wanted else {
            panic!()
        };
        let words: Vec<&str> = words.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(words, ["corporation:", "character:"]);
    }

    #[test]
    fn nothing_that_can_be_typed_panics() {
        let signs = [
            "\"", "(", ")", ":", "-", " ", "near", "é", "“", "\\", "ship", ",", "🚀", "=",
        ];
        let mut state = 1_usize;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..8 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                text.push_str(signs[(state >> 33) % signs.len()]);
            }
            let token = PartialToken::at_end(&text, false);
            assert!(
                text.starts_with(token.before.trim_end_matches('-')) || token.before.ends_with('-'),
                "{text}"
            );
        }
    }
}
