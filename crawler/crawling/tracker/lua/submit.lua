--[[
Create a crawl or extend it by up to 1,000 offers.

KEYS[1]  meta    hash  counters
ARGV[1]  crawl   msgpack map: spiderid, appid, crawlid, name (the three in one), spider
                 (escaped), seen and seen_apart (names for its dupefilter)
ARGV[2]  how     msgpack map: entry, hold ms, page_limit (-1: none), max_queued
ARGV[3]  options msgpack map: shared, maxdepth, domain_max_pages, max_pages (-1: none),
                 expires ms; nil keeps what the crawl has
ARGV[4]  source  msgpack map: partition, offset, digest, part (which call of the message);
                 nil for none
ARGV[5]  offers  msgpack list
Returns  {queued, 1 when this part of the message had been submitted before}
]]
local names, how = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
local options, source = cmsgpack.unpack(ARGV[3]), cmsgpack.unpack(ARGV[4])
local offers = cmsgpack.unpack(ARGV[5])
check_offers(offers)

-- Not ZREM: with Redis full, a submit must be refused before it has written anything.
call('HINCRBY', meta, 'seq', 0)

-- Offset and digest, not a high-water mark: a topic that was made anew starts at 0 again.
local function is_repeated()
  if not source then return false end
  local key, done = fleet .. 'ingest:' .. source.partition, 0
  local digest, parts = match(call('HGET', key, source.offset) or '', '^(.*):(%d+)$')
  if digest == source.digest then done = tonumber(parts) end
  if done > source.part then return true end
  call('HSET', key, source.offset, source.digest .. ':' .. source.part + 1)
  call('HDEL', key, source.offset - 10000)
  return false
end

local function create()
  local cno = call('HINCRBY', meta, 'cno', 1)
  local seen_name = names.seen
  if call('HSETNX', fleet .. 'dupefilters', seen_name, cno) == 0 then
    seen_name = names.seen_apart
    call('HSET', fleet .. 'dupefilters', seen_name, cno)
  end
  call('HSET', fleet .. 'crawls', names.name, cno)
  call('HSET', fleet .. 'crawl:' .. cno, 'spiderid', names.spiderid, 'appid', names.appid,
    'crawlid', names.crawlid, 'name', names.name, 'seen', seen_name, 'state', 'running',
    'run', 0, 'epoch', 1, 'fin', 0, 'hold', 0, 'started', now, 'ended', '', 'voids', '',
    'buckets', 1, 'entries', 0, 'pages', 0, 'pages_waiting', 0, 'rev', 0, 'shared', '', 'expires', 0,
    'maxdepth', -1, 'domain_max_pages', -1, 'max_pages', -1, 'accepted', 0, 'queued', 0,
    'delayed', 0, 'leased', 0, 'done', 0, 'failed', 0, 'dropped', 0, 'duplicates', 0,
    'size', 0)
  return cno
end

local function set_options(cno)
  local key = fleet .. 'crawl:' .. cno
  call('HSET', key, 'shared', options.shared, 'maxdepth', options.maxdepth,
    'domain_max_pages', options.domain_max_pages, 'max_pages', options.max_pages,
    'expires', options.expires)
  call('HINCRBY', key, 'rev', 1)
  if options.expires > 0 then
    call('ZADD', fleet .. 'expires', options.expires, cno)
  else
    call('ZREM', fleet .. 'expires', cno)
  end
end

local function set_hold(c)
  if how.hold > 0 then
    c.hold = now + how.hold
    call('ZADD', fleet .. 'holds', c.hold, c.cno)
    -- One that had ended must not be forgotten before its submitter has come to the end.
    call('ZADD', fleet .. 'ended', 'XX', 'GT', c.hold, c.cno)
  else
    c.hold = 0
    call('ZREM', fleet .. 'holds', c.cno)
  end
  call('HSET', c.key, 'hold', c.hold)
end

local function explore(c)
  for _, o in ipairs(offers) do
    c.entries = c.entries + call('HSETNX', bucket_of(c, o[3]), o[3], 'd')
  end
  return 0
end

local function queue(c)
  local from = {entry = how.entry, spider = names.spider, page_limit = how.page_limit,
    max_queued = how.max_queued}
  from.seq = call('HINCRBY', meta, 'seq', #offers) - #offers
  local queued = 0
  for _, o in ipairs(offers) do
    if offer(c, o, from) then queued = queued + 1 end
  end
  return queued
end

if is_repeated() then return {0, 1} end
local cno = call('HGET', fleet .. 'crawls', names.name) or create()
if options then set_options(cno) end
local c = load(tonumber(cno))
set_hold(c)
local queued = how.entry == 'explored' and explore(c) or queue(c)
-- After the offers: a crawl whose time is over books them as expired before it ends.
crawl_of(c.cno)
finish_call()
return {queued, 0}
