--[[
What all scripts share; prepended to them by scripts.py.

Every other key begins with the tag that the first one begins with; keys.py lists them.
Times are milliseconds of Redis's clock.  A queue `q` is "spider:domain".

KEYS[1]  meta  hash  counters: seq (requests), cno (crawls), dead (buried workers), act,
                      deferrals (by `defer`)
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
local function rank_of(c, priority, seq)
  local steep = math.max(-STEEPEST, math.min(STEEPEST, priority + c.boost))
  return -steep * SPAN + seq % SPAN
end

local function rid_of(seq) return struct.pack('>I6', seq) end
local function seq_of(request) return (struct.unpack('>I6', request)) end

local function next_seq() return call('HINCRBY', meta, 'seq', 1) end

-- A request of a known crawl: seq 6 | fingerprint 8 | flags 1 | depth 1 | body.  Flags: 1 holds
-- a page unit of its domain, 2 one of its crawl, 4 the unit is that of another domain, whose
-- length and name precede the body, 8 long: attempts 1 | deaths 1 | depth 2 are in the place of
-- the depth.
local FLAGS_AT, DOMAIN_UNIT, CRAWL_UNIT, FOREIGN, LONG = 15, 1, 2, 4, 8

local function head_of(seq, fp, flags, depth, attempts, deaths)
  if attempts == 0 and deaths == 0 and depth < 256 then
    return struct.pack('>I6c8BB', seq, fp, flags, depth)
  end
  return struct.pack('>I6c8BBBH', seq, fp, flags + LONG, math.min(attempts, 255),
    math.min(deaths, 255), math.min(depth, 65535))
end

local function parse(member, cno)
  local seq, fp, flags, depth, at = struct.unpack('>I6c8BB', member)
  local r = {seq = seq, cno = cno, fp = fp, attempts = 0, deaths = 0, depth = depth}
  if flags >= LONG then
    r.attempts, r.deaths, r.depth, at = struct.unpack('>BBH', member, FLAGS_AT + 1)
  end
  r.flags = flags % LONG
  if r.flags >= FOREIGN then
    local length = byte(member, at)
    r.unit_of = sub(member, at + 1, at + length)
    at = at + 1 + length
  end
  r.body = sub(member, at)
  return r
end

local function build(r)
  local head = head_of(r.seq, r.fp, r.flags, r.depth, r.attempts, r.deaths)
  if r.unit_of then return head .. char(#r.unit_of) .. r.unit_of .. r.body end
  return head .. r.body
end

local function split(q) return match(q, '^([^:]*):(.*)$') end

-- Crawls: read once a call, counted in Lua, written once by `finish_call`.

local FIELDS = {'state', 'run', 'epoch', 'fin', 'hold', 'expires', 'maxdepth',
  'domain_max_pages', 'max_pages', 'seen', 'buckets', 'entries', 'voids', 'pages',
  'pages_waiting', 'queued', 'delayed', 'leased', 'rev', 'boost', 'spread', 'acts', 'flags',
  'back', 'reason:page_limit', 'reason:queue_full', 'reason:stopped', 'reason:expired'}
local WORDS = {state = true, seen = true, voids = true}
local crawls = {}

local function add(c, column, n) c.changes[column] = (c.changes[column] or 0) + n end
local function value(c, column) return c[column] + (c.changes[column] or 0) end
local function outstanding(c)
  return value(c, 'queued') + value(c, 'delayed') + value(c, 'leased')
end

-- What was dropped for these may be queued when it is met again.  A call in which nothing
-- *may_pass* need not ask for more than whether a URL is known.
local PASSING = {page_limit = true, queue_full = true, stopped = true, expired = true}

local function count_dropped(c, reason, n)
  add(c, 'dropped', n)
  add(c, 'reason:' .. reason, n)
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
  c.run_id = cno .. '.' .. c.run
  c.bucket = tag .. c.seen .. ':' .. cno .. '.'
  c.boost, c.acts, c.flags, c.back = c.boost or 0, c.acts or 0, c.flags or 0, c.back or 0
  c.spread = c.spread == 1
  c.may_pass = c.spread or c.voids ~= ''
  for reason in pairs(PASSING) do
    if (c['reason:' .. reason] or 0) > 0 then c.may_pass = true end
  end
  c.was_buckets, c.was_entries = c.buckets, c.entries
  c.level = 1
  while c.level * 2 <= c.buckets do c.level = c.level * 2 end
  c.void = tonumber(match(c.voids, '(%d+) %a+;$') or '0')
  crawls[cno] = c
  return c
end

local function is_open(c) return c.state == 'running' or c.state == 'paused' end

-- A crawl that is spread over shards ends when none of them has anything of it left: they
-- compare how often it became active in each.
local function activate_crawl(c) if c.spread then add(c, 'acts', 1) end end

-- Tell those outside.  A Redis monitor deletes what it has passed on; without one the
-- oldest goes.
local function tell(stream, ...)
  if call('HGET', meta, 'relay') then
    call('XADD', fleet .. stream, '*', ...)
  else
    call('XADD', fleet .. stream, 'MAXLEN', '~', 100000, '*', ...)
  end
end

local function tell_expired(c, total)
  local names = call('HMGET', c.key, 'spiderid', 'appid', 'crawlid')
  tell('outbox', 'body', cjson.encode({action = 'expired', spiderid = names[1],
    appid = names[2], crawlid = names[3], total_expired = total, server_time = now / 1000}))
end

-- End the crawl: one flag.  Its lanes and the page units of what waits in them bear the
-- number of the run and so are rubbish from here on; the books drop it all at once.
local function retire(c, state)
  local queued, delayed = value(c, 'queued'), value(c, 'delayed')
  add(c, 'queued', -queued)
  add(c, 'delayed', -delayed)
  count_dropped(c, state, queued + delayed)
  add(c, 'pages_waiting', -value(c, 'pages_waiting'))
  call('ZREM', fleet .. 'expires', c.cno)
  call('ZREM', fleet .. 'holds', c.cno)
  call('ZADD', fleet .. 'sweep', now, c.run_id)
  -- What is in flight may come back into a run that goes on: numbers for it are set aside,
  -- before those of all that is submitted from here on.
  local leased = value(c, 'leased')
  c.back, c.changes.back = call('HINCRBY', meta, 'seq', leased), nil
  c.void = c.back - leased
  c.voids = c.voids .. c.void .. ' ' .. state .. ';'
  c.state, c.run, c.hold = state, c.run + 1, 0
  c.run_id = c.cno .. '.' .. c.run
  call('HSET', c.key, 'state', state, 'run', c.run, 'hold', 0, 'voids', c.voids,
    'back', c.back)
  if state == 'expired' and not c.spread then tell_expired(c, queued + delayed) end
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
  return c.bucket .. n
end

local function bucket_of(c, fp)
  local n = hash_of(fp) % (2 * c.level)
  if n >= c.buckets then n = n - c.level end
  return bucket_key(c, n)
end

-- Of a bucket's fingerprints, those whose hash has the bit of the level go to the new one.
local function split_bucket(c)
  local from, to = bucket_key(c, c.buckets - c.level), bucket_key(c, c.buckets)
  local at, bit = 1, c.level
  while bit >= 256 do at, bit = at + 1, bit / 256 end
  local all, moved, gone = call('HGETALL', from), {}, {}
  for i = 1, #all, 2 do
    if byte(all[i], at) % (2 * bit) >= bit then
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

local REDIRECTED = byte('r')

-- Where the redirects of a URL of this state have led: the state at the end of the chain,
-- and whose.
local function followed(c, fp, state)
  for _ = 1, 100 do
    if not state or byte(state) ~= REDIRECTED then break end
    fp = sub(state, 2)
    state = seen(c, fp)
  end
  return state, fp
end

-- A URL can be outstanding twice (as a seed); its state is that of the newest request.
local function set_state(c, r, state)
  local bucket = bucket_of(c, r.fp)
  if call('HGET', bucket, r.fp) == rid_of(r.seq) then call('HSET', bucket, r.fp, state) end
end
