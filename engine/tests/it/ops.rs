//! What may happen, drawn at random: small worlds, so that things meet, and numbers with a liking for the edges.

use proptest::{collection::vec, option, prelude::*, sample::Index};

mod starts;

use starts::{
    amended, back_beyond_measure, beyond_measure, confirmed, declined_when_worn_out, everyday,
    on_the_way_back, provided, short_of_stock, waiting, worn_out_by_cancellations, worn_out_by_holds,
    worn_out_by_payments, worn_out_by_refunds, worn_out_by_retries, worn_out_by_returns,
    worn_out_by_shipments,
};

/// Which etag comes with a request.
#[derive(Debug, Clone, Copy)]
pub enum Etag {
    None,
    Current,
    Stale,
}

/// Which price a line offers.
#[derive(Debug, Clone, Copy)]
pub enum Price {
    Current,
    Other(i64),
}

/// Which lines of an order are meant, and how much of each; none for all that there is. A line may be named twice. `None` is a line that it
/// does not have.
pub type Meant = Vec<(Option<Index>, Portion)>;

/// How much of what there is of something is meant: of what is open of a line, of what can come back of it, of the money that can be given back.
#[derive(Debug, Clone, Copy)]
pub enum Portion {
    One,
    Half,
    All,
    /// One more than there is.
    Beyond,
}

impl Portion {
    /// Of so much; at least one, where there is none.
    pub fn of(self, there: i128) -> i64 {
        let many = match self {
            Self::One => 1,
            Self::Half => there / 2,
            Self::All => there,
            Self::Beyond => there + 1,
        };
        // No number can say one more than the largest.
        i64::try_from(many.max(1)).unwrap_or(i64::MAX)
    }
}

/// What becomes of a return.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    Approve,
    Decline,
    Receive { restock: bool },
    Close,
}

/// One line of an order: an item by its number, how many, at which price.
pub type OrderedLine = (usize, i64, Price);

#[derive(Debug, Clone)]
pub enum Op {
    CreateCustomer {
        customer: usize,
        name: usize,
        currency: usize,
        limit: i64,
    },
    UpdateCustomer {
        customer: usize,
        name: Option<usize>,
        limit: Option<i64>,
        etag: Etag,
    },
    Credit {
        customer: usize,
        amount: i64,
        etag: Etag,
    },
    CreateItem {
        item: usize,
        name: usize,
        currency: usize,
        price: i64,
        on_hand: i64,
    },
    UpdateItem {
        item: usize,
        name: Option<usize>,
        price: Option<i64>,
        /// How many may wait.
        limit: Option<i64>,
        etag: Etag,
    },
    Adjust {
        item: usize,
        delta: i64,
        etag: Etag,
    },
    Place {
        customer: usize,
        currency: usize,
        lines: Vec<OrderedLine>,
        /// Somebody outside pays.
        by_provider: bool,
    },
    /// An order that exists is placed, or refused, again.
    PlaceAgain {
        order: Index,
        refuse: bool,
    },
    /// One of an order's open effects reaches its item: for the first time or again.
    Deliver {
        order: Index,
        effect: Index,
    },
    /// All items answer all orders that wait for them, and these hear it.
    ReserveAll,
    /// The order hears the answers that there are.
    Settle {
        order: Index,
    },
    Cancel {
        order: Index,
        lines: Meant,
        etag: Etag,
    },
    Ship {
        order: Index,
        lines: Meant,
        etag: Etag,
    },
    /// Somebody is to send some of what is free.
    Plan {
        order: Index,
        lines: Meant,
        etag: Etag,
    },
    /// What was planned is sent; or what was not, or one that is not there.
    ShipPlan {
        order: Index,
        fulfilment: Index,
        etag: Etag,
    },
    /// A plan is given up.
    Unplan {
        order: Index,
        fulfilment: Index,
        etag: Etag,
    },
    /// Of each of these lines (`None` is one that there is not) there is to be so many more, or fewer.
    Edit {
        order: Index,
        lines: Vec<(Option<Index>, i64)>,
        etag: Etag,
        /// Whether its provider may be asked for more.
        may_authorize: bool,
    },
    /// The order hears the answers of the items that an edit wants more of, as far as there are any.
    Raised {
        order: Index,
    },
    /// The order asks its items what it waits for.
    HearBackorders {
        order: Index,
    },
    /// A shipment arrives, or one that was never sent.
    Arrive {
        order: Index,
        fulfilment: Index,
        etag: Etag,
    },
    Hold {
        order: Index,
        reason: usize,
        etag: Etag,
    },
    ReleaseHold {
        order: Index,
        reason: usize,
        etag: Etag,
    },
    /// What was asked of an item before, in this step of its order or in one long ago, reaches it again.
    Echo {
        order: Index,
        effect: Index,
    },
    /// The order hears that everything is released; early is nothing.
    Released {
        order: Index,
    },
    /// The order hears that everything is taken off the stock; early is nothing.
    Consumed {
        order: Index,
    },
    RequestReturn {
        order: Index,
        lines: Meant,
        etag: Etag,
    },
    /// Something becomes of a return, or, for `None`, of one that is not there.
    MoveReturn {
        order: Index,
        number: Option<Index>,
        step: Step,
        etag: Etag,
    },
    /// The order hears that everything is back on the stock; early is nothing.
    Restocked {
        order: Index,
    },
    Refund {
        order: Index,
        amount: Portion,
        etag: Etag,
    },
    /// Its provider is asked: for what it is to do next, or, by somebody who is late, for any of its steps.
    AskProvider {
        order: Index,
        step: Option<Index>,
        declines: bool,
    },
    /// The order hears what its provider answered: last, or at any time before, for the first time or again.
    HearProvider {
        order: Index,
        answer: Option<Index>,
    },
    /// The order hears of a step that it does not have.
    HearOfNoStep {
        order: Index,
        is_zero: bool,
    },
    /// A step that was declined is tried again; or one that was not, where none was; or, for `None`, one that is not there.
    RetryPayment {
        order: Index,
        step: Option<Index>,
        etag: Etag,
    },
    /// The time to authorise the order's payment is over.
    Expire {
        order: Index,
    },
    /// Nothing came of the order for long.
    Close {
        order: Index,
    },
    /// A crash: the answers that an order was given are lost, and its open effects start over.
    Forget {
        order: Index,
    },
    /// Everything that an order waits for happens.
    Finish {
        order: Index,
    },
}

