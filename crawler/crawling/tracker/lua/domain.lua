--[[
Letting a change of a domain's politeness act on the next lease; prepended to the scripts
that make one.
]]

-- Put the domain back in line wherever it rests: the lease that meets it decides anew.
local function look_again(domain)
  for _, view in ipairs(call('ZRANGE', fleet .. 'views', 0, -1)) do
    call('ZREM', fleet .. 'resting:' .. view, domain)
    local q = match(view, '^[^@]*') .. ':' .. domain
    local rank = best_rank(q)
    if rank then activate(q, rank) end
  end
  wake()
end
