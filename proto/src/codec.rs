//! How messages are put into gRPC's frames and taken out of them: as tonic's codec for prost does it, but that a message which has arrived
//! in one piece, as all but very large ones have, is read from that piece. To read a byte from a slice costs a fraction of what it costs
//! from tonic's buffer, which keeps account of every step. (Nodes among themselves use tonic's own, which takes large payloads without a copy.)

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder},
};
use tonic_prost::ProstEncoder;

/// The codec of the public services.
#[derive(Debug, Clone)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// Reads messages.
#[derive(Debug, Clone)]
pub struct MessageDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.remaining();
        let message = match buffer.chunk() {
            whole if whole.len() == bytes => {
                let message = U::decode(whole);
                buffer.advance(bytes);
                message
            }
            _ => U::decode(buffer),
        };
        // As gRPC maps it: docs/statuscodes.md.
        message
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
