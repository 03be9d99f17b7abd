--[[
Lend the best requests of one spider type whose domains may be asked now.

KEYS[1]  meta       hash  counters
ARGV[1]  worker
ARGV[2]  spider     its type, escaped
ARGV[3]  view       the type, or type@address where throttles are by address
ARGV[4]  throttle   what the names of its throttles begin with, behind the tag
ARGV[5]  limit      requests
ARGV[6]  token      of these leases, made by the worker
ARGV[7]  politeness msgpack map: hits, window ms, moderated, concurrency, ahead ms,
         lead ms
ARGV[8]  timeout    ms until a worker that does not renew may be declared dead
ARGV[9]  idle       the worker's name on the wake-up channel
ARGV[10] lost       msgpack list of tokens whose leases the worker never heard of
Returns  {now ms, wait ms (-1: unknown), leases, crawls}; a lease is {cno, request,
         domain, priority, start ms or 0 for at once, slack ms or -1 without a throttle}, a
         crawl {cno, revision, epoch, run}
]]
local worker, spider, view, prefix = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local limit, token = tonumber(ARGV[5]), ARGV[6]
local polite, idle = cmsgpack.unpack(ARGV[7]), ARGV[9]
local lost = cmsgpack.unpack(ARGV[10])
local deadline = now + tonumber(ARGV[8])

local by_address = view ~= spider
local ready, resting = fleet .. 'ready:' .. view, fleet .. 'resting:' .. view
local flight, capped = fleet .. 'flight:' .. spider, fleet .. 'capped:' .. spider
local delayed, active = fleet .. 'delayed:' .. spider, fleet .. 'active:' .. spider
local limits, blocked, deferred = fleet .. 'limits', fleet .. 'blocked', fleet .. 'deferred'
local horizon = now + polite.ahead

-- A call does a bounded number of steps; the rest is left to the next one.
local steps, most_steps, more = 0, limit * 4 + 64, false
local leased, records = {}, {}

begin_even_when_full()
call('ZADD', workers, deadline, worker)
call('ZADD', fleet .. 'views', now, view)
local any_limits = call('EXISTS', limits) == 1
local any_blocked = call('EXISTS', blocked) == 1
local any_deferred = call('EXISTS', deferred) == 1

-- An answer that got lost leaves leases that nobody works on and everybody renews.
local function take_back_lost()
  if #lost == 0 then return end
  local is_lost = {}
  for _, old in ipairs(lost) do is_lost[old] = true end
  take_back(worker, function(old) return is_lost[old] end)
end

local function queue_again(record)
  local q, priority, _, cno, _, member = unpack(cmsgpack.unpack(record))
  local r = parse(member, cno)
  local c = crawl_of(r.cno)
  if not c or r.seq <= c.void then return end
  add(c, 'delayed', -1)
  add(c, 'queued', 1)
  push(c, q, priority, member)
end

local function queue_what_is_due()
  local due = call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, limit + 16)
  for _, rid in ipairs(due) do
    local record = call('HGET', fleet .. 'delayed', rid)
    if record then queue_again(record) end
  end
  if #due == 0 then return end
  call('ZREM', delayed, unpack(due))
  call('HDEL', fleet .. 'delayed', unpack(due))
  for _, c in pairs(crawls) do
    if c then
      push_tails(c)
      c.tails = {}
    end
  end
end

-- By address, each view pulls what became active since it last looked: writers need not
-- know how many views there are.
local function pull_active()
  local most = limit * 2 + 64
  for _, inbox in ipairs({fleet .. 'ready:' .. spider, fleet .. 'resting:' .. spider}) do
    local new = call('ZPOPMIN', inbox, most)
    for i = 1, #new, 2 do
      call('ZADD', active, call('HINCRBY', meta, 'active', 1), new[i])
    end
  end
  local cursor = call('HGET', meta, 'cursor:' .. view) or '0'
  local news = call('ZRANGEBYSCORE', active, '(' .. cursor, '+inf', 'WITHSCORES',
    'LIMIT', 0, most)
  for i = 1, #news, 2 do
    local rank = best_rank(spider .. ':' .. news[i])
    if not rank then
      call('ZREM', active, news[i])
    elseif not call('ZSCORE', resting, news[i]) then
      call('ZADD', ready, rank, news[i])
    end
  end
  if #news > 0 then call('HSET', meta, 'cursor:' .. view, news[#news]) end
  more = #news == 2 * most
end

