//! Clients with credentials, the resources that tests need, and what a refusal says.

use std::time::{Duration, Instant};

use docket_proto::v1::{
    self, auth_service_client::AuthServiceClient, customer_service_client::CustomerServiceClient,
    item_service_client::ItemServiceClient, order_service_client::OrderServiceClient,
};
use prost::bytes::{Buf as _, BufMut as _};
use tonic::{
    Request, Response, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::server::{Home, LOOK_AGAIN, PATIENCE, Server};

/// The longest page.
const PAGE: i32 = 1_000;
/// Requests of this length must arrive, so that the server is the one to refuse them; as must long replies.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection and who uses it.
#[derive(Clone)]
pub struct Api {
    pub channel: Channel,
    credentials: Credentials,
}

/// What is sent with every call.
#[derive(Clone, Default)]
pub struct Credentials(Option<(&'static str, MetadataValue<Ascii>)>);

impl Credentials {
    /// An API key.
    pub fn key(secret: &str) -> Self {
        Self(Some(("x-api-key", secret.parse().unwrap())))
    }

    /// An access token.
    pub fn token(token: &str) -> Self {
        Self(Some((
            "authorization",
            format!("Bearer {token}").parse().unwrap(),
        )))
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some((name, value)) = &self.0 {
            request.metadata_mut().insert(*name, value.clone());
        }
        Ok(request)
    }
}

/// The channel with the credentials.
pub type Authenticated = InterceptedService<Channel, Credentials>;

impl Api {
    /// A connection of its own, without credentials.
    pub async fn connect(server: &Server) -> Self {
        Self::without_credentials(endpoint(server).connect().await.unwrap())
    }

    /// For the first administrator, connected with the first call: to a server that may be gone by then.
    pub fn admin_later(server: &Server, home: &Home) -> Self {
        Self::without_credentials(endpoint(server).connect_lazy()).by(Credentials::key(&home.admin_key()))
    }

    fn without_credentials(channel: Channel) -> Self {
        Self {
            channel,
            credentials: Credentials::default(),
        }
    }

    /// A connection of its own for the first administrator.
    pub async fn admin(server: &Server, home: &Home) -> Self {
        Self::connect(server)
            .await
            .by(Credentials::key(&home.admin_key()))
    }

    /// The same connection with other credentials.
    pub fn by(&self, credentials: Credentials) -> Self {
        Self {
            channel: self.channel.clone(),
            credentials,
        }
    }

    pub fn authenticated(&self) -> Authenticated {
        InterceptedService::new(self.channel.clone(), self.credentials.clone())
    }

    pub fn orders(&self) -> OrderServiceClient<Authenticated> {
        OrderServiceClient::new(self.authenticated()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub fn customers(&self) -> CustomerServiceClient<Authenticated> {
        CustomerServiceClient::new(self.authenticated())
    }

    pub fn items(&self) -> ItemServiceClient<Authenticated> {
        ItemServiceClient::new(self.authenticated())
    }

    pub fn auth(&self) -> AuthServiceClient<Authenticated> {
        AuthServiceClient::new(self.authenticated())
    }

    /// Asks again where a shard has no leader at the moment, as one does whose leader was killed.
    async fn as_soon_as_led<T>(
        &self,
        mut ask: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        let begun = Instant::now();
        loop {
            match ask().await {
                Err(status)
                    if reason_of(&status).as_deref() == Some("SHARD_UNAVAILABLE")
                        && begun.elapsed() < PATIENCE =>
                {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                answer => return answer.map(Response::into_inner),
            }
        }
    }

    /// Creates a customer in EUR.
    pub async fn customer(&self, id: &str, credit_limit: i64) {
        let customer = v1::Customer {
            currency_code: "EUR".into(),
            credit_limit,
            ..Default::default()
        };
        let request = v1::CreateCustomerRequest {
            customer_id: id.into(),
            customer: Some(customer),
            ..Default::default()
        };
        self.as_soon_as_led(async || self.customers().create_customer(request.clone()).await)
            .await
            .unwrap();
    }

    /// Creates an item in EUR.
    pub async fn item(&self, sku: &str, unit_price: i64, on_hand: i64) {
        let item = v1::Item {
            currency_code: "EUR".into(),
            unit_price,
            on_hand,
            ..Default::default()
        };
        let request = v1::CreateItemRequest {
            sku: sku.into(),
            item: Some(item),
            ..Default::default()
        };
        self.as_soon_as_led(async || self.items().create_item(request.clone()).await)
            .await
            .unwrap();
    }

    /// Every order, newest first.
    pub async fn all_orders(&self) -> Vec<v1::Order> {
        let (mut all, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListOrdersRequest {
                page_size: PAGE,
                page_token,
                ..Default::default()
            };
            let page = self
                .as_soon_as_led(async || self.orders().list_orders(request.clone()).await)
                .await
                .unwrap();
            all.extend(page.orders);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return all;
            }
        }
    }

    /// Every item; a test has less than a page of them.
    pub async fn all_items(&self) -> Vec<v1::Item> {
        let request = v1::ListItemsRequest {
            page_size: PAGE,
            ..Default::default()
        };
        let page = self.items().list_items(request).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.items
    }

    /// Every customer; a test has less than a page of them.
    pub async fn all_customers(&self) -> Vec<v1::Customer> {
        let request = v1::ListCustomersRequest {
            page_size: PAGE,
            ..Default::default()
        };
        let page = self
            .customers()
            .list_customers(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(page.next_page_token, "");
        page.customers
    }
}

fn endpoint(server: &Server) -> Endpoint {
    Endpoint::from_shared(format!("http://{}", server.grpc))
        .unwrap()
        .timeout(PATIENCE)
}

/// An order in EUR: lines of sku, quantity, unit price.
pub fn order(request_id: &str, customer: &str, lines: &[(&str, i64, i64)]) -> v1::PlaceOrderRequest {
    let line = |&(sku, quantity, unit_price): &(&str, i64, i64)| v1::OrderLine {
        item: format!("items/{sku}"),
        quantity,
        unit_price,
        ..v1::OrderLine::default()
    };
    v1::PlaceOrderRequest {
        request_id: request_id.into(),
        customer: format!("customers/{customer}"),
        currency_code: "EUR".into(),
        lines: lines.iter().map(line).collect(),
        payment_method: String::new(),
    }
}

/// `ErrorInfo.reason`; none where it was not the server that refused.
pub fn reason_of(status: &Status) -> Option<String> {
    let info = status.get_details_error_info()?;
    assert_eq!(info.domain, "docket", "{status:?}");
    Some(info.reason)
}

/// `ErrorInfo.reason`.
#[track_caller]
pub fn reason(status: &Status) -> String {
    reason_of(status).unwrap_or_else(|| panic!("no ErrorInfo in {status:?}"))
}

/// The fields that are wrong.
pub fn fields(status: &Status) -> Vec<String> {
    let violations = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations)
        .unwrap_or_default();
    violations.into_iter().map(|violation| violation.field).collect()
}

/// When to come back, where the server said so.
pub fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

/// Calls any method with these bytes for its one message, and returns the first message that it answers.
pub async fn raw(api: &Api, path: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = tonic::client::Grpc::new(api.authenticated());
    grpc.ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let request = Request::new(tokio_stream::once(message));
    let path = path.parse().unwrap();
    let mut answers = grpc.streaming(request, path, Bytes).await?.into_inner();
    Ok(answers.message().await?.unwrap_or_default())
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Default)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; buffer.remaining()];
        buffer.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}
