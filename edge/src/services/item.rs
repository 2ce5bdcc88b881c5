//! `ItemService`.

use docket_actors::{Docket, NewItem};
use docket_engine::access::{Denied, Owner};
use docket_proto::{
    api::{items, show::item_to_proto},
    v1::{
        AdjustStockRequest, CreateItemRequest, GetItemRequest, Item, ListItemsRequest, ListItemsResponse,
        UpdateItemRequest, item_service_server::ItemService,
    },
};
use tonic::{Request, Response, Status};

use super::{accept, allowed, context, page};
use crate::{
    errors::{FieldNames, Refusal},
    gate::CallContext,
};

/// The service.
pub(crate) struct ItemApi {
    docket: Docket,
}

impl ItemApi {
    pub(crate) fn new(docket: Docket) -> Self {
        Self { docket }
    }
}

/// What requests call the item and other fields.
const UPDATE: FieldNames = &[("name", "item.name"), ("etag", "item.etag")];
const ADJUST: FieldNames = &[("lines", "delta")];

/// Items are nobody's: the role alone decides.
fn by_role(context: &CallContext) -> Result<(), Refusal> {
    allowed(context, Owner::Nobody, || Denied::Role.into())
}

#[tonic::async_trait]
impl ItemService for ItemApi {
    async fn create_item(&self, request: Request<CreateItemRequest>) -> Result<Response<Item>, Status> {
        let context = context(&request)?;
        by_role(&context)?;
        let asked = accept(items::create_item(request.get_ref()))?;
        let new = NewItem {
            sku: asked.sku,
            display_name: asked.display_name,
            currency: asked.currency,
            unit_price: asked.unit_price,
            on_hand: asked.on_hand,
        };
        let item = self
            .docket
            .create_item(context.call(asked.request_id), new)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(item_to_proto(&item)))
    }

    async fn get_item(&self, request: Request<GetItemRequest>) -> Result<Response<Item>, Status> {
        let context = context(&request)?;
        by_role(&context)?;
        let sku = accept(items::get_item(request.get_ref()))?;
        let item = self
            .docket
            .get_item(context.call(None), sku)
            .await
            .map_err(Refusal::from)?;
        Ok(Response::new(item_to_proto(&item)))
    }

    async fn update_item(&self, request: Request<UpdateItemRequest>) -> Result<Response<Item>, Status> {
        let context = context(&request)?;
        by_role(&context)?;
        let asked = accept(items::update_item(request.get_ref()))?;
        let call = context.call(asked.request_id);
        let item = self
            .docket
            .update_item(
                call,
                asked.sku,
                asked.display_name,
                asked.unit_price,
                asked.backorder_limit,
                asked.expected,
            )
            .await
            .map_err(|error| Refusal::of_call(error, UPDATE))?;
        Ok(Response::new(item_to_proto(&item)))
    }

    async fn adjust_stock(&self, request: Request<AdjustStockRequest>) -> Result<Response<Item>, Status> {
        let context = context(&request)?;
        by_role(&context)?;
        let asked = accept(items::adjust_stock(request.get_ref()))?;
        let call = context.call(Some(asked.request_id));
        let item = self
            .docket
            .adjust_stock(call, asked.sku, asked.delta, asked.expected)
            .await
            .map_err(|error| Refusal::of_call(error, ADJUST))?;
        Ok(Response::new(item_to_proto(&item)))
    }

    async fn list_items(
        &self,
        request: Request<ListItemsRequest>,
    ) -> Result<Response<ListItemsResponse>, Status> {
        let context = context(&request)?;
        by_role(&context)?;
        let asked = accept(items::list_items(request.get_ref()))?;
        // One more than asked for tells whether there is another page.
        let found = self
            .docket
            .list_items(context.call(None), asked.after, asked.limit + 1)
            .await
            .map_err(Refusal::from)?;
        let (shown, last) = page(&found, asked.limit);
        Ok(Response::new(ListItemsResponse {
            items: shown.iter().map(|item| item_to_proto(item)).collect(),
            next_page_token: last
                .map(|last| items::next_page_token(&last.sku))
                .unwrap_or_default(),
        }))
    }
}