pub const CUSTOMERS: usize = 3;
pub const ITEMS: usize = 4;
/// Of five, so that they meet.
const REASONS: usize = 2;

fn etag() -> impl Strategy<Value = Etag> {
    prop_oneof![6 => Just(Etag::None), 2 => Just(Etag::Current), 1 => Just(Etag::Stale)]
}

/// Mostly the first: those of the second currency are the odd ones out.
fn currency() -> impl Strategy<Value = usize> {
    prop_oneof![8 => Just(0), 1 => Just(1)]
}

/// 0 or more, of money.
fn money() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 0..100i64,
        4 => 1_000..1_000_000i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MAX - 1),
        1 => Just(0)
    ]
}

fn price() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..20i64, 1 => Just(i64::MAX), 1 => Just(i64::MAX / 1_000_000_000)]
}

/// Of stock.
fn stock() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 0..40i64, 2 => Just(3_000_000_000), 1 => Just(i64::MAX)]
}

/// How many may wait.
fn limit() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0), 5 => 1..30i64, 1 => Just(1_000_000_000)]
}

/// Not 0.
fn change() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => 1..50i64,
        4 => -50..0i64,
        2 => 1_000..1_000_000i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => Just(-i64::MAX)
    ]
}

fn line() -> impl Strategy<Value = OrderedLine> {
    let quantity = prop_oneof![12 => 1..6i64, 1 => Just(1_000_000_000)];
    let offer = prop_oneof![12 => Just(Price::Current), 1 => price().prop_map(Price::Other)];
    (0..ITEMS, quantity, offer)
}

fn portion() -> impl Strategy<Value = Portion> {
    prop_oneof![
        6 => Just(Portion::One),
        3 => Just(Portion::Half),
        4 => Just(Portion::All),
        1 => Just(Portion::Beyond)
    ]
}

fn meant() -> impl Strategy<Value = Meant> {
    let line = prop_oneof![16 => any::<Index>().prop_map(Some), 1 => Just(None)];
    prop_oneof![2 => Just(Vec::new()), 5 => vec((line, portion()), 1..4)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Approve),
        2 => Just(Step::Decline),
        5 => Just(Step::Receive { restock: true }),
        2 => Just(Step::Receive { restock: false }),
        3 => Just(Step::Close)
    ]
}

/// What comes back of an order that was shipped.
fn backwards() -> impl Strategy<Value = Op> {
    let order = any::<Index>;
    let number = prop_oneof![9 => any::<Index>().prop_map(Some), 1 => Just(None)];
    prop_oneof![
        5 => (order(), meant(), etag()).prop_map(
            |(order, lines, etag)| Op::RequestReturn { order, lines, etag }),
        9 => (order(), number, step(), etag()).prop_map(
            |(order, number, step, etag)| Op::MoveReturn { order, number, step, etag }),
        4 => (order(), portion(), etag()).prop_map(|(order, amount, etag)| Op::Refund { order, amount, etag }),
        2 => order().prop_map(|order| Op::Restocked { order }),
    ]
}

