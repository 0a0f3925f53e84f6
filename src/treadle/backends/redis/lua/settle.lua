-- ARGV: 4 number of ends, and for each: id, token (fence and nonce as in the record), verdict:
--   d  success of an ordinary job: result
--   D  any success: result, skipped ("" or "=" and the reason), note, number of follow-ups and these
--   A  another attempt: delay, "1" when it counts, cause, fault, note
--   F  failure: cause, fault, note      R  given back: delay, reason, note
--   C  cancelled: fault, note
-- Notes and faults are msgpack or "", results as in the record. Gives a letter for each: o(k),
-- a(lready), l(ost), u(nknown).
--@ include drains
--@ include arrivals
local FENCE_AT, TOKEN = 23, '<I4c8'
local PLAIN_RUNNING = { ['\3\1\0'] = true, ['\3\1\2'] = true }
local NEVER = pack('<d', NONE)
local FINISHED = pack('<d', NOW) .. NEVER
local COUNTED = { error = true, timeout = true, result = true }
local KEPT_UNTIL = ticks(NOW + KEPT[SUCCEEDED])
local HEEDED, ROOMY = anyone('watched') or anyone('ends'), anyone('roomy')
local ENDED, WRITES, ENDING, ANSWERS, AT = {}, {}, {}, {}, 5

local function refusal(id, token)
  local J = load(id)
  if J then return pack(TOKEN, J.sfence, J.snonce) == token and 'a' or 'l' end
  local tomb = tomb_of(id)
  return tomb and pack(TOKEN, tomb.fence, tomb.nonce) == token and 'a' or 'u'
end

