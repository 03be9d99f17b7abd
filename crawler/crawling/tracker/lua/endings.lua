--[[
How requests end, and with the last of them a crawl.  Prepended, behind queues.lua, to the
scripts that change the books; each of them ends with finish_call.
]]

local function give_back_units(c, r, domain)
  if r.flags % 2 == DOMAIN_UNIT then
    local pages, of = fleet .. 'pages:' .. c.cno, r.unit_of or domain
    if call('HINCRBY', pages, of, -1) == 0 then call('HDEL', pages, of) end
  end
  if r.flags % 4 >= CRAWL_UNIT then add(c, 'pages', -1) end
  r.flags, r.unit_of = 0, nil
end

-- As DEEPEST in tracker.py.
local DEEPEST = 32

-- What is done or has failed, by depth.
local function count_depth(c, r, n) add(c, 'depth:' .. math.min(r.depth, DEEPEST), n) end

local function drop(c, q, r, reason)
  local _, domain = split(q)
  give_back_units(c, r, domain)
  count_dropped(c, reason, 1)
  set_state(c, r, 'x' .. reason)
end

local function fail(c, q, priority, r, reason, detail)
  local _, domain = split(q)
  give_back_units(c, r, domain)
  add(c, 'failed', 1)
  add(c, 'reason:' .. reason, 1)
  count_depth(c, r, 1)
  set_state(c, r, 'f' .. reason)
  call('HSET', fleet .. 'failed:' .. c.cno, r.fp,
    cmsgpack.pack({q, priority, reason, detail, now, build(r)}))
  if call('HGET', meta, 'relay') then
    call('XADD', fleet .. 'failures', '*', 'name', call('HGET', c.key, 'name'), 'cno', c.cno,
      'queue', q, 'priority', priority, 'reason', reason, 'detail', detail, 'time', now,
      'request', build(r))
  end
end

-- One request of the domain less in flight; at its cap it was in no set of domains.
local function leave_flight(c, q)
  local spider, domain = split(q)
  local flight = fleet .. 'flight:' .. spider
  if call('HINCRBY', flight, domain, -1) <= 0 then call('HDEL', flight, domain) end
  if call('SREM', fleet .. 'capped:' .. spider, domain) == 1 then
    local rank = best_rank(q)
    if rank then activate(q, rank) end
  end
  add(c, 'leased', -1)
end

-- A request that was in the hands of more dead workers than this kills them.
local MOST_DEATHS = 10

-- End a lease with nothing done.
local function give_back(q, priority, r)
  local c = crawl_of(r.cno)
  if not c then return end
  leave_flight(c, q)
  if not is_open(c) then
    drop(c, q, r, c.state)
  elseif r.deaths > MOST_DEATHS then
    fail(c, q, priority, r, 'spider_error', 'worker died ' .. r.deaths .. ' times')
  else
    push_head(c, q, priority, r)
  end
end

-- Give back those leases of a living worker that *is_gone* (token, number of the request).
local function take_back(worker, is_gone)
  local leases, n = fleet .. 'leases:' .. worker, 0
  local held = call('HGETALL', leases)
  for i = 1, #held, 2 do
    local token, q, priority, cno, _, member = unpack(cmsgpack.unpack(held[i + 1]))
    if is_gone(token, held[i]) then
      call('HDEL', leases, held[i])
      give_back(q, priority, parse(member, cno))
      n = n + 1
    end
  end
  return n
end

