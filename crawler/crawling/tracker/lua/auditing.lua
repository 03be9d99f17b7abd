--[[
What an audit finds, and how it is mended; prepended, behind endings.lua, to its scripts.

Each looks at one moment, so what it finds is no matter of timing.  A finding is
{kind, crawl's name or '', where, booked, found}.
]]

local findings = {}

local function report(kind, c, where, booked, found)
  local name = c and call('HGET', c.key, 'name') or ''
  findings[#findings + 1] = {kind, name, where, string.format('%.0f', booked),
    string.format('%.0f', found)}
end

-- Where throttles are by address, each view pulls from `active` what is new to it.
local function is_seen_by_all(spider, domain)
  local number = tonumber(call('ZSCORE', fleet .. 'active:' .. spider, domain))
  if not number then return false end
  for _, view in ipairs(call('ZRANGE', fleet .. 'views', 0, -1)) do
    if sub(view, 1, #spider + 1) == spider .. '@' then
      local cursor = tonumber(call('HGET', meta, 'cursor:' .. view) or '0')
      local is_seen = number > cursor or call('ZSCORE', fleet .. 'ready:' .. view, domain)
        or call('ZSCORE', fleet .. 'resting:' .. view, domain)
      if not is_seen then return false end
    end
  end
  return true
end

-- Whether some lease will come to the domain: one of the sets of domains has it.
local function is_visible(q)
  local spider, domain = split(q)
  if call('ZSCORE', fleet .. 'ready:' .. spider, domain) then return true end
  if call('SISMEMBER', fleet .. 'capped:' .. spider, domain) == 1 then return true end
  local opens = tonumber(call('ZSCORE', fleet .. 'resting:' .. spider, domain))
  if opens then return opens < huge or call('SISMEMBER', fleet .. 'blocked', domain) == 1 end
  return is_seen_by_all(spider, domain)
end

local function show_domain(q)
  local spider, domain = split(q)
  call('ZREM', fleet .. 'resting:' .. spider, domain)
  activate(q, best_rank(q))
end

-- How many requests wait in a lane of the crawl's present run.
local function look_at_lane(c, lane, repair)
  local q, priority = match(lane, '^(.*):([^:]*)$')
  local name = c.run_id .. ':' .. priority
  local queue = tag .. q .. ':queue'
  local length = call('LLEN', queue .. ':' .. name)
  if length == 0 then return 0 end
  if call('ZSCORE', queue, name) then
    if not is_visible(q) then
      report('domain', c, q, 0, length)
      if repair then show_domain(q) end
    end
  elseif call('SISMEMBER', fleet .. 'parked:' .. c.run_id, lane) == 0 then
    report('lane', c, lane, 0, length)
    if repair then show_lane(c, q, priority) end
  end
  return length
end

local function count_by(counts, key) counts[key] = (counts[key] or 0) + 1 end
