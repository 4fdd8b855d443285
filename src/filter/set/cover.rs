//! By which keys a filter is found: the fewest killmails that must be looked at so that none is missed.
//!
//! Every killmail that the filter matches has at least one key of its cover. Of what is ANDed the rarest is enough; of what is ORed
//! every part is needed. How rare a key is, is guessed from its kind alone (`selectivity`): the same filter always has the same cover,
//! whatever else is in the set and in whatever order it came.

use super::{
    expr::{Expr, Has},
    key::{
        AGE, ALWAYS, AT_LEAST, AT_MOST, CONSTELLATION, EQUAL, FLAG, FactKey, HOUR, ITEM, ITEM_GROUP, LABEL, REGION,
        SPACE, SYSTEM, VICTIM, is_least, is_single, key, number_id,
    },
};
use crate::v1::{Comparison, NumberField, ParticipantField};

/// Up to so many ids, a filter waits at each of them; more are a wide set, at which it waits once.
pub(super) const SHARED_SET_THRESHOLD: usize = 8;

/// Of up to so many alternatives each asks as well that none before it holds: then a killmail finds the filter once.
const EXCLUSIVE: usize = 4;

/// All keys that a filter waits for.
#[derive(Debug)]
pub(super) struct Cover {
    pub(super) paths: Vec<Path>,
    /// One killmail can have several of them, and all else that they ask for.
    pub(super) several: bool,
}

/// One key, and what else has to hold if the killmail has it.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) list: CoverKey,
    pub(super) rest: Expr,
}

impl Path {
    /// It counts only where none of these holds, each of which has a path of its own.
    fn unless(&mut self, others: &[Expr]) {
        let rest = std::mem::replace(&mut self.rest, Expr::TRUE);
        let none = others.iter().map(|other| Expr::Not(Box::new(other.clone())));
        self.rest = Expr::all(none.chain([rest]));
    }
}

/// What to wait for.
#[derive(Debug, Clone)]
pub(super) enum CoverKey {
    Key(FactKey),
    /// One of more than [`SHARED_SET_THRESHOLD`] ids.
    Wide(Has),
}

/// The cheapest cover.
pub(super) fn cover(expr: &Expr) -> Cover {
    if cost(expr) >= 1.0 {
        return one(ALWAYS, expr.clone());
    }
    match expr {
        Expr::All(operands) => {
            let costs: Vec<f64> = operands.iter().map(cost).collect();
            let cheapest = (0..operands.len()).min_by(|&a, &b| costs[a].total_cmp(&costs[b]));
            let Some(cheapest) = cheapest else {
                return one(ALWAYS, Expr::TRUE);
            };
            let mut cover = cover(&operands[cheapest]);
            for path in &mut cover.paths {
                let others = operands.iter().enumerate().filter(|(at, _)| *at != cheapest);
                let rest = std::mem::replace(&mut path.rest, Expr::TRUE);
                path.rest = Expr::all(others.map(|(_, other)| other.clone()).chain([rest]));
            }
            cover
        }
        Expr::Any(operands) => {
            let exclusive = operands.len() <= EXCLUSIVE;
            let mut whole = Cover {
                paths: Vec::new(),
                several: !exclusive && operands.len() > 1,
            };
            for (at, operand) in operands.iter().enumerate() {
                let Cover { mut paths, several } = cover(operand);
                if exclusive {
                    paths.iter_mut().for_each(|path| path.unless(&operands[..at]));
                }
                whole.paths.append(&mut paths);
                whole.several |= several;
            }
            whole
        }
        Expr::Has(has) if has.ids.len() > SHARED_SET_THRESHOLD => Cover {
            paths: vec![Path {
                list: CoverKey::Wide(has.clone()),
                rest: Expr::TRUE,
            }],
            several: false,
        },
        Expr::Has(has) => {
            let single = is_single(has.kind, has.role);
            let exclusive = !single && has.ids.len() <= EXCLUSIVE;
            let one_of = |id: u64| {
                Expr::Has(Has {
                    ids: [id].into(),
                    ..*has
                })
            };
            let mut before: Vec<Expr> = Vec::new();
            let mut path = |&id: &u64| {
                let mut path = Path {
                    list: CoverKey::Key(key(has.kind, has.role, id)),
                    rest: Expr::TRUE,
                };
                if exclusive {
                    path.unless(&before);
                    before.push(one_of(id));
                }
                path
            };
            Cover {
                paths: has.ids.iter().map(&mut path).collect(),
                several: has.ids.len() > EXCLUSIVE && !single,
            }
        }
        Expr::SomeAttacker(of_one) => {
            let mut cover = cover(&of_one.relaxed());
            for path in &mut cover.paths {
                let rest = std::mem::replace(&mut path.rest, Expr::TRUE);
                path.rest = Expr::all([rest, expr.clone()]);
            }
            cover
        }
        &Expr::Number {
            field,
            comparison,
            value,
        } => {
            // What waits for just this number, and is read from there on upwards, needs no second look.
            let decided = comparison == Comparison::GreaterOrEqual && is_least(value);
            let rest = if decided { Expr::TRUE } else { expr.clone() };
            one(number_key(field as i32, comparison, value), rest)
        }
        &Expr::Age { comparison, seconds } => one(number_key(AGE, comparison, nanos(seconds)), expr.clone()),
        Expr::Not(_) => one(ALWAYS, expr.clone()),
    }
}

