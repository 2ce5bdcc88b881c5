//! The books of a history, read from one node.

use docket_proto::v1::{
    ListCustomersRequest, ListItemsRequest, ListOrdersRequest,
    customer_service_client::CustomerServiceClient, item_service_client::ItemServiceClient,
    order_service_client::OrderServiceClient,
};

use super::{CUSTOMERS, ITEMS, Names, seen};
use crate::{Error, Target, books::patiently, history::Books};

/// The largest page that the contract allows.
const PAGE_MAX: i32 = 1_000;

impl Names {
    /// All items and customers of these names, and all of their orders, at one node.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn books(self, target: &Target) -> Result<Books, Error> {
        let channel = target.connect().await?;
        let mut books = Books::default();
        let mut client = ItemServiceClient::new(channel.clone());
        let ours: Vec<String> = (0..ITEMS).map(|number| self.item(number)).collect();
        let mut request = ListItemsRequest {
            page_size: PAGE_MAX,
            ..ListItemsRequest::default()
        };
        loop {
            let page = patiently(async || client.list_items(target.call(request.clone())).await).await;
            let page = page.map_err(Error::refused("cannot list the items"))?;
            let seen = page.items.into_iter().map(seen::item);
            books.items.extend(seen.filter(|item| ours.contains(&item.name)));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let mut client = CustomerServiceClient::new(channel.clone());
        let ours: Vec<String> = (0..CUSTOMERS).map(|number| self.customer(number)).collect();
        let mut request = ListCustomersRequest {
            page_size: PAGE_MAX,
            ..ListCustomersRequest::default()
        };
        loop {
            let page = patiently(async || client.list_customers(target.call(request.clone())).await).await;
            let page = page.map_err(Error::refused("cannot list the customers"))?;
            let seen = page.customers.into_iter().map(seen::customer);
            books
                .customers
                .extend(seen.filter(|customer| ours.contains(&customer.name)));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let mut client = OrderServiceClient::new(channel);
        for customer in ours {
            let mut request = ListOrdersRequest {
                customer,
                page_size: PAGE_MAX,
                ..ListOrdersRequest::default()
            };
            loop {
                let page = patiently(async || client.list_orders(target.call(request.clone())).await).await;
                let page = page.map_err(Error::refused("cannot list the orders"))?;
                books.orders.extend(page.orders.into_iter().map(seen::order));
                request.page_token = page.next_page_token;
                if request.page_token.is_empty() {
                    break;
                }
            }
        }
        Ok(books)
    }
}
