//! Cheap readers of a stream.
//!
//! They share the machine with the server, so they only check the kind of each message and decode nothing.

use bytes::Buf as _;
use killfeed::v1::{Position, StreamKillmailsRequest, stream_killmails_request::Start};
use tonic::{
    Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// The field keys of StreamKillmailsResponse.
const CURSOR: u8 = 0x0a;
const KILLMAIL: u8 = 0x12;

/// A stream with its own connection.
pub(crate) struct Reader {
    messages: Streaming<Message>,
    _channel: Channel,
}

impl Reader {
    pub(crate) async fn open(address: &str, filter: &str, earliest: bool) -> Self {
        let position = if earliest { Position::Earliest } else { Position::Latest };
        let request = StreamKillmailsRequest {
            filter: filter.into(),
            start: Some(Start::Position(position.into())),
            client_name: "fanout".into(),
            ..Default::default()
        };
        let channel = Endpoint::from_shared(address.to_owned())
            .unwrap()
            .connect()
            .await
            .expect("the server accepts another connection");
        let mut grpc = tonic::client::Grpc::new(channel.clone());
        grpc.ready().await.unwrap();
        let path = http::uri::PathAndQuery::from_static("/killfeed.v1.KillmailService/StreamKillmails");
        let response = grpc.server_streaming(Request::new(request), path, Skim).await;
        Self {
            messages: response.expect("the server accepts another stream").into_inner(),
            _channel: channel,
        }
    }

    /// Reads `killmails` killmails and returns their size in bytes.
    pub(crate) async fn read(&mut self, killmails: u64) -> u64 {
        let (mut count, mut bytes) = (0, 0);
        while count < killmails {
            let message = self.messages.message().await.unwrap().expect("the stream does not end");
            count += u64::from(message.is_killmail);
            bytes += message.bytes;
        }
        bytes
    }

    /// Reads until the next progress event.
    pub(crate) async fn progress(&mut self) {
        while self
            .messages
            .message()
            .await
            .unwrap()
            .expect("the stream does not end")
            .is_killmail
        {}
    }
}

pub(crate) struct Message {
    is_killmail: bool,
    bytes: u64,
}

#[derive(Clone, Copy)]
struct Skim;

impl Codec for Skim {
    type Encode = StreamKillmailsRequest;
    type Decode = Message;
    type Encoder = <ProstCodec<StreamKillmailsRequest, ()> as Codec>::Encoder;
    type Decoder = Self;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<StreamKillmailsRequest, ()>::default().encoder()
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Decoder for Skim {
    type Item = Message;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Message>, Status> {
        let bytes = buffer.remaining() as u64;
        assert_eq!(buffer.get_u8(), CURSOR);
        let cursor = buffer.get_u8();
        buffer.advance(cursor.into());
        let is_killmail = buffer.get_u8() == KILLMAIL;
        buffer.advance(buffer.remaining());
        Ok(Some(Message { is_killmail, bytes }))
    }
}
