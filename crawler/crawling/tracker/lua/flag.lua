--[[
Stop, expire, pause or resume a crawl: a flag that the next lease obeys.

KEYS[1]  meta   hash  counters
ARGV[1]  name   of the crawl
ARGV[2]  state  stopped, expired, paused or running
ARGV[3]  epoch  of a crawl that is spread over shards, else 0
ARGV[4]  number of the change, told by the crawl's home; 0: this is it, or the only shard
Returns  {n, number}: n is for stopped and expired how many requests were dropped, else 1
         when the flag was set; 0 when the crawl is unknown, has ended or had that state
]]
local name, state = ARGV[1], ARGV[2]
local epoch, number = tonumber(ARGV[3]), tonumber(ARGV[4])

local function flag(c)
  if number > 0 then
    -- Not the home: a later change, or a later epoch, stays.
    if c.flags >= number or c.epoch > epoch then return 0 end
    c.flags = number
    call('HSET', c.key, 'flags', number)
  end
  if c.fin < epoch and epoch > c.epoch then reopen(c, epoch) end
  if not is_open(c) or c.state == state then return 0 end
  if number == 0 then c.flags = call('HINCRBY', c.key, 'flags', 1) end
  if state == 'stopped' or state == 'expired' then return retire(c, state) end
  c.state = state
  call('HSET', c.key, 'state', state)
  -- Lanes that were set aside meanwhile: the sweep brings them back.
  if state == 'running' then
    call('ZADD', fleet .. 'sweep', now, c.run_id)
    unpark(c, 500)
  end
  return 1
end

begin_even_when_full()
local cno = call('HGET', fleet .. 'crawls', name)
local c = cno and crawl_of(tonumber(cno))
if not c then return {0, 0} end
local result = flag(c)
finish_call()
return {result, c.flags}
