--[[
Queue again what failed, one page of it.

KEYS[1]  meta    hash  counters
ARGV[1]  name    of the crawl
ARGV[2]  reason  only what failed for it; '' for all
ARGV[3]  cursor  where the last page ended, 0 at first
ARGV[4]  most    records of a page, about
ARGV[5]  how     msgpack map: page_limit (-1: none), epoch that the crawl's home has said or 0
ARGV[6]  domain  only what failed of it; '' for all
Returns  {cursor, queued}
]]
local name, reason, cursor, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local how, only = cmsgpack.unpack(ARGV[5]), ARGV[6]

-- As submit: refused before the first write when Redis is full.
call('HINCRBY', meta, 'seq', 0)

local function requeue(c, failed, f)
  local _, domain = split(f.q)
  if reason ~= '' and reason ~= f.reason then return 0 end
  if only ~= '' and only ~= domain then return 0 end
  -- Since queued again as a seed: what became of that counts.
  if seen(c, f.fp) ~= 'f' .. f.reason then
    call('HDEL', failed, f.fp)
    return 0
  end
  local flags = charge(c, domain, how.page_limit)
  if not flags then return 0 end
  reopen(c, how.epoch)
  activate_crawl(c)
  call('HDEL', failed, f.fp)
  local r, priority = f.r, f.priority + 10 * f.r.attempts
  r.seq, r.flags, r.attempts, r.deaths = next_seq(), flags, 0, 0
  call('HSET', bucket_of(c, f.fp), f.fp, rid_of(r.seq))
  add(c, 'failed', -1)
  add(c, 'reason:' .. f.reason, -1)
  count_depth(c, r, -1)
  add(c, 'queued', 1)
  push(c, f.q, priority, build(r))
  return 1
end

local cno = call('HGET', fleet .. 'crawls', name)
local c = cno and crawl_of(tonumber(cno))
if not c then return {'0', 0} end
if c.expires > 0 and c.expires <= now then return {'0', 0} end
local failed, queued, failures = fleet .. 'failed:' .. cno, 0, {}
local page = call('HSCAN', failed, cursor, 'COUNT', most)
for i = 1, #page[2], 2 do
  local q, priority, why, _, _, member = unpack(cmsgpack.unpack(page[2][i + 1]))
  failures[#failures + 1] =
    {fp = page[2][i], q = q, priority = priority, reason = why, r = parse(member, c.cno)}
end
table.sort(failures, function(a, b) return a.r.seq < b.r.seq end)
for _, f in ipairs(failures) do queued = queued + requeue(c, failed, f) end
finish_call()
return {page[1], queued}
