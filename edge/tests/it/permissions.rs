//! Who may do what, over gRPC: every method of the permission table × every role × own, another's and nobody's resource
//! × with and without the scope, by real keys of real accounts.

use std::collections::{BTreeMap, btree_map::Entry};

use docket_actors::Docket;
use docket_audit::Audit;
use docket_edge::{
    Parts, Server,
    auth::{ApiKeyText, AuthApi, AuthOptions, Authenticator, Clock, bootstrap},
    config::Limit,
};
use docket_engine::access::{METHOD_TABLE, Reach, Role, Scopes};
use docket_proto::{
    api::auth::{role_to_proto, scope_to_proto},
    v1::{
        self, auth_service_client::AuthServiceClient, backup_service_client::BackupServiceClient,
        customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
        node_service_client::NodeServiceClient, order_service_client::OrderServiceClient,
        place_orders_response::Result as Placed, standby_service_client::StandbyServiceClient,
        webhook_service_client::WebhookServiceClient,
    },
};
use prost::Message;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{
    Code, Request, Status,
    transport::{Channel, Endpoint},
};

use crate::support::{config, deliverer, metrics, node, nuts, reason};

/// The account that [`bootstrap`] makes.
const ADMIN: &str = "admin";
const PASSWORD: &str = "correct horse battery";

/// A server with real authentication, customers and accounts `ada` and `bob`, an account `bot` of role service, and
/// nuts.
struct Shop {
    channel: Channel,
    admin: String,
    drawn: std::cell::Cell<u32>,
    docket: Docket,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _dir: TempDir,
}

/// What a call is about. All ids have three characters, so that answers about different ones can be compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Target {
    Own,
    Others,
    Nobodys,
}

/// What a call answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: Code,
    reason: String,
    /// Message and details, without the names in them.
    text: String,
}

/// Whose limit is set.
const LIMITED: &str = "limits/accounts/bot";

impl Shop {
    async fn open() -> Self {
        let (docket, dir) = node().await;
        let mut config = config();
        for limit in [
            &mut config.limits.address,
            &mut config.limits.open,
            &mut config.limits.service,
            &mut config.limits.admin,
        ] {
            *limit = Limit::OFF;
        }
        let options = AuthOptions::default();
        let access = docket.access().clone();
        let key = ApiKeyText::generate().unwrap();
        assert_eq!(bootstrap(&access, &key, Clock::system().now()).await, Ok(true));
        let parts = Parts {
            docket: docket.clone(),
            authenticator: std::sync::Arc::new(Authenticator::new(access.clone(), &options, Clock::system())),
            auth: Some(AuthApi::new(access, &options, Clock::system()).unwrap()),
            webhooks: Some(deliverer(&docket)),
            metrics: metrics(),
            audit: Audit::off(),
            tracer: docket_traces::Tracer::off(),
        };
        let server = Server::bind(config, parts).await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", server.local_addr())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        let channel = endpoint.connect().await.unwrap();
        let admin = key.text().expose_secret().to_owned();
        let drawn = std::cell::Cell::new(0);
        let shop = Self {
            channel,
            admin,
            drawn,
            docket,
            stop,
            task,
            _dir: dir,
        };
        shop.seed().await;
        shop
    }

    async fn seed(&self) {
        for path in [
            "/docket.v1.CustomerService/CreateCustomer",
            "/docket.v1.AuthService/Register",
        ] {
            for id in ["ada", "bob"] {
                self.call(path, Some(&self.admin), id).await.unwrap();
            }
        }
        let register = register("bot", Role::Service);
        AuthServiceClient::new(self.channel.clone())
            .register(with(Some(&self.admin), register))
            .await
            .unwrap();
        self.call("/docket.v1.ItemService/CreateItem", Some(&self.admin), "nut")
            .await
            .unwrap();
    }

    async fn close(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
        self.docket
            .close(std::time::Duration::from_secs(5))
            .await
            .unwrap();
    }

    /// A number that was not there before.
    fn draw(&self) -> u32 {
        self.drawn.set(self.drawn.get() + 1);
        self.drawn.get()
    }

    /// A key of this account with these scopes.
    async fn key(&self, account: &str, scopes: Scopes) -> v1::CreateApiKeyResponse {
        let message = v1::CreateApiKeyRequest {
            account: format!("accounts/{account}"),
            scopes: scopes.iter().map(|scope| scope_to_proto(scope).into()).collect(),
            ..Default::default()
        };
        let made = AuthServiceClient::new(self.channel.clone())
            .create_api_key(with(Some(&self.admin), message))
            .await;
        made.unwrap().into_inner()
    }

    /// The name of a new order of this customer; of none, where there is no such customer.
    async fn order(&self, id: &str) -> String {
        let placed = self
            .call("/docket.v1.OrderService/PlaceOrder", Some(&self.admin), id)
            .await;
        placed.map_or_else(|_| "orders/00000000000000000000000000".into(), Option::unwrap)
    }

    /// The name of a new key of this account; of none, where there is no such account.
    async fn spare_key(&self, id: &str) -> String {
        if id == "eve" {
            return "apiKeys/000000000000000000000000".into();
        }
        self.key(id, Scopes::of(&[docket_engine::access::Scope::Read]))
            .await
            .api_key
            .unwrap()
            .name
    }

