--[[
Some of what a worker holds.  What is of a crawl that is gone is left out: an audit finds it.

KEYS[1]  meta    hash  counters
ARGV[1]  worker
ARGV[2]  most    requests
Returns  a list of {record as in trace.lua, spiderid, appid, crawlid}, nil for a worker that is
         unknown
]]
local worker, most = ARGV[1], tonumber(ARGV[2])
local names = {}

local function names_of(cno)
  names[cno] = names[cno]
    or call('HMGET', fleet .. 'crawl:' .. cno, 'spiderid', 'appid', 'crawlid')
  return names[cno]
end

local function held()
  local cursor, page, found, known = '0', nil, {}, {}
  repeat
    cursor, page = unpack(call('HSCAN', fleet .. 'leases:' .. worker, cursor, 'COUNT', most))
    for i = 1, #page, 2 do
      local rid, record = page[i], page[i + 1]
      local _, _, _, cno = unpack(cmsgpack.unpack(record))
      local spiderid, appid, crawlid = unpack(names_of(cno))
      -- A scan may meet the same request twice.
      if spiderid and not known[rid] then
        known[rid] = true
        found[#found + 1] = {record, spiderid, appid, crawlid}
      end
      if #found == most then return found end
    end
  until cursor == '0'
  return found
end

return call('ZSCORE', workers, worker) and held()
