//! A cluster that another one follows is lost, and comes back.

use super::{OF_THE_MACHINE, log_says, prometheus::Prometheus};
use crate::{
    api::Api,
    standby::{Place, follows, until},
};

/// Looks that it takes until what should not fire would.
const LOOKS: f64 = 5.0;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alert_of_a_standby_fires_where_it_is_behind_and_none_does_where_it_follows() {
    let (first, second) = (Place::new(), Place::new());
    let mut primary = first.start();
    assert!(primary.ready(&first.home), "{}", first.home.log());
    let key = first.home.admin_key();
    second.follow(&first, &key);
    let following = second.start();
    let at_second = Api::admin_later(&following, &first.home);
    until(&second, &at_second, "it does not follow", follows).await;
    let jobs = [
        ("docket", vec![primary.admin]),
        ("docket-standby", vec![following.admin]),
    ];
    let Some(prometheus) = Prometheus::start("the alert of a standby", &jobs) else {
        return;
    };
    // It is not ready, as it should be.
    prometheus.quiet_after(LOOKS, &OF_THE_MACHINE);
    prometheus.reaches("docket_ready{job=\"docket-standby\"} == bool 0", 1.0);

    // What the page says that is to be seen; and that it goes on by itself.
    primary.kill();
    prometheus.fires("DocketStandbyLag", ("job", "docket-standby"));
    log_says(&second.home, "DocketStandbyLag", "the primary is not followed");
    let status = ["standby", "status", "--addr", &second.url(), "--api-key", &key];
    let status = second.home.command(&status).output().unwrap();
    let told = String::from_utf8_lossy(&status.stdout).into_owned();
    let error = told.lines().find_map(|line| line.strip_prefix("error"));
    assert!(error.is_some_and(|error| error.contains("connect")), "{told}");
    let mut primary = first.start();
    assert!(primary.ready(&first.home), "{}", first.home.log());
    prometheus.reaches("docket_standby_lag_seconds < bool 3", 1.0);
    log_says(&second.home, "DocketStandbyLag", "the primary is followed");
}
