--[[
Which messages have been taken in; prepended to the scripts that take them.

A source is a msgpack map: partition, offset, digest, part (which call of the message).
]]

-- Whether this part of the message was taken in before; if not, it now counts as taken.
-- Offset and digest, not a high-water mark: a topic that was made anew starts at 0 again.
local function is_repeated(source)
  if not source then return false end
  local key, done = fleet .. 'ingest:' .. source.partition, 0
  local digest, parts = match(call('HGET', key, source.offset) or '', '^(.*):(%d+)$')
  if digest == source.digest then done = tonumber(parts) end
  if done > source.part then return true end
  call('HSET', key, source.offset, source.digest .. ':' .. source.part + 1)
  call('HDEL', key, source.offset - 10000)
  return false
end
