--[[
The books of a crawl in this shard.

KEYS[1]  meta  hash  counters
ARGV[1]  name  of the crawl
Returns  {book as HGETALL gives it, mark of the quiet crawl or '', 1 while it is held open},
         nothing when the crawl is unknown
]]
local cno = call('HGET', fleet .. 'crawls', ARGV[1])
if not cno then return {} end
local key = fleet .. 'crawl:' .. cno
local hold = tonumber(call('HGET', key, 'hold') or '0')
return {call('HGETALL', key), call('ZSCORE', fleet .. 'quiet', cno) or '', hold > now and 1 or 0}
