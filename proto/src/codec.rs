//! How messages are put into gRPC's frames and taken out of them: as tonic's codec for prost does it, but that an answer of a stream is
//! written straight from the engine's order, and that a message which has arrived in one piece, as all but very large ones have, is read from that piece. To read a byte from a slice costs a fraction of what it costs
//! from tonic's buffer, which keeps account of every step. (Nodes among themselves use tonic's own, which takes large payloads without a copy.)

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _};
use prost::{DecodeError, EncodeError, Message};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::{PlaceOrdersAnswer, ReceivedOrder, WatchOrdersAnswer};

/// What can be put into a frame.
pub trait Encode: Send + 'static {
    /// Puts it there. `scratch` is empty, and what is left in it is thrown away.
    ///
    /// # Errors
    /// Where there is no room.
    fn encode(&self, frame: &mut EncodeBuf<'_>, scratch: &mut Vec<u8>) -> Result<(), EncodeError>;
}

impl<T: Message + 'static> Encode for T {
    fn encode(&self, frame: &mut EncodeBuf<'_>, _: &mut Vec<u8>) -> Result<(), EncodeError> {
        Message::encode(self, frame)
    }
}

impl Encode for PlaceOrdersAnswer {
    fn encode(&self, frame: &mut EncodeBuf<'_>, scratch: &mut Vec<u8>) -> Result<(), EncodeError> {
        // Byte by byte a vector costs less than a frame, which looks for room each time.
        self.put(scratch);
        frame.put_slice(scratch);
        Ok(())
    }
}

impl Encode for WatchOrdersAnswer {
    fn encode(&self, frame: &mut EncodeBuf<'_>, _: &mut Vec<u8>) -> Result<(), EncodeError> {
        frame.put_slice(self.bytes());
        Ok(())
    }
}

/// The codec of the public services.
#[derive(Debug, Clone)]
pub struct MessageCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for MessageCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// What can be read from a frame.
pub trait Decode: Sized + Send + 'static {
    /// Reads one that has arrived in one piece.
    ///
    /// # Errors
    /// Where it is none.
    fn decode_slice(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// Reads one that has arrived in several.
    ///
    /// # Errors
    /// Where it is none.
    fn decode_pieces(pieces: &mut DecodeBuf<'_>) -> Result<Self, DecodeError>;
}

impl<T: Message + Default + 'static> Decode for T {
    fn decode_slice(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }

    fn decode_pieces(pieces: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        Self::decode(pieces)
    }
}

impl Decode for ReceivedOrder {
    fn decode_slice(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }

    fn decode_pieces(pieces: &mut DecodeBuf<'_>) -> Result<Self, DecodeError> {
        let bytes = pieces.remaining();
        Self::decode(&pieces.copy_to_bytes(bytes))
    }
}

impl<T, U> Codec for MessageCodec<T, U>
where
    T: Encode,
    U: Decode,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = MessageDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder {
            scratch: Vec::new(),
            message: PhantomData,
        }
    }

    fn decoder(&mut self) -> Self::Decoder {
        MessageDecoder(PhantomData)
    }
}

/// What a call keeps at most of the memory that its answers were written in.
const SCRATCH_MAX: usize = 16 << 10;

/// Writes messages.
#[derive(Debug, Clone)]
pub struct MessageEncoder<T> {
    /// Of the last answer of the call, where it was no larger than [`SCRATCH_MAX`].
    scratch: Vec<u8>,
    message: PhantomData<T>,
}

impl<T: Encode> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, frame: &mut EncodeBuf<'_>) -> Result<(), Status> {
        self.scratch.clear();
        let encoded = message.encode(frame, &mut self.scratch);
        if self.scratch.capacity() > SCRATCH_MAX {
            self.scratch = Vec::new();
        }
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

/// Reads messages.
#[derive(Debug, Clone)]
pub struct MessageDecoder<U>(PhantomData<U>);

impl<U: Decode> Decoder for MessageDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let bytes = buffer.remaining();
        let message = match buffer.chunk() {
            whole if whole.len() == bytes => {
                let message = U::decode_slice(whole);
                buffer.advance(bytes);
                message
            }
            _ => U::decode_pieces(buffer),
        };
        // As gRPC maps it: docs/statuscodes.md.
        message
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}
