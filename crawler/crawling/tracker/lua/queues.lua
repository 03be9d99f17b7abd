--[[
Queues: a sorted set of lanes, a lane being the list of one run of a crawl and priority.
Prepended, behind prelude.lua, to the scripts that move requests.
]]

-- Run a command with as many values as there are; return the last reply.
local function write_all(command, key, values)
  local reply
  for i = 1, #values, 2000 do
    reply = call(command, key, unpack(values, i, math.min(i + 1999, #values)))
  end
  return reply
end

local woken = {}

-- Make the domain visible.  Where throttles are by address this is only the inbox
-- from which the views pull.
local function activate(q, rank)
  local spider, domain = split(q)
  if call('ZSCORE', fleet .. 'resting:' .. spider, domain) then return end
  call('ZADD', fleet .. 'ready:' .. spider, 'LT', rank, domain)
  woken[spider] = (woken[spider] or 0) + 1
end

local function best_rank(q)
  return tonumber(call('ZRANGE', tag .. q .. ':queue', 0, 0, 'WITHSCORES')[2])
end

local function enter_lane(c, q, priority, rank)
  call('ZADD', tag .. q .. ':queue', rank, c.run_id .. ':' .. priority)
  call('SADD', fleet .. 'lanes:' .. c.run_id, q .. ':' .. priority)
  activate(q, rank)
end

local function lane_key(c, q, priority)
  return tag .. q .. ':queue:' .. c.run_id .. ':' .. priority
end

-- Show a lane that is there but in no queue; what is empty needs none.
local function show_lane(c, q, priority)
  local head = call('LINDEX', lane_key(c, q, priority), 0)
  if head then enter_lane(c, q, priority, rank_of(c, tonumber(priority), seq_of(head))) end
end

-- Page units are counted apart while their request waits: a stop gives them all back.
local function wait_with_units(c, r, domain)
  if r.flags % 2 == DOMAIN_UNIT then
    local of = r.unit_of or domain
    call('HINCRBY', fleet .. 'pages:' .. c.cno, of, -1)
    call('HINCRBY', fleet .. 'pages:' .. c.run_id, of, 1)
  end
  if r.flags % 4 >= CRAWL_UNIT then
    add(c, 'pages', -1)
    add(c, 'pages_waiting', 1)
  end
end

-- Append to the lane at the end of the call, with all others that go there.
local function push(c, q, priority, member)
  local lanes = c.tails[q]
  if not lanes then
    lanes = {}
    c.tails[q] = lanes
  end
  local tail = lanes[priority]
  if tail then tail[#tail + 1] = member else lanes[priority] = {member} end
end

local function push_tails(c)
  for q, lanes in pairs(c.tails) do
    for number, members in pairs(lanes) do
      -- Each use of a number as text would make it anew.
      local priority = tostring(number)
      if write_all('RPUSH', lane_key(c, q, priority), members) == #members then
        enter_lane(c, q, priority, rank_of(c, number, seq_of(members[1])))
      end
    end
  end
end

-- A request from before a stop: its number says that it was dropped then.  Those of a dead
-- worker come youngest first, and so get theirs.
local function renumber(c, r)
  local old, bucket = rid_of(r.seq), bucket_of(c, r.fp)
  r.seq = value(c, 'back')
  if r.seq > c.void then add(c, 'back', -1) else r.seq = next_seq() end
  if call('HGET', bucket, r.fp) == old then call('HSET', bucket, r.fp, rid_of(r.seq)) end
end

-- Insert by age behind the head of a lane: others that came back are there already.
local function insert(key, r)
  local older
  for _, waiting in ipairs(call('LRANGE', key, 0, 127)) do
    if seq_of(waiting) > r.seq then break end
    older = waiting
  end
  call('LINSERT', key, 'AFTER', older, build(r))
end

-- What comes back goes before all that is younger.
local function push_head(c, q, priority, r)
  local _, domain = split(q)
  if r.seq <= c.void then renumber(c, r) end
  wait_with_units(c, r, domain)
  local key = lane_key(c, q, priority)
  local head = call('LINDEX', key, 0)
  local first = head and math.min(seq_of(head), r.seq) or r.seq
  if first == r.seq then call('LPUSH', key, build(r)) else insert(key, r) end
  enter_lane(c, q, priority, rank_of(c, priority, first))
  add(c, 'queued', 1)
end

-- Bring lanes of a resumed crawl back into their queues; true when none is left.
local function unpark(c, most)
  local lanes = call('SPOP', fleet .. 'parked:' .. c.run_id, most)
  for _, lane in ipairs(lanes) do
    local q, priority = match(lane, '^(.*):([^:]*)$')
    show_lane(c, q, priority)
  end
  return #lanes < most
end

-- After a change of the boost, put some of the lanes where it wants them; true when that
-- was the last of them.  Lanes that are new since then are in their place already, and a
-- parked one gets its rank when it comes back.
local function rank_lanes(c, most)
  local cursor = call('HGET', c.key, 'ranking')
  if not cursor then return true end
  local page = call('SSCAN', fleet .. 'lanes:' .. c.run_id, cursor, 'COUNT', most)
  for _, lane in ipairs(page[2]) do
    local q, priority = match(lane, '^(.*):([^:]*)$')
    local queue, name = tag .. q .. ':queue', c.run_id .. ':' .. priority
    local head = call('ZSCORE', queue, name) and call('LINDEX', queue .. ':' .. name, 0)
    if head then
      call('ZADD', queue, rank_of(c, tonumber(priority), seq_of(head)), name)
      activate(q, best_rank(q))
    end
  end
  if page[1] == '0' then call('HDEL', c.key, 'ranking') else call('HSET', c.key, 'ranking', page[1]) end
  return page[1] == '0'
end