local function rouse_rested()
  local open = call('ZRANGEBYSCORE', resting, '-inf', horizon, 'LIMIT', 0, limit * 2 + 16)
  if #open == 0 then return end
  call('ZREMRANGEBYRANK', resting, 0, #open - 1)
  for _, domain in ipairs(open) do
    local rank = best_rank(spider .. ':' .. domain)
    if rank then call('ZADD', ready, rank, domain) end
  end
end

local function throttle_of(domain, state)
  local hits, window = polite.hits, polite.window
  local own = any_limits and call('HGET', limits, domain)
  if own then
    hits, window = match(own, '^(%d+) ([%d.]+)')
    hits, window = tonumber(hits), tonumber(window)
  end
  if hits == 0 then return nil end
  return new_throttle(tag .. prefix .. domain .. ':throttle_window', state, hits, window,
    polite.moderated)
end

local function not_before(domain)
  if any_blocked and call('SISMEMBER', blocked, domain) == 1 then return huge end
  return any_deferred and tonumber(call('ZSCORE', deferred, domain)) or 0
end

-- What is read of a domain once a call, changed in Lua and written at its end: requests in
-- flight, throttle, and until when it was pushed back.
local domains = {}

local function look_at(names)
  local new, windows = {}, {}
  for _, domain in ipairs(names) do
    if not domains[domain] then
      new[#new + 1] = domain
      windows[#new] = tag .. prefix .. domain .. ':throttle_window'
    end
  end
  if #new == 0 then return end
  local flights = call('HMGET', flight, unpack(new))
  local is_throttled = polite.hits > 0 or any_limits
  local states = is_throttled and call('MGET', unpack(windows)) or {}
  for i, domain in ipairs(new) do
    local flies = tonumber(flights[i] or '0')
    domains[domain] = {name = domain, flew = flies, flies = flies, before = not_before(domain),
      throttle = is_throttled and throttle_of(domain, states[i]) or nil}
  end
end

-- The best of `ready`, taken out of it some at a time and in order from `first` on.  What
-- comes after the last of them is in Redis, and nothing is once it is *drained*.
local MOST_DRAWN = 128
local front, first, drained = {}, 1, false
-- What goes back into `ready`, and what rests: scores and domains.
local behind, at_rest = {}, {}

local function draw()
  write_all('ZADD', ready, behind)
  -- One more than may be lent: the rival of the last.
  local most = math.min(limit - #leased + 1, MOST_DRAWN)
  local best, names = call('ZPOPMIN', ready, most), {}
  front, first, behind, drained = {}, 1, {}, #best < 2 * most
  for i = 1, #best, 2 do
    names[#names + 1] = best[i]
    front[#names] = {rank = tonumber(best[i + 1]), domain = best[i]}
  end
  look_at(names)
end

local function first_of_front()
  if first > #front and not drained then draw() end
  return front[first]
end

local function put_back(domain, rank)
  if not drained and (first > #front or rank > front[#front].rank) then
    behind[#behind + 1], behind[#behind + 2] = rank, domain
    return
  end
  local at = #front + 1
  while at > first and front[at - 1].rank > rank do at = at - 1 end
  table.insert(front, at, {rank = rank, domain = domain})
end

local function write_domains()
  for i = first, #front do
    behind[#behind + 1], behind[#behind + 2] = front[i].rank, front[i].domain
  end
  write_all('ZADD', ready, behind)
  write_all('ZADD', resting, at_rest)
  local flights = {}
  for name, domain in pairs(domains) do
    if domain.flies ~= domain.flew then
      flights[#flights + 1], flights[#flights + 2] = name, domain.flies
    end
    if domain.throttle then save_throttle(domain.throttle) end
  end
  write_all('HSET', flight, flights)
end

-- The best lane of a running crawl, with its rank and that of the next one.  Those of
-- paused crawls are set aside and those of ended ones freed, a whole lane at a time.
local function best_lane(q)
  local queue = tag .. q .. ':queue'
  while true do
    local lane, rank, _, second = unpack(call('ZRANGE', queue, 0, 1, 'WITHSCORES'))
    if not lane then return nil end
    local cno, run, priority = match(lane, '^(%d+)%.(%d+):(.*)$')
    local c = crawl_of(tonumber(cno))
    local alive = c and c.run == tonumber(run)
    if alive and c.state == 'running' or steps >= most_steps then
      return {key = queue .. ':' .. lane, name = lane, queue = queue, crawl = c, q = q,
        priority = tonumber(priority), run = cno .. '.' .. run,
        next = tonumber(second or huge)}, tonumber(rank)
    end
    steps = steps + 1
    call('ZREM', queue, lane)
    if alive then
      call('SADD', fleet .. 'parked:' .. cno .. '.' .. run, q .. ':' .. priority)
    else
      call('UNLINK', queue .. ':' .. lane)
      call('SREM', fleet .. 'lanes:' .. cno .. '.' .. run, q .. ':' .. priority)
    end
  end
end

-- The opposite of wait_with_units.
local function hold_units(c, member, domain)
  local flags = byte(member, FLAGS_AT) % LONG
  if flags % 2 == DOMAIN_UNIT then
    local of = flags >= FOREIGN and parse(member, c.cno).unit_of or domain
    call('HINCRBY', fleet .. 'pages:' .. c.run_id, of, -1)
    call('HINCRBY', fleet .. 'pages:' .. c.cno, of, 1)
  end
  if flags % 4 >= CRAWL_UNIT then
    add(c, 'pages_waiting', -1)
    add(c, 'pages', 1)
  end
end

-- The first request of the lane, whose `next` is then the best rank that is left in the queue.
local function take(lane, domain)
  local member = call('LPOP', lane.key)
  -- Somebody has deleted the list: that must not fail all leases from here on.
  if not member then return call('ZREM', lane.queue, lane.name) and nil end
  local head = call('LINDEX', lane.key, 0)
  if head then
    local rank = rank_of(lane.crawl, lane.priority, seq_of(head))
    call('ZADD', lane.queue, rank, lane.name)
    lane.next = math.min(lane.next, rank)
  else
    call('ZREM', lane.queue, lane.name)
    call('SREM', fleet .. 'lanes:' .. lane.run, lane.q .. ':' .. lane.priority)
  end
  add(lane.crawl, 'queued', -1)
  add(lane.crawl, 'leased', 1)
  hold_units(lane.crawl, member, domain)
  lane.crawl.is_lent = true
  return member
end

local function lend(lane, domain, start, throttle)
  local member, slack = take(lane, domain), '-1'
  if not member then return 0 end
  if throttle then
    charge_hit(throttle, start)
    slack = string.format('%.3f', slack_of(throttle))
  end
  start = (throttle or start > now) and string.format('%.3f', start) or '0'
  records[#records + 1] = sub(member, 1, 6)
  local cno = lane.crawl.cno
  records[#records + 1] = cmsgpack.pack({token, lane.q, lane.priority, cno, now, member})
  leased[#leased + 1] = {cno, member, domain, lane.priority, start, slack}
  return 1
end

-- Lend of one domain while it is the best one, then put it where it belongs.
local function visit(domain)
  local name, throttle = domain.name, domain.throttle
  local best = first_of_front()
  local rival = best and best.rank or huge
  local lane, rank = best_lane(spider .. ':' .. name)
  while true do
    if domain.flies >= polite.concurrency then return call('SADD', capped, name) end
    if not rank then return by_address and call('ZREM', active, name) end
    local soonest = throttle and opens_at(throttle, now + polite.lead) or now
    local start = math.max(domain.before, soonest)
    -- Only who has a throttle waits for the start; others lease when it has come.
    if start > (throttle and horizon or now) then
      at_rest[#at_rest + 1], at_rest[#at_rest + 2] = start, name
      return
    end
    if rank > rival or #leased >= limit or steps >= most_steps then return put_back(name, rank) end
    if lane then
      domain.flies = domain.flies + lend(lane, name, start, throttle)
      -- As far as the lane tells; which one it is, is only asked when it is lent of.
      lane, rank = nil, lane.next < huge and lane.next or nil
    else
      lane, rank = best_lane(spider .. ':' .. name)
    end
  end
end

local function lent_crawls()
  local lent = {}
  for cno, c in pairs(crawls) do
    if c and c.is_lent then lent[#lent + 1] = {cno, c.rev, c.epoch, c.run} end
  end
  return lent
end

local function first_score(key, from, to)
  local first = call('ZRANGEBYSCORE', key, from, to, 'WITHSCORES', 'LIMIT', 0, 1)
  return tonumber(first[2] or huge)
end

-- When there may be more, as far as the sets of this view can tell.
local function wait()
  if more or #leased >= limit then return 0 end
  -- What rests although it opens before the horizon has no throttle: see `place`.
  local soon = first_score(resting, '-inf', horizon)
  local open = first_score(resting, '(' .. horizon, '+inf') - polite.ahead
  local first = math.min(soon, open, first_score(delayed, '-inf', '+inf'))
  if first == huge then return -1 end
  return math.max(1, math.ceil(first - now))
end

take_back_lost()
queue_what_is_due()
if by_address then pull_active() end
rouse_rested()
while #leased < limit do
  local best = first_of_front()
  if not best then break end
  first = first + 1
  visit(domains[best.domain])
  steps = steps + 1
  if steps >= most_steps then
    more = true
    break
  end
end
write_all('HSET', fleet .. 'leases:' .. worker, records)
write_domains()
if #leased < limit and not more then
  call('ZADD', fleet .. 'idle:' .. spider, now, idle)
end
local rest, lent = wait(), lent_crawls()
finish_call()
return {now, rest, leased, lent}