    /// Calls a method about the customer, account or item of this id, in a way that is allowed to whoever may call it.
    async fn call(&self, path: &str, key: Option<&str>, id: &str) -> Result<Option<String>, Status> {
        macro_rules! ask {
            ($client:ident.$method:ident($message:expr)) => {
                $client::new(self.channel.clone())
                    .$method(with(key, $message))
                    .await
                    .map(|_| None)
            };
        }
        let name = |collection: &str| format!("{collection}/{id}");
        let request_id = format!("r{}", self.draw());
        let fresh = |stem: &str| format!("{stem}{}", self.drawn.get());
        match path.rsplit('/').next().unwrap() {
            "Register" if id == "any" => {
                ask!(AuthServiceClient.register(register(&fresh("u"), Role::Service)))
            }
            "Register" => ask!(AuthServiceClient.register(register(id, Role::Customer))),
            "AssignRole" => {
                let role = v1::Role::Customer.into();
                let (name, customer) = (name("accounts"), name("customers"));
                ask!(AuthServiceClient.assign_role(v1::AssignRoleRequest { name, role, customer }))
            }
            "CreateApiKey" => ask!(AuthServiceClient.create_api_key(v1::CreateApiKeyRequest {
                account: name("accounts"),
                scopes: vec![v1::Scope::Access.into()],
                ..Default::default()
            })),
            "RevokeApiKey" => {
                let name = self.spare_key_boxed(id).await;
                ask!(AuthServiceClient.revoke_api_key(v1::RevokeApiKeyRequest { name }))
            }
            "ListApiKeys" => ask!(AuthServiceClient.list_api_keys(v1::ListApiKeysRequest::default())),
            "GetStandby" => ask!(StandbyServiceClient.get_standby(v1::GetStandbyRequest {})),
            "RegisterStandby" => ask!(StandbyServiceClient.register_standby(v1::RegisterStandbyRequest {
                standby_id: "other".into(),
                address: "http://127.0.0.1:1".into(),
                ..Default::default()
            })),
            "FollowLogs" => {
                let request = v1::FollowLogsRequest {
                    standby_id: "nobody".into(),
                    ..Default::default()
                };
                let asked = StandbyServiceClient::new(self.channel.clone())
                    .follow_logs(with(key, request))
                    .await;
                // None is registered that is called so.
                match asked {
                    Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
                    asked => asked.map(|_| None),
                }
            }
            "PromoteStandby" => {
                let request = v1::PromoteStandbyRequest { force: false };
                let asked = StandbyServiceClient::new(self.channel.clone())
                    .promote_standby(with(key, request))
                    .await;
                // It follows nobody.
                match asked {
                    Err(status) if status.code() == Code::FailedPrecondition => Ok(None),
                    asked => asked.map(|_| None),
                }
            }
            "ForgetStandby" => ask!(StandbyServiceClient.forget_standby(v1::ForgetStandbyRequest {})),
            "BeginBackup" => ask!(BackupServiceClient.begin_backup(v1::BeginBackupRequest {})),
            "ReadBackup" => ask!(BackupServiceClient.read_backup(v1::ReadBackupRequest {
                group: "shard-0".into(),
                part: Some(v1::read_backup_request::Part::Snapshot(v1::ReadSnapshot {})),
            })),
            "CreateCustomer" => ask!(CustomerServiceClient.create_customer(v1::CreateCustomerRequest {
                customer_id: if id == "any" { fresh("c") } else { id.into() },
                customer: Some(v1::Customer {
                    currency_code: "EUR".into(),
                    credit_limit: 1_000_000,
                    ..Default::default()
                }),
                ..Default::default()
            })),
            "GetCustomer" => {
                ask!(CustomerServiceClient.get_customer(v1::GetCustomerRequest {
                    name: name("customers")
                }))
            }
            "UpdateCustomer" => ask!(CustomerServiceClient.update_customer(v1::UpdateCustomerRequest {
                customer: Some(v1::Customer {
                    name: name("customers"),
                    display_name: fresh("n"),
                    ..Default::default()
                }),
                ..Default::default()
            })),
            "ListCustomers" => {
                ask!(CustomerServiceClient.list_customers(v1::ListCustomersRequest::default()))
            }
            "CreditAccount" => ask!(CustomerServiceClient.credit_account(v1::CreditAccountRequest {
                name: name("customers"),
                amount: 1,
                request_id,
                ..Default::default()
            })),
            "CreateItem" => ask!(ItemServiceClient.create_item(v1::CreateItemRequest {
                sku: if id == "nut" { id.into() } else { fresh("s") },
                item: Some(v1::Item {
                    currency_code: "EUR".into(),
                    unit_price: 5,
                    on_hand: 1_000_000,
                    ..Default::default()
                }),
                ..Default::default()
            })),
            "GetItem" => ask!(ItemServiceClient.get_item(v1::GetItemRequest {
                name: "items/nut".into()
            })),
            "UpdateItem" => ask!(ItemServiceClient.update_item(v1::UpdateItemRequest {
                item: Some(v1::Item {
                    name: "items/nut".into(),
                    display_name: fresh("n"),
                    ..Default::default()
                }),
                ..Default::default()
            })),
            "AdjustStock" => ask!(ItemServiceClient.adjust_stock(v1::AdjustStockRequest {
                name: "items/nut".into(),
                delta: 1,
                request_id,
                ..Default::default()
            })),
            "ListItems" => ask!(ItemServiceClient.list_items(v1::ListItemsRequest::default())),
            "GetNodeStatus" => ask!(NodeServiceClient.get_node_status(v1::GetNodeStatusRequest {})),
            "DrainNode" => decided(
                NodeServiceClient::new(self.channel.clone())
                    .drain_node(with(key, v1::DrainNodeRequest { node_id: 2 }))
                    .await,
            ),
            "UndrainNode" => decided(
                NodeServiceClient::new(self.channel.clone())
                    .undrain_node(with(key, v1::UndrainNodeRequest { node_id: 2 }))
                    .await,
            ),
            "RemoveNode" => {
                let request = v1::RemoveNodeRequest {
                    node_id: 2,
                    ..Default::default()
                };
                decided(
                    NodeServiceClient::new(self.channel.clone())
                        .remove_node(with(key, request))
                        .await,
                )
            }
            "MoveReplica" => {
                let request = v1::MoveReplicaRequest {
                    group: "meta".into(),
                    from_node_id: 1,
                    to_node_id: 2,
                };
                decided(
                    NodeServiceClient::new(self.channel.clone())
                        .move_replica(with(key, request))
                        .await,
                )
            }
            "BalanceLeaders" => decided(
                NodeServiceClient::new(self.channel.clone())
                    .balance_leaders(with(key, v1::BalanceLeadersRequest {}))
                    .await,
            ),
            // One goes on at a time.
            "VerifyBooks" => ask!(NodeServiceClient.verify_books(v1::VerifyBooksRequest {})),
            "SetFlag" => ask!(NodeServiceClient.set_flag(v1::SetFlagRequest {
                name: "flags/custom.nuts".into(),
                rule: Some(v1::FlagRule::default()),
                ..Default::default()
            })),
            "UnsetFlag" => ask!(NodeServiceClient.unset_flag(v1::UnsetFlagRequest {
                name: "flags/custom.nuts".into(),
                ..Default::default()
            })),
            "GetFlag" => ask!(NodeServiceClient.get_flag(v1::GetFlagRequest {
                name: "flags/webhooks".into(),
                ..Default::default()
            })),
            "ListFlags" => ask!(NodeServiceClient.list_flags(v1::ListFlagsRequest {})),
            "FinalizeUpgrade" => ask!(NodeServiceClient.finalize_upgrade(v1::FinalizeUpgradeRequest {})),
            "SetLimit" => ask!(NodeServiceClient.set_limit(v1::SetLimitRequest {
                limit: Some(v1::CallerLimit {
                    name: LIMITED.into(),
                    per_second: 1_000_000,
                    burst: 1_000_000,
                    ..Default::default()
                }),
            })),
            "UnsetLimit" => ask!(NodeServiceClient.unset_limit(v1::UnsetLimitRequest {
                name: LIMITED.into(),
                ..Default::default()
            })),
            "GetLimit" => {
                let request = v1::GetLimitRequest { name: LIMITED.into() };
                // It may have none.
                match NodeServiceClient::new(self.channel.clone())
                    .get_limit(with(key, request))
                    .await
                {
                    Err(status) if status.code() == Code::NotFound => Ok(None),
                    asked => asked.map(|_| None),
                }
            }
            "ListLimits" => ask!(NodeServiceClient.list_limits(v1::ListLimitsRequest::default())),
            "GetClusterStatus" => ask!(NodeServiceClient.get_cluster_status(v1::GetClusterStatusRequest {})),
            "PlaceOrder" => {
                let request = with(key, nuts(&request_id, id, 1));
                let placed = OrderServiceClient::new(self.channel.clone())
                    .place_order(request)
                    .await?;
                Ok(Some(placed.into_inner().name))
            }
            "PlaceOrders" => {
                let request = with(key, futures::stream::iter([nuts(&request_id, id, 1)]));
                let mut placed = OrderServiceClient::new(self.channel.clone())
                    .place_orders(request)
                    .await?
                    .into_inner();
                match placed.message().await?.unwrap().result.unwrap() {
                    Placed::Order(_) => Ok(None),
                    Placed::Status(status) => {
                        let (code, details) = (Code::from(status.code), status.encode_to_vec());
                        Err(Status::with_details(code, status.message, details.into()))
                    }
                }
            }
            "GetOrder" => {
                let name = self.order_boxed(id).await;
                ask!(OrderServiceClient.get_order(v1::GetOrderRequest { name }))
            }
            "BatchGetOrders" => {
                let names = vec![self.order_boxed(id).await];
                ask!(OrderServiceClient.batch_get_orders(v1::BatchGetOrdersRequest { names }))
            }
            "ListOrderEvents" => {
                let parent = self.order_boxed(id).await;
                ask!(OrderServiceClient.list_order_events(v1::ListOrderEventsRequest {
                    parent,
                    ..Default::default()
                }))
            }
            "CancelOrder" => {
                let name = self.order_boxed(id).await;
                ask!(OrderServiceClient.cancel_order(v1::CancelOrderRequest {
                    name,
                    ..Default::default()
                }))
            }
            "ShipOrder" => {
                let name = self.order_boxed(id).await;
                ask!(OrderServiceClient.ship_order(v1::ShipOrderRequest {
                    name,
                    ..Default::default()
                }))
            }
            "CancelOrderLines" => {
                let name = self.order_boxed(id).await;
                let lines = vec![v1::LineQuantity { line: 0, quantity: 1 }];
                ask!(
                    OrderServiceClient.cancel_order_lines(v1::CancelOrderLinesRequest {
                        name,
                        lines,
                        ..Default::default()
                    })
                )
            }
            "EditOrder" => {
                let name = self.order_boxed(id).await;
                let lines = vec![v1::LineQuantity { line: 0, quantity: 3 }];
                ask!(OrderServiceClient.edit_order(v1::EditOrderRequest {
                    name,
                    etag: "v2".into(),
                    lines,
                    ..Default::default()
                }))
            }
            "RetryPayment" => {
                let name = self.order_boxed(id).await;
                let asked = ask!(OrderServiceClient.retry_payment(v1::RetryPaymentRequest {
                    name,
                    step: 1,
                    ..Default::default()
                }));
                match asked {
                    // Who is let in hears that no provider pays for it.
                    Err(status) if reason(&status) == "PAYMENT_STEP_NOT_FOUND" => Ok(None),
                    asked => asked,
                }
            }
            "RequestReturn" => {
                let name = self.shipped(id, 0).await;
                ask!(OrderServiceClient.request_return(v1::RequestReturnRequest {
                    name,
                    ..Default::default()
                }))
            }
            "ResolveReturn" => {
                let name = self.shipped(id, 1).await;
                ask!(OrderServiceClient.resolve_return(v1::ResolveReturnRequest {
                    name,
                    return_number: 1,
                    approve: true,
                    ..Default::default()
                }))
            }
            "ReceiveReturn" => {
                let name = self.shipped(id, 2).await;
                ask!(OrderServiceClient.receive_return(v1::ReceiveReturnRequest {
                    name,
                    return_number: 1,
                    ..Default::default()
                }))
            }
            "CloseReturn" => {
                let name = self.shipped(id, 2).await;
                ask!(OrderServiceClient.close_return(v1::CloseReturnRequest {
                    name,
                    return_number: 1,
                    ..Default::default()
                }))
            }
            "RefundOrder" => {
                let name = self.shipped(id, 0).await;
                ask!(OrderServiceClient.refund_order(v1::RefundOrderRequest {
                    name,
                    amount: 1,
                    ..Default::default()
                }))
            }
            "OpenFulfilment" => {
                let name = self.order_boxed(id).await;
                ask!(OrderServiceClient.open_fulfilment(v1::OpenFulfilmentRequest {
                    name,
                    ..Default::default()
                }))
            }
            "CancelFulfilment" => {
                let name = self.order_boxed(id).await;
                let asked = ask!(OrderServiceClient.cancel_fulfilment(v1::CancelFulfilmentRequest {
                    name,
                    fulfilment: 1,
                    ..Default::default()
                }));
                match asked {
                    // Who is let in hears that nobody has planned one.
                    Err(status) if reason(&status) == "FULFILMENT_NOT_FOUND" => Ok(None),
                    asked => asked,
                }
            }
            "DeliverFulfilment" => {
                let name = self.shipped(id, 0).await;
                ask!(
                    OrderServiceClient.deliver_fulfilment(v1::DeliverFulfilmentRequest {
                        name,
                        fulfilment: 1,
                        ..Default::default()
                    })
                )
            }
            "HoldOrder" => {
                let name = self.order_boxed(id).await;
                ask!(OrderServiceClient.hold_order(v1::HoldOrderRequest {
                    name,
                    reason: v1::order_hold::Reason::Operator.into(),
                    ..Default::default()
                }))
            }
            "ReleaseOrderHold" => {
                let name = self.order_boxed(id).await;
                let held = with(
                    Some(&self.admin),
                    v1::HoldOrderRequest {
                        name: name.clone(),
                        reason: v1::order_hold::Reason::Operator.into(),
                        ..Default::default()
                    },
                );
                // There may be no such order.
                let _ = OrderServiceClient::new(self.channel.clone())
                    .hold_order(held)
                    .await;
                ask!(
                    OrderServiceClient.release_order_hold(v1::ReleaseOrderHoldRequest {
                        name,
                        reason: v1::order_hold::Reason::Operator.into(),
                        ..Default::default()
                    })
                )
            }
            "ListOrders" => {
                let customer = name("customers");
                let request = with(
                    key,
                    v1::ListOrdersRequest {
                        customer,
                        ..Default::default()
                    },
                );
                let listed = OrderServiceClient::new(self.channel.clone())
                    .list_orders(request)
                    .await?;
                let names: Vec<_> = listed
                    .into_inner()
                    .orders
                    .into_iter()
                    .map(|order| order.name)
                    .collect();
                Ok(Some(names.join(" ")))
            }
            "WatchOrders" => {
                let customer = name("customers");
                let request = v1::WatchOrdersRequest {
                    customer,
                    ..Default::default()
                };
                let mut watching = OrderServiceClient::new(self.channel.clone())
                    .watch_orders(with(key, request))
                    .await?
                    .into_inner();
                let first = watching.message().await?.unwrap();
                assert_eq!(first.changes, []);
                Ok(None)
            }
            "CreateWebhook" => ask!(WebhookServiceClient.create_webhook(webhook())),
            "GetWebhook" => {
                let name = self.webhook().await;
                ask!(WebhookServiceClient.get_webhook(v1::GetWebhookRequest { name }))
            }
            "ListWebhooks" => {
                ask!(WebhookServiceClient.list_webhooks(v1::ListWebhooksRequest::default()))
            }
            "UpdateWebhook" => {
                let webhook = v1::Webhook {
                    name: self.webhook().await,
                    description: fresh("d"),
                    ..Default::default()
                };
                ask!(WebhookServiceClient.update_webhook(v1::UpdateWebhookRequest {
                    webhook: Some(webhook),
                    ..Default::default()
                }))
            }
            "DeleteWebhook" => {
                let name = self.webhook().await;
                ask!(WebhookServiceClient.delete_webhook(v1::DeleteWebhookRequest {
                    name,
                    ..Default::default()
                }))
            }
            "RotateWebhookSecret" => {
                let name = self.webhook().await;
                ask!(
                    WebhookServiceClient.rotate_webhook_secret(v1::RotateWebhookSecretRequest {
                        name,
                        ..Default::default()
                    })
                )
            }
            "TestWebhook" => {
                let name = self.webhook().await;
                ask!(WebhookServiceClient.test_webhook(v1::TestWebhookRequest { name }))
            }
            "ListDeadLetters" => {
                let parent = self.webhook().await;
                ask!(
                    WebhookServiceClient.list_dead_letters(v1::ListDeadLettersRequest {
                        parent,
                        ..Default::default()
                    })
                )
            }
            "ReplayWebhook" => {
                let name = self.webhook().await;
                ask!(WebhookServiceClient.replay_webhook(v1::ReplayWebhookRequest {
                    name,
                    all_dead_letters: true,
                    ..Default::default()
                }))
            }
            "Login" => ask!(AuthServiceClient.login(v1::LoginRequest {
                username: id.into(),
                password: "x".into()
            })),
            "Refresh" => ask!(AuthServiceClient.refresh(v1::RefreshRequest {
                refresh_token: "x".into()
            })),
            "Logout" => ask!(AuthServiceClient.logout(v1::LogoutRequest {
                refresh_token: "x".into()
            })),
            _ => panic!("{path} has no call here: write one"),
        }
    }

