//! A shop in memory that speaks Docket's contract, and is wrong where it is told to be.

mod lives;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use docket_proto::v1::{
    AdjustStockRequest, BatchGetOrdersRequest, BatchGetOrdersResponse, CancelFulfilmentRequest,
    CancelOrderLinesRequest, CancelOrderRequest, CloseReturnRequest, CreateCustomerRequest,
    CreateItemRequest, CreditAccountRequest, Customer, DeliverFulfilmentRequest, EditOrderRequest,
    GetCustomerRequest, GetItemRequest, GetOrderRequest, HoldOrderRequest, Item, ListCustomersRequest,
    ListCustomersResponse, ListItemsRequest, ListItemsResponse, ListOrderEventsRequest,
    ListOrderEventsResponse, ListOrdersRequest, ListOrdersResponse, OpenFulfilmentRequest, Order,
    OrderPayment, PlaceOrderRequest, PlaceOrdersResponse, ReceiveReturnRequest, RefundOrderRequest,
    ReleaseOrderHoldRequest, RequestReturnRequest, ResolveReturnRequest, RetryPaymentRequest,
    ShipOrderRequest, UpdateCustomerRequest, UpdateItemRequest, WatchOrdersRequest, WatchOrdersResponse,
    customer_service_server::{CustomerService, CustomerServiceServer},
    item_service_server::{ItemService, ItemServiceServer},
    order::State,
    order_service_server::{OrderService, OrderServiceServer},
    place_orders_response,
};
use docket_soak::{
    Target,
    history::life::{Deed, Life, Moved},
};
use futures::{Stream, StreamExt as _};
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use lives::named;

/// The order, by its turn, with which something goes wrong.
const UNLUCKY: u64 = 7;

/// What is wrong with a shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing.
    Nothing,
    /// One order is stored twice, and holds and reserves twice.
    Doubled,
    /// One order is stored twice, and the sums do not show it.
    DoubledInSilence,
    /// One order is acknowledged and not stored.
    Lost,
    /// One order is stored with another total than it was acknowledged with.
    Changed,
    /// One piece too many is reserved.
    Stock,
    /// One cent too much is held.
    Money,
    /// Cancelled orders keep their stock.
    KeepsStock,
    /// Stock that is counted in is not there.
    ForgetsStock,
    /// One piece too many is reserved until orders are listed.
    GivesBackLate,
    /// One order is not among those that are listed first.
    HiddenAtFirst,
    /// What is sent stays on the stock.
    KeepsWhatIsSent,
    /// What is given back is on no account.
    ForgetsRefunds,
    /// What was sent is not shown when the order is read.
    HidesShipments,
}

#[derive(Debug, Default)]
struct Books {
    orders: BTreeMap<String, Order>,
    by_request: BTreeMap<String, Order>,
    customers: BTreeMap<String, Customer>,
    items: BTreeMap<String, Item>,
    done: BTreeMap<String, ()>,
    turn: u64,
    /// The item of which one piece too many is reserved.
    kept: Option<String>,
    /// The order that is not listed.
    hidden: Option<Order>,
    /// What became of orders of which something was asked, and what was answered.
    lives: BTreeMap<String, Life>,
    answers: BTreeMap<String, Order>,
}

/// The shop.
#[derive(Clone, Debug)]
pub struct Shop {
    wrong: Wrong,
    books: Arc<Mutex<Books>>,
}

