//! A document of the feed → a killmail, or a typed reject.
//!
//! Lenient where zKillboard is known to be loose (nulls, floats for integers, missing fields, unknown fields, two time
//! formats), strict only about what makes a killmail one: which (id and hash), when, where, and what was lost. Nothing
//! that comes in makes it panic.

mod canonical;
mod fields;
mod node;
mod reject;
mod time;

#[cfg(test)]
mod tests;

use killfeed::{
    id::{ContentHash, KillmailId},
    v1,
};

pub use self::{canonical::CONTENT_HASH_VERSION, reject::Reject};
use self::{
    fields::{Fields, non_zero},
    node::Node,
};

/// ESI nests items one level deep. Deeper ones are put beside their container at this depth: protobuf runtimes refuse
/// messages nested much deeper, and no killmail should be lost over it.
const ITEM_DEPTH: usize = 8;

/// What a document turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// A killmail, complete.
    Killmail(Box<ParsedDocument>),
    /// All null: zKillboard's filler for a number that has no killmail.
    Placeholder,
    /// Without ESI's body, which has to be fetched.
    NeedsBody(Box<BodylessDocument>),
}

/// A killmail as the feed says it: without names, places beyond `system_id`, `celestial_id` and `position`, groups,
/// categories, revision and `ingested_time`.
#[derive(Debug, Clone, PartialEq)]
pub struct ParsedDocument {
    /// What is known so far.
    pub killmail: v1::Killmail,
    /// What the document says, as a hash; `None` = it came without zkb (history, archives).
    pub content: Option<ContentHash>,
    /// An older number that was published anew.
    pub sequence_updated: Option<u64>,
}

/// A document whose `esi` is null or empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodylessDocument {
    id: KillmailId,
    hash: String,
    body: Vec<u8>,
}

impl BodylessDocument {
    /// Which killmail.
    pub fn id(&self) -> KillmailId {
        self.id
    }

    /// Its hash, which opens ESI's body. ASCII letters and digits, so safe in a URL.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Puts ESI's body in the place of the missing one.
    pub fn with_body(self, esi: &[u8]) -> Result<ParsedDocument, Reject> {
        let mut document = Node::parse(&self.body)?;
        document.replace("esi", Node::parse(esi).map_err(|reject| reject.within("esi"))?);
        let fields = Fields::of(&document).map_err(|reject| reject.within("the document"))?;
        let identity = KillmailIdentity::of(&fields)?;
        // Checked here because ESI's error bodies are JSON objects as well.
        let body = fields
            .child("esi")?
            .filter(|esi| !esi.is_empty())
            .ok_or(Reject::Missing("esi".into()))?;
        assemble(&document, &fields, identity, &body)
    }
}

/// Reads one document of the feed.
pub fn parse(body: &[u8]) -> Result<Parsed, Reject> {
    let document = Node::parse(body)?;
    let fields = Fields::of(&document).map_err(|reject| reject.within("the document"))?;
    if is_placeholder(&document, &fields) {
        return Ok(Parsed::Placeholder);
    }
    let identity = KillmailIdentity::of(&fields)?;
    match fields.child("esi")?.filter(|esi| !esi.is_empty()) {
        Some(esi) => assemble(&document, &fields, identity, &esi).map(|document| Parsed::Killmail(Box::new(document))),
        None => Ok(Parsed::NeedsBody(Box::new(BodylessDocument {
            id: identity.id,
            hash: identity.hash,
            body: body.to_vec(),
        }))),
    }
}

/// Nothing but nulls where a killmail should be. zKillboard's own builds its `href` of them: `.../killmails///`.
fn is_placeholder(document: &Node<'_>, fields: &Fields<'_, '_>) -> bool {
    let identified = ["killmail_id", "hash", "esi"]
        .iter()
        .any(|name| fields.get(name).is_some_and(|value| !value.is_vacant()));
    let zkb = document.get("zkb");
    let href = zkb.and_then(|zkb| zkb.get("href")).and_then(Node::as_str);
    let vacant_zkb = zkb.is_none_or(Node::is_vacant) && document.get("killmail_id").is_some();
    !identified && (href.is_some_and(|href| href.ends_with("/killmails///")) || vacant_zkb)
}

