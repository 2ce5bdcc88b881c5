//! `CustomerService`.

use docket_actors::{Docket, NewCustomer};
use docket_engine::{
    CustomerId, Rejection,
    access::{Denied, Owner},
};
use docket_proto::{
    api::{customers, show::customer_to_proto},
    v1::{
        CreateCustomerRequest, CreditAccountRequest, Customer, GetCustomerRequest, ListCustomersRequest,
        ListCustomersResponse, UpdateCustomerRequest, customer_service_server::CustomerService,
    },
};
use tonic::{Request, Response, Status};

use super::{accept, allowed, context, page};
use crate::{
    errors::{FieldNames, Refusal},
    gate::CallContext,
};

/// The service.
pub(crate) struct CustomerApi {
    docket: Docket,
}

impl CustomerApi {
    pub(crate) fn new(docket: Docket) -> Self {
        Self { docket }
    }
}

/// What requests call the customer and other fields.
const CREATE: FieldNames = &[("customer", "customer_id")];
const GET: FieldNames = &[("customer", "name")];
const UPDATE: FieldNames = &[("customer", "customer.name"), ("etag", "customer.etag")];
const CREDIT: FieldNames = &[("customer", "name"), ("lines", "amount")];

/// Another's customer answers as one that does not exist.
pub(super) fn own(context: &CallContext, customer: &CustomerId, names: FieldNames) -> Result<(), Refusal> {
    allowed(context, Owner::Customer(customer), || {
        let customer = customer.clone();
        Refusal::of_rejection(Rejection::CustomerNotFound { customer }, names)
    })
}

#[tonic::async_trait]
impl CustomerService for CustomerApi {
    async fn create_customer(
        &self,
        request: Request<CreateCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        let context = context(&request)?;
        let asked = accept(customers::create_customer(request.get_ref()))?;
        own(&context, &asked.id, CREATE)?;
        let new = NewCustomer {
            id: asked.id,
            display_name: asked.display_name,
            currency: asked.currency,
            credit_limit: asked.credit_limit,
        };
        let customer = self
            .docket
            .create_customer(context.call(asked.request_id), new)
            .await
            .map_err(|error| Refusal::of_call(error, CREATE))?;
        Ok(Response::new(customer_to_proto(&customer)))
    }

    async fn get_customer(&self, request: Request<GetCustomerRequest>) -> Result<Response<Customer>, Status> {
        let context = context(&request)?;
        let id = accept(customers::get_customer(request.get_ref()))?;
        own(&context, &id, GET)?;
        let customer = self
            .docket
            .get_customer(context.call(None), id)
            .await
            .map_err(|error| Refusal::of_call(error, GET))?;
        Ok(Response::new(customer_to_proto(&customer)))
    }

    async fn update_customer(
        &self,
        request: Request<UpdateCustomerRequest>,
    ) -> Result<Response<Customer>, Status> {
        let context = context(&request)?;
        let asked = accept(customers::update_customer(request.get_ref()))?;
        own(&context, &asked.id, UPDATE)?;
        let call = context.call(asked.request_id);
        let customer = self
            .docket
            .update_customer(
                call,
                asked.id,
                asked.display_name,
                asked.credit_limit,
                asked.expected,
            )
            .await
            .map_err(|error| Refusal::of_call(error, UPDATE))?;
        Ok(Response::new(customer_to_proto(&customer)))
    }

    async fn list_customers(
        &self,
        request: Request<ListCustomersRequest>,
    ) -> Result<Response<ListCustomersResponse>, Status> {
        let context = context(&request)?;
        let asked = accept(customers::list_customers(request.get_ref()))?;
        allowed(&context, Owner::Everybody, || Denied::Role.into())?;
        // One more than asked for tells whether there is another page.
        let found = self
            .docket
            .list_customers(context.call(None), asked.after, asked.limit + 1)
            .await
            .map_err(Refusal::from)?;
        let (shown, last) = page(&found, asked.limit);
        Ok(Response::new(ListCustomersResponse {
            customers: shown.iter().map(|customer| customer_to_proto(customer)).collect(),
            next_page_token: last
                .map(|last| customers::next_page_token(&last.id))
                .unwrap_or_default(),
        }))
    }

    async fn credit_account(
        &self,
        request: Request<CreditAccountRequest>,
    ) -> Result<Response<Customer>, Status> {
        let context = context(&request)?;
        let asked = accept(customers::credit_account(request.get_ref()))?;
        own(&context, &asked.id, CREDIT)?;
        let call = context.call(Some(asked.request_id));
        let customer = self
            .docket
            .credit_account(call, asked.id, asked.amount, asked.expected)
            .await
            .map_err(|error| Refusal::of_call(error, CREDIT))?;
        Ok(Response::new(customer_to_proto(&customer)))
    }
}
