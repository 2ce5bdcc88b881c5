//! Resource names: accepted whole (`customers/acme`) or bare (`acme`), sent whole.

/// A kind of resource, as its collection is called in names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collection {
    /// `orders/{order}`
    Orders,
    /// `customers/{customer}`
    Customers,
    /// `items/{sku}`
    Items,
    /// `accounts/{username}`
    Accounts,
    /// `apiKeys/{id}`
    ApiKeys,
    /// `webhooks/{webhook}`
    Webhooks,
    /// `flags/{flag}`
    Flags,
}

impl Collection {
    /// The first segment of its names.
    pub fn segment(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Customers => "customers",
            Self::Items => "items",
            Self::Accounts => "accounts",
            Self::ApiKeys => "apiKeys",
            Self::Webhooks => "webhooks",
            Self::Flags => "flags",
        }
    }

    /// The whole name of what `text` means: either already whole, or a bare id.
    ///
    /// # Errors
    /// Text that is empty, or a name in another collection. Everything else is for the server to judge.
    pub fn name(self, text: &str) -> Result<String, String> {
        let segment = self.segment();
        let id = match text.split_once('/') {
            None => text,
            Some((first, id)) if first == segment => id,
            Some((first, _)) => {
                return Err(format!(
                    "expected {segment}/ID or a bare id, not a name in {first}/"
                ));
            }
        };
        if id.is_empty() {
            return Err(format!("expected {segment}/ID or a bare id"));
        }
        Ok(format!("{segment}/{id}"))
    }
}

/// Reads an order's name, for clap.
pub fn order(text: &str) -> Result<String, String> {
    Collection::Orders.name(text)
}

/// Reads a customer's name, for clap.
pub fn customer(text: &str) -> Result<String, String> {
    Collection::Customers.name(text)
}

/// Reads an item's name, for clap.
pub fn item(text: &str) -> Result<String, String> {
    Collection::Items.name(text)
}

/// Reads an account's name, for clap.
pub fn account(text: &str) -> Result<String, String> {
    Collection::Accounts.name(text)
}

/// Reads an API key's name, for clap.
pub fn api_key(text: &str) -> Result<String, String> {
    Collection::ApiKeys.name(text)
}

/// Reads a webhook's name, for clap.
pub fn webhook(text: &str) -> Result<String, String> {
    Collection::Webhooks.name(text)
}

/// Reads a flag's name, for clap.
pub fn flag(text: &str) -> Result<String, String> {
    Collection::Flags.name(text)
}

/// The id in a name; all of it where there is no collection in front.
pub fn bare(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, id)| id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_id_and_a_whole_name_mean_the_same() {
        assert_eq!(customer("acme"), Ok("customers/acme".to_owned()));
        assert_eq!(customer("customers/acme"), Ok("customers/acme".to_owned()));
        assert_eq!(bare("customers/acme"), "acme");
        assert_eq!(bare("acme"), "acme");
    }

    #[test]
    fn a_name_of_something_else_is_refused() {
        assert!(customer("orders/1").unwrap_err().contains("customers/ID"));
        assert!(item("").is_err());
        assert!(item("items/").is_err());
    }
}
