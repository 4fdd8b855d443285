//! By which keys a filter is found: the fewest killmails that must be looked at so that none is missed.
//!
//! Every killmail that the filter matches has at least one key of its cover. Of what is ANDed the rarest is enough; of what is ORed
//! every part is needed. How rare a key is, is guessed from its kind alone (`share`): the same filter always has the same cover,
//! whatever else is in the set and in whatever order it came.

use super::{
    expr::{Expr, Has},
    key::{
        AGE, ALWAYS, AT_LEAST, AT_MOST, CONSTELLATION, EQUAL, FLAG, HOUR, ITEM, ITEM_GROUP, Key, LABEL, REGION, SPACE,
        SYSTEM, VICTIM, is_single, key, number_id,
    },
};
use crate::v1::{Comparison, NumberField, ParticipantField};

/// Up to so many ids, a filter waits at each of them; more are a wide set, at which it waits once.
pub(super) const FEW: usize = 8;

/// All keys that a filter waits for.
#[derive(Debug)]
pub(super) struct Cover {
    pub(super) paths: Vec<Path>,
    /// One killmail can have several of them.
    pub(super) several: bool,
}

/// One key, and what else has to hold if the killmail has it.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) list: List,
    pub(super) rest: Expr,
}

/// What to wait for.
#[derive(Debug, Clone)]
pub(super) enum List {
    Key(Key),
    /// One of more than [`FEW`] ids.
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
            let paths: Vec<Path> = operands.iter().flat_map(|operand| cover(operand).paths).collect();
            Cover {
                several: paths.len() > 1,
                paths,
            }
        }
        Expr::Has(has) if has.ids.len() > FEW => Cover {
            paths: vec![Path {
                list: List::Wide(has.clone()),
                rest: Expr::TRUE,
            }],
            several: false,
        },
        Expr::Has(has) => {
            let path = |&id| Path {
                list: List::Key(key(has.kind, has.role, id)),
                rest: Expr::TRUE,
            };
            Cover {
                paths: has.ids.iter().map(path).collect(),
                several: has.ids.len() > 1 && !is_single(has.kind, has.role),
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
        } => one(number_key(field as i32, comparison, value), expr.clone()),
        &Expr::Age { comparison, seconds } => one(number_key(AGE, comparison, nanos(seconds)), expr.clone()),
        Expr::Not(_) => one(ALWAYS, expr.clone()),
    }
}

fn one(key: Key, rest: Expr) -> Cover {
    Cover {
        paths: vec![Path {
            list: List::Key(key),
            rest,
        }],
        several: false,
    }
}

/// Numbers are only bounded by their bucket, so the test itself stays to be made.
fn number_key(field: i32, comparison: Comparison, value: f64) -> Key {
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
    reason = "only chooses a bucket, and rounding keeps the order"
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
        Expr::Has(has) if has.kind == HOUR && has.ids.len() > FEW => 1.0,
        Expr::Has(has) if has.kind == FLAG => has.ids.iter().map(|id| if id % 2 == 1 { 0.1 } else { 0.9 }).sum(),
        Expr::Has(has) => count(has.ids.len()) * share(has.kind, has.role),
        &Expr::Number {
            field,
            comparison,
            value,
        } => number_cost(comparison, at_least(field, value)),
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
fn share(kind: u8, role: u8) -> f64 {
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
