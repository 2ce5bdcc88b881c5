//! `docket verify`: whether the books of a running server agree with each other (exit code 10 where they do not).

use docket_proto::v1::{VerifyBooksRequest, VerifyBooksResponse};

use super::args::ClientArgs;
use crate::{failure::Failure, output::Output};

/// `docket verify`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  docket verify
  docket verify --addr https://docket.example:7070 --ca ca.pem
  docket verify -o json | jq '.discrepancies[].kind'

Looks through all shards that have a replica on the server, while it serves, and
changes nothing. What orders, customers and items say of each other must agree:
what is reserved and held, how often money was held and captured, the version of
every order, indexes, and what the feed keeps. What an order has begun must be
in somebody's hands. Every discrepancy is shown with its kind and name.

Of a cluster it asks the node that it is connected to, and no other; ask each.
It says which shards it did not look at, and how many orders are another's to
see to; a node that has looked at none proves nothing (exit code 10). A balance is held against what the server found before, since what was
ever paid in is not stored; stock on hand is not proven.

A server does so by itself once a day (verify.every_s): `docket status --node`,
the metrics docket_verify_* and the log tell what it found.

It waits for as long as it takes, unless --timeout says how long. A server
verifies for one caller at a time.

Needs an admin's credentials with scope operations.
Exit codes: 0 all agrees, 10 something is wrong or undecided, 1 refused or not
reachable.")]
pub struct Args {
    #[command(flatten)]
    pub client: ClientArgs,
}

impl Args {
    /// Connects, waits and shows.
    pub async fn run(self, outer: ClientArgs, output: Output) -> Result<(), Failure> {
        let args = self.client.or(outer);
        let is_patient = args.timeout.is_none();
        let context = args.link(output)?.connect().await?;
        let client = match is_patient {
            true => context.client.unbounded(),
            false => context.client,
        };
        let answer = client.node().verify_books(VerifyBooksRequest {}).await;
        let books = client.answer(answer)?;
        output.books(&books)?;
        verdict(&books)
    }
}

fn verdict(books: &VerifyBooksResponse) -> Result<(), Failure> {
    let (wrong, undecided) = (books.discrepancy_count, books.undecided);
    if books.shards.is_empty() && !books.unverified_shards.is_empty() {
        return Err(Failure::Unhealthy(
            "the node has a replica of no shard, and has looked at nothing: ask another".to_owned(),
        ));
    }
    let what = match (wrong, undecided) {
        (0, 0) => return Ok(()),
        (0, _) => format!("{undecided} suspicions could not be decided: try again"),
        (1, _) => "1 discrepancy".to_owned(),
        _ => format!("{wrong} discrepancies"),
    };
    let told = books.discrepancies.len() as u64;
    let more = match told < wrong {
        true => format!(", of which the first {told} are shown"),
        false => String::new(),
    };
    Err(Failure::Unhealthy(format!(
        "the books do not agree: {what}{more}"
    )))
}

#[cfg(test)]
mod tests {
    use docket_proto::v1::{Discrepancy, ShardBooks, UnverifiedShard};

    use super::*;

    #[test]
    fn books_agree_where_nothing_is_wrong_and_nothing_undecided() {
        let mut books = VerifyBooksResponse::default();
        assert!(verdict(&books).is_ok());
        // Nor where nothing was looked at.
        books.unverified_shards = vec![UnverifiedShard::default()];
        assert!(matches!(verdict(&books), Err(Failure::Unhealthy(_))));
        books.shards = vec![ShardBooks::default()];
        assert!(verdict(&books).is_ok());
        let mut check = |wrong: u64, told: usize, undecided: u64, expected: &str| {
            books.discrepancy_count = wrong;
            books.discrepancies = vec![Discrepancy::default(); told];
            books.undecided = undecided;
            let failure = verdict(&books).unwrap_err();
            assert!(matches!(failure, Failure::Unhealthy(_)));
            assert_eq!(failure.to_string(), format!("the books do not agree: {expected}"));
        };
        check(1, 1, 0, "1 discrepancy");
        check(2, 2, 1, "2 discrepancies");
        check(
            1_200,
            1_000,
            0,
            "1200 discrepancies, of which the first 1000 are shown",
        );
        check(0, 0, 3, "3 suspicions could not be decided: try again");
    }
}
