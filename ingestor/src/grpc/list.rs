//! `ListKillmails`.

use killfeed::v1::{ListKillmailsRequest, ListKillmailsResponse};
use tonic::{Request, Status};

use super::service::Edge;

pub(super) async fn list(edge: &Edge, request: Request<ListKillmailsRequest>) -> Result<ListKillmailsResponse, Status> {
    edge.admit(&request)?;
    Err(Status::unimplemented(
        "this version of the ingestor does not list killmails yet: stream them from POSITION_EARLIEST instead",
    ))
}
