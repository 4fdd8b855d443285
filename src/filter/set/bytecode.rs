//! What else has to hold, as words that lie beside the filter's id: most filters are decided by a few words next to one another.
//!
//! A key stands for "the killmail has it" (in a group: "the attacker has it"). Any other word is an operation (8 bits, the highest set),
//! an argument (28 bits) and how many of the words that follow belong to it (28 bits). Words side by side all have to hold.

use super::{
    super::program::{NANOS, Participant, compare},
    cover::SHARED_SET_THRESHOLD,
    expr::{Expr, Has},
    facts::Facts,
    key::{FactKey, HOUR, id, key, kind},
    shared_ids::SharedIdSets,
};
use crate::v1::{Attacker, Comparison, ParticipantField};

const IS_OPERATION: u64 = 1 << 63;
const ALL: u8 = 0x80;
const ANY: u8 = 0x81;
const NOT: u8 = 0x82;
/// Argument: field and comparison; then the number.
const NUMBER: u8 = 0x83;
/// Argument: comparison; then the seconds.
const AGE: u8 = 0x84;
/// Argument: a bit for each hour.
const HOURS: u8 = 0x85;
/// Some attacker.
const GROUP: u8 = 0x86;
/// In a group: the key of a wide set that has to hold the attacker's id; then the field.
const MEMBER: u8 = 0x87;

const ARGUMENT: u32 = 28;
const LENGTH: u64 = (1 << ARGUMENT) - 1;

/// The code of an expression; `shared_ids` makes keys of what has more than [`SHARED_SET_THRESHOLD`] ids.
pub(super) fn code(expr: &Expr, wide: &mut dyn FnMut(&Has) -> FactKey) -> Vec<u64> {
    let mut writer = CodeEncoder {
        words: Vec::new(),
        wide,
        in_group: false,
    };
    writer.side_by_side(expr);
    writer.words
}

struct CodeEncoder<'a> {
    words: Vec<u64>,
    wide: &'a mut dyn FnMut(&Has) -> FactKey,
    in_group: bool,
}

impl CodeEncoder<'_> {
    fn side_by_side(&mut self, expr: &Expr) {
        match expr {
            Expr::All(operands) => {
                // What is decided at a glance first, groups last.
                let mut operands: Vec<&Expr> = operands.iter().collect();
                operands.sort_by_key(|operand| weight(operand));
                operands.into_iter().for_each(|operand| self.write(operand));
            }
            other => self.write(other),
        }
    }

    fn write(&mut self, expr: &Expr) {
        match expr {
            Expr::All(_) => self.around(ALL, 0, |writer| writer.side_by_side(expr)),
            Expr::Any(operands) => self.around(ANY, 0, |writer| operands.iter().for_each(|one| writer.write(one))),
            Expr::Not(test) => self.around(NOT, 0, |writer| writer.write(test)),
            Expr::Number {
                field,
                comparison,
                value,
            } => {
                let argument = u64::from((*field as i32).unsigned_abs()) << 8 | number_of(*comparison);
                self.around(NUMBER, argument, |writer| writer.words.push(value.to_bits()));
            }
            Expr::Age { comparison, seconds } => {
                self.around(AGE, number_of(*comparison), |writer| writer.words.push(*seconds));
            }
            Expr::SomeAttacker(of_one) => self.around(GROUP, 0, |writer| {
                let outside = std::mem::replace(&mut writer.in_group, true);
                writer.side_by_side(of_one);
                writer.in_group = outside;
            }),
            Expr::Has(has) => self.has(has),
        }
    }

    fn has(&mut self, has: &Has) {
        let keys = has.ids.iter().map(|&id| key(has.kind, has.role, id));
        if has.kind == HOUR {
            let hours = has.ids.iter().fold(0, |hours, hour| hours | 1 << hour);
            self.around(HOURS, hours, |_| {});
        } else if has.ids.len() == 1 {
            self.words.extend(keys);
        } else if has.ids.len() <= SHARED_SET_THRESHOLD {
            self.around(ANY, 0, |writer| writer.words.extend(keys));
        } else {
            let set = (self.wide)(has);
            if self.in_group {
                self.around(MEMBER, u64::from(has.kind), |writer| writer.words.push(set));
            } else {
                self.words.push(set);
            }
        }
    }

    fn around(&mut self, operation: u8, argument: u64, inside: impl FnOnce(&mut Self)) {
        let at = self.words.len();
        self.words.push(0);
        inside(self);
        // A filter's text has at most 2,000 characters, so its code is far shorter than the 2^28 words that can be told.
        let length = (self.words.len() - at - 1) as u64 & LENGTH;
        self.words[at] = u64::from(operation) << 56 | argument << ARGUMENT | length;
    }
}

