--[[
Since when the oldest request waits, of those that are the first of their domain: domains that
may be asked, and those at rest that open next.

KEYS[1]  meta    hash  counters
ARGV[1]  spider  its type, escaped
ARGV[2]  view    the type, or type@address
ARGV[3]  most    domains at rest to look at
Returns  ms since when, to the minute in which it came; -1 when nothing waits
]]
local spider, view, most = ARGV[1], ARGV[2], tonumber(ARGV[3])
local last = tonumber(call('HGET', meta, 'seq') or '0')
local oldest = huge

-- A rank has the lowest 36 bits of the number.
local function look_at(rank) oldest = math.min(oldest, last - (last - rank) % SPAN) end

-- Domains are sorted by priority, then by number: the first of each priority is its oldest.
local function look_at_ready()
  local from = '-inf'
  for _ = 1, 2 * STEEPEST do
    local rank = call('ZRANGEBYSCORE', fleet .. 'ready:' .. view, from, '+inf', 'WITHSCORES',
      'LIMIT', 0, 1)[2]
    if not rank then return end
    look_at(tonumber(rank))
    from = (floor(rank / SPAN) + 1) * SPAN
  end
end

local function look_at_resting()
  for _, domain in ipairs(call('ZRANGE', fleet .. 'resting:' .. view, 0, most - 1)) do
    local rank = best_rank(spider .. ':' .. domain)
    if rank then look_at(rank) end
  end
end

look_at_ready()
look_at_resting()
if oldest == huge then return -1 end
local marked = call('ZRANGEBYSCORE', fleet .. 'times', oldest, '+inf', 'LIMIT', 0, 1)[1]
return tonumber(marked or now)
