//! The fields, flags and keywords of the language.
//!
//! To add a field, add a row here, a leaf in `tree`, its evaluation in `program`, and its sentence in `describe`.

use crate::v1::{Comparison, EntityKind, KillmailFlag, NumberField, ParticipantField, ParticipantRole, Space};

/// A field or a flag.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Field {
    Participant(ParticipantRole, ParticipantField),
    Item(EntityKind),
    Place(EntityKind),
    Space,
    Number(NumberField),
    Flag(KillmailFlag),
    Label,
    Hour,
    Age,
}

const PARTICIPANT: [(&str, ParticipantField, EntityKind); 9] = [
    ("character", ParticipantField::Character, EntityKind::Character),
    ("corporation", ParticipantField::Corporation, EntityKind::Corporation),
    ("alliance", ParticipantField::Alliance, EntityKind::Alliance),
    ("faction", ParticipantField::Faction, EntityKind::Faction),
    ("ship", ParticipantField::Ship, EntityKind::Type),
    ("group", ParticipantField::Group, EntityKind::Group),
    ("category", ParticipantField::Category, EntityKind::Category),
    ("weapon", ParticipantField::Weapon, EntityKind::Type),
    ("weapon_group", ParticipantField::WeaponGroup, EntityKind::Group),
];

const ROLES: [(&str, ParticipantRole); 4] = [
    ("any", ParticipantRole::Any),
    ("victim", ParticipantRole::Victim),
    ("attacker", ParticipantRole::Attacker),
    ("final", ParticipantRole::Final),
];

const NUMBERS: [(&str, NumberField); 10] = [
    ("value", NumberField::Value),
    ("dropped", NumberField::Dropped),
    ("destroyed", NumberField::Destroyed),
    ("fitted", NumberField::Fitted),
    ("points", NumberField::Points),
    ("attackers", NumberField::Attackers),
    ("pilots", NumberField::Pilots),
    ("damage", NumberField::Damage),
    ("security", NumberField::Security),
    ("class", NumberField::Class),
];

const FLAGS: [(&str, KillmailFlag); 5] = [
    ("npc", KillmailFlag::Npc),
    ("solo", KillmailFlag::Solo),
    ("awox", KillmailFlag::Awox),
    ("war", KillmailFlag::War),
    ("ganked", KillmailFlag::Ganked),
];

const SPACES: [(&str, Space); 6] = [
    ("highsec", Space::Highsec),
    ("lowsec", Space::Lowsec),
    ("nullsec", Space::Nullsec),
    ("wormhole", Space::Wormhole),
    ("abyssal", Space::Abyssal),
    ("pochven", Space::Pochven),
];

const OTHERS: [(&str, Field); 9] = [
    ("item", Field::Item(EntityKind::Type)),
    ("item_group", Field::Item(EntityKind::Group)),
    ("system", Field::Place(EntityKind::System)),
    ("constellation", Field::Place(EntityKind::Constellation)),
    ("region", Field::Place(EntityKind::Region)),
    ("space", Field::Space),
    ("label", Field::Label),
    ("hour", Field::Hour),
    ("age", Field::Age),
];

/// Common names for fields, used only for suggestions.
const NICKNAMES: [(&str, &str); 34] = [
    ("char", "character"),
    ("pilot", "character"),
    ("player", "character"),
    ("corp", "corporation"),
    ("corporations", "corporation"),
    ("alli", "alliance"),
    ("ally", "alliance"),
    ("alliances", "alliance"),
    ("type", "ship"),
    ("hull", "ship"),
    ("ship_type", "ship"),
    ("shiptype", "ship"),
    ("class_name", "group"),
    ("ship_group", "group"),
    ("shipgroup", "group"),
    ("cat", "category"),
    ("gun", "weapon"),
    ("module", "item"),
    ("cargo", "item"),
    ("fit", "item"),
    ("sys", "system"),
    ("solar_system", "system"),
    ("const", "constellation"),
    ("sec", "security"),
    ("sec_status", "security"),
    ("isk", "value"),
    ("price", "value"),
    ("total", "value"),
    ("total_value", "value"),
    ("involved", "attackers"),
    ("wh", "class"),
    ("wh_class", "class"),
    ("time", "hour"),
    ("tag", "label"),
];