fn weight(expr: &Expr) -> u8 {
    match expr {
        Expr::Number { .. } | Expr::Age { .. } => 0,
        Expr::Has(has) if has.ids.len() == 1 => 1,
        Expr::Has(_) => 2,
        Expr::Not(test) => weight(test),
        Expr::All(operands) | Expr::Any(operands) => operands.iter().map(weight).fold(3, u8::max),
        Expr::SomeAttacker(_) => 4,
    }
}

fn number_of(comparison: Comparison) -> u64 {
    u64::from((comparison as i32).unsigned_abs())
}

fn comparison(number: u64) -> Comparison {
    i32::try_from(number & 0xff)
        .ok()
        .and_then(|number| Comparison::try_from(number).ok())
        .unwrap_or_default()
}

/// Runs code over one killmail.
pub(super) struct Evaluator<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) wides: &'a SharedIdSets,
}

/// Whom a key is about.
#[derive(Clone, Copy)]
enum Subject<'a> {
    Killmail,
    Attacker(&'a Attacker),
}

impl Evaluator<'_> {
    /// Whether all of it holds.
    pub(super) fn holds(&self, code: &[u64]) -> bool {
        self.all(code, Subject::Killmail)
    }

    fn all(&self, mut code: &[u64], subject: Subject<'_>) -> bool {
        while let [word, rest @ ..] = code {
            let (holds, after) = self.one(*word, rest, subject);
            if !holds {
                return false;
            }
            code = after;
        }
        true
    }

    fn any(&self, mut code: &[u64], subject: Subject<'_>) -> bool {
        while let [word, rest @ ..] = code {
            let (holds, after) = self.one(*word, rest, subject);
            if holds {
                return true;
            }
            code = after;
        }
        false
    }

    /// Whether it holds, and the words after it.
    fn one<'c>(&self, word: u64, rest: &'c [u64], subject: Subject<'_>) -> (bool, &'c [u64]) {
        if word & IS_OPERATION == 0 {
            return (self.has(word, subject), rest);
        }
        let (own, after) = rest.split_at((word & LENGTH) as usize);
        let argument = word >> ARGUMENT & LENGTH;
        let holds = match ((word >> 56) as u8, own) {
            (ALL, _) => self.all(own, subject),
            (ANY, _) => self.any(own, subject),
            (NOT, _) => !self.all(own, subject),
            (NUMBER, [value]) => {
                let number = self.facts.number((argument >> 8) as usize);
                // Nothing compares with what is not said; `!=` would.
                !number.is_nan() && compare(comparison(argument), &number, &f64::from_bits(*value))
            }
            (AGE, [seconds]) => {
                let than = i128::from(*seconds) * NANOS;
                self.facts
                    .age
                    .is_some_and(|age| compare(comparison(argument), &age, &than))
            }
            (HOURS, _) => argument >> self.facts.hour() & 1 == 1,
            (GROUP, _) => self.some_attacker(own),
            (MEMBER, [set]) => match subject {
                Subject::Attacker(attacker) => self.wides.contains(*set, field_of(attacker, argument as u8)),
                Subject::Killmail => false,
            },
            _ => false,
        };
        (holds, after)
    }

    fn has(&self, key: FactKey, subject: Subject<'_>) -> bool {
        match subject {
            Subject::Killmail => self.facts.has(key),
            Subject::Attacker(attacker) => field_of(attacker, kind(key)) == id(key),
        }
    }

    /// Whether all of it holds for one attacker. Only those are looked at who have the rarest of the ids that are required: a
    /// killmail can have thousands of attackers, and a group mostly names one alliance or corporation.
    fn some_attacker(&self, code: &[u64]) -> bool {
        let mut rarest: Option<&[(u64, u32)]> = None;
        let mut rest = code;
        while let [word, after @ ..] = rest {
            rest = after;
            if word & IS_OPERATION != 0 {
                rest = after.get((word & LENGTH) as usize..).unwrap_or_default();
                continue;
            }
            let found = self.facts.attackers_with(kind(*word), id(*word));
            if rarest.is_none_or(|rarest| found.len() < rarest.len()) {
                rarest = Some(found);
            }
        }
        let attackers = self.facts.attackers;
        match rarest {
            Some(found) => found
                .iter()
                .filter_map(|(_, at)| attackers.get(*at as usize))
                .any(|attacker| self.all(code, Subject::Attacker(attacker))),
            None => attackers
                .iter()
                .any(|attacker| self.all(code, Subject::Attacker(attacker))),
        }
    }
}

fn field_of(attacker: &Attacker, kind: u8) -> u64 {
    ParticipantField::try_from(i32::from(kind)).map_or(0, |field| Participant::Attacker(attacker).id(field))
}
