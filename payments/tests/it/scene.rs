//! A stub, a provider that asks it, and whoever asks the provider.

use std::{sync::Arc, time::Duration};

use docket_engine::{Amount, CustomerId, OrderId, PaymentKind, PaymentOutcome, PaymentRequest, ProviderName};
use docket_payments::{
    NotSettled, PaymentProvider,
    http::{HttpConfig, HttpProvider},
    stub::{Payment, Report, Stub, StubOptions},
};

/// How often a step is asked before it is said to never settle.
const CALLS_MAX: usize = 60;

pub struct Scene {
    pub stub: Stub,
    pub provider: HttpProvider,
    pub order: OrderId,
}

pub fn name() -> ProviderName {
    ProviderName::new("cards").unwrap()
}

pub fn order(unique: u128) -> OrderId {
    OrderId::compose(1_795_000_000_000, 7, unique)
}

pub fn config() -> HttpConfig {
    HttpConfig {
        jitter_seed: Some(7),
        ..HttpConfig::new("http://127.0.0.1:1")
    }
}

/// Asked about `order`, as step `number`.
pub fn request(order: OrderId, kind: PaymentKind, number: u32, amount: i64) -> PaymentRequest {
    PaymentRequest {
        order,
        customer: CustomerId::new("ada").unwrap(),
        currency: "EUR".parse().unwrap(),
        number,
        kind,
        payment: 1,
        group: 1,
        amount: Amount(amount),
        authorization: None,
    }
}

impl Scene {
    pub fn new() -> Self {
        Self::with(&config())
    }

    pub fn with(config: &HttpConfig) -> Self {
        let stub = Stub::open(StubOptions::default()).unwrap();
        let provider = HttpProvider::over(name(), config, stub.connector()).unwrap();
        Self {
            stub,
            provider,
            order: order(1),
        }
    }

    pub fn request(&self, kind: PaymentKind, number: u32, amount: i64) -> PaymentRequest {
        request(self.order, kind, number, amount)
    }

    pub async fn settle(&self, request: &PaymentRequest) -> Result<PaymentOutcome, NotSettled> {
        self.provider.settle(request, false).await
    }

    /// Asks until it is settled, as whoever drives an order's steps does. What is held is released after a call has failed, and
    /// who died is started again.
    pub async fn settle_at_last(&self, request: &PaymentRequest, may_be_asked: bool) -> PaymentOutcome {
        let mut may_be_asked = may_be_asked;
        for _ in 0..CALLS_MAX {
            match self.provider.settle(request, may_be_asked).await {
                Ok(outcome) => {
                    self.mend().await;
                    return outcome;
                }
                Err(NotSettled { retry_after, .. }) => {
                    may_be_asked = true;
                    self.mend().await;
                    let pause = retry_after.unwrap_or(Duration::from_secs(1));
                    tokio::time::sleep(pause).await;
                }
            }
        }
        panic!("{} never settled: {:#?}", request.key(), self.stub.requests());
    }

    /// Asks until it is done.
    pub async fn done(&self, request: &PaymentRequest) -> Arc<str> {
        match self.settle_at_last(request, false).await {
            PaymentOutcome::Done { reference } => reference,
            declined => panic!("{}: {declined:?}", request.key()),
        }
    }

    async fn mend(&self) {
        self.stub.release();
        self.stub.holds_nothing().await;
        if !self.stub.is_alive() {
            self.stub.restart().await.unwrap();
        }
    }

    pub fn payment(&self) -> Payment {
        self.stub.payment(&self.order.to_string())
    }

    /// The order's money: authorised, captured, voided, refunded.
    pub fn money(&self) -> [i64; 4] {
        let payment = self.payment();
        [
            payment.authorized,
            payment.captured,
            payment.voided,
            payment.refunded,
        ]
    }

    /// Asserts that the stub holds nothing against its caller.
    #[track_caller]
    pub fn is_blameless(&self) -> Report {
        let report = self.stub.report();
        assert_eq!(
            report.violations,
            Vec::<String>::new(),
            "{:#?}",
            self.stub.requests()
        );
        assert_eq!(
            report.repeats_unasked,
            Vec::<String>::new(),
            "{:#?}",
            self.stub.requests()
        );
        report
    }

    /// What was asked, in the order of arrival.
    pub fn asked(&self) -> Vec<String> {
        let seen = self.stub.requests();
        seen.iter()
            .map(|seen| format!("{:?}", seen.on).to_lowercase())
            .collect()
    }
}
