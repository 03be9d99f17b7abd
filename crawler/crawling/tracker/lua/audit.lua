--[[
Hold the books of some crawls, and what is in flight, against what there is.

KEYS[1]  meta     hash  counters
ARGV[1]  crawls   msgpack list of names
ARGV[2]  most     lanes, leases, and delayed requests that this call may count, of each
ARGV[3]  counted  msgpack map: name -> {books, queued}, of crawls that have more lanes; it
                  counts if the books are still those
ARGV[4]  repair   1: mend it
Returns  {findings, large, later}; large has {name, books} of the crawls whose lanes are too
         many, later the names of those that another call may look at
]]
local names, most = cmsgpack.unpack(ARGV[1]), tonumber(ARGV[2])
local counted, repair = cmsgpack.unpack(ARGV[3]), ARGV[4] == '1'
local large, later, budget = {}, {}, most

local function lease_keys()
  local keys = {}
  for _, worker in ipairs(call('ZRANGE', workers, 0, -1)) do
    keys[#keys + 1] = fleet .. 'leases:' .. worker
  end
  for _, grave in ipairs(call('ZRANGE', fleet .. 'dead', 0, -1)) do
    keys[#keys + 1] = fleet .. 'dead:' .. grave
  end
  return keys
end

-- What is lent, by crawl and by queue; nil when it is too much.
local function count_leases()
  local lent, total = {crawls = {}, queues = {}}, 0
  for _, key in ipairs(lease_keys()) do
    total = total + call('HLEN', key)
    if total > most then return nil end
    for _, record in ipairs(call('HVALS', key)) do
      local _, q, _, cno = unpack(cmsgpack.unpack(record))
      count_by(lent.queues, q)
      count_by(lent.crawls, cno)
    end
  end
  return lent
end

-- What waits for its retry, by crawl; nil when it is too much.  What was delayed before a
-- stop was dropped by it.
local function count_delayed()
  if call('HLEN', fleet .. 'delayed') > most then return nil end
  local by_crawl, all = {}, call('HGETALL', fleet .. 'delayed')
  for i = 1, #all, 2 do
    local q, _, due, cno, _, member = unpack(cmsgpack.unpack(all[i + 1]))
    local c, queue = load(cno), fleet .. 'delayed:' .. split(q)
    if c and seq_of(member) > c.void then
      count_by(by_crawl, cno)
      if not call('ZSCORE', queue, all[i]) then
        report('due', c, q, 0, 1)
        if repair then call('ZADD', queue, due, all[i]) end
      end
    end
  end
  return by_crawl
end

local function books_of(c)
  return call('HMGET', c.key, 'accepted', 'queued', 'delayed', 'leased', 'done', 'failed', 'dropped')
end

-- How many requests the crawl has queued; nil when it has too many lanes.
local function count_queued(c, name, lanes, size)
  if size <= most then
    local queued = 0
    budget = budget - size
    for _, lane in ipairs(call('SMEMBERS', lanes)) do
      queued = queued + look_at_lane(c, lane, repair)
    end
    return queued
  end
  local books, known = table.concat(books_of(c), ' '), counted[name]
  if known and known[1] == books then return known[2] end
  large[#large + 1] = {name, books}
end

-- What is missing was lost: it cannot be brought back, but the books say so.
local function settle_column(c, column, found)
  local booked = c[column]
  if not found or found == booked then return end
  report(column, c, '', booked, found)
  if not repair then return end
  add(c, column, found - booked)
  if found > booked then return add(c, 'accepted', found - booked) end
  count_dropped(c, 'lost', booked - found)
end

local function settle_sum(c)
  local books, sum = books_of(c), 0
  for i = 2, #books do sum = sum + tonumber(books[i]) end
  local accepted = tonumber(books[1])
  if accepted == sum then return end
  report('accepted', c, '', accepted, sum)
  if repair then add(c, 'accepted', sum - accepted) end
end

-- One that is spread may have something left elsewhere.
local function settle_end(c)
  if not is_open(c) or c.spread or outstanding(c) > 0 or c.fin >= c.epoch then return end
  if call('ZSCORE', fleet .. 'holds', c.cno) or call('ZSCORE', fleet .. 'expires', c.cno) then return end
  report('end', c, '', 0, 0)
end

local function audit_crawl(name, lent, delayed)
  local cno = call('HGET', fleet .. 'crawls', name)
  local c = cno and load(tonumber(cno))
  if not c then return end
  local lanes = fleet .. 'lanes:' .. c.run_id
  local size = call('SCARD', lanes)
  if size <= most and size > budget then
    later[#later + 1] = name
    return
  end
  settle_end(c)
  settle_sum(c)
  settle_column(c, 'queued', count_queued(c, name, lanes, size))
  settle_column(c, 'delayed', delayed and (delayed[c.cno] or 0))
  settle_column(c, 'leased', lent and (lent.crawls[c.cno] or 0))
end

local function settle_flight(q, booked, found)
  if booked == found then return end
  local spider, domain = split(q)
  report('flight', nil, q, booked, found)
  if not repair then return end
  local flight = fleet .. 'flight:' .. spider
  if found > 0 then call('HSET', flight, domain, found) else call('HDEL', flight, domain) end
end

-- A domain at its cap is shown again by the next of its requests that ends.
local function audit_capped(spider, lent)
  for _, domain in ipairs(call('SMEMBERS', fleet .. 'capped:' .. spider)) do
    local q = spider .. ':' .. domain
    if not lent[q] then
      report('domain', nil, q, 0, 0)
      if repair then
        call('SREM', fleet .. 'capped:' .. spider, domain)
        if best_rank(q) then show_domain(q) end
      end
    end
  end
end

local function audit_flight(lent)
  local spiders, booked = {}, {}
  for _, view in ipairs(call('ZRANGE', fleet .. 'views', 0, -1)) do
    spiders[match(view, '^[^@]*')] = true
  end
  for q in pairs(lent) do spiders[match(q, '^[^:]*')] = true end
  for spider in pairs(spiders) do
    local flight = call('HGETALL', fleet .. 'flight:' .. spider)
    for i = 1, #flight, 2 do booked[spider .. ':' .. flight[i]] = tonumber(flight[i + 1]) end
    audit_capped(spider, lent)
  end
  for q, n in pairs(booked) do settle_flight(q, n, lent[q] or 0) end
  for q, n in pairs(lent) do
    if not booked[q] then settle_flight(q, 0, n) end
  end
end

if repair then begin_even_when_full() end
local lent, delayed = count_leases(), count_delayed()
for _, name in ipairs(names) do audit_crawl(name, lent, delayed) end
if lent then audit_flight(lent.queues) else report('unchecked', nil, 'leases', 0, most) end
if not delayed then report('unchecked', nil, 'delayed requests', 0, most) end
if repair then finish_call() end
return {findings, large, later}
