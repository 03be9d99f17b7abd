--[[
Forget a crawl that is spread over shards, in this one.

KEYS[1]  meta  hash  counters
ARGV[1]  name  of the crawl
ARGV[2]  acts  how often it had become active here when it was found to be over
Returns  1, or 0 when it has become active since
]]
begin_even_when_full()
local cno = call('HGET', fleet .. 'crawls', ARGV[1])
local c = cno and load(tonumber(cno))
if not c or c.acts ~= tonumber(ARGV[2]) then return 0 end
forget_crawl(cno)
return 1
