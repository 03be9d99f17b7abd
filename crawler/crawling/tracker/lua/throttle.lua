--[[
When a domain may be asked; prepended to lease.lua.

The state of a throttle is a string: `m` and the start of the last hit (spread evenly), or
`w` and a msgpack list of {time, hits}, oldest first (exact window).  It is tagged since
the mode may change at run time.
]]

-- Up to this many hits a window keeps the time of each; above, as many slots, each
-- counted as if all its hits came at its end: never too many, and at most 1.6 % fewer.
local SLOTS = 64

-- Late by this much a hit still keeps the next ones legal, the window being counted 2 %
-- longer.  Spread hits should not bunch either.
local function slack_of(t)
  if not t.moderated then return t.slack end
  return math.min(t.slack, 0.02 * t.gap + 2)
end

local function new_throttle(key, state, hits, window, moderated)
  local t = {key = key, hits = hits, window = window * 1.02, moderated = moderated,
    slack = window * 0.02}
  t.gap = t.window / hits
  local kind, rest = sub(state or '', 1, 1), sub(state or '', 2)
  if kind == 'm' then
    t.last = tonumber(rest)
    -- How many came before is not known: the last one stands for a full window.
    t.log = {{t.last, hits}}
  elseif kind == 'w' then
    t.log = cmsgpack.unpack(rest)
    t.last = t.log[#t.log][1]
  else
    t.log = {}
  end
  return t
end

-- When the next hit may start, at the soonest.
local function opens_at(t, soonest)
  if t.moderated then return math.max(soonest, t.last and t.last + t.gap or 0) end
  local hits = 0
  for i = #t.log, 1, -1 do
    hits = hits + t.log[i][2]
    if hits >= t.hits then return math.max(soonest, t.log[i][1] + t.window) end
  end
  return soonest
end

local function charge_hit(t, start)
  t.last, t.changed = start, true
  if t.moderated then return end
  local log, at = t.log, start
  if t.hits > SLOTS then
    local slot = t.window / SLOTS
    at = math.ceil(start / slot) * slot
  end
  local newest = log[#log]
  if newest and newest[1] >= at then
    newest[2] = newest[2] + 1
  else
    log[#log + 1] = {at, 1}
  end
  while #log > 0 and log[1][1] + t.window <= now do table.remove(log, 1) end
end

local function save_throttle(t)
  if not t.changed then return end
  local state, life
  if t.moderated then
    state, life = string.format('m%.3f', t.last), t.last + t.gap - now
  else
    state, life = 'w' .. cmsgpack.pack(t.log), t.log[#t.log][1] + t.window - now
  end
  call('SET', t.key, state, 'PX', string.format('%d', life + 1000))
end
