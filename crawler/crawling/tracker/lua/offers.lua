--[[
How a URL enters a crawl; prepended to the scripts that take offers.

An offer is {url, domain, fingerprint, priority, depth, extras, rule, spider}, as the
Python tuple; times and `q` as in prelude.lua.
]]

-- Lua does not roll back: what could raise an error later is found here, before the
-- first write.
local function check_offers(offers)
  for _, o in ipairs(offers) do
    assert(#o == 8 and #o[3] == 8, 'an offer has 8 fields and a fingerprint of 8 bytes')
    assert(o[4] % 1 == 0 and o[5] >= 0, 'priority and depth are whole numbers')
    assert(#o[1] < 65536 and #o[2] < 256, 'the URL or its domain is too long')
  end
end

local PASSING = {xpage_limit = true, xqueue_full = true, xstopped = true, xexpired = true}

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
local MOVED = byte('y')

-- Why a known URL may be queued again, or nil.  A request that was waiting when its crawl
-- was stopped has left no other mark than its number.  What moved may come back.
local function passing(c, state, entry)
  if byte(state) == MOVED then
    return (entry == 'redirect' or seq_of(sub(state, 2)) <= c.void) and 'moved' or nil
  end
  if byte(state) >= 64 then return PASSING[state] and sub(state, 2) end
  local seq = seq_of(state)
  if seq > c.void or is_leased(state) then return nil end
  for void, reason in string.gmatch(c.voids, '(%d+) (%a+);') do
    if seq <= tonumber(void) then return reason end
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
    local pages = fleet .. 'pages:' .. c.cno
    local waiting = pages .. '.' .. c.run
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

-- Why the offer is refused, or nil and its page units.
local function judge(c, o, from)
  if o[7] ~= '' then return o[7] end
  if c.maxdepth >= 0 and o[5] > c.maxdepth then return 'depth' end
  if c.expires > 0 and c.expires <= now then return 'expired' end
  if FOUND[from.entry] and not is_open(c) and from.epoch <= c.epoch then return c.state end
  local waiting = value(c, 'queued') + value(c, 'delayed')
  if MAY_WAIT[from.entry] and from.max_queued > 0 and waiting >= from.max_queued then
    return 'queue_full'
  end
  local flags = charge(c, o[2], from.page_limit)
  if not flags then return 'page_limit' end
  return nil, flags
end

local function refuse(c, o, state, reason)
  add(c, 'accepted', 1)
  add(c, 'dropped', 1)
  add(c, 'reason:' .. reason, 1)
  -- A full crawl counts without recording, or its memory would not fall.
  if state or reason == 'queue_full' then return end
  call('HSET', bucket_of(c, o[3]), o[3], 'x' .. reason)
  c.entries = c.entries + 1
end

-- As keys.escape: a colon would end the spider's part of a key.
local function escape(name)
  return (string.gsub(name, '[%%:@]', function(c) return string.format('%%%02X', byte(c)) end))
end

-- Begins a body that has extras: the length of the URL follows.
local WITH_EXTRAS = 5

-- What URLs begin with, `www.` and the domain of their queue included: one byte for all
-- of it.  No other URL begins with a byte this small.
local function short(url, domain)
  local secure = byte(url, 5) == 115 and sub(url, 1, 8) == 'https://'
  local at = secure and 9 or sub(url, 1, 7) == 'http://' and 8
  if not at then return url end
  local www = sub(url, at, at + 3) == 'www.'
  if www then at = at + 4 end
  if sub(url, at, at + #domain - 1) ~= domain then return url end
  return char((secure and 1 or 3) + (www and 0 or 1)) .. sub(url, at + #domain)
end

local function body_of(url, domain, extras)
  local kept = short(url, domain)
  if extras == '' then return kept end
  return struct.pack('>BH', WITH_EXTRAS, #kept) .. kept .. extras
end

-- Offer one URL; say whether it was queued, refused (and is in the books), or is in no book
-- as a duplicate.  *from*: entry (seed, known, link, redirect), spider, page_limit,
-- max_queued, seq (the last number in use, of those reserved), epoch (of the page that it
-- is from, or that the crawl's home has said; 0: that of the crawl here).
local function offer(c, o, from)
  local fp = o[3]
  -- A worker that was thought dead, of an epoch that is over.
  if c.spread and FOUND[from.entry] and c.fin == c.epoch and from.epoch <= c.epoch then
    return 'duplicate'
  end
  local state, last = followed(c, fp)
  local again = nil
  if state and from.entry ~= 'seed' then
    again = passing(c, state, from.entry)
    if not again then
      add(c, 'duplicates', 1)
      return 'duplicate'
    end
  end
  local reason, flags = judge(c, o, from)
  if reason then
    if again then add(c, 'duplicates', 1) else refuse(c, o, state, reason) end
    return again and 'duplicate' or 'refused'
  end
  reopen(c, from.epoch)
  activate_crawl(c)
  from.seq = from.seq + 1
  local head = struct.pack('>I6I4c8BBHB', from.seq, c.cno, fp, from.attempts or 0, 0,
    o[5], flags)
  call('HSET', bucket_of(c, fp), fp, sub(head, 1, 6))
  if not state then c.entries = c.entries + 1 end
  if again and again ~= 'moved' then
    add(c, 'dropped', -1)
    add(c, 'reason:' .. again, -1)
    -- What was given up at the end of redirects is taken back once, not by each URL.
    if last ~= fp then call('HSET', bucket_of(c, last), last, 'r' .. fp) end
  else
    add(c, 'accepted', 1)
  end
  add(c, 'queued', 1)
  local spider = o[8] ~= '' and escape(o[8]) or from.spider
  push(c, spider .. ':' .. o[2], o[4], head .. body_of(o[1], o[2], o[6]))
  return 'queued'
end