/// Common names for roles, used only for suggestions.
const ROLE_NICKNAMES: [(&str, &str); 8] = [
    ("killer", "final"),
    ("final_blow", "final"),
    ("finalblow", "final"),
    ("attackers", "attacker"),
    ("aggressor", "attacker"),
    ("loser", "victim"),
    ("victims", "victim"),
    ("all", "any"),
];

/// Common names for kinds of space, used only for suggestions.
const SPACE_NICKNAMES: [(&str, Space); 19] = [
    ("high", Space::Highsec),
    ("hs", Space::Highsec),
    ("hisec", Space::Highsec),
    ("high-sec", Space::Highsec),
    ("low", Space::Lowsec),
    ("ls", Space::Lowsec),
    ("losec", Space::Lowsec),
    ("low-sec", Space::Lowsec),
    ("null", Space::Nullsec),
    ("ns", Space::Nullsec),
    ("0.0", Space::Nullsec),
    ("null-sec", Space::Nullsec),
    ("wh", Space::Wormhole),
    ("wormholes", Space::Wormhole),
    ("w-space", Space::Wormhole),
    ("wspace", Space::Wormhole),
    ("jspace", Space::Wormhole),
    ("abyss", Space::Abyssal),
    ("triglavian", Space::Pochven),
];

/// The operators that are words. In canonical text, a name that equals one is in quotes.
pub(super) const KEYWORDS: [&str; 3] = ["and", "or", "not"];

/// The reason why a word is not a field, with suggestions.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnknownField {
    pub message: String,
    pub suggestions: Vec<String>,
}

impl Field {
    /// Returns the field or flag with this name.
    pub(super) fn named(word: &str) -> Result<Self, UnknownField> {
        let lower = word.to_lowercase();
        if let Some(field) = bare(&lower) {
            return Ok(field);
        }
        let Some((role_word, field_word)) = lower.split_once('.') else {
            return Err(unknown(word, &lower));
        };
        let role = ROLES.iter().find(|(name, _)| *name == role_word);
        match (role, bare(field_word)) {
            (
                Some((_, ParticipantRole::Victim)),
                Some(Self::Participant(_, field @ (ParticipantField::Weapon | ParticipantField::WeaponGroup))),
            ) => {
                let name = participant(field);
                Err(UnknownField {
                    message: format!("`{word}` does not exist: only attackers have weapons"),
                    suggestions: vec![format!("attacker.{name}"), format!("final.{name}")],
                })
            }
            (Some((_, role)), Some(Self::Participant(_, field))) => Ok(Self::Participant(*role, field)),
            (Some(_), Some(_)) => Err(UnknownField {
                message: format!("`{field_word}` is about the whole killmail: write it without `{role_word}.`"),
                suggestions: vec![field_word.to_owned()],
            }),
            _ => Err(unknown(word, &lower)),
        }
    }

    /// Returns the kind of the field's values; `None` if they are not names.
    pub(super) fn kind(self) -> Option<EntityKind> {
        match self {
            Self::Participant(_, field) => Some(participant_kind(field)),
            Self::Item(kind) | Self::Place(kind) => Some(kind),
            _ => None,
        }
    }

    /// Returns the field's name in the language.
    pub(super) fn name(self) -> String {
        match self {
            Self::Participant(role, field) => format!("{}{}", role_prefix(role), participant(field)),
            Self::Number(field) => number(field).to_owned(),
            Self::Flag(kind) => flag(kind).to_owned(),
            other => OTHERS
                .iter()
                .find(|(_, field)| *field == other)
                .map_or("", |(name, _)| name)
                .to_owned(),
        }
    }
}

