-- Rates, as in treadle.policies.rates, number for number. An ask is [0, key, count, per, cost,
-- burst or -1, algorithm]; rt:<key> has the state of a rate, two or three doubles.
--@ include base
local RATE = {}
do
  local EARLY, ROUNDING = 1e-6, 1e-9
  local GCRA, FIXED = 0, 1
  local LENGTHS = { [0] = 2, 2, 3 }

  local function capacity(ask)
    if ask[7] == GCRA and ask[6] >= 0 then return ask[6] end
    return ask[3]
  end

  local function level(state, ask)
    if #state ~= 2 then return 0 end
    return math.max(0, state[2] - (NOW - state[1]) * ask[3] / ask[4])
  end

  local function gcra(state, ask)
    local most = capacity(ask)
    local filled = level(state, ask) + math.min(ask[5], most)
    local excess = filled - most
    local wait = excess > most * ROUNDING and excess * ask[4] / ask[3] or 0
    return wait > EARLY and NOW + wait or NOW, { NOW, filled }
  end

  local function window(at, per)
    local number = math.floor(at / per)
    if number * per > at then return (number - 1) * per end
    if (number + 1) * per <= at then return (number + 1) * per end
    return number * per
  end

  local function round(number)
    -- To the even one in the middle, as Python does.
    local low = math.floor(number)
    local rest = number - low
    if rest > 0.5 or (rest == 0.5 and low % 2 == 1) then return low + 1 end
    return low
  end

  local function following(start, per, windows)
    return (round(start / per) + windows) * per
  end

  local function fixed_now(state, ask)
    local own = window(NOW, ask[4])
    if #state ~= 2 or state[1] < own then return own, 0 end
    return state[1], state[2]
  end

  local function fixed(state, ask)
    local start, used = fixed_now(state, ask)
    local cost = math.min(ask[5], ask[3])
    local windows = math.ceil((used + cost - ask[3]) / ask[3] - ROUNDING)
    if windows > 0 then
      start = following(start, ask[4], windows)
      used = math.max(0, used - windows * ask[3])
    end
    return math.max(NOW, start), { start, used + cost }
  end

  local function sliding_now(state, ask)
    local own = window(NOW, ask[4])
    if #state ~= 3 then return own, 0, 0 end
    if state[1] >= own then return state[1], state[2], state[3] end
    return own, 0, following(state[1], ask[4], 1) >= own and state[2] or 0
  end

  local function sliding(state, ask)
    local start, used, before = sliding_now(state, ask)
    local cost, least = math.min(ask[5], ask[3]), ask[3] * ROUNDING
    local free = ask[3] - used - cost
    while free < -least or (free <= least and before > 0) do
      start, used, before = following(start, ask[4], 1), 0, used
      free = ask[3] - used - cost
    end
    -- Parts of a unit add up to a little more than all there is.
    local at = before > math.max(free, 0) and start + ask[4] * (1 - free / before) or start
    return at > NOW + EARLY and at or NOW, { start, used + cost, before }
  end

  local PLACES = { [0] = gcra, fixed, sliding }

  local function stored(key)
    local bytes = call('GET', P .. 'rt:' .. key)
    if not bytes then return nil end
    local state = { unpack_bytes('<' .. string.rep('d', #bytes / 8), bytes) }
    state[#state] = nil
    return state
  end

  local function fades(state, ask)
    if #state ~= LENGTHS[ask[7]] then return NOW end
    if ask[7] == GCRA then return state[1] + state[2] * ask[4] / ask[3] end
    return following(state[1], ask[4], ask[7] == FIXED and 1 or 2)
  end

  local function store(state, ask)
    local bytes = pack('<' .. string.rep('d', #state), unpack(state))
    local left = fades(state, ask) - NOW
    if MANUAL or left > 1e9 then
      call('SET', P .. 'rt:' .. ask[2], bytes)
    else
      call('SET', P .. 'rt:' .. ask[2], bytes, 'PX', whole(math.max(left, 0) * 2000 + 10000))
    end
  end

  -- The instant at which all conform. They are booked when that is now, or anyhow with `ahead`.
  function RATE.spend(asks, ahead)
    local at, booked, order = NOW, {}, {}
    for _, ask in ipairs(asks) do
      local state = booked[ask[2]] and booked[ask[2]][1] or stored(ask[2]) or {}
      local when, after = PLACES[ask[7]](state, ask)
      if not booked[ask[2]] then order[#order + 1] = ask[2] end
      booked[ask[2]] = { after, ask }
      at = math.max(at, when)
    end
    if ahead or at <= NOW then
      for _, key in ipairs(order) do store(booked[key][1], booked[key][2]) end
    end
    return at
  end

  -- Settle the real cost of a spend.
  function RATE.adjust(ask, used)
    local state = stored(ask[2])
    if not state and used <= ask[5] then return end
    state = state or {}
    local more = used - math.min(ask[5], capacity(ask))
    if ask[7] == GCRA then
      state = { NOW, math.max(0, level(state, ask) + more) }
    elseif ask[7] == FIXED then
      local start, spent = fixed_now(state, ask)
      state = { start, math.max(0, spent + more) }
    else
      local start, spent, before = sliding_now(state, ask)
      state = { start, math.max(0, spent + more), before }
    end
    store(state, ask)
  end
end
