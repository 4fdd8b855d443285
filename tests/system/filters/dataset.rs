//! The data for random filters: enriched killmails and the names of the game.
//!
//! The real data come from `../shared/data`. If that folder does not exist, the bundled sample replaces them and a note
//! says so.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use killfeed::{
    filter::{Resolution, Resolve, fold},
    id::SystemId,
    v1::{EntityKind, Killmail, Location},
};
use killfeed_ingestor::{
    enrich::{fill, sde::read_archive, static_data::StaticData},
    parse::{Parsed, parse},
};
use killfeed_support::corpus;

pub(super) struct Dataset {
    /// The killmails in feed order, enriched from the static data.
    pub(super) killmails: Vec<Killmail>,
    pub(super) data: StaticData,
    /// Whether the static data contain all of New Eden.
    pub(super) real: bool,
}

/// Returns the dataset, which is read once for all tests.
pub(super) fn ground() -> &'static Dataset {
    static GROUND: LazyLock<Dataset> = LazyLock::new(Dataset::read);
    &GROUND
}

impl Dataset {
    fn read() -> Self {
        let corpus = corpus::best();
        let real = corpus::shared(&super::SDE["../shared/data/".len()..]);
        let data = match &real {
            Some(path) => read_archive(path, "real").unwrap(),
            None => {
                eprintln!("note: no ../shared/data/sde: this test uses the names of the bundled sample");
                let folder = tempfile::tempdir().unwrap();
                read_archive(&sample(folder.path()), "sample").unwrap()
            }
        };
        let parsed = |document: serde_json::Value| match parse(document.to_string().as_bytes()).unwrap() {
            Parsed::Killmail(document) => {
                let mut killmail = document.killmail;
                fill::fill_places_and_types(&data, &mut killmail);
                killmail.ingested_time = killmail.published_time;
                killmail
            }
            other => panic!("the document is not a killmail: {other:?}"),
        };
        Self {
            killmails: corpus.documents.into_iter().map(parsed).collect(),
            real: real.is_some() && corpus.real,
            data,
        }
    }

    /// Returns the name of an entity if a filter can contain the name.
    pub(super) fn name(&self, kind: EntityKind, id: u64) -> Option<&str> {
        self.data.name(kind, id).filter(|name| !fold(name).is_empty())
    }
}

/// Packs the bundled static data like CCP's archive.
fn sample(folder: &Path) -> PathBuf {
    let path = folder.join("sample.zip");
    let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    for (name, text) in corpus::SAMPLE_STATIC_DATA {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(format!("{name}.jsonl"), options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap();
    path
}

/// Resolves static names only: characters, corporations and alliances appear as ids.
impl Resolve for Dataset {
    fn exact(&self, kind: EntityKind, name: &str) -> Resolution {
        let ids: Vec<u64> = self.data.index().exact(kind, name).into_iter().map(u64::from).collect();
        match ids.first().and_then(|id| self.data.name(kind, *id)) {
            Some(name) => Resolution::Found {
                name: name.to_owned(),
                ids,
            },
            None => Resolution::Unknown,
        }
    }

    /// The generated patterns are `*piece*`, with one piece of a name.
    fn wildcard(&self, kind: EntityKind, pattern: &str) -> Vec<u64> {
        let piece = fold(pattern).trim_matches('*').to_owned();
        let named = self.data.index().of_kind(kind);
        let mut ids: Vec<u64> = named
            .filter(|(name, _)| name.contains(&piece))
            .map(|(_, id)| id.into())
            .collect();
        ids.sort_unstable();
        ids
    }

    fn similar(&self, _: EntityKind, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn within_light_years(&self, system: u64, light_years: f64) -> Option<Vec<u32>> {
        let near = self
            .data
            .within_light_years(SystemId(u32::try_from(system).ok()?), light_years)?;
        Some(near.into_iter().map(|id| id.0).collect())
    }

    fn within_jumps(&self, system: u64, jumps: u32) -> Option<Vec<u32>> {
        let near = self.data.within_jumps(SystemId(u32::try_from(system).ok()?), jumps)?;
        Some(near.into_iter().map(|id| id.0).collect())
    }

    fn location(&self, system: u32) -> Option<Location> {
        self.data.system(SystemId(system)).map(|system| system.location())
    }
}
