--[[
Let all leases of a worker run on.

KEYS[1]  meta     hash  counters
ARGV[1]  worker
ARGV[2]  timeout  ms until a worker that does not renew may be declared dead
ARGV[3]  trouble  what keeps it from leasing, or ''
Returns  1, or 0 when the worker was declared dead or never leased
]]
local worker, timeout, trouble = ARGV[1], tonumber(ARGV[2]), ARGV[3]

begin_even_when_full()
if not call('ZSCORE', workers, worker) then return 0 end
call('ZADD', workers, now + timeout, worker)
if trouble == '' then
  call('HDEL', fleet .. 'troubles', worker)
else
  call('HSET', fleet .. 'troubles', worker, trouble)
end
return 1