-- A plain job that was claimed once and succeeds is moved with all others of the batch that do.
local function end_plainly(id, record, result)
  local holder, extra = unpack_bytes('<H', record, 107), sub(record, 101, 102)
  local at = 109 + holder
  local length = string.byte(record, at)
  local queue = sub(record, at + 1, at + length)
  if #result > INLINE then
    call('SET', P .. 'r:' .. id, sub(result, 2))
    result = '>'
  end
  local ended = '\4\1\0' .. sub(record, 4, 18)
    .. pack('<I4', unpack_bytes('<I4', record, 19) + 1) .. sub(record, 23, 48) .. NEVER
    .. sub(record, 57, 64) .. FINISHED .. sub(record, 81, 88) .. sub(record, 23, 34) .. extra
    .. pack('<I4', #result) .. sub(record, 107, at - 1) .. result .. sub(record, at)
  WRITES[#WRITES + 1] = P .. 'j:' .. id
  WRITES[#WRITES + 1] = ended
  ENDING[id] = true
  local group = ENDED[queue]
  if not group then
    group = { ids = {}, scored = {} }
    ENDED[queue] = group
  end
  group.ids[#group.ids + 1] = id
  group.scored[#group.scored + 1] = format('%d', (unpack_bytes('<I6', record, 5)))
  group.scored[#group.scored + 1] = id
  if HEEDED then changed(id, true, result ~= '>' and ended or nil) end
  if ROOMY then freed(queue) end
end

local function end_groups()
  if #WRITES > 0 then call('MSET', unpack(WRITES)) end
  for queue, group in pairs(ENDED) do
    local kept = {}
    for i, id in ipairs(group.ids) do kept[2 * i - 1], kept[2 * i] = KEPT_UNTIL, id end
    call('ZREM', index('R', queue), unpack(group.ids))
    call('ZREM', P .. 'leased', unpack(group.ids))
    call('ZADD', index('D', queue), unpack(group.scored))
    call('ZADD', P .. 'kept', unpack(kept))
    count_ended(queue, #group.ids)
    count_above(queue, 'o:', -#group.ids)
  end
  ENDED, WRITES, ENDING = {}, {}, {}
end

local function set_note(J, note)
  if note ~= '' then set_fact(J, 'note', note) end
end

local function succeed(J)
  local follow_ups = tonumber(ARGV[AT + 6])
  set_note(J, ARGV[AT + 5])
  set_result(J, ARGV[AT + 3])
  set_fact(J, 'skipped', ARGV[AT + 4] ~= '' and sub(ARGV[AT + 4], 2) or nil)
  set_fact(J, 'reason', nil)
  end_lease(J)
  finish(J, SUCCEEDED)
  if follow_ups > 0 then
    arrivals(AT + 7, follow_ups, true)
  end
end

-- What a verdict says that is not a success; a release leaves the job as it was.
local function clear(J)
  J.suspect, J.releases, J.aside = false, 0, NONE
  no_expiry(J)
  set_fact(J, 'reason', nil)
end

local function again(J)
  local delay, cause = tonumber(ARGV[AT + 3]), ARGV[AT + 5]
  local number = J.tries + J.crashes + 1
  clear(J)
  remember(J, cause, ARGV[AT + 6])
  if cause == 'crashed' then
    J.crashes = J.crashes + 1
  elseif ARGV[AT + 4] == '1' then
    J.tries = J.tries + 1
  end
  end_lease(J)
  if J.cancel then
    finish(J, CANCELLED)
    fated(J, nil, number)
  elseif delay > 0 then
    to_schedule(J, NOW + delay)
  else
    J.due = NOW
    to_queue(J)
  end
end

local function fail(J)
  local cause, fault = ARGV[AT + 3], ARGV[AT + 4]
  clear(J)
  remember(J, cause, fault)
  if COUNTED[cause] then J.tries = J.tries + 1 end
  end_lease(J)
  finish(J, FAILED, cause, fault ~= '' and fault or nil)
end

local function release(J)
  local delay, reason = tonumber(ARGV[AT + 3]), ARGV[AT + 4]
  end_lease(J)
  if reason ~= '' then
    set_fact(J, 'reason', reason)
    J.releases = J.releases + 1
    if J.aside == NONE then J.aside = NOW end
  end
  if J.cancel then
    finish(J, CANCELLED)
    return fated(J, nil, J.tries + J.crashes + 1)
  end
  if delay > 0 then to_schedule(J, NOW + delay) else to_queue(J) end
  watch_expiry(J)
end

local function cancelled(J)
  clear(J)
  end_lease(J)
  finish(J, CANCELLED, nil, ARGV[AT + 3] ~= '' and ARGV[AT + 3] or nil)
end

local VERDICTS = {
  D = { succeed, nil }, A = { again, 7 }, F = { fail, 5 }, R = { release, 5 }, C = { cancelled, 4 },
}

local function settle(id, kind)
  local J = load(id)
  J.sfence, J.snonce = J.fence, J.nonce
  if kind == 'd' then
    set_result(J, ARGV[AT + 3])
    set_fact(J, 'reason', nil)
    end_lease(J)
    finish(J, SUCCEEDED)
  else
    local note_at = VERDICTS[kind][2]
    if note_at then set_note(J, ARGV[AT + note_at]) end
    VERDICTS[kind][1](J)
  end
  wake_lines()
end

-- Where the arguments of the next end begin.
local function after(kind)
  if kind == 'd' then return AT + 4 end
  if kind ~= 'D' then return AT + VERDICTS[kind][2] + 1 end
  local at = AT + 7
  for _ = 1, tonumber(ARGV[AT + 6]) do
    at = at + (string.byte(ARGV[at + 1]) == SPECIAL and 12 or 3)
  end
  return at
end

-- The records of all these jobs as they are now.
local function records_of(number)
  local keys = {}
  for i = 1, number do
    keys[i] = P .. 'j:' .. ARGV[AT]
    AT = after(ARGV[AT + 2])
  end
  AT = 5
  return number > 0 and call('MGET', unpack(keys)) or {}
end

local number = tonumber(ARGV[4])
local records = records_of(number)
for i = 1, number do
  local id, token, kind = ARGV[AT], ARGV[AT + 1], ARGV[AT + 2]
  local record = JOBS[id] == nil and records[i]
  if ENDING[id] then  -- twice in one batch
    end_groups()
    record = call('GET', P .. 'j:' .. id)
  end
  local here = record and string.byte(record) == RUNNING
    and sub(record, FENCE_AT, FENCE_AT + 11) == token
  local plain = here and kind == 'd' and PLAIN_RUNNING[sub(record, 1, 3)]
  if plain and sub(record, 49, 56) == NEVER and #record > 109 then
    end_plainly(id, record, ARGV[AT + 3])
    ANSWERS[i] = 'o'
  else
    local J = load(id)
    if J and J.state == RUNNING and pack(TOKEN, J.fence, J.nonce) == token then
      end_groups()
      settle(id, kind)
      ANSWERS[i] = 'o'
    else
      ANSWERS[i] = refusal(id, token)
    end
  end
  AT = after(kind)
end
end_groups()
fail_dependants(ADVANCE * number)
sweep(2 * number)
done()
return with_fates(concat(ANSWERS))
