//! Everything that a killmail has, as keys: gathered once for all filters.

use std::cell::OnceCell;

use super::{
    super::program::{Participant, instant, is_set, number, place},
    expr::space_id,
    key::{
        AGE, ANY, ATTACKER, CONSTELLATION, EQUAL, FINAL, FLAG, FactKey, HAS_VICTIM, HOUR, ITEM, ITEM_GROUP, LABEL,
        MAX_ID, REGION, SPACE, SYSTEM, VICTIM, flag_id, key, number_id,
    },
    labels::Labels,
};
use crate::v1::{Attacker, Item, Killmail, KillmailFlag, NumberField, ParticipantField, Space};

const PARTICIPANT_FIELDS: [ParticipantField; 9] = [
    ParticipantField::Character,
    ParticipantField::Corporation,
    ParticipantField::Alliance,
    ParticipantField::Faction,
    ParticipantField::Ship,
    ParticipantField::Group,
    ParticipantField::Category,
    ParticipantField::Weapon,
    ParticipantField::WeaponGroup,
];

const FLAGS: [KillmailFlag; 4] = [
    KillmailFlag::Npc,
    KillmailFlag::Solo,
    KillmailFlag::Awox,
    KillmailFlag::War,
];

/// How many fields of numbers there are, and one more.
const NUMBERS: usize = 11;

/// A killmail, seen as keys and numbers.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// Each key once.
    keys: Table,
    /// By field; NaN where the killmail does not say.
    numbers: [f64; NUMBERS],
    /// From the kill to its ingestion, in nanoseconds.
    pub(super) age: Option<i128>,
    hour: u64,
    pub(super) attackers: &'a [Attacker],
    /// By field: every id and whose it is, in order. Made when first asked for.
    by_id: [OnceCell<Vec<(u64, u32)>>; PARTICIPANT_FIELDS.len()],
}

impl<'a> Facts<'a> {
    /// As labels it has those that some filter names: of the others nobody asks.
    pub(super) fn of(killmail: &'a Killmail, labels: &Labels) -> Self {
        let mut facts = Self {
            keys: Table::default(),
            numbers: [f64::NAN; NUMBERS],
            age: None,
            hour: 24,
            attackers: &killmail.attackers,
            by_id: Default::default(),
        };
        facts.participants(killmail);
        facts.items(killmail);
        facts.place(killmail);
        for flag in FLAGS {
            let id = flag_id(flag as i32 as u64, is_set(killmail, flag));
            facts.add(FLAG, ANY, id);
        }
        facts.add(FLAG, ANY, flag_id(HAS_VICTIM, killmail.victim.is_some()));
        for label in &killmail.labels {
            if let Some(id) = labels.id(label) {
                facts.add(LABEL, ANY, id);
            }
        }
        if let Some(time) = killmail.kill_time {
            facts.hour = time.seconds.rem_euclid(86_400).unsigned_abs() / 3_600;
            facts.age = killmail.ingested_time.map(|ingested| instant(ingested) - instant(time));
        }
        facts.add(HOUR, ANY, facts.hour);
        for (field, slot) in (0_i32..).zip(facts.numbers.iter_mut()) {
            let field = NumberField::try_from(field).unwrap_or(NumberField::Unspecified);
            *slot = number(killmail, field).unwrap_or(f64::NAN);
        }
        for (field, number) in facts.numbers() {
            facts.add(EQUAL, ANY, number_id(field, number));
        }
        facts
    }

    /// Whether the killmail has this.
    pub(super) fn has(&self, key: FactKey) -> bool {
        self.keys.contains(key)
    }

    /// Everything it has, in the order in which it was added.
    pub(super) fn keys(&self) -> &[FactKey] {
        &self.keys.keys
    }

    /// One more thing that it has; whether that is new.
    pub(super) fn insert(&mut self, key: FactKey) -> bool {
        self.keys.insert(key)
    }

    /// NaN where the killmail does not say.
    pub(super) fn number(&self, field: usize) -> f64 {
        self.numbers.get(field).copied().unwrap_or(f64::NAN)
    }

