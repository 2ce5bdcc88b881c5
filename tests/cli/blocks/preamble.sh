# What every page of commands may use, and what the test makes of its remarks (see blocks.rs).
set -euo pipefail
refused() {
    local reason=$1 said
    shift
    if said=$("$@" 2>&1); then
        echo "this was not refused: $*" >&2
        return 1
    fi
    case $said in
    *"$reason"*) ;;
    *) echo "this was refused, and not with $reason: $*: $said" >&2; return 1 ;;
    esac
}
live() {
    local code=0
    timeout --signal=INT 2 "$@" || code=$?
    [ "$code" = 124 ] || { echo "this should go on until Ctrl-C, and ended with $code: $*" >&2; return 1; }
}
an_order() { grep -oE '01[0-9A-HJKMNP-TV-Z]{24}' "$PRINTED" | sed -n 1p; }
an_id() { grep -oE '\b[0-9a-f]{24}\b' "$PRINTED" | sed -n 1p; }
ready() {
    local tries=0
    until docket health >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 600 ] || { echo "the server is not ready" >&2; return 1; }
        sleep 0.1
    done
}
# Ends the page's server in order.
stopped() {
    pkill -TERM -P "$server" || kill -TERM "$server"
    wait "$server" || true
}
# A moment that its backups reach.
BEGUN=$(date -u +%FT%TZ)
