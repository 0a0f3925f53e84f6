-- The grace after an outage: where no foreman at all has been present for a while, none could renew
-- what it holds. Whoever comes first would else take all of it for lost, a moment before those arrive
-- who hold it.
--
--   spare   hash: since (when the last presence ended, for which it is granted), until
--
-- The clock of a test stands still while nobody is asked, and has no outages.
--@ include base
local GRACE = 5

-- Until when leases that have lapsed are spared; in the past mostly. To be asked before anybody is
-- made present, which is what it is seen by.
local function spared_until()
  if MANUAL then return NONE end
  local last = call('ZRANGE', P .. 'sessions', -1, -1, 'WITHSCORES')[2]
  local known = call('HMGET', P .. 'spare', 'since', 'until')
  if last and tonumber(last) <= NOW and known[1] ~= last then
    call('HSET', P .. 'spare', 'since', last, 'until', format('%.17g', NOW + GRACE))
    return NOW + GRACE
  end
  return tonumber(known[2] or NONE)
end
