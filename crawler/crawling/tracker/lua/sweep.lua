--[[
One bounded step of what can wait.

KEYS[1]  meta    hash  counters
ARGV[1]  most    lanes or buckets to touch
ARGV[2]  keep    ms that the seen-set of a crawl outlives it
ARGV[3]  patient ms after which a domain that was pushed back is forgiven
Returns  1 when there is more to do
]]
local most, keep, patient = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local more = 0

local function due(key, before)
  return call('ZRANGEBYSCORE', fleet .. key, '-inf', before, 'LIMIT', 0, most)
end

-- Loading ends a crawl whose time is over, and finish_call one that nothing holds open.
local function end_due_crawls()
  for _, cno in ipairs(due('expires', now)) do
    call('ZREM', fleet .. 'expires', cno)
    crawl_of(tonumber(cno))
  end
  for _, cno in ipairs(due('holds', now)) do
    call('ZREM', fleet .. 'holds', cno)
    local c = crawl_of(tonumber(cno))
    -- Its submitter has died, perhaps with seeds in other shards.
    if c then c.was_held = true end
  end
end

local function forget_empty_domain(q)
  if call('EXISTS', tag .. q .. ':queue') == 1 then return end
  local spider, domain = split(q)
  call('ZREM', fleet .. 'ready:' .. spider, domain)
  call('ZREM', fleet .. 'resting:' .. spider, domain)
end

-- What a stopped crawl left: a lane of any length is one command.
local function free_lanes(run)
  local lanes = call('SPOP', fleet .. 'lanes:' .. run, most)
  for _, lane in ipairs(lanes) do
    local q, priority = match(lane, '^(.*):([^:]*)$')
    call('UNLINK', tag .. q .. ':queue:' .. run .. ':' .. priority)
    call('ZREM', tag .. q .. ':queue', run .. ':' .. priority)
    forget_empty_domain(q)
  end
  call('UNLINK', fleet .. 'parked:' .. run, fleet .. 'pages:' .. run)
  return #lanes < most
end

local function sweep_lanes()
  local run = call('ZRANGE', fleet .. 'sweep', 0, 0)[1]
  if not run then return end
  local cno, number = match(run, '^(%d+)%.(%d+)$')
  local c = crawl_of(tonumber(cno))
  local is_done
  if not c or c.run ~= tonumber(number) then
    is_done = free_lanes(run)
  else
    local is_ranked = rank_lanes(c, most)
    is_done = is_ranked and (c.state ~= 'running' or unpark(c, most))
  end
  if is_done then call('ZREM', fleet .. 'sweep', run) end
  more = math.max(more, call('EXISTS', fleet .. 'sweep'))
end

local function forget_old_crawls()
  local old = call('ZRANGEBYSCORE', fleet .. 'ended', '-inf', now - keep, 'LIMIT', 0, 16)
  for _, cno in ipairs(old) do forget_crawl(cno) end
  if #old == 16 then more = 1 end
end

local function free_buckets()
  local found = call('HSCAN', fleet .. 'rubbish', 0, 'COUNT', 1)[2]
  local name, last = found[1], tonumber(found[2])
  if not name then return end
  local first = math.max(1, last - most)
  for n = first, last - 1 do call('UNLINK', tag .. name .. '.' .. n) end
  if first > 1 then
    call('HSET', fleet .. 'rubbish', name, first)
  else
    call('HDEL', fleet .. 'rubbish', name)
  end
  more = math.max(more, call('EXISTS', fleet .. 'rubbish'))
end

local function forgive_domains()
  for _, domain in ipairs(due('deferred', now - patient)) do
    call('ZREM', fleet .. 'deferred', domain)
    call('HDEL', fleet .. 'busy', domain)
  end
end

-- Views of addresses that no worker has any more; one that comes back starts afresh.
local function drop_unused_views()
  for _, view in ipairs(due('views', now - 3600000)) do
    if string.find(view, '@', 1, true) then
      call('UNLINK', fleet .. 'ready:' .. view, fleet .. 'resting:' .. view)
      call('HDEL', meta, 'cursor:' .. view)
      call('ZREM', fleet .. 'views', view)
    end
  end
end

-- What number the requests of each minute begin behind, to tell how old one is: of the last
-- ten thousand minutes in which there was anything new.
local function mark_time()
  local seq, times = call('HGET', meta, 'seq') or '0', fleet .. 'times'
  local marked, behind = unpack(call('ZRANGE', times, -1, -1, 'WITHSCORES'))
  if marked and (behind == seq or now - marked < 60000) then return end
  call('ZADD', times, seq, now)
  call('ZREMRANGEBYRANK', times, 0, -10001)
end

begin_even_when_full()
mark_time()
end_due_crawls()
sweep_lanes()
forget_old_crawls()
free_buckets()
forgive_domains()
drop_unused_views()
finish_call()
return more
