//! The commands about items.

use std::sync::Arc;

use docket_engine::{Amount, Currency, Item, ItemCommand, Quantity, Sku};

use super::{
    Docket,
    command::{Steps, Tries},
};
use crate::{Call, CallError, entity::item::ItemMessage, reply::Reply, request::Content};

/// Since which version of the peer protocol a node knows items that promise more than there is.
const BACKORDERS_SINCE: u32 = 7;

/// A new item.
#[derive(Debug, Clone)]
pub struct NewItem {
    /// Its id.
    pub sku: Sku,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the price.
    pub currency: Currency,
    /// Of one; 0 or more.
    pub unit_price: Amount,
    /// The first stock; 0 or more.
    pub on_hand: Quantity,
}

impl Docket {
    /// Creates an item.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn create_item(&self, call: Call, new: NewItem) -> Result<Arc<Item>, CallError> {
        let content = Content::of("CreateItem")
            .name(Some(&new.display_name))
            .currency(new.currency)
            .amount(Some(new.unit_price))
            .quantity(new.on_hand);
        let command = ItemCommand::Create {
            display_name: new.display_name,
            currency: new.currency,
            unit_price: new.unit_price,
            on_hand: new.on_hand,
        };
        self.command_item(call, new.sku, command, content).await
    }

    /// Changes an item's display name, its unit price, or how many may wait for it; `None` leaves it. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn update_item(
        &self,
        call: Call,
        sku: Sku,
        display_name: Option<Arc<str>>,
        unit_price: Option<Amount>,
        backorder_limit: Option<Quantity>,
        expected: Option<u64>,
    ) -> Result<Arc<Item>, CallError> {
        let content = Content::of("UpdateItem")
            .name(display_name.as_deref())
            .amount(unit_price)
            .revision(expected);
        // Behind what such requests had before, so that those are the same for ever.
        let content = match backorder_limit {
            Some(limit) => content.text("backorder_limit").quantity(limit),
            None => content,
        };
        // An older node would stop at it, also one that is away: this is asked for once, and can wait for it.
        let allows_some = backorder_limit.is_some_and(|limit| limit > Quantity::ZERO);
        if allows_some && !self.inner.node.is_spoken_by_all(BACKORDERS_SINCE) {
            return Err(CallError::OlderNodes);
        }
        let command = ItemCommand::Update {
            display_name,
            unit_price,
            backorder_limit,
            expected,
        };
        self.command_item(call, sku, command, content).await
    }

    /// Changes an item's stock. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn adjust_stock(
        &self,
        call: Call,
        sku: Sku,
        delta: Quantity,
        expected: Option<u64>,
    ) -> Result<Arc<Item>, CallError> {
        let content = Content::of("AdjustStock").quantity(delta).revision(expected);
        let command = ItemCommand::Adjust { delta, expected };
        self.command_item(call, sku, command, content).await
    }

    async fn command_item(
        &self,
        call: Call,
        sku: Sku,
        command: ItemCommand,
        content: Content,
    ) -> Result<Arc<Item>, CallError> {
        let shard = self.inner.router.of_key(sku.as_str());
        let permit = self.admit(shard, 0)?;
        let request = call
            .request_id
            .as_deref()
            .map(|request_id| content.about_item(&sku, request_id));
        self.has_room(shard, request)?;
        let tries = Tries::new(Steps::One).traced(call.scope.as_ref());
        let reply = self
            .run(shard, call.deadline, &permit, tries, |caller| {
                let message = ItemMessage::Command {
                    command: command.clone(),
                    request,
                    caller,
                };
                shard.tell_item(sku.clone(), Box::new(message));
            })
            .await?;
        match reply {
            Reply::Item(item) => Ok(item),
            Reply::Rejected(rejection) => Err(rejection.into()),
            _ => Err(CallError::Broken),
        }
    }
}
