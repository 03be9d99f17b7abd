--[[
Take all leases from a worker that goes, and forget it; reclaim.lua puts them back.

KEYS[1]  meta    hash  counters
ARGV[1]  worker
Returns  how many leases it had
]]
begin_even_when_full()
return bury(ARGV[1], 'l')
