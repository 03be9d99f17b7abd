--[[
Let all leases of a worker run on, and take back those that it has ended: a failover may
have taken their end back.

KEYS[1]  meta     hash  counters
ARGV[1]  worker
ARGV[2]  timeout  ms until a worker that does not renew may be declared dead
ARGV[3]  trouble  what keeps it from leasing, or ''
ARGV[4]  held     msgpack map: incarnation, called (calls of lease, when this was written), leases
                  (those it works on, token and number of the request); nil: not told
ARGV[5]  vitals   pages, rate and memory as text; '': not told
Returns  {1, or 0 when the worker was declared dead or never leased; leases taken back}
]]
local worker, timeout, trouble = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local told, vitals = cmsgpack.unpack(ARGV[4]), ARGV[5]

-- What was lent later than that the worker may hold by now.
local function take_back_ended()
  if not told then return 0 end
  local is_held = {}
  for _, lease in ipairs(told.leases) do is_held[lease] = true end
  return take_back(worker, function(token, rid)
    local incarnation, number = match(token, '^(.*)%.(%d+)$')
    return incarnation == told.incarnation and tonumber(number) <= told.called
      and not is_held[token .. rid]
  end)
end

begin_even_when_full()
if not call('ZSCORE', workers, worker) then return {0, 0} end
call('ZADD', workers, now + timeout, worker)
if trouble == '' then
  call('HDEL', fleet .. 'troubles', worker)
else
  call('HSET', fleet .. 'troubles', worker, trouble)
end
if vitals ~= '' then call('HSET', fleet .. 'vitals', worker, vitals) end
local back = take_back_ended()
finish_call()
return {1, back}
