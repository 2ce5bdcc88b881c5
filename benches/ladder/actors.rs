//! Actors of customers and items that decide nothing: a customer asks the items of an order and answers when they have.

use std::{collections::HashMap, sync::Arc};

use docket_proto::v1::PlaceOrderRequest;
use docket_soak::Shape;
use ractor::{Actor, ActorProcessingErr, ActorRef};

use crate::groups::{Groups, Tally};

pub struct Actors {
    customers: HashMap<String, ActorRef<Order>>,
    items: HashMap<String, ActorRef<Ask>>,
}

/// To a customer: an order of these items.
struct Order {
    items: Vec<ActorRef<Ask>>,
    tally: Arc<Tally>,
}

/// To an item, which counts its answer as given by dropping it.
struct Ask(Arc<Tally>);

impl Actors {
    /// All of the load's customers and items, resident. With groups each has a record for an order.
    pub async fn start(groups: Option<Arc<Groups>>) -> Self {
        let shape = Shape::default();
        let workload = docket_soak::Workload::new(shape.clone()).unwrap();
        let (mut customers, mut items) = (HashMap::new(), HashMap::new());
        for n in 0..shape.customers {
            let name = format!("customers/{}", workload.customer_id(n));
            let customer = Customer(Recorder::new(&name, &groups));
            customers.insert(name, Actor::spawn(None, customer, ()).await.unwrap().0);
        }
        for n in 0..shape.items {
            let name = format!("items/{}", workload.sku(n));
            let item = Item(Recorder::new(&name, &groups));
            items.insert(name, Actor::spawn(None, item, ()).await.unwrap().0);
        }
        Self { customers, items }
    }

    pub async fn place(&self, request: &PlaceOrderRequest) {
        let items = request.lines.iter().map(|line| self.items[&line.item].clone());
        let (tally, answer) = Tally::new();
        let order = Order {
            items: items.collect(),
            tally,
        };
        self.customers[&request.customer].cast(order).unwrap();
        answer.await.unwrap();
    }
}

/// The record that an actor has for an order, where there are groups.
struct Recorder {
    name: String,
    groups: Option<Arc<Groups>>,
}

impl Recorder {
    fn new(name: &str, groups: &Option<Arc<Groups>>) -> Self {
        Self {
            name: name.to_owned(),
            groups: groups.clone(),
        }
    }

    /// The tally goes when the record is durable; the actor does not wait for it.
    fn record(&self, tally: Arc<Tally>) {
        if let Some(groups) = &self.groups {
            groups.submit(&self.name, tally);
        }
    }
}

struct Customer(Recorder);

impl Actor for Customer {
    type Msg = Order;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Order>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Order>, order: Order, (): &mut ()) -> Result<(), ActorProcessingErr> {
        for item in order.items {
            item.cast(Ask(Arc::clone(&order.tally)))?;
        }
        self.0.record(order.tally);
        Ok(())
    }
}

struct Item(Recorder);

impl Actor for Item {
    type Msg = Ask;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Ask>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Ask>, Ask(tally): Ask, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.0.record(tally);
        Ok(())
    }
}
