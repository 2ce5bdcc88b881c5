-- One order. redis-benchmark can only send whole random numbers of one range, so what is ordered is drawn from them
-- here. KEYS: none, since there is one node. ARGV: the request id; numbers for the customer, the items and quantities.
local request = 'r:' .. ARGV[1]
local number = tonumber(ARGV[2])
local customer = number % 1000
number = math.floor(number / 1000)
local a = number % 1000
number = math.floor(number / 1000)
local quantity_a, quantity_b = 1 + number % 3, 1 + math.floor(number / 3) % 3
local b = (a + 1 + tonumber(ARGV[3]) % 999) % 1000
local fingerprint = ARGV[2] .. ARGV[3]

-- The idempotency record: a repeat is answered with the order that the request made.
local known = redis.call('GET', request)
if known then
    local stored, order = string.match(known, '^(%d+) (%d+)$')
    if stored ~= fingerprint then
        return redis.error_reply('REQUEST_ID_REUSED')
    end
    return tonumber(order)
end

local item_a, item_b, account = 'i:' .. a, 'i:' .. b, 'c:' .. customer
local stock_a = redis.call('HMGET', item_a, 'unit_price', 'on_hand', 'reserved')
local stock_b = redis.call('HMGET', item_b, 'unit_price', 'on_hand', 'reserved')
local credit = redis.call('HMGET', account, 'credit_limit', 'balance', 'held')
if not (stock_a[1] and stock_b[1] and credit[1]) then
    return redis.error_reply('NOT_FOUND')
end
local total = stock_a[1] * quantity_a + stock_b[1] * quantity_b
if credit[1] + credit[2] - credit[3] < total then
    return redis.error_reply('INSUFFICIENT_CREDIT')
end
if stock_a[2] - stock_a[3] < quantity_a or stock_b[2] - stock_b[3] < quantity_b then
    return redis.error_reply('OUT_OF_STOCK')
end

local order = redis.call('INCR', 'orders')
redis.call('SET', request, fingerprint .. ' ' .. order)
redis.call('HINCRBY', account, 'held', total)
redis.call('HINCRBY', item_a, 'reserved', quantity_a)
redis.call('HINCRBY', item_b, 'reserved', quantity_b)
-- The order with its two reservations, in the form that Redis keeps smallest.
redis.call('HSET', 'o:' .. order,
    'customer', customer, 'state', 'CONFIRMED', 'total', total,
    'a', a, 'quantity_a', quantity_a, 'b', b, 'quantity_b', quantity_b)
-- What happened, in order: what replicas, feeds and audits would read.
redis.call('XADD', 'events', '*', 'placed', order)
return order