impl Shop {
    /// Opens one, and says where it is; it is there until the runtime ends.
    pub async fn open(wrong: Wrong) -> Target {
        let shop = Self {
            wrong,
            books: Arc::default(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let serving = Server::builder()
            .add_service(OrderServiceServer::new(shop.clone()))
            .add_service(CustomerServiceServer::new(shop.clone()))
            .add_service(ItemServiceServer::new(shop))
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(serving);
        Target::new(&address, None).unwrap()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    fn place(&self, request: PlaceOrderRequest) -> Order {
        let mut books = self.books();
        if let Some(order) = books.by_request.get(&request.request_id) {
            return order.clone();
        }
        books.turn += 1;
        let wrong = if books.turn == UNLUCKY {
            self.wrong
        } else {
            Wrong::Nothing
        };
        let order = Order {
            name: format!("orders/{:026}", books.turn * 2),
            customer: request.customer,
            state: State::Confirmed.into(),
            currency_code: request.currency_code,
            total: request
                .lines
                .iter()
                .map(|line| line.quantity * line.unit_price)
                .sum(),
            lines: request.lines,
            ..Order::default()
        };
        let order = Order {
            payment: Some(OrderPayment {
                authorized: order.total,
                ..OrderPayment::default()
            }),
            ..order
        };
        books.by_request.insert(request.request_id, order.clone());
        books.book(&order, 1);
        let mut stored = order.clone();
        match wrong {
            Wrong::Lost => return order,
            Wrong::Changed => stored.total += 1,
            Wrong::Stock => books.items.get_mut(&order.lines[0].item).unwrap().reserved += 1,
            Wrong::GivesBackLate => {
                let item = order.lines[0].item.clone();
                books.items.get_mut(&item).unwrap().reserved += 1;
                books.kept = Some(item);
            }
            Wrong::HiddenAtFirst => books.hidden = Some(order.clone()),
            Wrong::Money => books.customers.get_mut(&order.customer).unwrap().held += 1,
            Wrong::Doubled | Wrong::DoubledInSilence => {
                let twin = Order {
                    name: format!("orders/{:026}", books.turn * 2 + 1),
                    ..order.clone()
                };
                if wrong == Wrong::Doubled {
                    books.book(&twin, 1);
                }
                books.orders.insert(twin.name.clone(), twin);
            }
            _ => {}
        }
        books.orders.insert(stored.name.clone(), stored);
        order
    }
}

impl Books {
    fn book(&mut self, order: &Order, sign: i64) {
        self.customers.get_mut(&order.customer).unwrap().held += sign * order.total;
        for line in &order.lines {
            self.items.get_mut(&line.item).unwrap().reserved += sign * line.quantity;
        }
    }

    fn is_new(&mut self, request_id: &str) -> bool {
        self.done.insert(request_id.to_owned(), ()).is_none()
    }
}

fn found<T>(thing: Option<T>) -> Result<Response<T>, Status> {
    thing
        .map(Response::new)
        .ok_or_else(|| Status::not_found("there is none"))
}

#[tonic::async_trait]
impl OrderService for Shop {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<Order>, Status> {
        Ok(Response::new(self.place(request.into_inner())))
    }

    type PlaceOrdersStream = Pin<Box<dyn Stream<Item = Result<PlaceOrdersResponse, Status>> + Send>>;

    async fn place_orders(
        &self,
        request: Request<Streaming<PlaceOrderRequest>>,
    ) -> Result<Response<Self::PlaceOrdersStream>, Status> {
        let shop = self.clone();
        let answer = move |request: Result<PlaceOrderRequest, Status>| {
            let request = request?;
            let request_id = request.request_id.clone();
            let result = Some(place_orders_response::Result::Order(Box::new(
                shop.place(request),
            )));
            Ok(PlaceOrdersResponse { request_id, result })
        };
        Ok(Response::new(Box::pin(request.into_inner().map(answer))))
    }

    async fn get_order(&self, request: Request<GetOrderRequest>) -> Result<Response<Order>, Status> {
        let mut order = self.books().orders.get(&request.into_inner().name).cloned();
        if self.wrong == Wrong::HidesShipments {
            order.iter_mut().for_each(|order| order.fulfilments.clear());
        }
        found(order)
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let request = request.into_inner();
        let (from, size) = (
            request.page_token.parse().unwrap_or(0),
            request.page_size as usize,
        );
        let mut books = self.books();
        if let Some(item) = books.kept.take() {
            books.items.get_mut(&item).unwrap().reserved -= 1;
        }
        let hidden = books.hidden.take_if(|order| order.customer == request.customer);
        let is_shown = |name: &str| hidden.as_ref().is_none_or(|hidden| hidden.name != name);
        let of_customer = books
            .orders
            .values()
            .rev()
            .filter(|order| order.customer == request.customer && is_shown(&order.name));
        let mut orders: Vec<Order> = of_customer.skip(from).take(size + 1).cloned().collect();
        let more = orders.len() > size;
        orders.truncate(size);
        let next_page_token = if more {
            (from + size).to_string()
        } else {
            String::new()
        };
        Ok(Response::new(ListOrdersResponse {
            orders,
            next_page_token,
            unreachable: Vec::new(),
        }))
    }

    type WatchOrdersStream = Pin<Box<dyn Stream<Item = Result<WatchOrdersResponse, Status>> + Send>>;

    async fn watch_orders(
        &self,
        _: Request<WatchOrdersRequest>,
    ) -> Result<Response<Self::WatchOrdersStream>, Status> {
        Err(Status::unimplemented("this shop watches nothing"))
    }

    async fn ship_order(&self, request: Request<ShipOrderRequest>) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = match it.fulfilment {
            0 => Deed::Ship(named(&it.lines)),
            number => Deed::ShipPlanned(number as usize),
        };
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn open_fulfilment(
        &self,
        request: Request<OpenFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Plan(named(&it.lines));
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn cancel_fulfilment(
        &self,
        request: Request<CancelFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::GiveUp(it.fulfilment as usize);
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn deliver_fulfilment(
        &self,
        request: Request<DeliverFulfilmentRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Deliver(it.fulfilment as usize);
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn batch_get_orders(
        &self,
        _: Request<BatchGetOrdersRequest>,
    ) -> Result<Response<BatchGetOrdersResponse>, Status> {
        Err(Status::unimplemented("this shop reads one at a time"))
    }

    async fn list_order_events(
        &self,
        _: Request<ListOrderEventsRequest>,
    ) -> Result<Response<ListOrderEventsResponse>, Status> {
        Err(Status::unimplemented("this shop keeps nothing"))
    }

    async fn cancel_order_lines(
        &self,
        request: Request<CancelOrderLinesRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::CancelLines(named(&it.lines));
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn edit_order(&self, request: Request<EditOrderRequest>) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Edit(named(&it.lines));
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn request_return(
        &self,
        request: Request<RequestReturnRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Return(named(&it.lines));
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn resolve_return(
        &self,
        request: Request<ResolveReturnRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Move(
            it.return_number as usize,
            if it.approve {
                Moved::Approve
            } else {
                Moved::Decline
            },
        );
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn receive_return(
        &self,
        request: Request<ReceiveReturnRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Move(it.return_number as usize, Moved::Receive);
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn close_return(&self, request: Request<CloseReturnRequest>) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Move(it.return_number as usize, Moved::Close);
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn refund_order(&self, request: Request<RefundOrderRequest>) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Refund(it.amount);
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn retry_payment(&self, _: Request<RetryPaymentRequest>) -> Result<Response<Order>, Status> {
        Err(Status::unimplemented("this shop returns nothing"))
    }

    async fn hold_order(&self, request: Request<HoldOrderRequest>) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Hold(it.reason().as_str_name().to_owned());
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn release_order_hold(
        &self,
        request: Request<ReleaseOrderHoldRequest>,
    ) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        let deed = Deed::Release(it.reason().as_str_name().to_owned());
        self.lead(&it.name, it.request_id, |life, prices| life.after(&deed, prices))
    }

    async fn cancel_order(&self, request: Request<CancelOrderRequest>) -> Result<Response<Order>, Status> {
        let it = request.into_inner();
        // The clerk asks without an id.
        if !it.request_id.is_empty() {
            return self.lead(&it.name, it.request_id, |life, _| life.cancelled());
        }
        let mut books = self.books();
        let Some(order) = books.orders.get_mut(&it.name) else {
            return Err(Status::not_found("there is none"));
        };
        let first = order.state() == State::Confirmed;
        order.set_state(State::Cancelled);
        let mut order = order.clone();
        let shown = order.clone();
        if first {
            if self.wrong == Wrong::KeepsStock {
                order.lines.clear();
            }
            books.book(&order, -1);
        }
        Ok(Response::new(shown))
    }
}

#[tonic::async_trait]
impl CustomerService for Shop {
    async fn create_customer(
        &self,
        request: Request<CreateCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        let request = request.into_inner();
        let name = format!("customers/{}", request.customer_id);
        let customer = Customer {
            name: name.clone(),
            ..request.customer.unwrap()
        };
        self.books().customers.insert(name, customer.clone());
        Ok(Response::new(customer))
    }

    async fn get_customer(&self, request: Request<GetCustomerRequest>) -> Result<Response<Customer>, Status> {
        let customer = self.books().customers.get(&request.into_inner().name).cloned();
        found(customer.map(|customer| Customer {
            available: customer.balance + customer.credit_limit - customer.held,
            ..customer
        }))
    }

    async fn credit_account(
        &self,
        request: Request<CreditAccountRequest>,
    ) -> Result<Response<Customer>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        let new = books.is_new(&request.request_id);
        let customer = books.customers.get_mut(&request.name).unwrap();
        customer.balance += if new { request.amount } else { 0 };
        Ok(Response::new(customer.clone()))
    }

    async fn update_customer(&self, _: Request<UpdateCustomerRequest>) -> Result<Response<Customer>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_customers(
        &self,
        _: Request<ListCustomersRequest>,
    ) -> Result<Response<ListCustomersResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

#[tonic::async_trait]
impl ItemService for Shop {
    async fn create_item(&self, request: Request<CreateItemRequest>) -> Result<Response<Item>, Status> {
        let request = request.into_inner();
        let name = format!("items/{}", request.sku);
        let item = Item {
            name: name.clone(),
            ..request.item.unwrap()
        };
        self.books().items.insert(name, item.clone());
        Ok(Response::new(item))
    }

    async fn get_item(&self, request: Request<GetItemRequest>) -> Result<Response<Item>, Status> {
        let item = self.books().items.get(&request.into_inner().name).cloned();
        found(item.map(|item| Item {
            available: item.on_hand - item.reserved,
            ..item
        }))
    }

    async fn adjust_stock(&self, request: Request<AdjustStockRequest>) -> Result<Response<Item>, Status> {
        let request = request.into_inner();
        let mut books = self.books();
        let counts = books.is_new(&request.request_id) && self.wrong != Wrong::ForgetsStock;
        let item = books.items.get_mut(&request.name).unwrap();
        item.on_hand += if counts { request.delta } else { 0 };
        Ok(Response::new(item.clone()))
    }

    async fn update_item(&self, _: Request<UpdateItemRequest>) -> Result<Response<Item>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn list_items(&self, _: Request<ListItemsRequest>) -> Result<Response<ListItemsResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}
