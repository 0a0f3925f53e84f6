-- Moving time forward: what is due, lapsed, expired or no longer kept, a bounded number of each.
--
--   leased    has one member that is none, LONG: with it the set is one that does not slow down
--   permits   permits (g<id>) and tickets (t<id>) by the instant at which they lapse
--   cells     names of all cells; cellsdue has those with a time
--@ include leases
--@ include outage
local ADVANCE = 50
local LONG = string.rep('~', 65)

local function drop_grant(id, holds)
  call('DEL', P .. 'g:' .. id)
  call('ZREM', P .. 'permits', 'g' .. id)
  release_units(holds)
end

-- Leave the lines of a request.
local function drop_place(id, lines)
  call('DEL', P .. 'x:' .. id)
  call('ZREM', P .. 'permits', 't' .. id)
  for _, name in ipairs(lines) do
    call('ZREM', P .. 'lt:' .. name, id)
    slack(name)
  end
end

local function drop_cell(key)
  call('DEL', P .. 'c:' .. key)
  call('ZREM', P .. 'cells', key)
  call('ZREM', P .. 'cellsdue', key)
  if sub(key, 1, 6) == 'queue:' then
    call('HDEL', P .. 'rules', sub(key, 7))
    RULE[sub(key, 7)] = nil
    stirred()
  end
end

local sweep, advance
do
  local REACHED = format('%d', math.floor(NOW * TICKS))

  local function late(name, most)
    return call('ZRANGEBYSCORE', P .. name, '-inf', REACHED, 'LIMIT', 0, most)
  end

  local function promote(stamp)
    local J = load(sub(stamp, 13))
    if J and J.state == SCHEDULED then arrive(J) else call('ZREM', P .. 'due', stamp) end
  end

  local function lapse(id)
    local J = load(id)
    if J and J.state == RUNNING then lose(J, false) else call('ZREM', P .. 'leased', id) end
  end

  local function reap()
    local found = late('leased', ADVANCE)
    if #found == 0 or spared_until() > NOW then return false end
    for _, id in ipairs(found) do lapse(id) end
    return #found == ADVANCE
  end

  local function expire(stamp)
    local J = load(sub(stamp, 13))
    if J and J.state < RUNNING then
      leave(J)
      finish(J, FAILED, 'expired')
      fated(J, 'expired')
    else
      call('ZREM', P .. 'expiring', stamp)
    end
  end

  local function forget(id)
    local J = load(id)
    if J and is_final(J.state) then remove(J, true) else call('ZREM', P .. 'kept', id) end
  end

  local function lapse_shared(member)
    local id = sub(member, 2)
    if sub(member, 1, 1) == 'g' then
      local holds = call('HGET', P .. 'g:' .. id, 'holds')
      drop_grant(id, holds and cmsgpack.unpack(holds) or {})
    else
      local lines = call('HGET', P .. 'x:' .. id, 'lines')
      drop_place(id, lines and cmsgpack.unpack(lines) or {})
    end
  end

  local function each(name, most, move)
    local found = late(name, most)
    for _, member in ipairs(found) do move(member) end
    return #found == most
  end

  sweep = function(most)
    return each('kept', most, forget)
  end

  -- Whether there is more to move on.
  advance = function()
    local more = each('due', ADVANCE, promote)
    more = reap() or more
    more = each('expiring', ADVANCE, expire) or more
    more = sweep(2 * ADVANCE) or more
    more = each('permits', 2 * ADVANCE, lapse_shared) or more
    more = each('cellsdue', 2 * ADVANCE, drop_cell) or more
    return fail_dependants(ADVANCE) or more
  end
end

local function earliest(names)
  local found = math.huge
  for _, name in ipairs(names) do
    local head = call('ZRANGE', P .. name, 0, 0, 'WITHSCORES')
    if head[2] then
      local at = tonumber(head[2]) / TICKS
      if name == 'leased' and at <= NOW then at = math.max(at, spared_until()) end
      found = math.min(found, at)
    end
  end
  return found
end

-- Seconds until the next job is due or lapses, as text; "" when nothing is known. And the instant.
local function next_due()
  local at = earliest({ 'due', 'leased' })
  return at < math.huge and format('%.17g', math.max(0, at - NOW)) or '', at
end