    /// The numbers that the killmail says, by field; its age among them.
    #[expect(
        clippy::cast_precision_loss,
        reason = "only chooses where to wait, and rounding keeps the order"
    )]
    pub(super) fn numbers(&self) -> Vec<(i32, f64)> {
        let said = (0_i32..).zip(self.numbers).filter(|(_, number)| !number.is_nan());
        said.chain(self.age.map(|nanos| (AGE, nanos as f64))).collect()
    }

    /// The hour of the kill; 24 where the killmail does not say.
    pub(super) fn hour(&self) -> u64 {
        self.hour
    }

    /// Which attackers have this id in the field.
    pub(super) fn attackers_with(&self, field: u8, id: u64) -> &[(u64, u32)] {
        let at = usize::from(field).wrapping_sub(1);
        let (Some(cell), Some(field)) = (self.by_id.get(at), PARTICIPANT_FIELDS.get(at)) else {
            return &[];
        };
        let all = cell.get_or_init(|| {
            let ids = self
                .attackers
                .iter()
                .map(|attacker| Participant::Attacker(attacker).id(*field));
            let mut all: Vec<(u64, u32)> = ids.zip(0..).filter(|(id, _)| *id != 0).collect();
            all.sort_unstable();
            all
        });
        let from = all.partition_point(|(known, _)| *known < id);
        let count = all[from..].partition_point(|(known, _)| *known == id);
        &all[from..from + count]
    }

    /// An id without a key is asked for by no filter that is looked up by keys.
    fn add(&mut self, kind: u8, role: u8, id: u64) -> bool {
        id <= MAX_ID && self.keys.insert(key(kind, role, id))
    }

    fn participants(&mut self, killmail: &Killmail) {
        let fields = (1_u8..).zip(PARTICIPANT_FIELDS);
        if let Some(victim) = &killmail.victim {
            for (kind, field) in fields.clone() {
                let id = Participant::Victim(victim).id(field);
                if id != 0 && self.add(kind, VICTIM, id) {
                    self.add(kind, ANY, id);
                }
            }
        }
        for attacker in &killmail.attackers {
            for (kind, field) in fields.clone() {
                let id = Participant::Attacker(attacker).id(field);
                if id == 0 {
                    continue;
                }
                if self.add(kind, ATTACKER, id) {
                    self.add(kind, ANY, id);
                }
                if attacker.final_blow {
                    self.add(kind, FINAL, id);
                }
            }
        }
    }

    /// Nested containers included, with a list of its own instead of recursion.
    fn items(&mut self, killmail: &Killmail) {
        let mut inside: Vec<&[Item]> = killmail.victim.iter().map(|victim| victim.items.as_slice()).collect();
        while let Some(items) = inside.pop() {
            for item in items {
                for (kind, id) in [(ITEM, item.type_id), (ITEM_GROUP, item.group_id)] {
                    if id != 0 {
                        self.add(kind, ANY, id.into());
                    }
                }
                if !item.items.is_empty() {
                    inside.push(&item.items);
                }
            }
        }
    }

    fn place(&mut self, killmail: &Killmail) {
        let Some(place) = place(killmail) else {
            self.add(SPACE, ANY, space_id(Space::Unspecified));
            return;
        };
        self.add(SPACE, ANY, space_id(place.space()));
        for (kind, id) in [
            (SYSTEM, place.system_id),
            (CONSTELLATION, place.constellation_id),
            (REGION, place.region_id),
        ] {
            if id != 0 {
                self.add(kind, ANY, id.into());
            }
        }
    }
}

/// A set of keys that is asked thousands of times: open addressing, at most half full.
#[derive(Debug)]
struct Table {
    /// A power of two; 0 = free.
    slots: Vec<FactKey>,
    keys: Vec<FactKey>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: vec![0; 512],
            keys: Vec::with_capacity(256),
        }
    }
}

impl Table {
    fn contains(&self, key: FactKey) -> bool {
        self.slots[self.slot(key)] == key
    }

    fn insert(&mut self, key: FactKey) -> bool {
        let slot = self.slot(key);
        if self.slots[slot] == key {
            return false;
        }
        self.slots[slot] = key;
        self.keys.push(key);
        if self.keys.len() * 2 > self.slots.len() {
            self.slots = vec![0; self.slots.len() * 4];
            for at in 0..self.keys.len() {
                let slot = self.slot(self.keys[at]);
                self.slots[slot] = self.keys[at];
            }
        }
        true
    }

    /// Where the key is, or the free slot where it would be.
    fn slot(&self, key: FactKey) -> usize {
        let last = self.slots.len() - 1;
        // Upper bits of a product depend on all bits below.
        let mut slot = ((key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & last;
        while self.slots[slot] != key && self.slots[slot] != 0 {
            slot = (slot + 1) & last;
        }
        slot
    }
}
