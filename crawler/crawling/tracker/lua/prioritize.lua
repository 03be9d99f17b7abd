--[[
Let all of a crawl count more, or less, than its requests were submitted with.

KEYS[1]  meta   hash  counters
ARGV[1]  name   of the crawl
ARGV[2]  boost  added to every priority; replaces the one before
Returns  1, or 0 when the crawl is unknown or has ended
]]
local name, boost = ARGV[1], tonumber(ARGV[2])

begin_even_when_full()
local cno = call('HGET', fleet .. 'crawls', name)
local c = cno and crawl_of(tonumber(cno))
if not c then return 0 end
local result = 0
if is_open(c) then
  result, c.boost = 1, boost
  call('HSET', c.key, 'boost', boost, 'ranking', '0')
  if not rank_lanes(c, 500) then
    call('ZADD', fleet .. 'sweep', now, c.run_id)
  end
end
finish_call()
return result
