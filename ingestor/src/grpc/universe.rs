//! `UniverseService`, and what the edge asks of the universe.

use std::sync::Arc;

use async_trait::async_trait;
use killfeed::{
    filter::CompileOutcome,
    v1::{
        CompileFilterRequest, CompileFilterResponse, Entity, EntityKind, SearchEntitiesRequest, SearchEntitiesResponse,
        universe_service_server::UniverseService,
    },
};
use tonic::{Request, Response, Status};

use super::{
    service::{ServiceState, counted},
    status,
};
use crate::universe::Universe;

/// The contract's most, and its default.
const MAX_ENTITIES: usize = 25;
/// Longer than any name; a query is compared with tens of thousands of them.
const MAX_QUERY_CHARS: usize = 200;

/// What the edge asks of the universe: a trait, so that the edge is tested without static data.
#[async_trait]
pub trait UniverseApi: Send + Sync + 'static {
    /// Names like `query`, best first, at most `limit`; `kinds` empty = all.
    async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Vec<Entity>;
    /// How many names in a filter's text ESI would have to be asked for.
    async fn uncached_names(&self, text: &str) -> usize;
    /// Text → filter.
    async fn compile(&self, text: &str) -> CompileOutcome;
}

#[async_trait]
impl UniverseApi for Universe {
    async fn search(&self, query: &str, kinds: &[EntityKind], limit: usize) -> Vec<Entity> {
        Universe::search(self, query, kinds, limit).await
    }

    async fn uncached_names(&self, text: &str) -> usize {
        Universe::unseen(self, text).await.len()
    }

    async fn compile(&self, text: &str) -> CompileOutcome {
        Universe::compile(self, text).await
    }
}

/// The service as tonic calls it.
pub(super) struct UniverseCalls(pub(super) Arc<ServiceState>);

#[async_trait]
impl UniverseService for UniverseCalls {
    async fn search_entities(
        &self,
        request: Request<SearchEntitiesRequest>,
    ) -> Result<Response<SearchEntitiesResponse>, Status> {
        counted("SearchEntities", search(&self.0, request).await)
    }

    async fn compile_filter(
        &self,
        request: Request<CompileFilterRequest>,
    ) -> Result<Response<CompileFilterResponse>, Status> {
        counted("CompileFilter", compile(&self.0, request).await)
    }
}

async fn search(
    edge: &ServiceState,
    request: Request<SearchEntitiesRequest>,
) -> Result<SearchEntitiesResponse, Status> {
    edge.authorize(&request)?;
    let request = request.into_inner();
    let limit = match usize::try_from(request.page_size) {
        Ok(0) => MAX_ENTITIES,
        Ok(size) => size.min(MAX_ENTITIES),
        Err(_) => return Err(status::bad_field("page_size", "expected 0 (25 entities) or more")),
    };
    let kinds = request.kinds.iter().map(|kind| match EntityKind::try_from(*kind) {
        Ok(EntityKind::Unspecified) | Err(_) => Err(status::bad_field(
            "kinds",
            "expected entity kinds, or an empty list for all kinds",
        )),
        Ok(kind) => Ok(kind),
    });
    let kinds: Vec<EntityKind> = kinds.collect::<Result<_, _>>()?;
    let query: String = request.query.trim().chars().take(MAX_QUERY_CHARS).collect();
    let entities = edge.names.search(&query, &kinds, limit).await;
    Ok(SearchEntitiesResponse { entities })
}

async fn compile(edge: &ServiceState, request: Request<CompileFilterRequest>) -> Result<CompileFilterResponse, Status> {
    let caller = edge.authorize(&request)?;
    match edge.compile(&caller, &request.get_ref().filter).await? {
        CompileOutcome::Compiled(compiled) => Ok(CompileFilterResponse {
            filter: Some(compiled.filter),
            canonical: compiled.canonical,
            description: compiled.description,
            diagnostics: Vec::new(),
            warnings: compiled.warnings,
        }),
        CompileOutcome::Invalid(diagnostics) => Ok(CompileFilterResponse {
            diagnostics,
            ..CompileFilterResponse::default()
        }),
        CompileOutcome::Unavailable(names) => Err(status::names_unavailable(&names)),
    }
}
