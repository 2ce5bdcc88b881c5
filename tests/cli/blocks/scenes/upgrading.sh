# The folder of a node that was there before: it took some orders, and was stopped in order.
(
    export DOCKET_ADDR=http://127.0.0.1:7072 DOCKET__SERVER__LISTEN=127.0.0.1:7072 DOCKET__ADMIN__LISTEN=127.0.0.1:7073
    export DOCKET_API_KEY_FILE=var/lib/docket/admin.key
    mkdir -p var/lib
    docket serve --data-dir var/lib/docket &
    before=$!
    ready
    docket customer create acme --currency EUR --credit-limit 500.00
    docket item create tea --currency EUR --price 4.50 --on-hand 100
    docket order place --customer acme tea:1
    kill -TERM "$before"
    wait "$before"
)
