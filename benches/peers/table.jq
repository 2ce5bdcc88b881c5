# The report as tables of at most 80 columns.
def left($width): tostring | . + " " * ([$width - length, 0] | max);
def right($width): tostring | " " * ([$width - length, 0] | max) + .;
def grouped: round | tostring | explode | reverse | . as $digits
    | [range(length) | if . > 0 and . % 3 == 0 then [44, $digits[.]] else [$digits[.]] end] | add | reverse | implode;
def fixed: . * 100 | round | { whole: (. / 100 | floor), rest: (. % 100) }
    | "\(.whole).\(if .rest < 10 then "0" else "" end)\(.rest)";
def row($cells): $cells | join("  ") | sub(" +$"; "");

"orders a second, medians of \(.rounds) rounds of \(.seconds) s; \(.cores) cores shared with the load generator",
"",
row([("who" | left(8)), ("how" | left(6)), ("in flight" | right(9)), ("orders/s" | right(8)), ("least" | right(8)),
    ("most" | right(8)), ("p50 us" | right(8)), ("p99 us" | right(8))]),
(.measured[] | row([(.name | left(8)), (.how | left(6)), (.in_flight | right(9)),
    (.orders_per_second.median | grouped | right(8)), (.orders_per_second.least | grouped | right(8)),
    (.orders_per_second.most | grouped | right(8)), (.p50_us.median | grouped | right(8)),
    (.p99_us.median | grouped | right(8))])),
(if .ratios | length > 0 then
    "",
    row([("docket" | left(6)), ("against" | left(17)), ("" | left(17)), ("ratio" | right(7)), ("least" | right(7)),
        ("most" | right(7))]),
    (.ratios[] | row([(.docket | left(6)), ("\(.over) \(.their)" | left(17)), (.what | left(17)),
        (.ratio.median | fixed | right(7)), (.ratio.least | fixed | right(7)), (.ratio.most | fixed | right(7))]))
else empty end),
"",
(.notes[]),
(.books[] | if .wrong == 0 then "\(.name): the books balance, \(.orders | grouped) orders"
    else "\(.name): THE BOOKS DO NOT BALANCE, \(.wrong) faults in \(.orders) orders" end)
