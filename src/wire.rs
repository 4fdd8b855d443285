//! Sending events that are encoded already, and receiving them as they are.
//!
//! A killmail is encoded once, when it is logged; each stream only puts its cursor in front. [`raw_server`] is
//! `KillmailService` with a stream of [`EncodedEvent`]; clients see no difference.

mod receive;

use bytes::{Bytes, BytesMut};
use prost::encoding::{self, WireType};
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};

pub use receive::{ReceiveCodec, Received, ReceivedEvent};

use crate::v1::{Gap, Progress, StreamKillmailsRequest};

/// Server side of `KillmailService` whose stream takes [`EncodedEvent`]s.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod raw_server {
    include!(concat!(env!("OUT_DIR"), "/killfeed.v1.KillmailService.rs"));
    pub use killmail_service_server::{KillmailService, KillmailServiceServer};
}

/// Metadata of a GetFeedStatus answer: the ids that the log's history bore before, oldest first, each as the cursor of its last
/// offset, separated by commas. Relays take it over; other clients have no use for it.
pub const LINEAGE: &str = "killfeed-lineage";

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
    pub fn encode(&self, out: &mut impl bytes::BufMut) {
        encoding::string::encode(CURSOR, &self.cursor, out);
        encoding::encode_key(self.tag, WireType::LengthDelimited, out);
        encoding::encode_varint(self.event.len() as u64, out);
        out.put_slice(&self.event);
    }

    /// The whole message as bytes of its own.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        self.encode(&mut out);
        out.freeze()
    }
}

/// Takes `StreamKillmailsRequest`s, sends [`EncodedEvent`]s.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventCodec;

impl Codec for EventCodec {
    type Encode = EncodedEvent;
    type Decode = StreamKillmailsRequest;
    type Encoder = EventEncoder;
    type Decoder = <tonic_prost::ProstCodec<(), StreamKillmailsRequest> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        EventEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        tonic_prost::ProstCodec::<(), StreamKillmailsRequest>::default().decoder()
    }
}

/// Puts an [`EncodedEvent`] on the wire.
#[derive(Clone, Copy, Debug)]
pub struct EventEncoder;

impl Encoder for EventEncoder {
    type Item = EncodedEvent;
    type Error = tonic::Status;

    fn encode(&mut self, item: EncodedEvent, out: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        out.reserve(item.encoded_len());
        item.encode(out);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        // Measured best for 2 KB messages: tonic packs what is ready into one buffer and hands it over past the second.
        BufferSettings::new(140 * 1024, 128 * 1024)
    }
}

#[cfg(test)]
mod tests {
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
            let bytes = encoded.to_bytes();
            assert_eq!(bytes.len(), encoded.encoded_len());
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
