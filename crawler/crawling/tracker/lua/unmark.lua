--[[
Take the mark from a crawl that is quiet here while it is active in another shard, which will
mark it later; unless it has been active here since.

KEYS[1]  meta  hash  counters
ARGV[1]  name  of the crawl
ARGV[2]  mark  that was seen
]]
begin_even_when_full()
local cno = call('HGET', fleet .. 'crawls', ARGV[1])
if cno and call('ZSCORE', fleet .. 'quiet', cno) == ARGV[2] then
  call('ZREM', fleet .. 'quiet', cno)
end
