-- Whether a job may be claimed: its key, its slots, its rates, all or nothing. An ask for slots is
-- [1, key, slots, units].
--@ include advance
--@ include rates
local holds_of, spends_of, slots_line, admit
do
  -- One hold for each limit, of no more than all its slots; the latest ask says how many.
  holds_of = function(asks)
    local found, by_key = {}, {}
    for _, ask in ipairs(asks) do
      if ask[1] == 1 then
        local before = by_key[ask[2]]
        if not before then
          before = { key = ask[2], units = 0 }
          by_key[ask[2]] = before
          found[#found + 1] = before
        end
        before.slots = ask[3]
        before.units = math.min(before.units + ask[4], ask[3])
      end
    end
    return found
  end

  spends_of = function(asks)
    local found = {}
    for _, ask in ipairs(asks) do
      if ask[1] == 0 then found[#found + 1] = ask end
    end
    return found
  end

  -- The line of a limit, which has as many slots as the latest ask says.
  slots_line = function(hold)
    local line = line_of('limit:' .. hold.key, hold.slots)
    if line.slots ~= hold.slots then
      if hold.slots > line.slots then slack(line.name) end
      line.slots = hold.slots
    end
    return line
  end

  -- The first line without free units for the job; what it wants of each goes into `holds`.
  local function full_line(J, holds)
    if J.keyed then
      local line = key_line(J)
      holds[#holds + 1] = { line.name, 1 }
      if line.used >= line.slots or (J.ordered and first_of(line) ~= J) then return line, 1 end
    end
    for _, hold in ipairs(J.asks and holds_of(extra_of(J).a) or {}) do
      local line = slots_line(hold)
      holds[#holds + 1] = { line.name, hold.units }
      if line.used + hold.units > hold.slots then return line, hold.units end
    end
  end

  -- The job was woken and cannot be claimed: what it was woken for is for the next.
  local function give_up(J, wants)
    local name = fact(J, 'woken')
    if name then
      unwake(name, J.id)
      if name ~= wants then slack(name) end
      set_fact(J, 'woken', nil)
    end
  end

  -- Take what the job asks for; or park it, or schedule it, and say false.
  admit = function(J)
    local holds = {}
    local line, need = full_line(J, holds)
    if line then
      give_up(J, line.name)
      park(J, line, need)
      return false
    end
    if J.asks and not J.paid then
      local at = RATE.spend(spends_of(extra_of(J).a), true)
      if at > NOW then
        J.paid = true
        give_up(J, '')
        to_schedule(J, at)
        return false
      end
    end
    for _, hold in ipairs(holds) do
      local taken = line_of(hold[1])
      taken.used = taken.used + hold[2]
    end
    if #holds > 0 then set_fact(J, 'holds', cmsgpack.pack(holds)) end
    local name = fact(J, 'woken')
    if name then
      unwake(name, J.id)
      set_fact(J, 'woken', nil)
    end
    local unique = J.unique and extra_of(J).u
    if unique and unique[2] == 0 then
      local holder = call('GET', P .. 'u:' .. unique[1])
      if holder and sub(holder, 9) == J.id then call('DEL', P .. 'u:' .. unique[1]) end
    end
    return true
  end
end
