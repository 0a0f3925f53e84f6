-- ARGV: 4 nonce, 5 its name in hex, 6 request, 7 limit, 8 lease, 9 holding, 10 "1" when who asks
-- hears what is told, 11 … the names, see serving.lua, and then the ids of jobs to grant before all
-- others. Gives [more, suspects wait, next due, ids, records, for those of which there is more to say
-- their number, payload kept apart or "", note or ""; and as peek.lua would, when nothing is left,
-- seconds until anything happens by itself or ""]; nothing at all when there is no such session.
--@ include drains
--@ include coming
--@ include gate
--@ include serving
--@ include sessions
local NONCE, SESSION = ARGV[4], ARGV[5]
local REQUEST, LIMIT, LEASE, HOLDING = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local HEARS, HEEDED = ARGV[10] == '1', anyone('watched')
local UNTIL = NOW + LEASE
local UNTIL_TICKS = ticks(UNTIL)
local IDS, RECORDS, MORE, PARKED, FIRST_CLAIM = {}, {}, {}, 0, nil

local function say_more(J, n)
  local payload = J.apart and call('GET', P .. 'p:' .. J.id) or ''
  local note = fact(J, 'note') or ''
  if payload ~= '' or note ~= '' then
    for _, part in ipairs({ n, payload, note }) do MORE[#MORE + 1] = part end
  end
end

local function lease_out(J)
  J.fence, J.nonce, J.holder, J.version = J.fence + 1, NONCE, HOLDER, J.version + 1
  J.state, J.at, J.started, J.until_ = RUNNING, 'R', NOW, UNTIL
  if J.expires ~= NONE then call('ZREM', P .. 'expiring', stamped(J)) end
  touch(J)
  changed(J.id, false)
  local n = #IDS + 1
  IDS[n], RECORDS[n] = J.id, text(J)
  say_more(J, n)
end

-- The first lease of a plain job: nothing to ask, and nothing of the past to keep.
local function lease_first(id, record, writes)
  if not FIRST_CLAIM then
    FIRST_CLAIM = pack(OWN, 1, 1, NONCE, 0, 0, 0, NONE, NONE, NOW, NONE, UNTIL, NONE, 0, NO_NONCE,
      0, 0, #HOLDER) .. HOLDER
  end
  record = '\3\1\0' .. sub(record, 4, 18) .. FIRST_CLAIM .. sub(record, 19)
  writes[#writes + 1] = P .. 'j:' .. id
  writes[#writes + 1] = record
  if HEEDED then changed(id, false) end
  IDS[#IDS + 1] = id
  RECORDS[#IDS] = record
end

-- Have the jobs among those that run.
local function note_running(queue, ids, seqs)
  local running, leased = {}, { '+inf', LONG }
  for i, id in ipairs(ids) do
    running[2 * i - 1], running[2 * i] = format('%d', seqs[i]), id
    leased[2 * i + 1], leased[2 * i + 2] = UNTIL_TICKS, id
  end
  local key = index('R', queue)
  in_parts(running, function(...) call('ZADD', key, ...) end)
  in_parts(leased, function(...) call('ZADD', P .. 'leased', ...) end)
  count_above(queue, 'r:', #ids)
end

-- Lease what can be leased of these jobs, which stand in no index any more.
local function serve(popped, ids, seqs)
  local keys, writes = {}, {}
  for i, id in ipairs(popped) do keys[i] = P .. 'j:' .. id end
  local records = call('MGET', unpack(keys))
  for i, record in ipairs(records) do
    local id = popped[i]
    if PARKED >= PARK_MAX then
      local J = load(id)
      if J then shift(J, QUEUED) end
    elseif record and JOBS[id] == nil and sub(record, 1, 3) == '\2\0\0' and #record > 19 then
      lease_first(id, record, writes)
      ids[#ids + 1] = id
      seqs[#seqs + 1] = unpack_bytes('<I6', record, 5)
    else
      local J = load(id)
      if J and (J.plain or admit(J)) then
        lease_out(J)
        ids[#ids + 1] = id
        seqs[#seqs + 1] = J.seq
      elseif J then
        PARKED = PARKED + 1
      end
    end
  end
  if #writes > 0 then call('MSET', unpack(writes)) end
end

local function take(queue, wanted)
  wanted = math.min(wanted, room(queue))
  local ids, seqs, left = {}, {}, true
  while left and #ids < wanted and PARKED < PARK_MAX do
    local most = math.min(wanted - #ids, 1000)
    local popped = call('ZRANGE', index('Q', queue), 0, most - 1)
    left = #popped == most
    if #popped == 0 then break end
    call('ZREMRANGEBYRANK', index('Q', queue), 0, most - 1)
    serve(popped, ids, seqs)
  end
  if #ids > 0 then note_running(queue, ids, seqs) end
  if call('EXISTS', index('Q', queue)) == 0 then call('ZREM', P .. 'ready', queue) end
  return #ids
end

-- Let the queues fill the places in turns. Each round shares the places that are left among the
-- queues that are left; one that gives fewer jobs than it may is empty and leaves.
local function take_turns(names, last, places)
  while #names > 0 and places > 0 do
    local quota, left = math.ceil(places / #names), {}
    for _, name in ipairs(names) do
      local wanted = math.min(quota, places)
      local taken = take(name, wanted)
      if taken > 0 then
        last = name
        places = places - taken
      end
      if taken == wanted then left[#left + 1] = name end
      if places <= 0 then break end
    end
    names = left
  end
  return last
end

-- Lease the jobs that are to come before all others.
local function named(at)
  for i = at, #ARGV do
    if #IDS >= LIMIT or PARKED >= PARK_MAX then return end
    local J = load(ARGV[i])
    if J and J.at == 'Q' and served_by(J.queue) > 0 and room(J.queue) > 0 then
      if J.plain or admit(J) then
        unlist(J)
        lease_out(J)
        note_running(J.queue, { J.id }, { J.seq })
      else
        PARKED = PARKED + 1
      end
    end
  end
end

local function all_queues()
  call('DEL', P .. 'fresh')
  for number, name in ipairs(SERVED) do
    local places = LIMIT - #IDS
    if places <= 0 or PARKED >= PARK_MAX then return end
    local last = call('HGET', P .. 'turns', name) or nil
    local names = members(number, last, places + 64)
    if #names > 0 then
      local now_last = take_turns(names, last, places)
      if now_last and now_last ~= last then call('HSET', P .. 'turns', name, now_last) end
    end
  end
end

-- Lease one suspect, if one can be leased.
local function suspect_alone()
  while PARKED < PARK_MAX do
    local id = first_suspect()
    if not id then return false end
    local J = load(id)
    if J.plain or admit(J) then
      unlist(J)
      J.reported = true
      no_expiry(J)
      lease_out(J)
      note_running(J.queue, { id }, { J.seq })
      return true
    end
    PARKED = PARKED + 1
  end
  return false
end

local function claim()
  local rest = read_names(11)
  renew_session(SESSION, LEASE)
  local behind = advance()
  local may = HOLDING == '0' and LIMIT > 0
  local alone = may and suspect_alone()
  if not alone then
    named(rest)
    all_queues()
  end
  wake_lines()
  local more = behind or PARKED >= PARK_MAX or claimable()
  -- Who may have one and got none has seen that there is none.
  local waits = not alone and not (may and PARKED < PARK_MAX) and first_suspect() ~= nil
  local due, soonest = next_due()
  local hints = { more and 1 or 0, waits and 1 or 0, due }
  keep_answer(SESSION, REQUEST, hints, IDS)
  done()
  local emptied = HEARS and not (more or waits or alone) and #IDS < LIMIT
  -- Who asked will wait next, and need not look again.
  if emptied then call('SET', P .. 'idle', 1) end
  return with_fates({
    hints[1], hints[2], hints[3], IDS, RECORDS, MORE, emptied and next_event(soonest) or nil,
  })
end

-- What the last claim was answered. Its jobs are still held, or else their tokens will be refused.
local function again()
  local hints, ids = last_answer(SESSION)
  for _, id in ipairs(ids) do
    local J = load(id)
    if J then
      local n = #IDS + 1
      IDS[n], RECORDS[n] = id, text(J)
      say_more(J, n)
    end
  end
  return { hints[1], hints[2], hints[3], IDS, RECORDS, MORE }
end

if not find_session(SESSION) then return {} end
if REQUEST <= LAST_REQUEST then return again() end
return claim()
