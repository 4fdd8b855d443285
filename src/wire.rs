//! Sending events that are encoded already, and receiving them as they are.
//!
//! A killmail is encoded once, when it is logged; a server only puts its cursor in front, and gRPC's five bytes before that.
//! Messages framed like this are the same for every stream that wants them, so they are made once and shared:
//! [`unary_server`] is `KillmailService` without its stream, which the ingestor serves from such bytes itself. Clients see no
//! difference.

mod receive;

use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{self, WireType};

pub use receive::{ReceiveCodec, Received, ReceivedEvent};

use crate::v1::{Gap, Progress};

/// Server side of `KillmailService` without `StreamKillmails`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod unary_server {
    include!(concat!(env!("OUT_DIR"), "/killfeed.v1.KillmailService.rs"));
    pub use killmail_service_server::{KillmailService, KillmailServiceServer};
}

/// Metadata of a GetFeedStatus answer: the ids that the log's history bore before, oldest first, each as the cursor of its last
/// offset, separated by commas. Relays take it over; other clients have no use for it.
pub const LINEAGE: &str = "killfeed-lineage";

/// What gRPC puts before each message: a byte that says "not compressed", and the length.
const HEADER: usize = 5;

// Field numbers of StreamKillmailsResponse, held against the generated type by a test below.
const CURSOR: u32 = 1;
const KILLMAIL: u32 = 2;
const PROGRESS: u32 = 3;
const GAP: u32 = 4;

/// One `StreamKillmailsResponse`: its cursor, and the event as encoded bytes that all streams share.
#[derive(Clone, Debug)]
pub struct EncodedEvent {
    cursor: String,
    tag: u32,
    event: Bytes,
}

impl EncodedEvent {
    /// `killmail`: an encoded [`crate::v1::Killmail`].
    pub fn killmail(cursor: String, killmail: Bytes) -> Self {
        Self {
            cursor,
            tag: KILLMAIL,
            event: killmail,
        }
    }

    /// `gap`: an encoded [`Gap`].
    pub fn encoded_gap(cursor: String, gap: Bytes) -> Self {
        Self {
            cursor,
            tag: GAP,
            event: gap,
        }
    }

    /// A gap made for one stream.
    pub fn gap(cursor: String, gap: &Gap) -> Self {
        Self::encoded_gap(cursor, prost::Message::encode_to_vec(gap).into())
    }

    /// A sign of life.
    pub fn progress(cursor: String, progress: &Progress) -> Self {
        Self {
            cursor,
            tag: PROGRESS,
            event: prost::Message::encode_to_vec(progress).into(),
        }
    }

    /// Bytes of the whole message on the wire, without gRPC's own five.
    pub fn encoded_len(&self) -> usize {
        let field = |tag, len: usize| encoding::key_len(tag) + encoding::encoded_len_varint(len as u64) + len;
        field(CURSOR, self.cursor.len()) + field(self.tag, self.event.len())
    }

    /// Writes the whole message.
    pub fn encode(&self, out: &mut impl BufMut) {
        encoding::string::encode(CURSOR, &self.cursor, out);
        encoding::encode_key(self.tag, WireType::LengthDelimited, out);
        encoding::encode_varint(self.event.len() as u64, out);
        out.put_slice(&self.event);
    }

    /// Bytes of the framed message: [`EncodedEvent::frame`] writes so many.
    pub fn framed_len(&self) -> usize {
        HEADER + self.encoded_len()
    }

    /// Writes the whole message as it goes over the wire, gRPC's own bytes before it.
    pub fn frame(&self, out: &mut impl BufMut) {
        out.put_u8(0);
        // A document is read up to 16 MiB, and a cursor is a few bytes.
        out.put_u32(u32::try_from(self.encoded_len()).unwrap_or(u32::MAX));
        self.encode(out);
    }

    /// The framed message as bytes of its own.
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
    fn reads_back_as_the_generated_message() {
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
