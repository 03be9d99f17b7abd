--[[
What a crawl has queued, one page of its lanes.

KEYS[1]  meta    hash  counters
ARGV[1]  name    of the crawl
ARGV[2]  cursor  where the last page ended, 0 at first
ARGV[3]  most    lanes of a page, about
Returns  {cursor, lanes}; a lane is {queue, priority, length}
]]
local name, cursor, most = ARGV[1], ARGV[2], ARGV[3]

local cno = call('HGET', fleet .. 'crawls', name)
local c = cno and load(tonumber(cno))
if not c then return {'0', {}} end
local run, lanes = c.run_id, {}
local page = call('SSCAN', fleet .. 'lanes:' .. run, cursor, 'COUNT', most)
for _, lane in ipairs(page[2]) do
  local q, priority = match(lane, '^(.*):([^:]*)$')
  local length = call('LLEN', tag .. q .. ':queue:' .. run .. ':' .. priority)
  lanes[#lanes + 1] = {q, tonumber(priority) + c.boost, length}
end
return {page[1], lanes}
