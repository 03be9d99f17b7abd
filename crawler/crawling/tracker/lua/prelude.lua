--[[
What the scripts that change something share; prepended to them by scripts.py.

Every other key begins with the tag that the first one begins with; keys.py lists them.
Times are milliseconds of Redis's clock.  A queue `q` is "spider:domain".

KEYS[1]  meta  hash  counters: seq (requests), cno (crawls), dead (buried workers), act
]]
local meta = KEYS[1]
local tag = string.sub(meta, 1, -#'fleet:meta' - 1)
local fleet = tag .. 'fleet:'
local workers = fleet .. 'workers'

local call = redis.call
local byte, char, sub, match = string.byte, string.char, string.sub, string.match
local floor, huge = math.floor, math.huge

local time = call('TIME')
local now = time[1] * 1000 + floor(time[2] / 1000)

-- ZREM is allowed in a full Redis, and after a first write everything is: a script that
-- begins with it runs to its end, so that leasing and settling can free memory.
local function begin_even_when_full() call('ZREM', workers, '') end

local SPAN = 68719476736 -- 2^36: sequence numbers within one priority
local STEEPEST = 65000   -- priorities beyond would not fit a double's 53 bits

-- The order of a lane or a domain: priority first, then the age of its head.
local function rank_of(priority, seq)
  local steep = math.max(-STEEPEST, math.min(STEEPEST, priority))
  return -steep * SPAN + seq % SPAN
end

local function rid_of(seq) return struct.pack('>I6', seq) end
local function seq_of(request) return (struct.unpack('>I6', request)) end

local function next_seq() return call('HINCRBY', meta, 'seq', 1) end

-- A request: seq 6 | cno 4 | fingerprint 8 | attempts 1 | deaths 1 | depth 2 | flags 1
-- | body.  Flags: 1 holds a page unit of its domain, 2 one of its crawl, 4 the unit is
-- that of another domain, whose length and name precede the body.
local DOMAIN_UNIT, CRAWL_UNIT, FOREIGN = 1, 2, 4

local function parse(member)
  local seq, cno, fp, attempts, deaths, depth, flags, at =
    struct.unpack('>I6I4c8BBHB', member)
  local r = {seq = seq, cno = cno, fp = fp, attempts = attempts, deaths = deaths,
    depth = depth, flags = flags}
  if flags >= FOREIGN then
    local length = byte(member, at)
    r.unit_of = sub(member, at + 1, at + length)
    at = at + 1 + length
  end
  r.body = sub(member, at)
  return r
end

local function build(r)
  local head = struct.pack('>I6I4c8BBHB', r.seq, r.cno, r.fp,
    math.min(r.attempts, 255), math.min(r.deaths, 255), math.min(r.depth, 65535), r.flags)
  if r.unit_of then return head .. char(#r.unit_of) .. r.unit_of .. r.body end
  return head .. r.body
end

local function split(q) return match(q, '^([^:]*):(.*)$') end

-- Crawls: read once a call, counted in Lua, written once by `finish_call`.

local FIELDS = {'state', 'run', 'epoch', 'fin', 'hold', 'expires', 'maxdepth',
  'domain_max_pages', 'max_pages', 'seen', 'buckets', 'entries', 'voids', 'pages',
  'queued', 'delayed', 'leased', 'rev'}
local WORDS = {state = true, seen = true, voids = true}
local crawls = {}

local function add(c, column, n) c.changes[column] = (c.changes[column] or 0) + n end
local function value(c, column) return c[column] + (c.changes[column] or 0) end
local function outstanding(c)
  return value(c, 'queued') + value(c, 'delayed') + value(c, 'leased')
end

local function load(cno)
  local known = crawls[cno]
  if known ~= nil then return known end
  local key = fleet .. 'crawl:' .. cno
  local read = call('HMGET', key, unpack(FIELDS))
  if not read[1] then
    crawls[cno] = false
    return false
  end
  local c = {cno = cno, key = key, changes = {}, tails = {}}
  for i, field in ipairs(FIELDS) do
    c[field] = WORDS[field] and read[i] or tonumber(read[i])
  end
  c.was_buckets, c.was_entries = c.buckets, c.entries
  c.level = 1
  while c.level * 2 <= c.buckets do c.level = c.level * 2 end
  c.void = tonumber(match(c.voids, '(%d+) %a+;$') or '0')
  crawls[cno] = c
  return c
end

local function is_open(c) return c.state == 'running' or c.state == 'paused' end

-- End the crawl: one flag.  Its lanes bear the number of the run and so are rubbish from
-- here on; what they and the delayed held is dropped in the books at once.
local function retire(c, state)
  local queued, delayed = value(c, 'queued'), value(c, 'delayed')
  add(c, 'queued', -queued)
  add(c, 'delayed', -delayed)
  add(c, 'dropped', queued + delayed)
  add(c, 'reason:' .. state, queued + delayed)
  local lanes = c.cno .. '.' .. c.run
  call('ZREM', fleet .. 'expires', c.cno)
  call('ZREM', fleet .. 'holds', c.cno)
  call('ZADD', fleet .. 'sweep', now, lanes)
  c.void = tonumber(call('HGET', meta, 'seq') or '0')
  c.voids = c.voids .. c.void .. ' ' .. state .. ';'
  c.state, c.run, c.hold = state, c.run + 1, 0
  call('HSET', c.key, 'state', state, 'run', c.run, 'hold', 0, 'voids', c.voids)
  return queued + delayed
end

-- The crawl as it is now: the first script that meets it after its time ends it.
local function crawl_of(cno)
  local c = load(cno)
  if c and is_open(c) and c.expires > 0 and c.expires <= now then retire(c, 'expired') end
  return c
end

-- Dupefilter: fingerprint -> state, in linear hashing over small hashes, so that no
-- crawl ever rehashes.  Bucket 0 has the documented name.

local BUCKET = 56 -- entries on average; hash-max-listpack-entries must be well above

local function hash_of(fp)
  local a, b, c, d = byte(fp, 1, 4)
  return a + b * 256 + c * 65536 + d * 16777216
end

local function bucket_key(c, n)
  if n == 0 then return tag .. c.seen end
  return tag .. c.seen .. ':' .. c.cno .. '.' .. n
end

local function bucket_of(c, fp)
  local n = hash_of(fp) % (2 * c.level)
  if n >= c.buckets then n = n - c.level end
  return bucket_key(c, n)
end

local function split_bucket(c)
  local from, to = bucket_key(c, c.buckets - c.level), bucket_key(c, c.buckets)
  local all, moved, gone = call('HGETALL', from), {}, {}
  for i = 1, #all, 2 do
    if hash_of(all[i]) % (2 * c.level) == c.buckets then
      moved[#moved + 1], moved[#moved + 2] = all[i], all[i + 1]
      gone[#gone + 1] = all[i]
    end
  end
  if #gone > 0 then
    call('HSET', to, unpack(moved))
    call('HDEL', from, unpack(gone))
  end
  c.buckets = c.buckets + 1
  if c.buckets == c.level * 2 then c.level = c.buckets end
end

local function seen(c, fp) return call('HGET', bucket_of(c, fp), fp) end

-- A URL can be outstanding twice (as a seed); its state is that of the newest request.
local function set_state(c, r, state)
  local bucket = bucket_of(c, r.fp)
  if call('HGET', bucket, r.fp) == rid_of(r.seq) then call('HSET', bucket, r.fp, state) end
end

-- Queues: a sorted set of lanes, a lane being the list of one run and priority.

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
  local run = c.cno .. '.' .. c.run
  call('ZADD', tag .. q .. ':queue', rank, run .. ':' .. priority)
  call('SADD', fleet .. 'lanes:' .. run, q .. ':' .. priority)
  activate(q, rank)
end

local function lane_key(c, q, priority)
  return tag .. q .. ':queue:' .. c.cno .. '.' .. c.run .. ':' .. priority
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
    for priority, members in pairs(lanes) do
      local key, length = lane_key(c, q, priority), nil
      for i = 1, #members, 2000 do
        length = call('RPUSH', key, unpack(members, i, math.min(i + 1999, #members)))
      end
      if length == #members then
        enter_lane(c, q, priority, rank_of(priority, seq_of(members[1])))
      end
    end
  end
end

-- What comes back goes before all that waits in its lane.
local function push_head(c, q, priority, r)
  if r.seq <= c.void then -- from before a stop: its number says dropped
    local old = r.seq
    r.seq = next_seq()
    local bucket = bucket_of(c, r.fp)
    if call('HGET', bucket, r.fp) == rid_of(old) then
      call('HSET', bucket, r.fp, rid_of(r.seq))
    end
  end
  call('LPUSH', lane_key(c, q, priority), build(r))
  enter_lane(c, q, priority, rank_of(priority, r.seq))
  add(c, 'queued', 1)
end

-- How leases end.

local function give_back_units(c, r, domain)
  if r.flags % 2 == DOMAIN_UNIT then
    local pages, of = fleet .. 'pages:' .. c.cno, r.unit_of or domain
    if call('HINCRBY', pages, of, -1) == 0 then call('HDEL', pages, of) end
  end
  if r.flags % 4 >= CRAWL_UNIT then add(c, 'pages', -1) end
  r.flags, r.unit_of = 0, nil
end

local function drop(c, q, r, reason)
  local _, domain = split(q)
  give_back_units(c, r, domain)
  add(c, 'dropped', 1)
  add(c, 'reason:' .. reason, 1)
  set_state(c, r, 'x' .. reason)
end

local function fail(c, q, priority, r, reason, detail)
  local _, domain = split(q)
  give_back_units(c, r, domain)
  add(c, 'failed', 1)
  add(c, 'reason:' .. reason, 1)
  set_state(c, r, 'f' .. reason)
  call('HSET', fleet .. 'failed:' .. c.cno, r.fp,
    cmsgpack.pack({q, priority, reason, detail, now, build(r)}))
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

-- End a lease with nothing done; true when the request waits again.
local function give_back(q, priority, r)
  local c = crawl_of(r.cno)
  if not c then return false end
  leave_flight(c, q)
  if not is_open(c) then
    drop(c, q, r, c.state)
  elseif r.deaths > MOST_DEATHS then
    fail(c, q, priority, r, 'spider_error', 'worker died ' .. r.deaths .. ' times')
  else
    push_head(c, q, priority, r)
    return true
  end
  return false
end

-- Take up to *max* requests of workers that died or left back into their queues.
local function unbury(max)
  local grave = call('ZRANGE', fleet .. 'dead', 0, 0)[1]
  if not grave then return 0 end
  local key = fleet .. 'dead:' .. grave
  local found, leases, back = call('HSCAN', key, 0, 'COUNT', max)[2], {}, 0
  for i = 1, #found, 2 do
    local _, q, priority, _, member = unpack(cmsgpack.unpack(found[i + 1]))
    leases[#leases + 1] = {rid = found[i], q = q, priority = priority, r = parse(member)}
  end
  table.sort(leases, function(a, b) return a.r.seq > b.r.seq end)
  for _, l in ipairs(leases) do
    call('HDEL', key, l.rid)
    if sub(grave, 1, 1) == 'd' then l.r.deaths = l.r.deaths + 1 end
    if give_back(l.q, l.priority, l.r) then back = back + 1 end
  end
  if call('EXISTS', key) == 0 then call('ZREM', fleet .. 'dead', grave) end
  return back
end

-- Fence all leases of a worker in O(1): a late settle finds nothing.
local function bury(worker, kind)
  call('ZREM', workers, worker)
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

local function announce(c)
  local book, reasons, statuses = totals(c)
  local body = {action = 'finished', state = c.state, epoch = c.epoch, reasons = reasons,
    statuses = statuses, spiderid = book.spiderid, appid = book.appid,
    crawlid = book.crawlid, bytes = tonumber(book.size), server_time = now / 1000,
    elapsed = (now - tonumber(book.started)) / 1000}
  for _, column in ipairs({'accepted', 'done', 'failed', 'dropped', 'duplicates'}) do
    body[column] = tonumber(book[column])
  end
  call('XADD', fleet .. 'outbox', 'MAXLEN', '~', 100000, '*', 'body', cjson.encode(body))
end

local function finish(c)
  if c.state == 'running' or c.state == 'paused' then c.state = 'finished' end
  c.fin = c.epoch
  call('HSET', c.key, 'state', c.state, 'fin', c.epoch, 'ended', now)
  call('ZREM', fleet .. 'expires', c.cno)
  call('ZREM', fleet .. 'holds', c.cno)
  call('ZADD', fleet .. 'ended', now, c.cno)
  announce(c)
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
      if outstanding(c) == 0 and c.hold <= now and c.fin < c.epoch then finish(c) end
    end
  end
  wake()
end

-- Bring lanes of a resumed crawl back into their queues; true when none is left.
local function unpark(c, most)
  local run = c.cno .. '.' .. c.run
  local lanes = call('SPOP', fleet .. 'parked:' .. run, most)
  for _, lane in ipairs(lanes) do
    local q, priority = match(lane, '^(.*):([^:]*)$')
    local head = call('LINDEX', tag .. q .. ':queue:' .. run .. ':' .. priority, 0)
    if head then enter_lane(c, q, priority, rank_of(tonumber(priority), seq_of(head))) end
  end
  return #lanes < most
end
