--[[
End leases, queue what their pages discovered and count it, in one step.

KEYS[1]  meta      hash  counters
ARGV[1]  worker
ARGV[2]  how       msgpack map: page_limit (-1: none), max_queued, retry_delay ms,
                   defer_max ms, jitter (a factor around 1)
ARGV[3]  outcomes  msgpack list of {rid, token, kind, reason, detail, status, size,
                   busy, retry_after ms, delay ms, links, next offer or nil, known}; kind `offer`
                   only takes links, those of a page that has too many for one call;
                   `moved` is a redirect that another shard has taken
Returns  {results, 1 when a crawl that is spread over shards has nothing left in this one};
         a result is 1, or 0 where the lease was no longer this worker's
]]
local worker, how = ARGV[1], cmsgpack.unpack(ARGV[2])
local outcomes = cmsgpack.unpack(ARGV[3])
local leases = fleet .. 'leases:' .. worker
local busy, deferred = fleet .. 'busy', fleet .. 'deferred'

for _, o in ipairs(outcomes) do
  check_offers(o[11])
  if o[12] then check_offers({o[12]}) end
end
begin_even_when_full()
local any_busy = call('EXISTS', busy) == 1

local function take_links(c, q, links)
  if #links == 0 then return end
  local from = {entry = 'link', spider = split(q), page_limit = how.page_limit,
    max_queued = how.max_queued, epoch = 0}
  from.seq = call('HINCRBY', meta, 'seq', #links) - #links
  for _, link in ipairs(links) do offer(c, link, from) end
end

-- Push the whole domain back.  Answers to what was in flight when the first of them came
-- are one overload, not several: only that first one doubles.
local function push_back(domain, retry_after)
  local open = tonumber(call('ZSCORE', deferred, domain) or '0')
  if retry_after > 0 then
    local until_then = now + math.min(retry_after, how.defer_max)
    if until_then > open then call('ZADD', deferred, until_then, domain) end
    return
  end
  if open > now then return end
  local step = tonumber(call('HGET', busy, domain) or '0') * 2
  if step == 0 then step = how.retry_delay end
  step = math.min(step, how.defer_max)
  call('HSET', busy, domain, step)
  call('ZADD', deferred, now + math.min(step * how.jitter, how.defer_max), domain)
end

local function redirect(c, q, priority, r, to)
  local fp, to_domain = to[1], to[2]
  local state = followed(c, fp, seen(c, fp))
  local own = state == rid_of(r.seq)
  if state and not own and not passing(c, state) then return drop(c, q, r, 'duplicate') end
  if r.fp ~= fp then
    set_state(c, r, 'r' .. fp)
    enter(c, bucket_of(c, fp), fp, rid_of(r.seq))
  end
  local spider, domain = split(q)
  -- The unit stays with the domain that was charged when the request was accepted.
  if r.flags % 2 == DOMAIN_UNIT and not r.unit_of and domain ~= to_domain then
    r.unit_of, r.flags = domain, r.flags + FOREIGN
  end
  r.fp, r.body = fp, to[5]
  push_head(c, spider .. ':' .. to_domain, priority, r)
end

-- It goes on in another shard, which has it in its books.
local function move(c, q, r, to)
  local _, domain = split(q)
  give_back_units(c, r, domain)
  add(c, 'accepted', -1)
  set_state(c, r, 'y' .. rid_of(r.seq) .. to[1])
end

local function retry(c, q, priority, r, o)
  local spider, domain = split(q)
  if r.seq <= c.void then renumber(c, r) end
  wait_with_units(c, r, domain)
  r.attempts = r.attempts + 1
  if o[12] then r.body = o[12][5] end
  priority = priority - 10
  if o[10] == 0 then
    add(c, 'queued', 1)
    return push(c, q, priority, build(r))
  end
  add(c, 'delayed', 1)
  local rid, due = rid_of(r.seq), now + o[10]
  call('ZADD', fleet .. 'delayed:' .. spider, due, rid)
  call('HSET', fleet .. 'delayed', rid, cmsgpack.pack({q, priority, due, c.cno, now, build(r)}))
end

local function done(c, domain, r, o)
  add(c, 'done', 1)
  add(c, 'size', o[7])
  count_depth(c, r, 1)
  if o[6] > 0 then add(c, 'status:' .. o[6], 1) end
  set_state(c, r, 'd')
  if any_busy then call('HDEL', busy, domain) end
end

local function end_lease(c, q, priority, r, o)
  local kind, reason = o[3], o[4]
  local _, domain = split(q)
  leave_flight(c, q)
  if o[8] then push_back(domain, o[9]) end
  if kind == 'done' then return done(c, domain, r, o) end
  if kind == 'failed' then return fail(c, q, priority, r, reason, o[5]) end
  if kind == 'dropped' then return drop(c, q, r, reason) end
  if kind == 'moved' then return move(c, q, r, o[12]) end
  if not is_open(c) then return drop(c, q, r, c.state) end
  if kind == 'released' then return push_head(c, q, priority, r) end
  if kind == 'redirect' then return redirect(c, q, priority, r, o[12]) end
  return retry(c, q, priority, r, o)
end

-- What the worker holds of what it settles, by the number of the request.
local function read_records()
  local rids, records = {}, {}
  for i, o in ipairs(outcomes) do rids[i] = o[1] end
  if #rids == 0 then return records end
  for i, record in ipairs(call('HMGET', leases, unpack(rids))) do records[rids[i]] = record end
  return records
end

local held, ended = read_records(), {}

local function settle(o)
  local record = held[o[1]]
  if not record then return 0 end
  local token, q, priority, cno, _, member = unpack(cmsgpack.unpack(record))
  if token ~= o[2] then return 0 end
  local r = parse(member, cno)
  local c = crawl_of(r.cno)
  take_links(c, q, o[11])
  add(c, 'duplicates', o[13])
  if o[3] ~= 'offer' then
    held[o[1]], ended[#ended + 1] = false, o[1]
    end_lease(c, q, priority, r, o)
  end
  return 1
end

local results = {}
for i, o in ipairs(outcomes) do results[i] = settle(o) end
if #ended > 0 then call('HDEL', leases, unpack(ended)) end
finish_call()
return {results, any_quiet}
