--[[
Crawls that are spread over shards and are in one of the sets of those: `quiet` have nothing
outstanding in this shard, `over` have ended and have their home here.

KEYS[1]  meta  hash  counters
ARGV[1]  set   quiet or over
ARGV[2]  keep  ms for which those that are over are kept; -1 for all
ARGV[3]  most  crawls
Returns  a list of {spiderid, appid, crawlid}
]]
local set, keep, found = fleet .. ARGV[1], tonumber(ARGV[2]), {}
local before = keep < 0 and '+inf' or now - keep
for _, cno in ipairs(call('ZRANGEBYSCORE', set, '-inf', before, 'LIMIT', 0, ARGV[3])) do
  found[#found + 1] = call('HMGET', fleet .. 'crawl:' .. cno, 'spiderid', 'appid', 'crawlid')
end
return found
