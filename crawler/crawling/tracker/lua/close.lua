--[[
End the epoch of a crawl that is spread over shards, in this one.

KEYS[1]  meta   hash  counters
ARGV[1]  name   of the crawl
ARGV[2]  epoch  that is over
ARGV[3]  acts   how often the crawl had become active here when nothing was outstanding
ARGV[4]  state  finished, stopped or expired
ARGV[5]  sums   of the books of all shards, in the crawl's home: msgpack map columns, reasons,
                statuses; nil elsewhere
Returns  1, or 0 when the crawl has become active since, or had ended
]]
local name, epoch, acts, state = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local sums = cmsgpack.unpack(ARGV[5])

begin_even_when_full()
local cno = call('HGET', fleet .. 'crawls', name)
local c = cno and load(tonumber(cno))
if not c then return 0 end
if c.acts ~= acts or c.epoch > epoch or c.fin >= epoch then return 0 end
if outstanding(c) > 0 or c.hold > now then return 0 end
c.epoch, c.state = epoch, state
call('HSET', c.key, 'epoch', epoch)
call('ZREM', fleet .. 'quiet', cno)
if sums and state == 'expired' then tell_expired(c, sums.reasons.expired or 0) end
finish(c, sums or false)
return 1
