//! Protobuf's wire format, as far as the journal's records and the answers of streams need it: written straight from the engine's types
//! and read without copies, since every order passes here several times. The generated code describes the
//! same bytes; the tests hold the two against each other.
//!
//! As in proto3, a number that is 0 and a text that is empty are not written. Unlike proto3 readers, this one refuses a
//! field that it does not know: on a replica, leaving out a part of a fact means another state than the others have. (What clients send is left to
//! the generated code then.)

use docket_engine::IdError;

/// Bytes that are no record of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("docket.journal.v1.{message} does not decode: {problem}")]
pub struct DecodeError {
    /// The message, as named in `record.proto`.
    pub message: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with some bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end within a field.
    #[error("it ends within a field")]
    Truncated,
    /// A number longer than 64 bits.
    #[error("a number in it is longer than 64 bits")]
    Overlong,
    /// A field that this version does not know.
    #[error("it has a field {0}, which this version of docket does not know; a newer version wrote it")]
    UnknownField(u32),
    /// A field that is there in another wire type.
    #[error("its field {0} has the wrong wire type")]
    WireType(u32),
    /// A field that must be there.
    #[error("its field {0} is missing")]
    Missing(u32),
    /// A text that is not UTF-8.
    #[error("its field {0} is not UTF-8")]
    Utf8(u32),
    /// A text that is no username.
    #[error("its field {0} is no username")]
    Username(u32),
    /// A text that is no payment provider's name.
    #[error("its field {0} is no name of a payment provider")]
    Provider(u32),
    /// A text that is no id.
    #[error("an id in it {0}")]
    Id(IdError),
    /// A text that is no currency code.
    #[error("its currency is not three upper-case letters")]
    Currency,
    /// A number outside of what the field can mean.
    #[error("its field {field} is {value}, which has no meaning in this version of docket")]
    Value {
        /// The field.
        field: u32,
        /// What it says.
        value: u64,
    },
    /// An order whose lines add up to more than an amount can hold.
    #[error("its total overflows")]
    Total,
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// Writes a number, unless it is 0.
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, VARINT);
        varint(out, value);
    }
}

/// Writes a signed number (`int64`: two's complement), unless it is 0.
pub(crate) fn signed(out: &mut Vec<u8>, field: u32, value: i64) {
    number(out, field, value as u64);
}

/// Writes a `fixed64`, unless it is 0.
pub(crate) fn fixed(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, FIXED64);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Writes a text, unless it is empty.
pub(crate) fn text(out: &mut Vec<u8>, field: u32, value: &str) {
    if !value.is_empty() {
        element(out, field, value);
    }
}

/// Writes bytes, unless there are none.
pub(crate) fn data(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        key(out, field, BYTES);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }
}

