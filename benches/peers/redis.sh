# Redis, driven by redis-benchmark: one EVALSHA an order, pipelined, over TCP. Sourced by `run`.

redis_missing() {
    command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null && command -v redis-cli >/dev/null ||
        echo "not installed: apt-get install redis-server redis-tools"
}

redis_do() { redis-cli -h 127.0.0.1 -p "$redis_port" "$@"; }

redis_start() {
    redis_port=$(free_port)
    mkdir "$work/redis"
    redis-server "$here/redis.conf" --bind 127.0.0.1 --port "$redis_port" --dir "$work/redis" \
        --logfile "$work/redis/server.log" &
    redis_pid=$!
    local tries=0
    until [ "$(redis_do ping 2>/dev/null)" = PONG ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 200 ] || fail "Redis does not start: $(tail -n 3 "$work/redis/server.log")"
        sleep 0.05
    done
    [ "$(redis_do config get appendfsync | tail -n 1)" = always ] || fail "Redis does not sync"
    [ "$(redis_do --eval "$here/redis_shop.lua")" = OK ] || fail "Redis has no shop"
    redis_sha=$(redis_do -x script load <"$here/redis_place.lua")
    # How many orders each shape takes in the time of a round.
    local shape rate
    for shape in "${redis_shapes[@]}"; do
        read -r rate _ < <(redis_orders "$shape" 2048)
        read -r rate _ < <(redis_orders "$shape" "$(times "$rate" "$warm_up")")
        times "$rate" "$seconds" >"$work/redis.$shape"
    done
}

# redis_round IN_FLIGHT CONNECTIONSxPIPELINE: prints "orders/s p50_us p99_us".
redis_round() { redis_orders "$2" "$(cat "$work/redis.$2")"; }

redis_orders() {
    local connections=${1%x*} pipeline=${1#*x} orders=$2 run
    # Every run has request ids of its own: redis-benchmark's random numbers begin with the second and its process id, which
    # two runs can have in common, and a run of mere repeats is no measurement.
    run=$(($(cat "$work/redis.runs" 2>/dev/null || echo 0) + 1))
    echo "$run" >"$work/redis.runs"
    redis-benchmark -h 127.0.0.1 -p "$redis_port" -c "$connections" -P "$pipeline" -n "$orders" -r 2000000000 \
        --csv --precision 3 evalsha "$redis_sha" 0 "$run:__rand_int____rand_int__" __rand_int__ __rand_int__ \
        >"$work/redis.csv" 2>"$work/redis.err" || fail "redis-benchmark: $(cat "$work/redis.err")"
    echo "$orders" >>"$work/redis.orders"
    # "test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
    tail -n 1 "$work/redis.csv" | awk -F '","' '{ print $(NF - 6), $(NF - 3) * 1000, $(NF - 1) * 1000 }'
}

# Prints "orders wrong", wrong also where it has other orders than were acknowledged.
redis_check() {
    local orders wrong
    read -r orders wrong < <(redis_do --eval "$here/redis_check.lua")
    awk -v orders="$orders" -v wrong="$wrong" \
        '{ sum += $1 } END { print orders, wrong + (sum > orders ? sum - orders : orders - sum) }' "$work/redis.orders"
}

redis_stop() {
    [ -n "${redis_pid:-}" ] || return 0
    kill -KILL "$redis_pid" 2>/dev/null || true
    wait "$redis_pid" 2>/dev/null || true
}
