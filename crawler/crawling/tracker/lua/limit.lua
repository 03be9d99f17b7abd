--[[
Give a domain a throttle of its own.

KEYS[1]  meta    hash  counters
ARGV[1]  domain
ARGV[2]  hits    0 takes it away again
ARGV[3]  window  ms
ARGV[4]  given   hits, window and scale as they were asked for, with spaces
]]
local domain, hits, window, given = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

begin_even_when_full()
if hits == '0' then
  call('HDEL', fleet .. 'limits', domain)
else
  call('HSET', fleet .. 'limits', domain, hits .. ' ' .. window .. ' ' .. given)
end
look_again(domain)