fn bare(word: &str) -> Option<Field> {
    let participant = || {
        PARTICIPANT
            .iter()
            .find(|row| row.0 == word)
            .map(|row| Field::Participant(ParticipantRole::Any, row.1))
    };
    let number = || NUMBERS.iter().find(|row| row.0 == word).map(|row| Field::Number(row.1));
    let flag = || FLAGS.iter().find(|row| row.0 == word).map(|row| Field::Flag(row.1));
    let other = || OTHERS.iter().find(|row| row.0 == word).map(|row| row.1);
    participant().or_else(number).or_else(flag).or_else(other)
}

fn unknown(word: &str, lower: &str) -> UnknownField {
    if is_role(lower) {
        return UnknownField {
            message: format!("`{word}` needs a field after it: character, corporation, alliance, ship, ..."),
            suggestions: ["alliance", "corporation", "character", "ship", "group"]
                .map(|field| format!("{lower}.{field}"))
                .to_vec(),
        };
    }
    let mut suggestions = Vec::new();
    match lower.split_once('.') {
        Some((role, field)) => {
            let role = nickname(&ROLE_NICKNAMES, role).unwrap_or(role);
            let field = nickname(&NICKNAMES, field).unwrap_or(field);
            let known_role = ROLES.iter().find(|(name, _)| *name == role);
            if let (Some((_, role)), Some(Field::Participant(_, field))) = (known_role, bare(field)) {
                // `victim.gun` gets no suggestion here, because victims have no weapons.
                suggestions.extend(
                    Field::named(&Field::Participant(*role, field).name())
                        .ok()
                        .map(Field::name),
                );
            } else if bare(field).is_some() && !PARTICIPANT.iter().any(|row| row.0 == field) {
                suggestions.push(field.to_owned());
            }
        }
        None => suggestions.extend(nickname(&NICKNAMES, lower).map(str::to_owned)),
    }
    suggestions.extend(nearest(lower, all_names().iter().map(String::as_str)));
    let mut seen = std::collections::HashSet::new();
    suggestions.retain(|suggestion| seen.insert(suggestion.clone()));
    suggestions.truncate(3);
    UnknownField {
        message: format!("there is no field `{word}`"),
        suggestions,
    }
}

fn nickname(table: &'static [(&str, &str)], word: &str) -> Option<&'static str> {
    table.iter().find(|(name, _)| *name == word).map(|(_, field)| *field)
}

/// Returns every name that an operator can follow.
fn all_names() -> Vec<String> {
    let mut names: Vec<String> = NUMBERS.iter().map(|row| row.0.to_owned()).collect();
    names.extend(OTHERS.iter().map(|row| row.0.to_owned()));
    names.extend(PARTICIPANT.iter().map(|row| row.0.to_owned()));
    for (role, kind) in ROLES {
        let weapons = kind != ParticipantRole::Victim;
        let fields = PARTICIPANT.iter().filter(|row| weapons || !row.0.starts_with("weapon"));
        names.extend(fields.map(|row| format!("{role}.{}", row.0)));
    }
    names
}

/// Returns every field and flag without roles, to check that the documentation covers them all.
#[cfg(test)]
pub(super) fn bare_names() -> Vec<&'static str> {
    let names = PARTICIPANT
        .iter()
        .map(|row| row.0)
        .chain(NUMBERS.iter().map(|row| row.0));
    let names = names.chain(OTHERS.iter().map(|row| row.0));
    names.chain(FLAGS.iter().map(|row| row.0)).collect()
}

/// Returns the flags that resemble a bare word.
pub(super) fn similar_words(word: &str) -> Vec<String> {
    nearest(&word.to_lowercase(), FLAGS.iter().map(|row| row.0))
}

/// Returns up to three candidates that resemble `word`, best first.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Vec<String> {
    // More than one edit per three letters makes it a different word.
    let allowed = (word.chars().count() / 3).max(1);
    let mut found: Vec<(usize, &str)> = candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    found.sort_by_key(|(distance, _)| *distance);
    found.into_iter().take(3).map(|(_, name)| name.to_owned()).collect()
}

/// Returns the kind of space with this name.
pub(super) fn space_named(word: &str) -> Option<Space> {
    let lower = word.to_lowercase();
    SPACES.iter().find(|row| row.0 == lower).map(|row| row.1)
}

