--[[
Let all leases of a worker run on.

KEYS[1]  meta     hash  counters
ARGV[1]  worker
ARGV[2]  timeout  ms until a worker that does not renew may be declared dead
Returns  1, or 0 when the worker was declared dead or never leased
]]
local worker, timeout = ARGV[1], tonumber(ARGV[2])

begin_even_when_full()
if not call('ZSCORE', workers, worker) then return 0 end
call('ZADD', workers, now + timeout, worker)
return 1
