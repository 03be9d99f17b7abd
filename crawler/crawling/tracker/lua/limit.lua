--[[
Give a domain a throttle of its own.

KEYS[1]  meta    hash  counters
ARGV[1]  domain
ARGV[2]  hits    0 takes it away again
ARGV[3]  window  ms
]]
local domain, hits, window = ARGV[1], ARGV[2], ARGV[3]

begin_even_when_full()
if hits == '0' then
  call('HDEL', fleet .. 'limits', domain)
else
  call('HSET', fleet .. 'limits', domain, hits .. ' ' .. window)
end
look_again(domain)
