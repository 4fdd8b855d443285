//! Types and systems that are newer than the static data: CCP adds some in the weeks between two builds. ESI says what they are;
//! kept in memory until the static data know them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use killfeed::{
    id::{ConstellationId, GroupId, RegionId},
    v1::{EntityKind, Location},
};
use moka::sync::Cache;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    batcher::{BatchJob, Batcher},
    esi::{Esi, EsiError},
    handle::StaticHandle,
    static_data::{self, StaticData},
};

/// More than this are not new, something is wrong with the static data; they are forgotten and asked for again.
const MAX_ENTRIES: usize = 2_000;
/// For so long what ESI does not know is not asked for again.
const NEGATIVE_TTL: Duration = Duration::from_secs(3600);

/// A type or a system that the static data does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum MissingId {
    Type(u32),
    System(u32),
}

/// What ESI said so far.
#[derive(Debug, Clone, Default)]
pub(super) struct FallbackData {
    /// Name and group.
    types: BTreeMap<u32, (Box<str>, u32)>,
    /// Name and category.
    groups: BTreeMap<u32, (Box<str>, u32)>,
    categories: BTreeMap<u32, Box<str>>,
    systems: BTreeMap<u32, Location>,
}

impl FallbackData {
    /// Group and, from here or from the static data, category.
    pub(super) fn group_and_category(&self, id: u32, data: Option<&StaticData>) -> Option<(u32, u32)> {
        let (_, group) = self.types.get(&id)?;
        let known = data
            .and_then(|data| data.group(GroupId(*group)))
            .map(|group| group.category.0);
        let category = known.or_else(|| self.groups.get(group).map(|(_, category)| *category));
        Some((*group, category.unwrap_or(0)))
    }

    pub(super) fn location(&self, id: u32) -> Option<&Location> {
        self.systems.get(&id)
    }

    pub(super) fn name(&self, kind: EntityKind, id: u64) -> Option<&str> {
        let id = u32::try_from(id).ok()?;
        match kind {
            EntityKind::Type => self.types.get(&id).map(|(name, _)| &**name),
            EntityKind::Group => self.groups.get(&id).map(|(name, _)| &**name),
            EntityKind::Category => self.categories.get(&id).map(|name| &**name),
            EntityKind::System => self.systems.get(&id).map(|place| &*place.system_name),
            // Those of a system that is known here.
            EntityKind::Constellation => {
                let mut places = self.systems.values();
                places
                    .find(|place| place.constellation_id == id)
                    .map(|place| &*place.constellation_name)
            }
            EntityKind::Region => {
                let mut places = self.systems.values();
                places
                    .find(|place| place.region_id == id)
                    .map(|place| &*place.region_name)
            }
            _ => None,
        }
        .filter(|name| !name.is_empty())
    }
}

/// The asking end. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct EsiFallback {
    known: Arc<ArcSwap<FallbackData>>,
    lane: Arc<Batcher<MissingId>>,
    unknown: Cache<MissingId, ()>,
}

impl EsiFallback {
    pub(super) fn new(esi: Esi, static_data: StaticHandle, shutdown: CancellationToken) -> Self {
        let known = Arc::new(ArcSwap::default());
        let unknown = Cache::builder()
            .max_capacity(MAX_ENTRIES as u64)
            .time_to_live(NEGATIVE_TTL)
            .build();
        let work = Fetch {
            esi,
            static_data,
            known: Arc::clone(&known),
            unknown: unknown.clone(),
        };
        Self {
            known,
            lane: Arc::new(Batcher::start(work, shutdown)),
            unknown,
        }
    }

    pub(super) fn known(&self) -> Arc<FallbackData> {
        self.known.load_full()
    }

    /// Asks for these, but for what ESI did not know a short while ago. The receiver ends when they were dealt with.
    pub(super) fn ask(&self, wanted: impl IntoIterator<Item = MissingId>) -> Option<oneshot::Receiver<()>> {
        self.lane.ask(
            wanted
                .into_iter()
                .filter(|wanted| !self.unknown.contains_key(wanted))
                .collect(),
        )
    }
}

struct Fetch {
    esi: Esi,
    static_data: StaticHandle,
    known: Arc<ArcSwap<FallbackData>>,
    unknown: Cache<MissingId, ()>,
}

impl BatchJob<MissingId> for Fetch {
    async fn run(&mut self, keys: Vec<MissingId>) {
        for key in keys {
            let mut known = FallbackData::clone(&self.known.load());
            if known.types.len() + known.systems.len() >= MAX_ENTRIES {
                known = FallbackData::default();
            }
            let learnt = match key {
                MissingId::Type(id) => self.type_of(id, &mut known).await,
                MissingId::System(id) => self.system(id, &mut known).await,
            };
            match learnt {
                Ok(()) => {
                    tracing::info!(?key, "ESI resolved an id missing from static data");
                    self.known.store(Arc::new(known));
                }
                Err(EsiError::NotFound) => self.unknown.insert(key, ()),
                Err(error @ EsiError::Unavailable { .. }) => {
                    tracing::debug!(?key, %error, "ESI did not resolve an id missing from static data");
                    return;
                }
                Err(error) => {
                    tracing::debug!(?key, %error, "ESI did not resolve an id missing from static data");
                    self.unknown.insert(key, ());
                }
            }
        }
    }
}

impl Fetch {
    async fn type_of(&self, id: u32, known: &mut FallbackData) -> Result<(), EsiError> {
        if known.types.contains_key(&id) {
            return Ok(());
        }
        let found = self.esi.type_of(id).await?;
        let data = self.static_data.get();
        let static_name = |kind, id: u32| data.as_deref().is_some_and(|data| data.name(kind, id.into()).is_some());
        if !static_name(EntityKind::Group, found.group_id) && !known.groups.contains_key(&found.group_id) {
            let group = self.esi.group(found.group_id).await?;
            let category = group.category_id;
            if !static_name(EntityKind::Category, category) && !known.categories.contains_key(&category) {
                let name = self.esi.category(category).await?.name;
                known.categories.insert(category, name.into());
            }
            known.groups.insert(found.group_id, (group.name.into(), category));
        }
        known.types.insert(id, (found.name.into(), found.group_id));
        Ok(())
    }

    async fn system(&self, id: u32, known: &mut FallbackData) -> Result<(), EsiError> {
        if known.systems.contains_key(&id) {
            return Ok(());
        }
        let found = self.esi.system(id).await?;
        let (constellation, security) = (found.constellation_id, found.security_status);
        let data = self.static_data.get();
        let located = data.and_then(|data| data.located(id, &found.name, ConstellationId(constellation), security));
        let place = match located {
            Some(place) => place,
            None => {
                let around = self.esi.constellation(constellation).await?;
                let region = self.esi.region(around.region_id).await?;
                Location {
                    system_id: id,
                    system_name: found.name,
                    constellation_id: constellation,
                    constellation_name: around.name,
                    region_id: around.region_id,
                    region_name: region.name,
                    security_status: security,
                    space: static_data::space_of(RegionId(around.region_id), security).into(),
                    ..Location::default()
                }
            }
        };
        known.systems.insert(id, place);
        Ok(())
    }
}
