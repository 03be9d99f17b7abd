--[[
Lease nothing of a domain for a while.

KEYS[1]  meta    hash  counters
ARGV[1]  domain
ARGV[2]  delay   ms; 0 ends what was left of it
]]
local domain, delay = ARGV[1], tonumber(ARGV[2])

begin_even_when_full()
call('ZADD', fleet .. 'deferred', now + delay, domain)
-- Nothing else tells who only looks.
call('HINCRBY', meta, 'deferrals', 1)
look_again(domain)
