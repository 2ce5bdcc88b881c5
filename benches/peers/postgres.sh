# PostgreSQL, driven by pgbench: one prepared call of a PL/pgSQL function an order, over TCP. Sourced by `run`.

# Debian keeps each version in a folder of its own: the newest.
postgres_bin=$(find /usr/lib/postgresql -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1 || true)

postgres_missing() {
    if ! [ -x "$postgres_bin/postgres" ] || ! [ -x "$postgres_bin/pgbench" ]; then
        echo "not installed: apt-get install postgresql"
    elif [ "$(id -u)" = 0 ] && ! id postgres >/dev/null 2>&1; then
        echo "it does not run as root, and there is no user postgres"
    fi
}

# It refuses to run as root.
as_postgres() {
    if [ "$(id -u)" = 0 ]; then
        (cd "$work/postgres" && exec setpriv --reuid postgres --regid postgres --clear-groups "$@")
    else
        "$@"
    fi
}

postgres_sql() { as_postgres "$postgres_bin/psql" -X -q -A -t -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$postgres_port" -U bench -d postgres "$@"; }

postgres_start() {
    postgres_port=$(free_port)
    mkdir "$work/postgres"
    [ "$(id -u)" != 0 ] || chown postgres: "$work/postgres"
    as_postgres "$postgres_bin/initdb" -D "$work/postgres/data" -U bench -A trust -E UTF8 --locale C --no-sync \
        >"$work/postgres.log" 2>&1 || fail "initdb: $(tail -n 3 "$work/postgres.log")"
    cat "$here/postgres.conf" >>"$work/postgres/data/postgresql.conf"
    as_postgres "$postgres_bin/pg_ctl" -D "$work/postgres/data" -l "$work/postgres/server.log" -w -s \
        -o "-h 127.0.0.1 -p $postgres_port -k ''" start >>"$work/postgres.log" 2>&1 ||
        fail "PostgreSQL does not start: $(cat "$work/postgres/server.log")"
    postgres_sql <"$here/postgres.sql"
    postgres_round 32 call "$warm_up" >/dev/null
}

# postgres_round IN_FLIGHT SHAPE [SECONDS]: prints "orders/s p50_us p99_us".
postgres_round() {
    local in_flight=$1 took=${3:-$seconds} logs=$work/postgres/calls earlier
    # Every run has request ids of its own.
    earlier=$(cat "$work/postgres.runs" 2>/dev/null || echo 0)
    echo $((earlier + 1)) >"$work/postgres.runs"
    as_postgres "$postgres_bin/pgbench" -n -M prepared -f - -c "$in_flight" -j "$threads" -T "$took" \
        -D n=0 -D first=$((earlier << 40)) -l --log-prefix "$logs" \
        -h 127.0.0.1 -p "$postgres_port" -U bench postgres <"$here/postgres.pgbench" >"$work/pgbench.log" 2>&1 ||
        fail "pgbench: $(tail -n 3 "$work/pgbench.log")"
    grep -q 'number of failed transactions: 0 ' "$work/pgbench.log" || fail "pgbench: $(cat "$work/pgbench.log")"
    awk '/number of transactions actually processed/ { print $NF }' "$work/pgbench.log" >>"$work/postgres.orders"
    local rate
    rate=$(awk '/^tps = / { print $3 }' "$work/pgbench.log")
    # The third field is the call's microseconds.
    find "$work/postgres" -maxdepth 1 -name 'calls.*' -exec cut -d ' ' -f 3 {} + | percentiles "$rate"
    find "$work/postgres" -maxdepth 1 -name 'calls.*' -delete
}

# Prints "orders wrong", wrong also where it has other orders than were acknowledged.
postgres_check() {
    local orders wrong
    read -r orders wrong < <(postgres_sql <"$here/postgres_check.sql")
    awk -v orders="$orders" -v wrong="$wrong" \
        '{ sum += $1 } END { print orders, wrong + (sum > orders ? sum - orders : orders - sum) }' "$work/postgres.orders"
}

postgres_stop() { as_postgres "$postgres_bin/pg_ctl" -D "$work/postgres/data" -m immediate -w -s stop >/dev/null 2>&1 || true; }
