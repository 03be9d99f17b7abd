--[[
Domains with work: ready ones by priority, resting ones by time, those that only have
requests in flight.

KEYS[1]  meta    hash  counters
ARGV[1]  spider  its type, escaped
ARGV[2]  view    the type, or type@address
ARGV[3]  limit
ARGV[4]  skip   places in that order that an earlier call has come to
Returns  {places come to, -1 when these were all; a list of {domain, queued, leased, opens ms
         or '', 1 when blocked, queued of paused crawls, 1 when it was pushed back, 1 when it
         is at its cap}}
]]
local spider, view, limit, skip = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local flight = fleet .. 'flight:' .. spider
local found, listed = {}, {}

local function queued_in(q)
  local queue, n, paused = tag .. q .. ':queue', 0, 0
  for _, lane in ipairs(call('ZRANGE', queue, 0, -1)) do
    local cno, run = match(lane, '^(%d+)%.(%d+):')
    local c = load(tonumber(cno))
    if c and c.run == tonumber(run) then
      local length = call('LLEN', queue .. ':' .. lane)
      n = n + length
      if c.state == 'paused' then paused = paused + length end
    end
  end
  return n, paused
end

local function list(domain, opens)
  if listed[domain] or #found >= limit then return end
  listed[domain] = true
  local leased = tonumber(call('HGET', flight, domain) or '0')
  local queued, paused = queued_in(spider .. ':' .. domain)
  if queued + leased == 0 then return end
  local deferred = tonumber(call('ZSCORE', fleet .. 'deferred', domain) or '0')
  opens = math.max(opens and opens < huge and opens or 0, deferred)
  local is_deferred = deferred > now and deferred >= opens and 1 or 0
  local time = opens > now and string.format('%.0f', opens) or ''
  found[#found + 1] = {domain, queued, leased, time, call('SISMEMBER', fleet .. 'blocked', domain),
    paused, is_deferred, call('SISMEMBER', fleet .. 'capped:' .. spider, domain)}
end

local places, reached = 0, skip

local function go_on(set, is_timed)
  local first = math.max(0, skip - places)
  places = places + call('ZCARD', set)
  local room = limit - #found
  if room <= 0 then return end
  local page = call('ZRANGE', set, first, first + room - 1, 'WITHSCORES')
  for i = 1, #page, 2 do list(page[i], is_timed and tonumber(page[i + 1])) end
  reached = reached + #page / 2
end

go_on(fleet .. 'ready:' .. view)
go_on(fleet .. 'resting:' .. view, true)
go_on(fleet .. 'active:' .. spider)
if reached < places then return {reached, found} end
local flying = call('HSCAN', flight, 0, 'COUNT', limit)[2]
for i = 1, #flying, 2 do list(flying[i]) end
return {-1, found}
