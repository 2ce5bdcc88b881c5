-- One line: how many orders there are, and how many things about them are wrong.
local orders = tonumber(redis.call('GET', 'orders') or 0)
local wrong, held, reserved = 0, {}, {}
local function add(sums, key, value)
    sums[key] = (sums[key] or 0) + value
end
for n = 1, orders do
    local order = redis.call('HMGET', 'o:' .. n, 'customer', 'state', 'total', 'a', 'quantity_a', 'b', 'quantity_b')
    if order[2] ~= 'CONFIRMED' then
        wrong = wrong + 1
    else
        add(held, order[1], tonumber(order[3]))
        add(reserved, order[4], tonumber(order[5]))
        add(reserved, order[6], tonumber(order[7]))
    end
end
for n = 0, 999 do
    local key = tostring(n)
    if tonumber(redis.call('HGET', 'c:' .. n, 'held')) ~= (held[key] or 0) then wrong = wrong + 1 end
    if tonumber(redis.call('HGET', 'i:' .. n, 'reserved')) ~= (reserved[key] or 0) then wrong = wrong + 1 end
end
-- Beside orders, customers and items: their counter, their events, and one request each.
local keys = redis.call('DBSIZE')
if orders > 0 and keys ~= 2 * orders + 2000 + 2 then wrong = wrong + math.abs(keys - 2 * orders - 2002) end
if orders > 0 and redis.call('XLEN', 'events') ~= orders then wrong = wrong + 1 end
return orders .. ' ' .. wrong
