//! Sending and receiving events without encoding or decoding them again.
//!
//! A killmail is encoded once, when it is written to the log. A server only adds the cursor and gRPC's five-byte header in
//! front. The result is the same for every stream, so the server builds each message once and shares it. The ingestor serves
//! `StreamKillmails` from these bytes directly; [`unary_server`] is the rest of `KillmailService`. Clients see no difference.

mod receive;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{self, WireType};

pub use receive::{ReceiveCodec, Received, ReceivedEvent};

use crate::v1::{Gap, Progress};

/// The server of `KillmailService` without `StreamKillmails`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod unary_server {
    include!(concat!(env!("OUT_DIR"), "/killfeed.v1.KillmailService.rs"));
    pub use killmail_service_server::{KillmailService, KillmailServiceServer};
}

/// The metadata key of a GetFeedStatus response that carries the log's lineage.
///
/// The value lists the log's former ids, oldest first, separated by commas. Each one is the cursor of its last offset. Relays
/// copy the lineage; other clients can ignore it.
pub const LINEAGE: &str = "killfeed-lineage";

/// The length of gRPC's message header: a compression flag (1 byte) and the message length (4 bytes).
const HEADER: usize = 5;

// The field numbers of StreamKillmailsResponse. A test below compares them with the generated type.
const CURSOR: u32 = 1;
const KILLMAIL: u32 = 2;
const PROGRESS: u32 = 3;
const GAP: u32 = 4;

/// A `StreamKillmailsResponse` with an encoded event, whose bytes all streams share.
#[derive(Clone, Debug)]
pub struct EncodedEvent {
    cursor: String,
    tag: u32,
    event: Bytes,
}

impl EncodedEvent {
    /// Creates a killmail event from an encoded [`crate::v1::Killmail`].
    pub fn killmail(cursor: String, killmail: Bytes) -> Self {
        Self {
            cursor,
            tag: KILLMAIL,
            event: killmail,
        }
    }

    /// Creates a gap event from an encoded [`Gap`].
    pub fn encoded_gap(cursor: String, gap: Bytes) -> Self {
        Self {
            cursor,
            tag: GAP,
            event: gap,
        }
    }

    /// Creates and encodes a gap event, for a gap that only one stream sends.
    pub fn gap(cursor: String, gap: &Gap) -> Self {
        Self::encoded_gap(cursor, prost::Message::encode_to_vec(gap).into())
    }

    /// Creates and encodes a progress event.
    pub fn progress(cursor: String, progress: &Progress) -> Self {
        Self {
            cursor,
            tag: PROGRESS,
            event: prost::Message::encode_to_vec(progress).into(),
        }
    }

    /// Returns the length of the encoded message in bytes, without gRPC's header.
    pub fn encoded_len(&self) -> usize {
        let field = |tag, len: usize| encoding::key_len(tag) + encoding::encoded_len_varint(len as u64) + len;
        field(CURSOR, self.cursor.len()) + field(self.tag, self.event.len())
    }

    /// Writes the message without gRPC's header.
    pub fn encode(&self, out: &mut impl BufMut) {
        encoding::string::encode(CURSOR, &self.cursor, out);
        encoding::encode_key(self.tag, WireType::LengthDelimited, out);
        encoding::encode_varint(self.event.len() as u64, out);
        out.put_slice(&self.event);
    }

    /// Returns the number of bytes that [`EncodedEvent::frame`] writes.
    pub fn framed_len(&self) -> usize {
        HEADER + self.encoded_len()
    }

    /// Writes gRPC's header and the message.
    pub fn frame(&self, out: &mut impl BufMut) {
        out.put_u8(0);
        // The length fits: documents are limited to 16 MiB, and a cursor is a few bytes long.
        out.put_u32(u32::try_from(self.encoded_len()).unwrap_or(u32::MAX));
        self.encode(out);
    }

    /// Returns gRPC's header and the message as new bytes.
    pub fn framed(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.framed_len());
        self.frame(&mut out);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;
    use prost::Message as _;

    use super::*;
    use crate::v1::{Killmail, StreamKillmailsResponse, stream_killmails_response::Event};

    #[test]
    fn encoded_event_decodes_as_the_generated_message() {
        let killmail = Killmail {
            killmail_id: 7,
            hash: "ab".into(),
            ..Default::default()
        };
        let gap = Gap {
            reason: 2,
            missing: 3,
            ..Default::default()
        };
        let progress = Progress {
            caught_up: true,
            ..Default::default()
        };
        let cursor = || "k1-x".to_owned();
        for (encoded, event) in [
            (
                EncodedEvent::killmail(cursor(), killmail.encode_to_vec().into()),
                Event::Killmail(killmail),
            ),
            (EncodedEvent::gap(cursor(), &gap), Event::Gap(gap)),
            (EncodedEvent::progress(cursor(), &progress), Event::Progress(progress)),
        ] {
            let mut bytes = encoded.framed();
            assert_eq!(bytes.len(), encoded.framed_len());
            assert_eq!(bytes.get_u8(), 0, "not compressed");
            assert_eq!(bytes.get_u32() as usize, bytes.len());
            let read = StreamKillmailsResponse::decode(bytes).unwrap();
            assert_eq!(
                read,
                StreamKillmailsResponse {
                    cursor: "k1-x".into(),
                    event: Some(event)
                }
            );
        }
    }
}