/// What becomes of a payment by a provider.
fn providing() -> impl Strategy<Value = Op> {
    let order = any::<Index>;
    let step = prop_oneof![5 => Just(None), 2 => any::<Index>().prop_map(Some)];
    let answer = prop_oneof![4 => Just(None), 3 => any::<Index>().prop_map(Some)];
    let declines = prop_oneof![5 => Just(false), 2 => Just(true)];
    let declined = prop_oneof![9 => any::<Index>().prop_map(Some), 1 => Just(None)];
    prop_oneof![
        12 => (order(), step, declines).prop_map(
            |(order, step, declines)| Op::AskProvider { order, step, declines }),
        12 => (order(), answer).prop_map(|(order, answer)| Op::HearProvider { order, answer }),
        1 => (order(), any::<bool>()).prop_map(|(order, is_zero)| Op::HearOfNoStep { order, is_zero }),
        5 => (order(), declined, etag()).prop_map(
            |(order, step, etag)| Op::RetryPayment { order, step, etag }),
        2 => order().prop_map(|order| Op::Expire { order }),
        2 => order().prop_map(|order| Op::Close { order }),
    ]
}

/// Of which lines there is to be how many more, or fewer.
fn edited() -> impl Strategy<Value = Vec<(Option<Index>, i64)>> {
    let line = prop_oneof![24 => any::<Index>().prop_map(Some), 1 => Just(None)];
    let more = prop_oneof![
        8 => 1..4i64,
        8 => -4..0i64,
        1 => Just(0),
        2 => Just(-1_000_000_000),
        1 => Just(60),
        1 => Just(1_000_000_000)
    ];
    vec((line, more), 1..4)
}

/// What happens to an order that is there.
fn later() -> impl Strategy<Value = Op> {
    let order = any::<Index>;
    prop_oneof![
        14 => (order(), meant(), etag()).prop_map(|(order, lines, etag)| Op::Ship { order, lines, etag }),
        6 => (order(), meant(), etag()).prop_map(|(order, lines, etag)| Op::Cancel { order, lines, etag }),
        9 => (order(), meant(), etag()).prop_map(|(order, lines, etag)| Op::Plan { order, lines, etag }),
        7 => (order(), any::<Index>(), etag()).prop_map(
            |(order, fulfilment, etag)| Op::ShipPlan { order, fulfilment, etag }),
        4 => (order(), any::<Index>(), etag()).prop_map(
            |(order, fulfilment, etag)| Op::Unplan { order, fulfilment, etag }),
        8 => (order(), edited(), etag(), prop::bool::weighted(0.9)).prop_map(
            |(order, lines, etag, may_authorize)| Op::Edit { order, lines, etag, may_authorize },
        ),
        4 => order().prop_map(|order| Op::Raised { order }),
        4 => order().prop_map(|order| Op::HearBackorders { order }),
        3 => (0..ITEMS, 1..8i64).prop_map(
            |(item, delta)| Op::Adjust { item, delta, etag: Etag::None }),
        5 => (order(), any::<Index>(), etag()).prop_map(
            |(order, fulfilment, etag)| Op::Arrive { order, fulfilment, etag }),
        4 => (order(), 0..REASONS, etag()).prop_map(|(order, reason, etag)| Op::Hold { order, reason, etag }),
        3 => (order(), 0..REASONS, etag()).prop_map(
            |(order, reason, etag)| Op::ReleaseHold { order, reason, etag }),
        6 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Echo { order, effect }),
        3 => order().prop_map(|order| Op::Released { order }),
        3 => order().prop_map(|order| Op::Consumed { order }),
        18 => backwards(),
        10 => providing(),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let order = any::<Index>;
    let of_customer = 0..CUSTOMERS;
    let of_item = 0..ITEMS;
    let name = 0..3usize;
    prop_oneof![
        3 => (of_customer.clone(), name.clone(), currency(), money()).prop_map(
            |(customer, name, currency, limit)| Op::CreateCustomer { customer, name, currency, limit }),
        2 => (of_customer.clone(), option::of(name.clone()), option::of(money()), etag()).prop_map(
            |(customer, name, limit, etag)| Op::UpdateCustomer { customer, name, limit, etag }),
        3 => (of_customer.clone(), change(), etag()).prop_map(
            |(customer, amount, etag)| Op::Credit { customer, amount, etag }),
        4 => (of_item.clone(), name.clone(), currency(), price(), stock()).prop_map(
            |(item, name, currency, price, on_hand)| Op::CreateItem { item, name, currency, price, on_hand }),
        3 => (of_item.clone(), option::of(name), option::of(price()), option::of(limit()), etag()).prop_map(
            |(item, name, price, limit, etag)| Op::UpdateItem { item, name, price, limit, etag }),
        2 => (of_item, change(), etag()).prop_map(|(item, delta, etag)| Op::Adjust { item, delta, etag }),
        10 => (of_customer, currency(), vec(line(), 1..5), prop_oneof![2 => Just(false), 1 => Just(true)]).prop_map(
            |(customer, currency, lines, by_provider)| Op::Place { customer, currency, lines, by_provider }),
        1 => (order(), any::<bool>()).prop_map(|(order, refuse)| Op::PlaceAgain { order, refuse }),
        14 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Deliver { order, effect }),
        8 => order().prop_map(|order| Op::Settle { order }),
        44 => later(),
        2 => order().prop_map(|order| Op::Forget { order }),
        6 => order().prop_map(|order| Op::Finish { order }),
    ]
}

