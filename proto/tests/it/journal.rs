//! The journal's bytes: what is written is read back, by us and by the generated code.

use std::cell::RefCell;

use docket_engine::{
    CustomerEvent, CustomerId, Decider, Event, Fact, IdError, OrderEvent, OrderId, Record, Sku, Time, Version,
};
use docket_proto::{
    DecodeError, Intern, NoIntern, Problem, journal,
    record::{decode_batch, decode_batch_with, encode_record},
    snapshot::{self, SnapshotRecord},
};
use proptest::{collection::vec, prelude::*};
use prost::Message;

use crate::arbitrary;

fn encode(records: &[Record]) -> Vec<u8> {
    let mut batch = Vec::new();
    for record in records {
        encode_record(record, &mut batch);
    }
    batch
}

fn encode_snapshot(records: &[SnapshotRecord]) -> Vec<u8> {
    let mut chunk = Vec::new();
    for record in records {
        record.put(&mut chunk);
    }
    chunk
}

fn decode_snapshot(chunk: &[u8]) -> Result<Vec<SnapshotRecord>, DecodeError> {
    snapshot::records(chunk, &NoIntern).collect()
}

proptest! {
    #[test]
    fn a_batch_survives_its_bytes(records in vec(arbitrary::record(), 0..6)) {
        let bytes = encode(&records);
        prop_assert_eq!(decode_batch(&bytes).unwrap(), records);
    }

    /// The generated code drops what it does not know and writes fields in the order of their numbers: that it gives the
    /// same bytes back proves that they are what record.proto says.
    #[test]
    fn a_batch_is_what_the_proto_file_says(records in vec(arbitrary::record(), 0..6)) {
        let bytes = encode(&records);
        let generated = journal::Batch::decode(&bytes[..]).unwrap();
        prop_assert_eq!(generated.records.len(), records.len());
        prop_assert_eq!(generated.encode_to_vec(), bytes);
    }

    #[test]
    fn a_snapshot_survives_its_bytes(records in vec(arbitrary::snapshot_record(), 0..6)) {
        let bytes = encode_snapshot(&records);
        prop_assert_eq!(decode_snapshot(&bytes).unwrap(), records);
    }

    #[test]
    fn a_snapshot_is_what_the_proto_file_says(records in vec(arbitrary::snapshot_record(), 0..6)) {
        let bytes = encode_snapshot(&records);
        let generated = journal::SnapshotChunk::decode(&bytes[..]).unwrap();
        prop_assert_eq!(generated.records.len(), records.len());
        prop_assert_eq!(generated.encode_to_vec(), bytes);
    }

    #[test]
    fn a_record_that_is_cut_short_is_refused(record in arbitrary::record()) {
        let bytes = encode(&[record]);
        for end in 1..bytes.len() {
            prop_assert!(decode_batch(&bytes[..end]).is_err(), "cut at {} of {}", end, bytes.len());
        }
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode_batch(&bytes);
        let _ = decode_snapshot(&bytes);
    }

    /// What a changed byte makes is refused, or read as the generated code reads it.
    #[test]
    fn a_changed_byte_is_refused_or_read_as_the_generated_code_does(
        record in arbitrary::record(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&[record]);
        *at.get_mut(&mut bytes[..]) = byte;
        if let Ok(records) = decode_batch(&bytes) {
            let again = journal::Batch::decode(&encode(&records)[..]).unwrap();
            let generated = journal::Batch::decode(&bytes[..]);
            // A number of 32 bits is cut there and refused here; a field that comes twice is merged there.
            if let Ok(generated) = generated && generated.encoded_len() == bytes.len() {
                prop_assert_eq!(again, generated);
            }
        }
    }
}

fn confirmed(version: u64) -> Record {
    Record {
        time: Time(7),
        events: vec![Event {
            version: Version(version),
            decider: Decider(5),
            fact: Fact::Order(OrderId(9), OrderEvent::Confirmed),
        }],
        request: None,
        unchanged: None,
        origin: None,
    }
}

#[track_caller]
fn refused(bytes: &[u8], message: &'static str, problem: Problem) {
    assert_eq!(decode_batch(bytes), Err(DecodeError { message, problem }));
}

