//! The commands about customers.

use std::sync::Arc;

use docket_engine::{Amount, Currency, Customer, CustomerCommand, CustomerId, Rejection};

use super::{
    Docket,
    command::{Steps, Tries},
    not_hidden,
};
use crate::{Call, CallError, entity::customer::CustomerMessage, reply::Reply, request::Content};

/// A new customer.
#[derive(Debug, Clone)]
pub struct NewCustomer {
    /// Its id.
    pub id: CustomerId,
    /// For people.
    pub display_name: Arc<str>,
    /// Of the account.
    pub currency: Currency,
    /// 0 or more.
    pub credit_limit: Amount,
}

impl Docket {
    /// Creates a customer.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn create_customer(&self, call: Call, new: NewCustomer) -> Result<Arc<Customer>, CallError> {
        let content = Content::of("CreateCustomer")
            .name(Some(&new.display_name))
            .currency(new.currency)
            .amount(Some(new.credit_limit));
        let command = CustomerCommand::Create {
            display_name: new.display_name,
            currency: new.currency,
            credit_limit: new.credit_limit,
        };
        self.command_customer(call, new.id, command, content).await
    }

    /// Changes a customer's display name or credit limit; `None` leaves it. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn update_customer(
        &self,
        call: Call,
        id: CustomerId,
        display_name: Option<Arc<str>>,
        credit_limit: Option<Amount>,
        expected: Option<u64>,
    ) -> Result<Arc<Customer>, CallError> {
        let content = Content::of("UpdateCustomer")
            .name(display_name.as_deref())
            .amount(credit_limit)
            .revision(expected);
        let command = CustomerCommand::Update {
            display_name,
            credit_limit,
            expected,
        };
        self.command_customer(call, id, command, content).await
    }

    /// Books money to a customer's balance. `expected` is a revision.
    ///
    /// # Errors
    /// The rejection; or why there is no result.
    pub async fn credit_account(
        &self,
        call: Call,
        id: CustomerId,
        amount: Amount,
        expected: Option<u64>,
    ) -> Result<Arc<Customer>, CallError> {
        let content = Content::of("CreditAccount")
            .amount(Some(amount))
            .revision(expected);
        let command = CustomerCommand::Credit { amount, expected };
        self.command_customer(call, id, command, content).await
    }

    async fn command_customer(
        &self,
        call: Call,
        id: CustomerId,
        command: CustomerCommand,
        content: Content,
    ) -> Result<Arc<Customer>, CallError> {
        not_hidden(&call, &id)?;
        let shard = self.inner.router.of_key(id.as_str());
        let permit = self.admit(shard, 0)?;
        let request = call
            .request_id
            .as_deref()
            .map(|request_id| content.about_customer(&id, request_id));
        self.has_room(shard, request)?;
        let tries = Tries::new(Steps::One).traced(call.scope.as_ref());
        let reply = self
            .run(shard, call.deadline, &permit, tries, |caller| {
                let message = CustomerMessage::Command {
                    command: command.clone(),
                    request,
                    caller,
                };
                shard.tell_customer(&id, message);
            })
            .await?;
        match reply {
            Reply::Customer(customer) => Ok(customer),
            Reply::Rejected(rejection) => Err(rejection.into()),
            // The request id was an order's.
            Reply::Elsewhere(_) => Err(Rejection::RequestIdReused.into()),
            _ => Err(CallError::Broken),
        }
    }
}