fn one(key: FactKey, rest: Expr) -> Cover {
    Cover {
        paths: vec![Path {
            list: CoverKey::Key(key),
            rest,
        }],
        several: false,
    }
}

/// Numbers that are nearly the same share an id, so the test itself mostly stays to be made.
fn number_key(field: i32, comparison: Comparison, value: f64) -> FactKey {
    let kind = match comparison {
        Comparison::Equal => EQUAL,
        Comparison::Greater | Comparison::GreaterOrEqual => AT_LEAST,
        Comparison::Less | Comparison::LessOrEqual => AT_MOST,
        Comparison::NotEqual | Comparison::Unspecified => return ALWAYS,
    };
    key(kind, 0, number_id(field, value))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "only chooses where to wait, and rounding keeps the order"
)]
fn nanos(seconds: u64) -> f64 {
    (i128::from(seconds) * super::super::program::NANOS) as f64
}

/// The share of killmails that have a key of the cheapest cover, about; 1 = there is none worth having.
fn cost(expr: &Expr) -> f64 {
    let cost = match expr {
        Expr::All(operands) => operands.iter().map(cost).fold(1.0, f64::min),
        Expr::Any(operands) => operands.iter().map(cost).sum(),
        Expr::Not(_) => 1.0,
        // A long span of hours is most of the day: not worth an entry for each.
        Expr::Has(has) if has.kind == HOUR && has.ids.len() > SHARED_SET_THRESHOLD => 1.0,
        Expr::Has(has) if has.kind == FLAG => has.ids.iter().map(|id| if id % 2 == 1 { 0.1 } else { 0.9 }).sum(),
        // One system that somebody names is one where much happens; of many around it most are not.
        Expr::Has(has) if has.kind == SYSTEM && has.ids.len() > SHARED_SET_THRESHOLD => count(has.ids.len()) * 0.000_3,
        Expr::Has(has) => count(has.ids.len()) * selectivity(has.kind, has.role),
        &Expr::Number {
            field,
            comparison,
            value,
        } => match (comparison, field) {
            // Of seven classes and more, in a tenth of all killmails.
            (Comparison::Equal, NumberField::Class) => 0.02,
            _ => number_cost(comparison, at_least(field, value)),
        },
        &Expr::Age { comparison, seconds } => number_cost(comparison, (600.0 / count_u64(seconds)).min(1.0)),
        Expr::SomeAttacker(of_one) => cost(&of_one.relaxed()),
    };
    cost.min(1.0)
}

fn number_cost(comparison: Comparison, at_least: f64) -> f64 {
    match comparison {
        Comparison::Equal => 0.1,
        Comparison::Greater | Comparison::GreaterOrEqual => at_least,
        Comparison::Less | Comparison::LessOrEqual => 1.05 - at_least,
        Comparison::NotEqual | Comparison::Unspecified => 1.0,
    }
}

/// The share of killmails that have a key of this kind which somebody waits for (what many wait for is in many killmails).
fn selectivity(kind: u8, role: u8) -> f64 {
    let of_victim = if role == VICTIM { 0.5 } else { 1.0 };
    let share = match kind {
        ITEM => 0.01,
        ITEM_GROUP => 0.1,
        SYSTEM => 0.002,
        CONSTELLATION => 0.006,
        REGION => 0.03,
        SPACE => 0.25,
        LABEL => 0.2,
        HOUR => 0.05,
        kind => match ParticipantField::try_from(i32::from(kind)) {
            Ok(ParticipantField::Character) => 0.001,
            Ok(ParticipantField::Corporation) => 0.005,
            Ok(ParticipantField::Alliance) => 0.02,
            Ok(ParticipantField::Ship) => 0.015,
            Ok(ParticipantField::Weapon) => 0.02,
            Ok(ParticipantField::Faction | ParticipantField::Group) => 0.05,
            Ok(ParticipantField::WeaponGroup) => 0.1,
            _ => 0.9,
        },
    };
    share * of_victim
}

/// The share of killmails whose number is at least this.
fn at_least(field: NumberField, value: f64) -> f64 {
    let share = match field {
        NumberField::Value | NumberField::Destroyed | NumberField::Fitted => 0.05 * (1e9 / value).powf(0.7),
        NumberField::Dropped => 0.02 * (1e9 / value).powf(0.7),
        NumberField::Attackers | NumberField::Pilots => value.powf(-0.7),
        NumberField::Points => (5.0 / value).powf(0.7),
        NumberField::Damage => (2_000.0 / value).sqrt(),
        NumberField::Security => 0.5 - value / 2.0,
        _ => 0.5,
    };
    // Nothing comes of a number that is not above 0 but NaN or more than everything.
    if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) }
}

#[expect(clippy::cast_precision_loss, reason = "a guess")]
fn count(of: usize) -> f64 {
    of as f64
}

#[expect(clippy::cast_precision_loss, reason = "a guess")]
fn count_u64(of: u64) -> f64 {
    of as f64
}