#[test]
fn a_field_of_a_newer_version_is_refused_and_named() {
    let mut batch = encode(&[confirmed(2)]);
    // Field 99, a number.
    batch.extend([0x98, 0x06, 1]);
    refused(&batch, "Batch", Problem::UnknownField(99));

    // An event of a kind that nobody has thought of yet: field 99 of Event, an empty message.
    let event = [0x08, 2, 0x9a, 0x06, 0];
    let mut batch = vec![0x0a, 7, 0x12, 5];
    batch.extend(event);
    refused(&batch, "Event", Problem::UnknownField(99));
}

#[test]
fn what_must_be_there_is_missed() {
    // A record with an empty event.
    refused(&[0x0a, 2, 0x12, 0], "Event", Problem::Missing(2));
    // An event that confirms no order.
    refused(
        &[0x0a, 4, 0x12, 2, 0x1a, 0],
        "OrderConfirmed",
        Problem::Missing(1),
    );
    // An item's stock is adjusted, and the item has no sku.
    refused(
        &[0x0a, 4, 0x12, 2, 0x72, 0],
        "StockAdjusted",
        Problem::Id(IdError::Empty),
    );
}

#[test]
fn wrong_shapes_are_told_apart() {
    // Records as a number.
    refused(&[0x08, 1], "Batch", Problem::WireType(1));
    // A length beyond the end.
    refused(&[0x0a, 5, 0], "Batch", Problem::Truncated);
    // A length of 65 bits.
    let overlong = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
    refused(&overlong, "Batch", Problem::Overlong);
    // A customer whose id is not UTF-8.
    refused(
        &[0x0a, 7, 0x12, 5, 0x4a, 3, 0x0a, 1, 0xff],
        "CustomerCredited",
        Problem::Utf8(1),
    );
    // A group, which proto3 has not.
    refused(&[0x0b], "Batch", Problem::WireType(1));
}

#[test]
fn a_snapshot_of_another_format_is_refused() {
    let head = journal::SnapshotHead {
        format: snapshot::FORMAT + 1,
        last_time: 5,
        feed: None,
        archived: 0,
    };
    let chunk = journal::SnapshotChunk {
        records: vec![journal::SnapshotRecord {
            entity: Some(journal::snapshot_record::Entity::Head(head)),
        }],
    };
    let error = decode_snapshot(&chunk.encode_to_vec()).unwrap_err();
    let value = u64::from(snapshot::FORMAT + 1);
    assert_eq!(error.problem, Problem::Value { field: 1, value });
}

#[test]
fn an_order_whose_lines_overflow_is_refused() {
    let line = journal::Line {
        sku: "nut".into(),
        quantity: 2,
        unit_price: i64::MAX,
    };
    let order = journal::Order {
        id: Some(journal::OrderId { high: 1, low: 2 }),
        customer: "ada".into(),
        currency: "EUR".into(),
        lines: vec![line],
        state: 1,
        ..Default::default()
    };
    let chunk = journal::SnapshotChunk {
        records: vec![journal::SnapshotRecord {
            entity: Some(journal::snapshot_record::Entity::Order(order)),
        }],
    };
    let error = decode_snapshot(&chunk.encode_to_vec()).unwrap_err();
    assert_eq!(error.problem, Problem::Total);
}

/// Hands out the one id that it has.
struct One {
    id: CustomerId,
    asked: RefCell<Vec<String>>,
}

impl Intern for One {
    fn customer(&self, text: &str) -> Result<CustomerId, IdError> {
        self.asked.borrow_mut().push(text.to_owned());
        Ok(self.id.clone())
    }

    fn sku(&self, text: &str) -> Result<Sku, IdError> {
        Sku::new(text)
    }
}

#[test]
fn ids_are_made_by_whoever_decodes() {
    let record = Record {
        time: Time(1),
        events: vec![Event {
            version: Version(3),
            decider: Decider(5),
            fact: Fact::Customer(
                CustomerId::new("ada").unwrap(),
                CustomerEvent::Credited {
                    amount: docket_engine::Amount(4),
                },
            ),
        }],
        request: None,
        unchanged: None,
        origin: None,
    };
    let ids = One {
        id: CustomerId::new("ada").unwrap(),
        asked: RefCell::default(),
    };
    let decoded = decode_batch_with(&encode(&[record]), &ids).unwrap();
    assert_eq!(*ids.asked.borrow(), ["ada"]);
    let Fact::Customer(id, _) = &decoded[0].events[0].fact else {
        panic!("not a customer's fact: {decoded:?}");
    };
    // The very same text, not an equal one.
    assert!(std::ptr::eq(id.as_str(), ids.id.as_str()));
}