/// Which killmail it is.
struct KillmailIdentity {
    id: KillmailId,
    hash: String,
}

impl KillmailIdentity {
    /// The outermost mention counts; `esi` and `zkb` repeat it.
    fn of(fields: &Fields<'_, '_>) -> Result<Self, Reject> {
        let esi = fields.child("esi")?;
        let outer = fields.id("killmail_id")?;
        let inner = esi
            .as_ref()
            .map_or(Ok(0), |esi| esi.id("killmail_id"))
            .map_err(|reject| reject.within("esi"))?;
        if outer != 0 && inner != 0 && outer != inner {
            return Err(Reject::IdMismatch {
                document: outer,
                body: inner,
            });
        }
        let id =
            KillmailId::new(if outer == 0 { inner } else { outer }).ok_or(Reject::Missing("killmail_id".into()))?;
        let zkb = fields.child("zkb")?;
        let hash = [fields.get("hash"), zkb.as_ref().and_then(|zkb| zkb.get("hash"))]
            .into_iter()
            .flatten()
            .find(|value| !value.is_vacant())
            .ok_or(Reject::Missing("hash".into()))?;
        // It goes into ESI's URL, so nothing but letters and digits; a length other than 40 is zKillboard's affair.
        let usable = |hash: &&str| hash.len() <= 64 && hash.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let hash = hash
            .as_str()
            .filter(usable)
            .ok_or_else(|| Reject::wrong_type("hash", hash, "40 hexadecimal digits"))?;
        Ok(Self {
            id,
            hash: hash.to_owned(),
        })
    }
}

fn assemble(
    document: &Node<'_>,
    fields: &Fields<'_, '_>,
    identity: KillmailIdentity,
    esi: &Fields<'_, '_>,
) -> Result<ParsedDocument, Reject> {
    let zkb = fields.child("zkb")?.filter(|zkb| !zkb.is_empty());
    let mut killmail = body(esi).map_err(|reject| reject.within("esi"))?;
    killmail.killmail_id = identity.id.0;
    killmail.hash = identity.hash;
    killmail.published_time = fields
        .integer("uploaded_at")?
        .filter(|seconds| *seconds != 0)
        .map(time::from_unix_seconds)
        .transpose()
        .map_err(|reject| reject.within("uploaded_at"))?;
    killmail.feed_sequence = fields.count("sequence_id")?;
    if let Some(zkb) = &zkb {
        evaluate(&mut killmail, zkb).map_err(|reject| reject.within("zkb"))?;
    }
    Ok(ParsedDocument {
        killmail,
        content: zkb.map(|_| canonical::content_hash(document)),
        sequence_updated: non_zero(fields.count("sequence_updated")?),
    })
}

/// What zKillboard adds to CCP's killmail.
fn evaluate(killmail: &mut v1::Killmail, zkb: &Fields<'_, '_>) -> Result<(), Reject> {
    if let Some(location) = &mut killmail.location {
        location.celestial_id = zkb.id("locationID")?;
    }
    killmail.value = Some(v1::Valuation {
        total: zkb.number("totalValue")?,
        fitted: zkb.number("fittedValue")?,
        dropped: zkb.number("droppedValue")?,
        destroyed: zkb.number("destroyedValue")?,
        droppable: zkb.number("totalDroppableValue")?,
    });
    killmail.npc = zkb.flag("npc")?;
    killmail.solo = zkb.flag("solo")?;
    killmail.awox = zkb.flag("awox")?;
    killmail.points = zkb
        .integer("points")?
        .map(|points| u32::try_from(points.max(0)).unwrap_or(u32::MAX));
    let labels = zkb.list("labels")?;
    killmail.labels = labels
        .iter()
        .filter_map(|label| label.as_str())
        .map(str::to_owned)
        .collect();
    Ok(())
}

