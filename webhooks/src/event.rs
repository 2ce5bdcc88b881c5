//! What a receiver gets: a CloudEvent 1.0 in structured mode.
//!
//! `data` is a `docket.v1.OrderChange` as ProtoJSON has it (64-bit numbers are texts), with the contract's names of fields. It is made
//! from the contract that is compiled in, so that nothing can be forgotten here that is added there.

use bytes::Bytes;
use docket_engine::{
    Change, Order,
    webhook::{DeliveryId, WebhookId},
};
use docket_proto::{
    FILE_DESCRIPTOR_SET,
    api::{feed::change_to_proto, names::order_name},
};
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::{Value, json};

/// The media type of a body.
pub(crate) const MEDIA_TYPE: &str = "application/cloudevents+json; charset=utf-8";
/// The message that `data` is.
const DATA: &str = "docket.v1.OrderChange";

/// Why there are no events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the contract that is compiled in cannot be read: {0}")]
pub struct ContractError(String);

/// Makes events of one cluster. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Events {
    source: String,
    data: MessageDescriptor,
}

impl Events {
    /// Those of this cluster.
    ///
    /// # Errors
    /// Where the contract cannot be read.
    pub fn of(cluster: &str) -> Result<Self, ContractError> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET);
        let pool = pool.map_err(|error| ContractError(error.to_string()))?;
        let data = pool
            .get_message_by_name(DATA)
            .ok_or_else(|| ContractError(format!("it has no {DATA}")))?;
        Ok(Self {
            source: format!("/docket/clusters/{cluster}"),
            data,
        })
    }

    /// The body that tells of a change, of the order as it was after it.
    ///
    /// # Errors
    /// Where the contract and the message do not fit.
    pub fn of_change(&self, id: DeliveryId, change: &Change, order: &Order) -> Result<Bytes, ContractError> {
        let message = change_to_proto(change.kind, change.at, order);
        let data = DynamicMessage::decode(self.data.clone(), message.encode_to_vec().as_slice());
        let data = data.map_err(|error| ContractError(error.to_string()))?;
        let options = SerializeOptions::new().use_proto_field_name(true);
        let data = data.serialize_with_options(serde_json::value::Serializer, &options);
        let data = data.map_err(|error| ContractError(error.to_string()))?;
        let kind = change.kind.to_string().to_ascii_lowercase();
        let event = json!({
            "specversion": "1.0",
            "id": id.to_string(),
            "source": self.source,
            "type": format!("docket.order.{kind}"),
            "subject": order_name(id.order),
            "time": data.get("change_time").cloned().unwrap_or(Value::Null),
            "datacontenttype": "application/json",
            // Of the changes of one order, the later has the higher: receivers that get them out of order sort by it.
            "sequence": format!("{:020}", id.version.0),
            "data": data,
        });
        Ok(Bytes::from(event.to_string()))
    }

    /// The body that tells of nothing.
    pub fn test(&self, id: &str, webhook: WebhookId) -> Bytes {
        let event = json!({
            "specversion": "1.0",
            "id": id,
            "source": self.source,
            "type": "docket.webhook.test",
            "subject": format!("webhooks/{webhook}"),
            "datacontenttype": "application/json",
            "data": {},
        });
        Bytes::from(event.to_string())
    }
}

#[cfg(test)]
mod tests {
    use docket_engine::{
        Amount, ChangeKind, CustomerId, Line, OrderEvent, OrderId, Quantity, Sku, Time, Version,
    };

    use super::*;

    #[test]
    fn an_event_is_a_cloud_event_with_the_change_as_proto_json() {
        let placed = OrderEvent::Placed {
            customer: CustomerId::new("ada").unwrap(),
            currency: "EUR".parse().unwrap(),
            lines: [Line {
                sku: Sku::new("tea").unwrap(),
                quantity: Quantity(2),
                unit_price: Amount(350),
            }]
            .into(), provider: None, };
        let order = OrderId::compose(1_700_000_000_000, 5, 7);
        let at = Time(1_700_000_000_123_456);
        let state = Order::create(order, &placed, at).unwrap();
        let (kind, version) = (ChangeKind::Placed, Version(1));
        let id = DeliveryId { order, version };
        let events = Events::of("c1").unwrap();
        let body = events
            .of_change(id, &Change { kind, version, at }, &state)
            .unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap();
        let name = format!("orders/{order}");
        assert_eq!(
            event,
            json!({
                "specversion": "1.0",
                "id": format!("{order}-1"),
                "source": "/docket/clusters/c1",
                "type": "docket.order.placed",
                "subject": name,
                "time": "2023-11-14T22:13:20.123456Z",
                "datacontenttype": "application/json",
                "sequence": "00000000000000000001",
                "data": {
                    "kind": "PLACED",
                    "change_time": "2023-11-14T22:13:20.123456Z",
                    "order": event["data"]["order"],
                },
            })
        );
        let shown = &event["data"]["order"];
        assert_eq!(shown["name"], json!(name));
        assert_eq!(shown["customer"], json!("customers/ada"));
        assert_eq!(shown["state"], json!("PENDING"));
        assert_eq!(shown["total"], json!("700"));
        assert_eq!(shown["lines"][0]["quantity"], json!("2"));
        assert_eq!(shown["etag"], json!("v1"));
    }

    #[test]
    fn a_test_event_tells_of_nothing() {
        let events = Events::of("c1").unwrap();
        let body = events.test("test-1", WebhookId([1; 12]));
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(event["type"], "docket.webhook.test");
        assert_eq!(event["subject"], "webhooks/010101010101010101010101");
    }
}
