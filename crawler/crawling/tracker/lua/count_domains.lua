--[[
How many domains of a spider type there are, by what keeps them: asked of the sets that they
are in, none is looked at.

KEYS[1]  meta        hash  counters
ARGV[1]  spider      its type, escaped
ARGV[2]  by_address  1 where throttles are by address
ARGV[3]  recent      ms in which the workers of an address must have leased to count
Returns  {ready, resting, blocked, capped}
]]
local spider, by_address, recent = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])

local function in_view(view)
  local ready, resting = fleet .. 'ready:' .. view, fleet .. 'resting:' .. view
  return {
    call('ZCARD', ready) + call('ZCOUNT', resting, '-inf', now),
    call('ZCOUNT', resting, '(' .. now, '(inf'),
    call('ZCOUNT', resting, 'inf', 'inf'),
  }
end

-- Of several addresses that which may ask most: a domain rests for each of them apart.
local function of_addresses(inbox)
  local active, best = fleet .. 'active:' .. spider, nil
  for _, view in ipairs(call('ZRANGEBYSCORE', fleet .. 'views', now - recent, '+inf')) do
    if match(view, '^(.*)@') == spider then
      local counts = in_view(view)
      local cursor = call('HGET', meta, 'cursor:' .. view) or '0'
      counts[1] = counts[1] + inbox + call('ZCOUNT', active, '(' .. cursor, '+inf')
      if not best or counts[1] > best[1] then best = counts end
    end
  end
  return best or {inbox + call('ZCARD', active), 0, 0}
end

local counts = in_view(spider)
if by_address then counts = of_addresses(counts[1] + counts[2]) end
counts[4] = call('SCARD', fleet .. 'capped:' .. spider)
return counts