/// CCP's killmail.
fn body(esi: &Fields<'_, '_>) -> Result<v1::Killmail, Reject> {
    let time = esi.require("killmail_time")?;
    let victim = esi.child("victim")?.ok_or(Reject::Missing("victim".into()))?;
    let (victim, position) = victim_and_position(&victim).map_err(|reject| reject.within("victim"))?;
    let attackers = esi.list("attackers")?;
    Ok(v1::Killmail {
        kill_time: Some(time::parse(time).map_err(|reject| reject.within("killmail_time"))?),
        location: Some(v1::Location {
            system_id: esi.required_id("solar_system_id")?,
            position,
            ..Default::default()
        }),
        victim: Some(victim),
        attackers: attackers
            .iter()
            .enumerate()
            .map(|(index, node)| attacker(node).map_err(|reject| reject.within(&format!("attackers[{index}]"))))
            .collect::<Result<_, _>>()?,
        war_id: esi.id("war_id")?,
        ..Default::default()
    })
}

fn victim_and_position(victim: &Fields<'_, '_>) -> Result<(v1::Victim, Option<v1::Position3d>), Reject> {
    let mut items = Vec::new();
    collect_items(victim, 1, &mut items)?;
    let position = match victim.child("position")? {
        Some(position) => position_in(&position).map_err(|reject| reject.within("position"))?,
        None => None,
    };
    let victim = v1::Victim {
        character_id: victim.id("character_id")?,
        corporation_id: victim.id("corporation_id")?,
        alliance_id: victim.id("alliance_id")?,
        faction_id: victim.small_id("faction_id")?,
        ship_type_id: victim.required_id("ship_type_id")?,
        damage_taken: victim.count("damage_taken")?,
        items,
        ..Default::default()
    };
    Ok((victim, position))
}

/// Known only with all three coordinates.
fn position_in(position: &Fields<'_, '_>) -> Result<Option<v1::Position3d>, Reject> {
    let (x, y, z) = (position.number("x")?, position.number("y")?, position.number("z")?);
    Ok(x.zip(y).zip(z).map(|((x, y), z)| v1::Position3d { x, y, z }))
}

fn attacker(node: &Node<'_>) -> Result<v1::Attacker, Reject> {
    let attacker = Fields::of(node)?;
    Ok(v1::Attacker {
        character_id: attacker.id("character_id")?,
        corporation_id: attacker.id("corporation_id")?,
        alliance_id: attacker.id("alliance_id")?,
        faction_id: attacker.small_id("faction_id")?,
        ship_type_id: attacker.small_id("ship_type_id")?,
        weapon_type_id: attacker.small_id("weapon_type_id")?,
        damage_done: attacker.count("damage_done")?,
        final_blow: attacker.flag("final_blow")?,
        security_status: attacker.number("security_status")?.unwrap_or(0.0),
        ..Default::default()
    })
}

/// Puts the items of a holder (the victim, a container) into `into`. The depth is bounded by [`Node::parse`] as well.
fn collect_items(holder: &Fields<'_, '_>, depth: usize, into: &mut Vec<v1::Item>) -> Result<(), Reject> {
    let list = holder.list("items")?;
    into.reserve(list.len());
    for (index, node) in list.iter().enumerate() {
        let at = |reject: Reject| reject.within(&format!("items[{index}]"));
        let fields = Fields::of(node).map_err(at)?;
        let mut item = item(&fields).map_err(at)?;
        if depth < ITEM_DEPTH {
            collect_items(&fields, depth + 1, &mut item.items).map_err(at)?;
            into.push(item);
        } else {
            into.push(item);
            collect_items(&fields, depth, into).map_err(at)?;
        }
    }
    Ok(())
}

fn item(fields: &Fields<'_, '_>) -> Result<v1::Item, Reject> {
    Ok(v1::Item {
        type_id: fields.small_id("item_type_id")?,
        flag: fields.small_id("flag")?,
        quantity_destroyed: fields.count("quantity_destroyed")?,
        quantity_dropped: fields.count("quantity_dropped")?,
        singleton: fields.small_id("singleton")?,
        ..Default::default()
    })
}
