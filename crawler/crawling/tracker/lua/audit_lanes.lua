--[[
Audit one page of the lanes of a crawl that has many.

KEYS[1]  meta    hash  counters
ARGV[1]  name    of the crawl
ARGV[2]  cursor  where the last page ended, 0 at first
ARGV[3]  most    lanes of a page, about
ARGV[4]  repair  1: mend it
Returns  {cursor, lanes, findings}; a lane is {name, length}
]]
local repair = ARGV[4] == '1'

if repair then begin_even_when_full() end
local cno = call('HGET', fleet .. 'crawls', ARGV[1])
local c = cno and load(tonumber(cno))
if not c then return {'0', {}, {}} end
local lanes = {}
local page = call('SSCAN', fleet .. 'lanes:' .. c.run_id, ARGV[2], 'COUNT', ARGV[3])
for _, lane in ipairs(page[2]) do
  lanes[#lanes + 1] = {c.run_id .. ' ' .. lane, look_at_lane(c, lane, repair)}
end
wake()
return {page[1], lanes, findings}
