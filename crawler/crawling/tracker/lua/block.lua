--[[
Lease nothing of a domain until it is unblocked.

KEYS[1]  meta     hash  counters
ARGV[1]  domain
ARGV[2]  blocked  1, or 0 to unblock it
]]
local domain, blocked = ARGV[1], ARGV[2]

begin_even_when_full()
call(blocked == '1' and 'SADD' or 'SREM', fleet .. 'blocked', domain)
look_again(domain)
