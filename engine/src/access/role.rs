//! Roles, and the scopes that narrow a credential.

use std::fmt;

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Its own customer and that customer's orders.
    Customer,
    /// Places and cancels orders for any customer; reads and keeps customers and items.
    Service,
    /// Everything.
    Admin,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Customer, Self::Service, Self::Admin];

    /// The scopes that a credential of this role can have.
    pub const fn scopes(self) -> Scopes {
        match self {
            Self::Customer => Scopes::of(&[Scope::Read, Scope::Orders, Scope::Access]),
            Self::Service => Scopes::of(&[
                Scope::Read,
                Scope::Orders,
                Scope::Customers,
                Scope::Items,
                Scope::Access,
            ]),
            Self::Admin => Scopes::of(&Scope::ALL),
        }
    }

    /// Its name on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Customer => "customer",
            Self::Service => "service",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an API key may be used for. A session has every scope of its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reading orders, customers and items.
    Read,
    /// Placing and cancelling orders.
    Orders,
    /// Changing customers.
    Customers,
    /// Changing items.
    Items,
    /// Accounts, keys and roles.
    Access,
    /// Node and cluster.
    Operations,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] = [
        Self::Read,
        Self::Orders,
        Self::Customers,
        Self::Items,
        Self::Access,
        Self::Operations,
    ];

    /// Its name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Orders => "ORDERS",
            Self::Customers => "CUSTOMERS",
            Self::Items => "ITEMS",
            Self::Access => "ACCESS",
            Self::Operations => "OPERATIONS",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// No scope.
    pub const NONE: Self = Self(0);

    /// These scopes.
    pub const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut i = 0;
        while i < scopes.len() {
            bits |= scopes[i].bit();
            i += 1;
        }
        Self(bits)
    }

    /// Whether this scope is in the set.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether every scope of the other set is in this one.
    pub const fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether there is no scope in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes that are in both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its scopes, in their order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}
