--[[
Where a URL is and why.

KEYS[1]  meta         hash  counters
ARGV[1]  name         of the crawl
ARGV[2]  fingerprint
Returns  {state, reason, record, worker}: `moved` has the fingerprint that goes on in another
         shard for a reason; the record is that of failed (msgpack list q,
         priority, reason, detail, since, request), delayed (q, priority, due, cno, since,
         request) and leased (token, q, priority, cno, since, request), else ''
]]
local name, fp = ARGV[1], ARGV[2]

local function holder_of(rid)
  for _, worker in ipairs(call('ZRANGE', workers, 0, -1)) do
    local record = call('HGET', fleet .. 'leases:' .. worker, rid)
    if record then return record, worker end
  end
  for _, grave in ipairs(call('ZRANGE', fleet .. 'dead', 0, -1)) do
    local record = call('HGET', fleet .. 'dead:' .. grave, rid)
    if record then return record, '' end
  end
end

local function outstanding_state(c, rid)
  local record, worker = holder_of(rid)
  if record then return {'leased', '', record, worker} end
  local seq = seq_of(rid)
  for void, reason in string.gmatch(c.voids, '(%d+) (%a+);') do
    if seq <= tonumber(void) then return {'dropped', reason, '', ''} end
  end
  local waiting = call('HGET', fleet .. 'delayed', rid)
  if waiting then return {'delayed', '', waiting, ''} end
  return {'queued', '', '', ''}
end

local function trace()
  local cno = call('HGET', fleet .. 'crawls', name)
  local c = cno and load(tonumber(cno))
  if not c then return {'unseen', '', '', ''} end
  local state
  state, fp = followed(c, fp, seen(c, fp))
  if not state then return {'unseen', '', '', ''} end
  if byte(state) < 64 then return outstanding_state(c, state) end
  local kind, reason = sub(state, 1, 1), sub(state, 2)
  if kind == 'y' then return {'moved', sub(state, 8), '', ''} end
  if kind == 'd' then return {'done', '', '', ''} end
  if kind == 'x' then return {'dropped', reason, '', ''} end
  return {'failed', reason, call('HGET', fleet .. 'failed:' .. c.cno, fp) or '', ''}
end

return trace()
