-- The shop: a thousand customers and a thousand items, as Docket's. A script's numbers are exact up to 2^53.
for n = 0, 999 do
    redis.call('HSET', 'c:' .. n, 'credit_limit', '1000000000000000', 'balance', '0', 'held', '0')
    redis.call('HSET', 'i:' .. n, 'unit_price', 100 + n * 31 % 900, 'on_hand', '1000000000000000', 'reserved', '0')
end
return redis.status_reply('OK')
