# Docket: `docket bench` starts a server of its own, drives it, checks its books and removes it. Sourced by `run`.

docket_missing() {
    [ -x "$docket" ] || echo "there is no program at $docket: build it with cargo build --release, or say --docket"
}

docket_start() { mkdir "$work/docket"; }

# docket_round IN_FLIGHT SHAPE: prints "orders/s p50_us p99_us".
docket_round() {
    "$docket" bench --mode "$2" --in-flight "$1" --duration "${seconds}s" --warm-up "${warm_up}s" --rounds 1 \
        --threads "$threads" --no-baselines --check-share "$check_share" --dir "$work/docket" -o json >"$work/docket.json"
    # It fails by itself where its books do not balance.
    jq -r '[.figures.orders_per_second.median, .figures.p50_us.median, .figures.p99_us.median] | join(" ")' \
        "$work/docket.json"
    jq -r '.books.acknowledged' "$work/docket.json" >>"$work/docket.orders"
}

# Each of its runs has checked itself.
docket_check() { awk '{ sum += $1 } END { print sum + 0, 0 }' "$work/docket.orders"; }

docket_stop() { :; }
