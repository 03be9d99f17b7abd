--[[
Domains with work: ready ones by priority, resting ones by time, those that only have
requests in flight.

KEYS[1]  meta    hash  counters
ARGV[1]  spider  its type, escaped
ARGV[2]  view    the type, or type@address
ARGV[3]  limit
ARGV[4]  place   where the last page ended, 0 at first
Returns  {place, -1 when these were all; a list of {domain, queued, leased, opens ms
         or '', 1 when blocked, queued of paused crawls, 1 when it was pushed back, 1 when it
         is at its cap}}; at most *limit*, or a few more of those that are only in flight
]]
local spider, view, limit, place = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
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

-- What there is of each of these domains, asked for together.
local function looked_up(domains)
  return call('HMGET', flight, unpack(domains)),
    call('ZMSCORE', fleet .. 'deferred', unpack(domains)),
    call('SMISMEMBER', fleet .. 'blocked', unpack(domains)),
    call('SMISMEMBER', fleet .. 'capped:' .. spider, unpack(domains))
end

-- *opens* has their times, where they have one.
local function list(domains, opens)
  if #domains == 0 then return end
  local in_flight, put_off, blocked, capped = looked_up(domains)
  for i, domain in ipairs(domains) do
    local leased = tonumber(in_flight[i] or '0')
    local queued, paused = queued_in(spider .. ':' .. domain)
    if not listed[domain] and queued + leased > 0 then
      listed[domain] = true
      local opened, deferred = opens[i] or 0, tonumber(put_off[i] or '0')
      local at = math.max(opened < huge and opened or 0, deferred)
      local is_deferred = deferred > now and deferred >= at and 1 or 0
      local time = at > now and string.format('%.0f', at) or ''
      found[#found + 1] = {domain, queued, leased, time, blocked[i], paused, is_deferred, capped[i]}
    end
  end
end

local places, reached = 0, place

local function go_on(set, is_timed)
  local first = math.max(0, place - places)
  places = places + call('ZCARD', set)
  local room = limit - #found
  if room <= 0 then return end
  local page = call('ZRANGE', set, first, first + room - 1, 'WITHSCORES')
  local domains, opens = {}, {}
  for i = 1, #page, 2 do
    domains[#domains + 1] = page[i]
    opens[#domains] = is_timed and tonumber(page[i + 1]) or 0
  end
  list(domains, opens)
  reached = reached + #domains
end

if place >= 0 then
  go_on(fleet .. 'ready:' .. view)
  go_on(fleet .. 'resting:' .. view, true)
  go_on(fleet .. 'active:' .. spider)
  if reached < places then return {reached, found} end
end
-- Behind the sets a place is -2 minus the cursor of those that are only in flight.
local cursor = place < 0 and string.format('%.0f', -2 - place) or '0'
local page, domains = call('HSCAN', flight, cursor, 'COUNT', limit), {}
for i = 1, #page[2], 2 do domains[#domains + 1] = page[2][i] end
list(domains, {})
return {page[1] == '0' and -1 or -2 - tonumber(page[1]), found}
