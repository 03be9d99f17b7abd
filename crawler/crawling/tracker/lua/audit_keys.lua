--[[
Find keys that nobody owns any more.

KEYS[1]  meta    hash  counters
ARGV[1]  keys    msgpack list, without their tag
ARGV[2]  repair  1: give leases back, list lanes again, and delete what is left of crawls
                 that are gone
Returns  findings
]]
local keys, repair = cmsgpack.unpack(ARGV[1]), ARGV[2] == '1'

local function is_swept(run) return call('ZSCORE', fleet .. 'sweep', run) end

local function delete(key)
  report('key', nil, key, 0, 0)
  if repair then call('UNLINK', tag .. key) end
end

local function of_worker(key, worker)
  if call('ZSCORE', workers, worker) then return end
  report('worker', nil, worker, 0, call('HLEN', tag .. key))
  if repair then bury(worker, 'd') end
end

local function of_grave(key, grave)
  if call('ZSCORE', fleet .. 'dead', grave) then return end
  report('bundle', nil, grave, 0, call('HLEN', tag .. key))
  if repair then call('ZADD', fleet .. 'dead', now, grave) end
end

local function of_crawl(key, cno)
  if tag .. key == fleet .. 'crawl:' .. cno then
    local name = call('HGET', tag .. key, 'name')
    if not name or call('HGET', fleet .. 'crawls', name) ~= cno then delete(key) end
  elseif not load(tonumber(cno)) then
    delete(key)
  end
end

local function of_run(key, cno, run)
  local c = load(tonumber(cno))
  if not is_swept(cno .. '.' .. run) and not (c and c.run == tonumber(run)) then delete(key) end
end

-- A list of requests that no set of lanes has is seen by nobody.
local function of_lane(key, q, cno, run, priority)
  local c = load(tonumber(cno))
  if not (c and c.run == tonumber(run)) then return of_run(key, cno, run) end
  local lane = q .. ':' .. priority
  if call('SISMEMBER', fleet .. 'lanes:' .. cno .. '.' .. run, lane) == 1 then return end
  report('lane', c, lane, 0, call('LLEN', tag .. key))
  if repair then show_lane(c, q, priority) end
end

local function of_dupefilter(key)
  local name, cno = match(key, '^(.*):(%d+)%.%d+$')
  if not name then
    cno = call('HGET', fleet .. 'dupefilters', key)
    if not cno or not load(tonumber(cno)) then delete(key) end
  elseif not load(tonumber(cno)) and call('HEXISTS', fleet .. 'rubbish', name .. ':' .. cno) == 0 then
    delete(key)
  end
end

-- Each pattern with what looks at the keys that have it; the first that fits counts.
local OWNED = {
  {'^fleet:leases:(.*)$', of_worker},
  {'^fleet:dead:(.*)$', of_grave},
  {'^fleet:crawl:(%d+)$', of_crawl},
  {'^fleet:pages:(%d+)$', of_crawl},
  {'^fleet:failed:(%d+)$', of_crawl},
  {'^fleet:lanes:(%d+)%.(%d+)$', of_run},
  {'^fleet:parked:(%d+)%.(%d+)$', of_run},
  {'^fleet:pages:(%d+)%.(%d+)$', of_run},
  {'^([^:]+:.+):queue:(%d+)%.(%d+):(%-?%d+)$', of_lane},
  {'^[^:]+:dupefilter:[^:]+$', of_dupefilter},
  {'^[^:]+:dupefilter:[^:]+:%d+%.%d+$', of_dupefilter},
}

local function audit(key)
  if call('EXISTS', tag .. key) == 0 or match(key, '^[^:]+:.+:queue$') then return end
  for _, owned in ipairs(OWNED) do
    local parts = {match(key, owned[1])}
    if parts[1] then return owned[2](key, unpack(parts)) end
  end
end

if repair then begin_even_when_full() end
for _, key in ipairs(keys) do audit(key) end
wake()
return findings
