--[[
Forgetting a crawl that ended long ago; prepended to the scripts that do.
]]

-- The documented bucket goes at once, so that the same crawl may begin anew; the others
-- have names that it will not use.
local function forget_crawl(cno)
  call('ZREM', fleet .. 'ended', cno)
  call('ZREM', fleet .. 'over', cno)
  call('ZREM', fleet .. 'quiet', cno)
  local key = fleet .. 'crawl:' .. cno
  local name, seen_name, buckets, run = unpack(call('HMGET', key, 'name', 'seen', 'buckets', 'run'))
  if not name then return end
  if tonumber(buckets) > 1 then
    call('HSET', fleet .. 'rubbish', seen_name .. ':' .. cno, buckets)
  end
  call('HDEL', fleet .. 'crawls', name)
  call('HDEL', fleet .. 'dupefilters', seen_name)
  call('UNLINK', key, tag .. seen_name, fleet .. 'pages:' .. cno, fleet .. 'failed:' .. cno,
    fleet .. 'lanes:' .. cno .. '.' .. run, fleet .. 'parked:' .. cno .. '.' .. run,
    fleet .. 'pages:' .. cno .. '.' .. run)
end
