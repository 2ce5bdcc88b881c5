-- One line: how many orders there are, and how many things about them are wrong.
SELECT (SELECT count(*) FROM orders) || ' ' || (
    abs((SELECT count(*) FROM requests JOIN orders USING (order_id)) - (SELECT count(*) FROM orders))
    + abs((SELECT count(*) FROM requests) - (SELECT count(*) FROM orders))
    + abs((SELECT count(DISTINCT order_id) FROM events) - (SELECT count(*) FROM orders))
    + abs((SELECT count(*) FROM reservations) - 2 * (SELECT count(*) FROM orders))
    -- What each customer holds is the sum of its orders; what each order costs the sum of its lines.
    + (SELECT count(*) FROM customers LEFT JOIN
        (SELECT customer_id, sum(total) AS total FROM orders GROUP BY 1) AS placed USING (customer_id)
        WHERE held <> coalesce(placed.total, 0))
    + (SELECT count(*) FROM orders JOIN
        (SELECT order_id, sum(quantity * unit_price) AS total FROM reservations GROUP BY 1) AS lines USING (order_id)
        WHERE orders.total <> lines.total)
    -- What each item has reserved is the sum of its reservations.
    + (SELECT count(*) FROM items LEFT JOIN
        (SELECT item_id, sum(quantity) AS quantity FROM reservations GROUP BY 1) AS lines USING (item_id)
        WHERE reserved <> coalesce(lines.quantity, 0))
);