    /// An order that was shipped, with a return that came so far: 0 none, 1 requested, 2 approved. There may be no such order.
    async fn shipped(&self, id: &str, returned: u8) -> String {
        let name = self.order_boxed(id).await;
        let mut orders = OrderServiceClient::new(self.channel.clone());
        let ship = v1::ShipOrderRequest {
            name: name.clone(),
            ..Default::default()
        };
        let _ = orders.ship_order(with(Some(&self.admin), ship)).await;
        if returned > 0 {
            let ask = v1::RequestReturnRequest {
                name: name.clone(),
                ..Default::default()
            };
            let _ = orders.request_return(with(Some(&self.admin), ask)).await;
        }
        if returned > 1 {
            let approve = v1::ResolveReturnRequest {
                name: name.clone(),
                return_number: 1,
                approve: true,
                ..Default::default()
            };
            let _ = orders.resolve_return(with(Some(&self.admin), approve)).await;
        }
        name
    }

    /// The name of a new webhook, that is nowhere. The one before is deleted: there may only be so many.
    async fn webhook(&self) -> String {
        let mut webhooks = WebhookServiceClient::new(self.channel.clone());
        let list = with(Some(&self.admin), v1::ListWebhooksRequest::default());
        for before in webhooks.list_webhooks(list).await.unwrap().into_inner().webhooks {
            let delete = v1::DeleteWebhookRequest {
                name: before.name,
                ..Default::default()
            };
            webhooks
                .delete_webhook(with(Some(&self.admin), delete))
                .await
                .unwrap();
        }
        let made = webhooks.create_webhook(with(Some(&self.admin), webhook())).await;
        made.unwrap().into_inner().webhook.unwrap().name
    }