/// Writes a text that is an element of a repeated field: also where it is empty.
pub(crate) fn element(out: &mut Vec<u8>, field: u32, value: &str) {
    key(out, field, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

/// Writes a text of two parts, also where both are empty.
pub(crate) fn name(out: &mut Vec<u8>, field: u32, collection: &str, id: &[u8]) {
    key(out, field, BYTES);
    varint(out, (collection.len() + id.len()) as u64);
    out.extend_from_slice(collection.as_bytes());
    out.extend_from_slice(id);
}

/// Writes a message, empty or not. Its length is known only after it, and nearly always fits the one byte that is left
/// for it.
pub(crate) fn nested(out: &mut Vec<u8>, field: u32, write: impl FnOnce(&mut Vec<u8>)) {
    key(out, field, BYTES);
    let at = out.len();
    out.push(0);
    write(out);
    let length = (out.len() - at - 1) as u64;
    if length < 0x80 {
        out[at] = length as u8;
        return;
    }
    let more = (length.ilog2() / 7) as usize;
    let end = out.len();
    out.resize(end + more, 0);
    out.copy_within(at + 1..end, at + 1 + more);
    let mut rest = length;
    for byte in &mut out[at..at + more] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[at + more] = rest as u8;
}

fn key(out: &mut Vec<u8>, field: u32, wire_type: u64) {
    varint(out, u64::from(field) << 3 | wire_type);
}

const VARINT_BYTES_MAX: usize = 10;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The fields of a message, in the order of their bytes.
pub(crate) struct Fields<'a> {
    message: &'static str,
    rest: &'a [u8],
}

/// One field.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    message: &'static str,
    /// Its number.
    pub number: u32,
    value: Value<'a>,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of the message with this name and these bytes.
pub(crate) fn fields<'a>(message: &'static str, bytes: &'a [u8]) -> Fields<'a> {
    Fields { message, rest: bytes }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field().map_err(|problem| DecodeError {
            message: self.message,
            problem,
        });
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    #[inline]
    fn field(&mut self) -> Result<Field<'a>, Problem> {
        const FIXED32: u64 = 5;
        let key = self.varint()?;
        // The wire format keeps 29 bits for the number of a field.
        let number = u32::try_from(key >> 3).map_err(|_| Problem::Overlong)?;
        let value = match key & 7 {
            VARINT => Value::Varint(self.varint()?),
            FIXED64 => {
                let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(Problem::Truncated)?;
                self.rest = rest;
                Value::Fixed64(u64::from_le_bytes(*bytes))
            }
            BYTES => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Problem::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Problem::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            FIXED32 => {
                self.rest = self.rest.get(4..).ok_or(Problem::Truncated)?;
                Value::Fixed32
            }
            _ => return Err(Problem::WireType(number)),
        };
        Ok(Field {
            message: self.message,
            number,
            value,
        })
    }

    /// Nearly every key and length, and most numbers, are one byte.
    #[inline]
    fn varint(&mut self) -> Result<u64, Problem> {
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Problem> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().enumerate().take(VARINT_BYTES_MAX) {
            // The tenth byte has room for one bit.
            if i == VARINT_BYTES_MAX - 1 && *byte > 1 {
                return Err(Problem::Overlong);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(Problem::Truncated)
    }
}

impl<'a> Field<'a> {
    /// A number.
    pub fn number(&self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.wire_type()),
        }
    }

    /// A number of 32 bits.
    pub fn number32(&self) -> Result<u32, DecodeError> {
        let value = self.number()?;
        u32::try_from(value).map_err(|_| self.has_no_meaning(value))
    }

    /// A number of 32 bits of things that are counted from 1. A 0 is never written, so that one which is there was not written here; read, it could not
    /// be written again.
    pub fn number_from_1(&self) -> Result<u32, DecodeError> {
        match self.number32()? {
            0 => Err(self.has_no_meaning(0)),
            number => Ok(number),
        }
    }

    /// A signed number.
    pub fn signed(&self) -> Result<i64, DecodeError> {
        self.number().map(|value| value as i64)
    }

    /// A `fixed64`.
    pub fn fixed(&self) -> Result<u64, DecodeError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.wire_type()),
        }
    }

    /// The bytes of a message.
    pub fn bytes(&self) -> Result<&'a [u8], DecodeError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wire_type()),
        }
    }

    /// A text.
    pub fn text(&self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.error(Problem::Utf8(self.number)))
    }

    /// The error for a field that its message does not have.
    pub fn unknown(&self) -> DecodeError {
        self.error(Problem::UnknownField(self.number))
    }

    /// The error for a number that means nothing here.
    pub fn has_no_meaning(&self, value: u64) -> DecodeError {
        self.error(Problem::Value {
            field: self.number,
            value,
        })
    }

    fn wire_type(&self) -> DecodeError {
        self.error(Problem::WireType(self.number))
    }

    pub(crate) fn error(&self, problem: Problem) -> DecodeError {
        DecodeError {
            message: self.message,
            problem,
        }
    }
}
