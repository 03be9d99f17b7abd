--[[
Create crawls or extend them, in order, by up to 1,000 offers in all.

KEYS[1]  meta         hash  counters
ARGV[1]  how          msgpack map: entry, hold ms (-1: as it is), page_limit (-1: none),
                      max_queued; of a crawl that is spread, what its home has said: epoch and
                      revision (0: this is the home); must_exist (1: do not create it);
                      attempts of a redirect
ARGV[2]  submissions  msgpack list of {crawl, options, source, offers}:
                      crawl, a map: spiderid, appid, crawlid, name (the three in one), spider
                      (escaped), seen and seen_apart (names for its dupefilter), spread (1: over
                      several shards); options, a map: shared, maxdepth, domain_max_pages,
                      max_pages (-1: none), expires ms, nil keeps what the crawl has;
                      source, a map as in ingest.lua, nil for none
Returns  of each {queued, 1 when this part of the message had been submitted before, epoch of
         what is queued next, revision of the options, 1 when it had others before}; of a
         redirect *queued* counts what is in the books here, queued or not
]]
local how, submissions = cmsgpack.unpack(ARGV[1]), cmsgpack.unpack(ARGV[2])
for _, s in ipairs(submissions) do check_offers(s[4]) end

if how.entry == 'link' or how.entry == 'redirect' then
  begin_even_when_full()
else
  -- Not ZREM: with Redis full, a submit must be refused before it has written anything.
  call('HINCRBY', meta, 'seq', 0)
end

local function create(names)
  local cno = call('HINCRBY', meta, 'cno', 1)
  local seen_name = names.seen
  if call('HSETNX', fleet .. 'dupefilters', seen_name, cno) == 0 then
    seen_name = names.seen_apart
    call('HSET', fleet .. 'dupefilters', seen_name, cno)
  end
  call('HSET', fleet .. 'crawls', names.name, cno)
  -- What a home was not told are its options all the same, for the others to follow.
  local rev = how.revision == 0 and names.spread or 0
  call('HSET', fleet .. 'crawl:' .. cno, 'spiderid', names.spiderid, 'appid', names.appid,
    'crawlid', names.crawlid, 'name', names.name, 'seen', seen_name, 'state', 'running',
    'run', 0, 'epoch', 1, 'fin', 0, 'hold', 0, 'started', now, 'ended', '', 'voids', '',
    'buckets', 1, 'entries', 0, 'pages', 0, 'pages_waiting', 0, 'rev', rev, 'boost', 0,
    'spread', names.spread, 'acts', 0, 'flags', 0,
    'shared', '', 'expires', 0,
    'maxdepth', -1, 'domain_max_pages', -1, 'max_pages', -1, 'accepted', 0, 'queued', 0,
    'delayed', 0, 'leased', 0, 'done', 0, 'failed', 0, 'dropped', 0, 'duplicates', 0,
    'size', 0)
  return cno
end

local LIMITS = {'maxdepth', 'domain_max_pages', 'max_pages', 'expires'}

local function has_options(c, options)
  for _, limit in ipairs(LIMITS) do
    if c[limit] ~= options[limit] then return false end
  end
  return call('HGET', c.key, 'shared') == options.shared
end

-- True when the crawl had others.
local function set_options(c, options)
  if how.revision > 0 and c.rev >= how.revision then return false end
  if c.rev > 0 and how.revision == 0 and has_options(c, options) then return false end
  local had_others = c.rev > 0
  for _, limit in ipairs(LIMITS) do c[limit] = options[limit] end
  c.rev = math.max(c.rev + 1, how.revision)
  call('HSET', c.key, 'shared', options.shared, 'maxdepth', c.maxdepth,
    'domain_max_pages', c.domain_max_pages, 'max_pages', c.max_pages,
    'expires', c.expires, 'rev', c.rev)
  if c.expires > 0 then
    call('ZADD', fleet .. 'expires', c.expires, c.cno)
  else
    call('ZREM', fleet .. 'expires', c.cno)
  end
  return had_others
end

local function set_hold(c)
  if how.hold < 0 then return end
  if how.hold > 0 then
    activate_crawl(c)
    c.hold = now + how.hold
    call('ZADD', fleet .. 'holds', c.hold, c.cno)
    -- One that had ended must not be forgotten before its submitter has come to the end.
    call('ZADD', ended_in(c), 'XX', 'GT', c.hold, c.cno)
  else
    c.hold = 0
    call('ZREM', fleet .. 'holds', c.cno)
  end
  call('HSET', c.key, 'hold', c.hold)
end

local function explore(c, offers)
  for _, o in ipairs(offers) do
    enter_new(c, bucket_of(c, o[1]), o[1], 'd')
  end
  return 0
end

local function queue(c, spider, offers)
  local from = {entry = how.entry, spider = spider, page_limit = how.page_limit,
    max_queued = how.max_queued, epoch = how.epoch, attempts = how.attempts}
  from.seq = call('HINCRBY', meta, 'seq', #offers) - #offers
  local queued = 0
  for _, o in ipairs(offers) do
    local became = offer(c, o, from)
    if became == 'queued' or became == 'refused' and how.entry == 'redirect' then
      queued = queued + 1
    end
  end
  return queued
end

-- Return the crawl, what was queued and whether it had other options; nil for a repetition.
local function submit(names, options, source, offers)
  local cno = call('HGET', fleet .. 'crawls', names.name)
  if not cno and how.must_exist or is_repeated(source) then return nil end
  local c = load(tonumber(cno or create(names)))
  local had_others = options and set_options(c, options) and cno
  set_hold(c)
  -- Told by the home, with nothing to queue: what is in other shards goes on in that epoch.
  if #offers == 0 and how.epoch > c.epoch then reopen(c, how.epoch) end
  local queued = how.entry == 'explored' and explore(c, offers)
    or queue(c, names.spider, offers)
  -- After the offers: a crawl whose time is over books them as expired before it ends.
  crawl_of(c.cno)
  return c, queued, had_others
end

local taken, answers = {}, {}
for i, s in ipairs(submissions) do taken[i] = {submit(unpack(s, 1, 4))} end
finish_call()
for i, t in ipairs(taken) do
  local c, queued, had_others = unpack(t, 1, 3)
  answers[i] = c and {queued, 0, is_open(c) and c.fin < c.epoch and c.epoch or c.epoch + 1, c.rev,
    had_others and 1 or 0} or {0, 1, 0, 0, 0}
end
return answers