/// Suggests kinds of space for an invalid name.
pub(super) fn similar_spaces(word: &str) -> Vec<String> {
    let lower = word.to_lowercase();
    let parts: Vec<&str> = lower.split('|').collect();
    if parts.len() > 1 && parts.iter().all(|part| space_named(part).is_some()) {
        return vec![format!("({})", parts.join(" OR "))];
    }
    match SPACE_NICKNAMES.iter().find(|row| row.0 == lower) {
        Some(row) => vec![space(row.1).to_owned()],
        None => nearest(&lower, SPACES.iter().map(|row| row.0)),
    }
}

/// Returns the participant fields, without their prefixes such as `victim.`.
pub fn participant_fields() -> impl Iterator<Item = &'static str> {
    PARTICIPANT.iter().map(|row| row.0)
}

/// Returns the kind of names that a field takes, such as `ship`, `victim.ship` or `item`.
///
/// Returns `None` if the field does not exist or its values are not names.
pub fn names_of(field: &str) -> Option<EntityKind> {
    Field::named(field).ok()?.kind()
}

/// Returns the name of a participant field.
pub(super) fn participant(field: ParticipantField) -> &'static str {
    PARTICIPANT.iter().find(|row| row.1 == field).map_or("", |row| row.0)
}

/// Returns the kind of names that a participant field takes.
pub fn participant_kind(field: ParticipantField) -> EntityKind {
    PARTICIPANT
        .iter()
        .find(|row| row.1 == field)
        .map_or(EntityKind::Unspecified, |row| row.2)
}

/// Returns whether `word` is the prefix of a participant field, without the dot.
pub(super) fn is_role(word: &str) -> bool {
    ROLES.iter().any(|(name, _)| *name == word)
}

/// Returns the prefix of a role; empty for `any` and inside a group.
pub(super) fn role_prefix(role: ParticipantRole) -> &'static str {
    match role {
        ParticipantRole::Victim => "victim.",
        ParticipantRole::Attacker => "attacker.",
        ParticipantRole::Final => "final.",
        ParticipantRole::Any | ParticipantRole::Member | ParticipantRole::Unspecified => "",
    }
}

/// Returns the name of a number field.
pub(super) fn number(field: NumberField) -> &'static str {
    NUMBERS.iter().find(|row| row.1 == field).map_or("", |row| row.0)
}

/// Returns the name of a flag.
pub(super) fn flag(flag: KillmailFlag) -> &'static str {
    FLAGS.iter().find(|row| row.1 == flag).map_or("", |row| row.0)
}

/// Returns the name of a kind of space.
pub(super) fn space(space: Space) -> &'static str {
    SPACES.iter().find(|row| row.1 == space).map_or("", |row| row.0)
}

/// Returns the operator of a comparison.
pub(super) fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
        Comparison::NotEqual => "!=",
        Comparison::Equal | Comparison::Unspecified => "=",
    }
}

/// Returns whether the field is in ISK, which allows the suffixes k, m, b and t.
pub(super) fn is_isk(field: NumberField) -> bool {
    matches!(
        field,
        NumberField::Value | NumberField::Dropped | NumberField::Destroyed | NumberField::Fitted
    )
}

/// Returns the word for a kind of name, for use in a sentence.
pub fn kind_word(kind: EntityKind) -> &'static str {
    match kind {
        EntityKind::Character => "character",
        EntityKind::Corporation => "corporation",
        EntityKind::Alliance => "alliance",
        EntityKind::Faction => "faction",
        EntityKind::Type => "type",
        EntityKind::Group => "group",
        EntityKind::Category => "category",
        EntityKind::System => "system",
        EntityKind::Constellation => "constellation",
        EntityKind::Region => "region",
        EntityKind::Unspecified => "name",
    }
}

/// Returns whether names of this kind come from CCP's static data, which allows wildcards.
pub(super) fn is_static(kind: EntityKind) -> bool {
    !matches!(
        kind,
        EntityKind::Character | EntityKind::Corporation | EntityKind::Alliance | EntityKind::Unspecified
    )
}
