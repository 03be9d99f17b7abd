--[[
Delete letters that a monitor has passed on.

KEYS[1]  meta      hash    counters
ARGV[1]  stream
ARGV[2]  group
ARGV[3]  consumer  only what is in its hands: after a failover another letter may have the
                   same id, one that it has never seen
ARGV[4…] ids
Returns  how many were deleted
]]
local stream, group, consumer = ARGV[1], ARGV[2], ARGV[3]
local deleted = 0
for i = 4, #ARGV do
  local pending = call('XPENDING', stream, group, ARGV[i], ARGV[i], 1)[1]
  -- What was delivered more than once was claimed by another, since this one was slow.
  if pending and (pending[2] == consumer or pending[4] > 1) then
    call('XACK', stream, group, ARGV[i])
    deleted = deleted + call('XDEL', stream, ARGV[i])
  end
end
return deleted