    // A future that calls itself needs a box.
    async fn order_boxed(&self, id: &str) -> String {
        Box::pin(self.order(id)).await
    }

    async fn spare_key_boxed(&self, id: &str) -> String {
        Box::pin(self.spare_key(id)).await
    }

    async fn answer(&self, path: &str, key: Option<&str>, id: &str) -> Answer {
        match self.call(path, key, id).await {
            Ok(shown) => Answer {
                code: Code::Ok,
                reason: String::new(),
                text: shown.unwrap_or_default(),
            },
            Err(status) => Answer {
                code: status.code(),
                reason: reason(&status),
                text: without_names(&status),
            },
        }
    }
}

fn webhook() -> v1::CreateWebhookRequest {
    v1::CreateWebhookRequest {
        webhook: Some(v1::Webhook {
            // Not one that may be delivered to, and that nobody has to look up.
            url: "https://127.0.0.1:1/".into(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn register(username: &str, role: Role) -> v1::RegisterRequest {
    let customer = if role == Role::Customer {
        format!("customers/{username}")
    } else {
        String::new()
    };
    let (username, password) = (username.to_owned(), PASSWORD.to_owned());
    v1::RegisterRequest {
        username,
        password,
        role: role_to_proto(role).into(),
        customer,
    }
}

/// What a change of the cluster is answered: that the node stands alone is an answer to who may ask.
fn decided<T>(answer: Result<tonic::Response<T>, Status>) -> Result<Option<String>, Status> {
    match answer {
        Err(status) if status.code() == Code::FailedPrecondition => {
            assert_eq!(reason(&status), "CLUSTER_CHANGE_REFUSED");
            assert!(status.message().contains("stands alone"), "{status}");
            Ok(None)
        }
        answer => answer.map(|_| None),
    }
}

fn with<T>(key: Option<&str>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
    }
    request
}

/// Message and details with every name of a customer, account, order or key replaced.
fn without_names(status: &Status) -> String {
    let mut text = format!(
        "{} {}",
        status.message(),
        String::from_utf8_lossy(status.details())
    );
    for id in ["ada", "bob", "bot", "eve"] {
        text = text.replace(id, "???");
    }
    for (collection, length) in [("orders/", 26), ("apiKeys/", 24), ("the order ", 26)] {
        let mut at = 0;
        while let Some(found) = text[at..].find(collection) {
            at += found + collection.len();
            if let Some(name) = text.get(at..at + length) {
                text = text.replace(&name.to_owned(), &"?".repeat(length));
            }
        }
    }
    text
}

/// The account that calls in a role.
fn account_of(role: Role) -> &'static str {
    match role {
        Role::Customer => "ada",
        Role::Service => "bot",
        Role::Admin => ADMIN,
    }
}

/// Whose resource a call in a role is about.
fn subject_of(role: Role, target: Target, path: &str) -> &'static str {
    let keys = path.starts_with("/docket.v1.AuthService/");
    let made = path.ends_with("/Register") || path.ends_with("/CreateCustomer");
    match target {
        _ if made => "any",
        Target::Own if keys && role == Role::Service => "bot",
        Target::Own => "ada",
        Target::Others => "bob",
        Target::Nobodys => "eve",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_answers_every_role_as_the_table_says() {
    let shop = Shop::open().await;
    let mut full = BTreeMap::new();
    for role in Role::ALL {
        full.insert(role, shop.key(account_of(role), role.scopes()).await.secret);
    }
    let (mut narrow, mut cells) = (BTreeMap::new(), 0);
    for rule in METHOD_TABLE
        .iter()
        .filter(|rule| rule.path.starts_with("/docket.v1."))
    {
        let Some(grant) = rule.grant else { continue };
        for role in Role::ALL {
            let key = Some(full[&role].as_str());
            let nobodys = shop
                .answer(rule.path, key, subject_of(role, Target::Nobodys, rule.path))
                .await;
            for target in [Target::Own, Target::Others] {
                let what = format!("{role} calls {} about {target:?}", rule.path);
                let answer = shop
                    .answer(rule.path, key, subject_of(role, target, rule.path))
                    .await;
                match grant.reach(role) {
                    Reach::Nothing => {
                        assert_eq!(
                            (answer.code, answer.reason.as_str()),
                            (Code::PermissionDenied, "ROLE_NOT_ALLOWED"),
                            "{what}"
                        );
                    }
                    // Nothing is named: it is about what is the caller's own.
                    Reach::Own if target == Target::Others && !rule.path.ends_with("/ListApiKeys") => {
                        assert_eq!(answer, nobodys, "{what} and must not see that it is there");
                        // Who has no orders has an empty list of them, and nothing happens to them.
                        let of_none = ["/ListOrders", "/WatchOrders"];
                        let expected = match of_none.iter().any(|method| rule.path.ends_with(method)) {
                            true => Code::Ok,
                            false => Code::NotFound,
                        };
                        assert_eq!(answer.code, expected, "{what}");
                    }
                    Reach::Own | Reach::Everything => assert_eq!(answer.code, Code::Ok, "{what}: {answer:?}"),
                }
                cells += 1;
            }
            if grant.reach(role) != Reach::Nothing {
                let others = role
                    .scopes()
                    .iter()
                    .filter(|scope| *scope != grant.scope)
                    .collect();
                // One a scope: an account has only so many keys.
                let narrow = match narrow.entry((role, grant.scope)) {
                    Entry::Occupied(found) => found.into_mut(),
                    Entry::Vacant(free) => free.insert(shop.key(account_of(role), others).await.secret),
                };
                let answer = shop
                    .answer(rule.path, Some(narrow), subject_of(role, Target::Own, rule.path))
                    .await;
                let expected = (Code::PermissionDenied, "SCOPE_MISSING");
                assert_eq!(
                    (answer.code, answer.reason.as_str()),
                    expected,
                    "{role} calls {} without {}",
                    rule.path,
                    grant.scope
                );
            }
        }
        let nobody = shop.answer(rule.path, None, "ada").await;
        assert_eq!(
            (nobody.code, nobody.reason.as_str()),
            (Code::Unauthenticated, "CREDENTIALS_MISSING"),
            "{}",
            rule.path
        );
        let unknown = ApiKeyText::generate().unwrap().text();
        let unknown = shop.answer(rule.path, Some(unknown.expose_secret()), "ada").await;
        assert_eq!(
            (unknown.code, unknown.reason.as_str()),
            (Code::Unauthenticated, "CREDENTIALS_INVALID"),
            "{}",
            rule.path
        );
    }
    assert_eq!(cells, 70 * 3 * 2);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_methods_need_no_credential_and_give_nothing_away() {
    let shop = Shop::open().await;
    for (path, expected) in [
        ("/docket.v1.AuthService/Login", "LOGIN_FAILED"),
        ("/docket.v1.AuthService/Refresh", "REFRESH_TOKEN_INVALID"),
        ("/docket.v1.AuthService/Logout", "REFRESH_TOKEN_INVALID"),
    ] {
        let answers = [
            shop.answer(path, None, "ada").await,
            shop.answer(path, None, "eve").await,
        ];
        assert_eq!(
            (answers[0].code, answers[0].reason.as_str()),
            (Code::Unauthenticated, expected)
        );
        assert_eq!(answers[0], answers[1], "whether there is an account of a name");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_does_not_list_the_orders_of_all() {
    let shop = Shop::open().await;
    let key = shop.key("ada", Role::Customer.scopes()).await.secret;
    let mut orders = OrderServiceClient::new(shop.channel.clone());
    let all = orders
        .list_orders(with(Some(&key), v1::ListOrdersRequest::default()))
        .await;
    assert_eq!(all.unwrap_err().code(), Code::PermissionDenied);
    let all = orders
        .list_orders(with(Some(&shop.admin), v1::ListOrdersRequest::default()))
        .await;
    assert!(all.is_ok());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_told_what_happened_to_its_order_and_not_who_of_the_shop_did_it() {
    let shop = Shop::open().await;
    let ada = shop.key("ada", Role::Customer.scopes()).await.secret;
    let bot = shop.key("bot", Role::Service.scopes()).await.secret;
    let mut orders = OrderServiceClient::new(shop.channel.clone());
    let traced = |key: &str, trace: &str| {
        let mut request = with(Some(key), ());
        let trace = format!("00-{trace}-00f067aa0ba902b7-01");
        request
            .metadata_mut()
            .insert("traceparent", trace.parse().unwrap());
        request.map(|()| nuts("from-ada", "ada", 1))
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let placed = orders
        .place_order(traced(&ada, trace))
        .await
        .unwrap()
        .into_inner();
    let held = v1::HoldOrderRequest {
        name: placed.name.clone(),
        request_id: "from-bot".into(),
        reason: v1::order_hold::Reason::FraudReview.into(),
        note: "the third today".into(),
        ..Default::default()
    };
    orders.hold_order(with(Some(&bot), held)).await.unwrap();
    let all = v1::order_hold::Reason::FraudReview;
    let nothing = v1::order_hold::Reason::Unspecified;
    for (key, by, request_id, reason) in [
        (&ada, "", "", nothing),
        (&bot, "bot", "from-bot", all),
        (&shop.admin, "bot", "from-bot", all),
    ] {
        let (mut events, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListOrderEventsRequest {
                parent: placed.name.clone(),
                page_size: 2,
                page_token,
            };
            let page = orders
                .list_order_events(with(Some(key), request))
                .await
                .unwrap()
                .into_inner();
            assert!(page.events.len() <= 2);
            events.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        use v1::order_change::Kind::{Confirmed, Held, Placed};
        let kinds: Vec<_> = events.iter().map(v1::OrderEvent::kind).collect();
        assert_eq!(kinds, [Placed, Confirmed, Held]);
        // What it did itself, it may know.
        let first = &events[0];
        assert_eq!(
            (&*first.requested_by, &*first.request_id, &*first.trace_id),
            ("ada", "from-ada", trace)
        );
        assert!(first.before.is_none() && first.event_time == placed.create_time);
        let held = &events[2];
        assert_eq!(
            (&*held.requested_by, &*held.request_id, held.hold_reason()),
            (by, request_id, reason)
        );
        assert_eq!(held.note.is_empty(), reason == nothing);
        assert_eq!(held.before, events[1].after);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_is_not_shown_why_its_order_is_held_and_who_shipped_it() {
    let shop = Shop::open().await;
    let ada = shop.key("ada", Role::Customer.scopes()).await.secret;
    let bot = shop.key("bot", Role::Service.scopes()).await.secret;
    let name = shop.order("ada").await;
    let mut orders = OrderServiceClient::new(shop.channel.clone());
    let held = v1::HoldOrderRequest {
        name: name.clone(),
        reason: v1::order_hold::Reason::FraudReview.into(),
        note: "the third today".into(),
        ..Default::default()
    };
    let held = orders
        .hold_order(with(Some(&bot), held))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(held.holds[0].placed_by, "bot");
    for (key, seen) in [(&ada, 0), (&bot, 1), (&shop.admin, 1)] {
        let request = v1::GetOrderRequest { name: name.clone() };
        let order = orders.get_order(with(Some(key), request)).await.unwrap();
        assert_eq!(order.into_inner().holds.len(), seen);
        let request = v1::BatchGetOrdersRequest {
            names: vec![name.clone()],
        };
        let batch = orders.batch_get_orders(with(Some(key), request)).await.unwrap();
        assert_eq!(batch.into_inner().orders[0].holds.len(), seen);
        // Nor by asking for those that are.
        let request = v1::ListOrdersRequest {
            customer: "customers/ada".into(),
            hold_reasons: vec![v1::order_hold::Reason::FraudReview.into()],
            ..Default::default()
        };
        let held = orders.list_orders(with(Some(key), request)).await;
        let held = held.map(|page| page.into_inner().orders.len());
        match seen {
            0 => assert_eq!(reason(&held.unwrap_err()), "ROLE_NOT_ALLOWED"),
            _ => assert_eq!(held.unwrap(), 1),
        }
        let request = v1::ListOrdersRequest {
            customer: "customers/ada".into(),
            ..Default::default()
        };
        let page = orders.list_orders(with(Some(key), request)).await.unwrap();
        let listed: usize = page
            .into_inner()
            .orders
            .iter()
            .map(|order| order.holds.len())
            .sum();
        assert_eq!(listed, seen);
        let request = v1::WatchOrdersRequest {
            customer: "customers/ada".into(),
            start: v1::watch_orders_request::Start::Oldest.into(),
            ..Default::default()
        };
        let mut watch = orders
            .watch_orders(with(Some(key), request))
            .await
            .unwrap()
            .into_inner();
        let told = loop {
            let changes = watch.message().await.unwrap().unwrap().changes;
            let hold = |change: &v1::OrderChange| change.kind() == v1::order_change::Kind::Held;
            if let Some(found) = changes.into_iter().find(hold) {
                break found.order.unwrap();
            }
        };
        assert_eq!((&told.name, told.holds.len()), (&name, seen));
    }
    let release = v1::ReleaseOrderHoldRequest {
        name: name.clone(),
        reason: v1::order_hold::Reason::FraudReview.into(),
        ..Default::default()
    };
    orders
        .release_order_hold(with(Some(&bot), release))
        .await
        .unwrap();
    let ship = v1::ShipOrderRequest {
        name: name.clone(),
        carrier: "DHL".into(),
        ..Default::default()
    };
    orders.ship_order(with(Some(&bot), ship)).await.unwrap();
    // Its shipment it sees, and not who of the shop sent it.
    for (key, by) in [(&ada, ""), (&bot, "bot"), (&shop.admin, "bot")] {
        let request = v1::GetOrderRequest { name: name.clone() };
        let order = orders
            .get_order(with(Some(key), request))
            .await
            .unwrap()
            .into_inner();
        let shipment = &order.fulfilments[0];
        assert_eq!(
            (shipment.carrier.as_str(), shipment.shipped_by.as_str()),
            ("DHL", by)
        );
    }
    // Nor who refunded it.
    let refund = v1::RefundOrderRequest {
        name: name.clone(),
        amount: 1,
        ..Default::default()
    };
    orders.refund_order(with(Some(&bot), refund)).await.unwrap();
    let ask = v1::RequestReturnRequest {
        name: name.clone(),
        ..Default::default()
    };
    let asked = orders
        .request_return(with(Some(&ada), ask))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (&*asked.returns[0].requested_by, &*asked.refunds[0].refunded_by),
        ("", "")
    );
    let request = v1::GetOrderRequest { name: name.clone() };
    let seen = orders
        .get_order(with(Some(&bot), request))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (&*seen.returns[0].requested_by, &*seen.refunds[0].refunded_by),
        ("ada", "bot")
    );
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_opened_used_refreshed_and_ended_over_the_wire() {
    let shop = Shop::open().await;
    let mut auth = AuthServiceClient::new(shop.channel.clone());
    let login = v1::LoginRequest {
        username: "ada".into(),
        password: PASSWORD.into(),
    };
    let session = auth.login(login).await.unwrap().into_inner();
    let get = async |token: &str| {
        let mut request = Request::new(v1::GetCustomerRequest {
            name: "customers/ada".into(),
        });
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {token}").parse().unwrap());
        CustomerServiceClient::new(shop.channel.clone())
            .get_customer(request)
            .await
    };
    assert_eq!(
        get(&session.access_token).await.unwrap().into_inner().name,
        "customers/ada"
    );
    let refresh_token = session.refresh_token.clone();
    let next = auth
        .refresh(v1::RefreshRequest { refresh_token })
        .await
        .unwrap()
        .into_inner();
    assert!(get(&next.access_token).await.is_ok());
    auth.logout(v1::LogoutRequest {
        refresh_token: next.refresh_token,
    })
    .await
    .unwrap();
    for token in [&session.access_token, &next.access_token] {
        let status = get(token).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unauthenticated, "CREDENTIALS_INVALID")
        );
    }
    shop.close().await;
}
