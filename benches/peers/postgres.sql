-- The shop and the order. Ids are numbers, which are smaller and faster here than the texts that Docket is sent.

-- Rows that change in place: room on their pages keeps every update off the indexes (HOT).
CREATE TABLE customers (
    customer_id  integer PRIMARY KEY,
    credit_limit bigint NOT NULL,
    balance      bigint NOT NULL DEFAULT 0,
    held         bigint NOT NULL DEFAULT 0,
    CHECK (held >= 0)
) WITH (fillfactor = 30);

CREATE TABLE items (
    item_id    integer PRIMARY KEY,
    unit_price bigint NOT NULL,
    on_hand    bigint NOT NULL,
    reserved   bigint NOT NULL DEFAULT 0,
    CHECK (reserved BETWEEN 0 AND on_hand)
) WITH (fillfactor = 30);

CREATE SEQUENCE order_ids CACHE 1000;

-- The idempotency record: a repeat is answered with the order that the request made.
CREATE TABLE requests (
    request_id  bigint PRIMARY KEY,
    fingerprint bigint NOT NULL,
    order_id    bigint NOT NULL
);

CREATE TABLE orders (
    order_id    bigint PRIMARY KEY,
    customer_id integer NOT NULL,
    state       smallint NOT NULL,
    total       bigint NOT NULL,
    created     timestamptz NOT NULL
);

-- What an item has reserved for an order is the order's line.
CREATE TABLE reservations (
    order_id   bigint NOT NULL,
    item_id    integer NOT NULL,
    quantity   bigint NOT NULL,
    unit_price bigint NOT NULL,
    PRIMARY KEY (order_id, item_id)
);

-- What happened, in order: what replicas, feeds and audits would read.
CREATE TABLE events (
    order_id bigint NOT NULL,
    kind     smallint NOT NULL,
    at       timestamptz NOT NULL
);

-- Rows that others want too (customer, items in the order of their ids, so that no two orders wait for each other) are
-- locked last, and so for the shortest time.
CREATE FUNCTION place_order(
    p_request bigint, p_customer integer,
    p_item_a integer, p_quantity_a bigint, p_item_b integer, p_quantity_b bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    v_fingerprint bigint := hash_record_extended((p_customer, p_item_a, p_quantity_a, p_item_b, p_quantity_b), 0);
    v_order       bigint := nextval('order_ids');
    v_at          timestamptz := clock_timestamp();
    v_price_a     bigint;
    v_price_b     bigint;
    v_total       bigint;
    v_known       requests;
BEGIN
    INSERT INTO requests VALUES (p_request, v_fingerprint, v_order) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        SELECT * INTO v_known FROM requests WHERE request_id = p_request;
        IF v_known.fingerprint <> v_fingerprint THEN
            RAISE EXCEPTION 'REQUEST_ID_REUSED';
        END IF;
        RETURN v_known.order_id;
    END IF;

    SELECT unit_price INTO v_price_a FROM items WHERE item_id = p_item_a;
    SELECT unit_price INTO v_price_b FROM items WHERE item_id = p_item_b;
    v_total := v_price_a * p_quantity_a + v_price_b * p_quantity_b;
    IF v_total IS NULL THEN
        RAISE EXCEPTION 'ITEM_NOT_FOUND';
    END IF;

    INSERT INTO orders VALUES (v_order, p_customer, 1, v_total, v_at);
    INSERT INTO reservations VALUES
        (v_order, p_item_a, p_quantity_a, v_price_a),
        (v_order, p_item_b, p_quantity_b, v_price_b);
    INSERT INTO events VALUES (v_order, 1, v_at);

    UPDATE customers SET held = held + v_total
        WHERE customer_id = p_customer AND balance + credit_limit - held >= v_total;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'INSUFFICIENT_CREDIT';
    END IF;
    IF p_item_a < p_item_b THEN
        UPDATE items SET reserved = reserved + p_quantity_a
            WHERE item_id = p_item_a AND on_hand - reserved >= p_quantity_a;
        IF NOT FOUND THEN RAISE EXCEPTION 'OUT_OF_STOCK'; END IF;
        UPDATE items SET reserved = reserved + p_quantity_b
            WHERE item_id = p_item_b AND on_hand - reserved >= p_quantity_b;
        IF NOT FOUND THEN RAISE EXCEPTION 'OUT_OF_STOCK'; END IF;
    ELSE
        UPDATE items SET reserved = reserved + p_quantity_b
            WHERE item_id = p_item_b AND on_hand - reserved >= p_quantity_b;
        IF NOT FOUND THEN RAISE EXCEPTION 'OUT_OF_STOCK'; END IF;
        UPDATE items SET reserved = reserved + p_quantity_a
            WHERE item_id = p_item_a AND on_hand - reserved >= p_quantity_a;
        IF NOT FOUND THEN RAISE EXCEPTION 'OUT_OF_STOCK'; END IF;
    END IF;
    RETURN v_order;
END $$;

INSERT INTO customers SELECT n, 1::bigint << 60 FROM generate_series(0, 999) AS n;
INSERT INTO items SELECT n, 100 + n * 31 % 900, 1::bigint << 60 FROM generate_series(0, 999) AS n;
VACUUM ANALYZE customers;
VACUUM ANALYZE items;
