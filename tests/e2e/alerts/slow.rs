//! A disk that is slow.

use super::{place, prometheus::Prometheus};
use crate::{
    api::Api,
    server::{Home, Server},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_that_wait_for_a_slow_disk_use_up_the_budget() {
    let traces = std::process::Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    if !traces.is_ok_and(|status| status.success()) {
        return println!("SKIPPED: a slow disk: strace is missing, or may not trace");
    }
    // Its child is the server: the tracer is a grandchild, and ends with it.
    let slow = "strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=fsync,fdatasync,sync_file_range \
                -e inject=fsync,fdatasync,sync_file_range:delay_exit=70000";
    let starter: Vec<String> = slow.split_whitespace().map(str::to_owned).collect();
    let home = Home::new();
    let mut server = Server::launch_under(&home, &starter);
    assert!(server.ready(&home), "{}", home.log());
    let jobs = [("docket", vec![server.admin])];
    let Some(prometheus) = Prometheus::start("a slow disk", &jobs) else {
        return;
    };
    let api = Api::admin(&server, &home).await;
    api.customer("ada", i64::MAX / 2).await;
    api.item("nut", 5, 1_000_000).await;
    // Rates need some looks while the orders come.
    let load = tokio::spawn(async move {
        for number in 0_u64.. {
            place(&api, &format!("slow-{number}"), "nut", "").await.unwrap();
        }
    });
    prometheus.fires("DocketJournalSyncSlow", ("job", "docket"));
    for window in ["1h", "6h", "1d", "3d"] {
        prometheus.fires("DocketOrderLatencyBudgetBurn", ("window", window));
    }
    load.abort();
    server.kill();
}
