--[[
Declare workers dead and put what they held back into the queues, in bounded steps.

KEYS[1]  meta     hash  counters
ARGV[1]  suspects msgpack list of {worker, deadline ms} that did not change for as long as
                  a lease lasts, by the clock of the caller
ARGV[2]  most     requests to put back in this call
Returns  {leases taken from the dead, 1 when there are more}
]]
local suspects, most = cmsgpack.unpack(ARGV[1]), tonumber(ARGV[2])

begin_even_when_full()
for _, suspect in ipairs(suspects) do
  local worker, deadline = suspect[1], suspect[2]
  if tonumber(call('ZSCORE', workers, worker)) == deadline then bury(worker, 'd') end
end
local back = unbury(most)
finish_call()
return {back, call('EXISTS', fleet .. 'dead')}
