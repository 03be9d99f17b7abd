--[[
Leave a control request for the Redis monitors.

KEYS[1]  meta    hash  counters
ARGV[1]  source  msgpack map as in ingest.lua; nil for none
ARGV[2]  body    JSON
Returns  1, or 0 when this message had been posted before
]]
local source, body = cmsgpack.unpack(ARGV[1]), ARGV[2]

-- As submit: refused before the first write when Redis is full.
call('HINCRBY', meta, 'seq', 0)
if is_repeated(source) then return 0 end
call('XADD', fleet .. 'control', '*', 'body', body)
return 1