/// A history. In some of them a few orders go their way, or some of what was sent comes back, or a provider pays; in the others anything may
/// happen.
pub fn ops(length_max: usize) -> impl Strategy<Value = Vec<Op>> {
    let start = prop_oneof![
        6 => Just(Vec::new()),
        6 => Just(everyday()),
        8 => Just(short_of_stock()),
        8 => Just(beyond_measure()),
        2 => any::<(Index, bool)>().prop_map(worn_out_by_shipments),
        2 => any::<Index>().prop_map(worn_out_by_cancellations),
        2 => any::<Index>().prop_map(worn_out_by_holds),
        2 => any::<Index>().prop_map(worn_out_by_returns),
        2 => any::<Index>().prop_map(worn_out_by_refunds),
        2 => any::<Index>().prop_map(back_beyond_measure),
        2 => any::<Index>().prop_map(worn_out_by_retries),
        2 => any::<(Index, bool)>().prop_map(worn_out_by_payments),
        2 => any::<(Index, Index, u8)>().prop_map(amended),
        2 => any::<Index>().prop_map(declined_when_worn_out)
    ];
    let anything = (start, vec(op(), 1..length_max));
    let order = any::<Index>;
    let on_its_way = prop_oneof![
        8 => later(),
        4 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Deliver { order, effect }),
        3 => order().prop_map(|order| Op::Finish { order }),
        1 => order().prop_map(|order| Op::Forget { order }),
        1 => op()
    ];
    let short = (order(), any::<bool>(), any::<bool>(), 1..4i64).prop_map(waiting);
    let waits = prop_oneof![
        10 => later(),
        4 => order().prop_map(|order| Op::HearBackorders { order }),
        4 => (0..2usize, 1..3i64).prop_map(
            |(item, delta)| Op::Adjust { item, delta, etag: Etag::None }),
        4 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Deliver { order, effect }),
        3 => order().prop_map(|order| Op::Finish { order }),
        1 => order().prop_map(|order| Op::Forget { order }),
        2 => op()
    ];
    let they_wait = (short, vec(waits, 1..length_max));
    let on_their_way = (order().prop_map(confirmed), vec(on_its_way, 1..length_max));
    let back = prop_oneof![
        20 => backwards(),
        7 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Deliver { order, effect }),
        4 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Echo { order, effect }),
        2 => order().prop_map(|order| Op::Finish { order }),
        5 => order().prop_map(|order| Op::Forget { order }),
        8 => later()
    ];
    let sent = (order(), portion(), any::<bool>(), any::<bool>()).prop_map(on_the_way_back);
    let on_their_way_back = (sent, vec(back, 1..length_max));
    let paid = prop_oneof![
        20 => providing(),
        7 => (order(), any::<Index>()).prop_map(|(order, effect)| Op::Deliver { order, effect }),
        5 => order().prop_map(|order| Op::Settle { order }),
        4 => order().prop_map(|order| Op::Released { order }),
        4 => order().prop_map(|order| Op::Consumed { order }),
        3 => order().prop_map(|order| Op::Finish { order }),
        1 => order().prop_map(|order| Op::Forget { order }),
        4 => (order(), Just(Vec::new()), etag()).prop_map(
            |(order, lines, etag)| Op::Cancel { order, lines, etag }),
        5 => (order(), portion(), etag()).prop_map(
            |(order, amount, etag)| Op::Refund { order, amount, etag }),
        6 => (order(), meant(), etag()).prop_map(|(order, lines, etag)| Op::Ship { order, lines, etag }),
        2 => Just(Op::ReserveAll),
        12 => later(),
        2 => op()
    ];
    let provided = (order(), portion(), 0..10u8, any::<bool>()).prop_map(provided);
    let paid = (provided, vec(paid, 1..length_max));
    prop_oneof![4 => anything, 2 => on_their_way, 2 => they_wait, 2 => on_their_way_back, 4 => paid]
        .prop_map(|(start, then)| [start, then].concat())
}
