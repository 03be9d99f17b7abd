--[[
How a URL enters a crawl; prepended to the scripts that take offers.

An offer is {fingerprint, domain, priority, depth, body, rule, spider}, as `offer_row` in
redis_records.py makes it; times and `q` as in prelude.lua.
]]

-- Lua does not roll back: what could raise an error later is found here, before the
-- first write.
local function check_offers(offers)
  for _, o in ipairs(offers) do
    if #o ~= 7 or #o[1] ~= 8 then error('an offer has 7 fields, a fingerprint 8 bytes') end
    if o[3] % 1 ~= 0 or o[4] < 0 then error('priority and depth are whole numbers') end
    if #o[2] >= 256 then error('the domain is too long') end
  end
end

local function is_leased(rid)
  for _, worker in ipairs(call('ZRANGE', workers, 0, -1)) do
    if call('HEXISTS', fleet .. 'leases:' .. worker, rid) == 1 then return true end
  end
  for _, grave in ipairs(call('ZRANGE', fleet .. 'dead', 0, -1)) do
    if call('HEXISTS', fleet .. 'dead:' .. grave, rid) == 1 then return true end
  end
  return false
end

-- Of a URL that redirected into another shard: `y`, the number of its request, and where to.
local MOVED, DROPPED = byte('y'), byte('x')

-- Why a known URL may be queued again, or nil.  A request that was waiting when its crawl
-- was stopped has left no other mark than its number.  What moved may come back.
local function passing(c, state, entry)
  if byte(state) == MOVED then
    return (entry == 'redirect' or seq_of(sub(state, 2)) <= c.void) and 'moved' or nil
  end
  local reason = sub(state, 2)
  if byte(state) == DROPPED then return PASSING[reason] and reason end
  if byte(state) >= 64 then return nil end
  local seq = seq_of(state)
  if seq > c.void or is_leased(state) then return nil end
  for void, ending in string.gmatch(c.voids, '(%d+) (%a+);') do
    if seq <= tonumber(void) then return ending end
  end
end

-- Take the page units that the limits ask for; nil when one is used up.
local function charge(c, domain, page_limit)
  local flags, limit = 0, c.domain_max_pages
  if limit < 0 or page_limit >= 0 and page_limit < limit then limit = page_limit end
  if c.max_pages >= 0 then
    if value(c, 'pages') + value(c, 'pages_waiting') >= c.max_pages then return nil end
    flags = CRAWL_UNIT
  end
  if limit >= 0 then
    local pages, waiting = fleet .. 'pages:' .. c.cno, fleet .. 'pages:' .. c.run_id
    local used = tonumber(call('HGET', pages, domain) or '0')
    if used + call('HINCRBY', waiting, domain, 1) > limit then
      call('HINCRBY', waiting, domain, -1)
      return nil
    end
    flags = flags + DOMAIN_UNIT
  end
  if c.max_pages >= 0 then add(c, 'pages_waiting', 1) end
  return flags
end

-- Entries that a page has brought, and those that a full crawl can do without.
local FOUND = {link = true, redirect = true}
local MAY_WAIT = {link = true, known = true}

-- Why the offer is refused whatever its page units, or nil.
local function judge(c, o, from)
  if o[6] ~= '' then return o[6] end
  if c.maxdepth >= 0 and o[4] > c.maxdepth then return 'depth' end
  if c.expires > 0 and c.expires <= now then return 'expired' end
  if FOUND[from.entry] and not is_open(c) and from.epoch <= c.epoch then return c.state end
  local waiting = value(c, 'queued') + value(c, 'delayed')
  if MAY_WAIT[from.entry] and from.max_queued > 0 and waiting >= from.max_queued then
    return 'queue_full'
  end
end

-- As keys.escape: a colon would end the spider's part of a key.
local function escape(name)
  return (string.gsub(name, '[%%:@]', function(c) return string.format('%%%02X', byte(c)) end))
end

-- Enter a URL as *mark*, where no more than that it is new need be known; whether it was.
local function enter_new(c, bucket, fp, mark)
  if call('HSETNX', bucket, fp, mark) == 0 then return false end
  c.entries = c.entries + 1
  return true
end

local function enter(c, bucket, fp, mark)
  c.entries = c.entries + call('HSET', bucket, fp, mark)
end

-- A full crawl counts without recording, or its memory would not fall.
local UNRECORDED = 'queue_full'

local function refuse(c, reason)
  add(c, 'accepted', 1)
  count_dropped(c, reason, 1)
  return 'refused'
end

local function duplicate(c)
  add(c, 'duplicates', 1)
  return 'duplicate'
end

-- Offer one URL; say whether it was queued, refused (and is in the books), or is in no book
-- as a duplicate.  *from*: entry (seed, known, link, redirect), spider, page_limit,
-- max_queued, seq (the last number in use, of those reserved), epoch (of the page that it
-- is from, or that the crawl's home has said; 0: that of the crawl here).
local function offer(c, o, from)
  local fp, entry = o[1], from.entry
  -- A worker that was thought dead, of an epoch that is over.
  if c.spread and FOUND[entry] and c.fin == c.epoch and from.epoch <= c.epoch then
    return 'duplicate'
  end
  local bucket, reason = bucket_of(c, fp), judge(c, o, from)
  local rid = rid_of(from.seq + 1)
  local mark = reason and 'x' .. reason or rid
  local state, last, again, is_marked
  if entry == 'seed' or reason == UNRECORDED or c.may_pass then
    state, last = followed(c, fp, call('HGET', bucket, fp))
    again = state and entry ~= 'seed' and passing(c, state, entry)
    if state and entry ~= 'seed' and not again then return duplicate(c) end
  elseif enter_new(c, bucket, fp, mark) then
    is_marked = true
  else
    return duplicate(c)
  end
  local flags
  if not reason then
    flags = charge(c, o[2], from.page_limit)
    if not flags then reason, mark, is_marked = 'page_limit', 'xpage_limit', false end
  end
  if reason then
    if again then return duplicate(c) end
    if not state and not is_marked and reason ~= UNRECORDED then enter(c, bucket, fp, mark) end
    return refuse(c, reason)
  end
  reopen(c, from.epoch)
  activate_crawl(c)
  from.seq = from.seq + 1
  if not is_marked then enter(c, bucket, fp, rid) end
  if again and again ~= 'moved' then
    add(c, 'dropped', -1)
    add(c, 'reason:' .. again, -1)
    -- What was given up at the end of redirects is taken back once, not by each URL.
    if last ~= fp then call('HSET', bucket_of(c, last), last, 'r' .. fp) end
  else
    add(c, 'accepted', 1)
  end
  add(c, 'queued', 1)
  local spider = o[7] ~= '' and escape(o[7]) or from.spider
  local head = head_of(from.seq, fp, flags, o[4], from.attempts or 0, 0)
  push(c, spider .. ':' .. o[2], o[3], head .. o[5])
  return 'queued'
end
