# The report of `run`: samples and books, tab-separated, to medians, spreads and ratios.
def rows($text): $text | split("\n") | map(select(. != "") | split("\t"));
def median: sort | .[(length - 1) / 2 | floor];
def spread: { median: median, least: min, most: max };
# One way of asking against another: the ratios within each round.
def against($over; $under; $what):
    {
        docket: $over.how, over: $under.name, their: $under.how, what: $what,
        ratio: ([range($over.rates | length)] | map($over.rates[.] / $under.rates[.]) | spread)
    };

(rows($samples) | map({ name: .[0], in_flight: (.[1] | tonumber), how: .[2], rate: (.[4] | tonumber),
        p50: (.[5] | tonumber), p99: (.[6] | tonumber) })) as $all
| ($all | map({ name, in_flight, how }) | reduce .[] as $way ([]; if index([$way]) then . else . + [$way] end)
    | map(. as $way | ($all | map(select(.name == $way.name and .how == $way.how and .in_flight == $way.in_flight))) as $own
        | $way + {
            rates: ($own | map(.rate)),
            orders_per_second: ($own | map(.rate) | spread),
            p50_us: ($own | map(.p50) | spread),
            p99_us: ($own | map(.p99) | spread)
        })) as $ways
| ($ways | map(select(.name == "docket"))) as $docket
| (rows($books) | map({ name: .[0], orders: (.[1] | tonumber), wrong: (.[2] | tonumber) })) as $checked
| {
    cores: $cores, load_generator_threads: $threads, rounds: $rounds, seconds: $seconds,
    measured: ($ways | map(del(.rates))),
    ratios: [
        $docket[] as $own
        | ($ways | map(select(.name != "docket")) | group_by(.name)[]) as $peer
        | ($peer | map(select(.in_flight == $own.in_flight)) | max_by(.orders_per_second.median)) as $same
        | ($peer | max_by(.orders_per_second.median)) as $best
        | (if $same then against($own; $same; "as many in flight") else empty end),
          against($own; $best; "at its best")
    ],
    books: $checked,
    books_balance: ($checked | all(.wrong == 0)),
    notes: $ARGS.positional
}
