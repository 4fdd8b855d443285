//! Receiving events without decoding their killmails and gaps.
//!
//! A relay stores the received bytes unchanged, so that fields of newer versions survive.

use bytes::{Buf as _, Bytes};
use prost::{
    DecodeError, Message as _,
    encoding::{self, DecodeContext, WireType},
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};

use super::{CURSOR, GAP, KILLMAIL, PROGRESS};
use crate::v1::{Progress, StreamKillmailsRequest};

/// A received `StreamKillmailsResponse`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedEvent {
    /// The position in the log after this event.
    pub cursor: String,
    /// The event.
    pub event: Received,
}

/// The kind of a received event, with its content.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// An encoded [`crate::v1::Killmail`].
    Killmail(Bytes),
    /// An encoded [`crate::v1::Gap`].
    Gap(Bytes),
    /// A heartbeat.
    Progress(Progress),
    /// An event that this version does not know.
    Unknown,
}

impl ReceivedEvent {
    /// Decodes one message, without gRPC's header.
    pub fn decode(mut message: Bytes) -> Result<Self, DecodeError> {
        let mut cursor = String::new();
        let mut event = Received::Unknown;
        while message.has_remaining() {
            let (tag, wire_type) = encoding::decode_key(&mut message)?;
            match (tag, wire_type) {
                (CURSOR, WireType::LengthDelimited) => {
                    encoding::string::merge(wire_type, &mut cursor, &mut message, DecodeContext::default())?;
                }
                (KILLMAIL, WireType::LengthDelimited) => event = Received::Killmail(field(&mut message)?),
                (GAP, WireType::LengthDelimited) => event = Received::Gap(field(&mut message)?),
                (PROGRESS, WireType::LengthDelimited) => {
                    event = Received::Progress(Progress::decode(field(&mut message)?)?);
                }
                _ => encoding::skip_field(wire_type, tag, &mut message, DecodeContext::default())?,
            }
        }
        Ok(Self { cursor, event })
    }
}

/// Takes the bytes of a length-delimited field. The result shares memory with the message.
fn field(message: &mut Bytes) -> Result<Bytes, DecodeError> {
    // prost reads the field because only prost can construct a `DecodeError`.
    let mut bytes = Bytes::new();
    encoding::bytes::merge(WireType::LengthDelimited, &mut bytes, message, DecodeContext::default())?;
    Ok(bytes)
}

/// A codec that sends `StreamKillmailsRequest` and receives [`ReceivedEvent`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ReceiveCodec;

impl Codec for ReceiveCodec {
    type Encode = StreamKillmailsRequest;
    type Decode = ReceivedEvent;
    type Encoder = <tonic_prost::ProstCodec<StreamKillmailsRequest, ()> as Codec>::Encoder;
    type Decoder = ReceiveDecoder;

    fn encoder(&mut self) -> Self::Encoder {
        tonic_prost::ProstCodec::<StreamKillmailsRequest, ()>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ReceiveDecoder
    }
}

/// The decoder of [`ReceiveCodec`].
#[derive(Clone, Copy, Debug)]
pub struct ReceiveDecoder;

impl Decoder for ReceiveDecoder {
    type Item = ReceivedEvent;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<ReceivedEvent>, Status> {
        let message = from.copy_to_bytes(from.remaining());
        let event = ReceivedEvent::decode(message);
        event
            .map(Some)
            .map_err(|error| Status::internal(format!("cannot decode an event: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{v1::Killmail, wire::EncodedEvent};

    #[test]
    fn sent_event_is_received_byte_for_byte() {
        let mut killmail = Killmail {
            killmail_id: 7,
            hash: "ab".into(),
            ..Default::default()
        }
        .encode_to_vec();
        // This field stands in for one that a newer version adds.
        encoding::string::encode(400, &"new".to_owned(), &mut killmail);
        let killmail = Bytes::from(killmail);
        let progress = Progress {
            caught_up: true,
            ..Default::default()
        };
        for (sent, event) in [
            (
                EncodedEvent::killmail("k1-a".into(), killmail.clone()),
                Received::Killmail(killmail),
            ),
            (
                EncodedEvent::encoded_gap("k1-a".into(), Bytes::from_static(&[8, 2])),
                Received::Gap(Bytes::from_static(&[8, 2])),
            ),
            (
                EncodedEvent::progress("k1-a".into(), &progress),
                Received::Progress(progress),
            ),
        ] {
            let received = ReceivedEvent::decode(sent.framed().slice(5..)).unwrap();
            assert_eq!(received.cursor, "k1-a");
            assert_eq!(received.event, event);
        }
    }

    #[test]
    fn unknown_event_is_kept_and_truncated_event_is_rejected() {
        let mut message = Vec::new();
        encoding::string::encode(CURSOR, &"k1-b".to_owned(), &mut message);
        encoding::string::encode(9, &"something new".to_owned(), &mut message);
        let read = ReceivedEvent::decode(message.clone().into()).unwrap();
        assert_eq!((read.cursor.as_str(), read.event), ("k1-b", Received::Unknown));
        for end in 1..message.len() {
            // A message that ends between two fields is valid, so this only checks that decoding never panics.
            let _ = ReceivedEvent::decode(message[..end].to_vec().into());
        }
        assert!(ReceivedEvent::decode(message[..message.len() - 1].to_vec().into()).is_err());
    }
}