-- Take up to *max* requests of workers that died or left back into their queues.
local function unbury(max)
  local grave = call('ZRANGE', fleet .. 'dead', 0, 0)[1]
  if not grave then return 0 end
  local key = fleet .. 'dead:' .. grave
  local found, leases = call('HSCAN', key, 0, 'COUNT', max)[2], {}
  for i = 1, #found, 2 do
    local _, q, priority, cno, _, member = unpack(cmsgpack.unpack(found[i + 1]))
    leases[#leases + 1] = {rid = found[i], q = q, priority = priority, r = parse(member, cno)}
  end
  table.sort(leases, function(a, b) return a.r.seq > b.r.seq end)
  for _, l in ipairs(leases) do
    call('HDEL', key, l.rid)
    if sub(grave, 1, 1) == 'd' then l.r.deaths = l.r.deaths + 1 end
    give_back(l.q, l.priority, l.r)
  end
  if call('EXISTS', key) == 0 then call('ZREM', fleet .. 'dead', grave) end
  return #leases
end

-- Fence all leases of a worker in O(1): a late settle finds nothing.
local function bury(worker, kind)
  call('ZREM', workers, worker)
  call('HDEL', fleet .. 'troubles', worker)
  call('HDEL', fleet .. 'vitals', worker)
  local leases = fleet .. 'leases:' .. worker
  local n = call('HLEN', leases)
  if n > 0 then
    local grave = kind .. call('HINCRBY', meta, 'dead', 1)
    call('RENAME', leases, fleet .. 'dead:' .. grave)
    call('ZADD', fleet .. 'dead', now, grave)
  end
  return n
end

-- The end of a crawl, once an epoch, in the step that ended its last request.

local function totals(c)
  local flat, book, reasons, statuses = call('HGETALL', c.key), {}, {}, {}
  for i = 1, #flat, 2 do
    local kind, name = match(flat[i], '^(%a+):(.*)$')
    local n = tonumber(flat[i + 1])
    if kind == 'reason' then
      if n > 0 then reasons[name] = n end
    elseif kind == 'status' then
      statuses[name] = n
    else
      book[flat[i]] = flat[i + 1]
    end
  end
  return book, reasons, statuses
end

-- *sums*: of a crawl that is spread over shards, its columns in all of them.
local function announce(c, sums)
  local book, reasons, statuses = totals(c)
  if sums then
    reasons, statuses = sums.reasons, sums.statuses
    for column, n in pairs(sums.columns) do book[column] = n end
  end
  local body = {action = 'finished', state = c.state, epoch = c.epoch, reasons = reasons,
    statuses = statuses, spiderid = book.spiderid, appid = book.appid,
    crawlid = book.crawlid, bytes = tonumber(book.size), server_time = now / 1000,
    elapsed = (now - tonumber(book.started)) / 1000}
  for _, column in ipairs({'accepted', 'done', 'failed', 'dropped', 'duplicates'}) do
    body[column] = tonumber(book[column])
  end
  tell('outbox', 'body', cjson.encode(body))
end

-- Where it waits to be forgotten; one that is spread, in its home alone.
local function ended_in(c) return fleet .. (c.spread and 'over' or 'ended') end

-- *sums* as above; false: this is a shard that does not tell of the end.
local function finish(c, sums)
  if c.state == 'running' or c.state == 'paused' then c.state = 'finished' end
  c.fin = c.epoch
  call('HSET', c.key, 'state', c.state, 'fin', c.epoch, 'ended', now)
  call('ZREM', fleet .. 'expires', c.cno)
  call('ZREM', fleet .. 'holds', c.cno)
  if sums == false then return end
  call('ZADD', ended_in(c), now, c.cno)
  announce(c, sums)
end

-- A finished or stopped crawl goes on with a new epoch when something is queued; one that
-- is spread over shards with that which its home has said.
local function reopen(c, epoch)
  if is_open(c) then
    if epoch > c.epoch then
      c.epoch = epoch
      call('HSET', c.key, 'epoch', epoch)
    end
    return
  end
  c.state, c.epoch = 'running', math.max(c.epoch + 1, epoch)
  call('HSET', c.key, 'state', 'running', 'epoch', c.epoch, 'started', now, 'ended', '')
  call('ZREM', ended_in(c), c.cno)
  if c.expires > 0 then call('ZADD', fleet .. 'expires', c.expires, c.cno) end
end

local function wake()
  for spider, n in pairs(woken) do
    while n > 0 do
      local id = call('ZPOPMIN', fleet .. 'idle:' .. spider)[1]
      if not id then break end
      -- An idle worker that has died since hears nothing: the next one is told.
      if call('PUBLISH', fleet .. 'wake:' .. id, spider) > 0 then n = n - 1 end
    end
  end
end

-- Whether the call has left a crawl, spread over shards, with nothing outstanding in this one.
local any_quiet = 0

local function end_if_over(c)
  if outstanding(c) > 0 or c.hold > now then return end
  if c.spread then
    if c.fin == c.epoch and not c.was_held then return end
    any_quiet = 1
    call('ZADD', fleet .. 'quiet', value(c, 'acts'), c.cno)
  elseif c.fin < c.epoch then
    finish(c)
  end
end

-- Write what the call has counted.  Each script that loads a crawl ends with this.
local function finish_call()
  for _, c in pairs(crawls) do
    if c then
      push_tails(c)
      for column, n in pairs(c.changes) do
        if n ~= 0 then call('HINCRBY', c.key, column, n) end
      end
      while c.entries > c.buckets * BUCKET do split_bucket(c) end
      if c.entries ~= c.was_entries then
        call('HSET', c.key, 'entries', c.entries, 'buckets', c.buckets)
      end
      end_if_over(c)
    end
  end
  wake()
end
