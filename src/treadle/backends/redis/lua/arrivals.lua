-- Taking new jobs in. A job comes as three arguments, id, head and body, when it is plain, its
-- head being the byte of its priority, the length of its queue, and its queue; any other one as
-- id, "\128", body, queue, priority, flags, due, expires, bound, extra, payload, after: bound is ""
-- or a number, extra as in record.lua, payload "" unless it is to be kept apart, and after has the
-- jobs that it waits for, those of other shards with 32768 more in their length.
--@ include advance
local FIRST, SPECIAL, CREATED_NOW = '\2\0\0', 128, pack('<d', NOW)
local SEQ, FRESH, WRITES_NEW, ADDED = nil, {}, {}, {}

local function next_seq()
  if not SEQ then SEQ = tonumber(call('GET', P .. 'seq') or 0) end
  SEQ = SEQ + 1
  return SEQ
end

local function add_fresh()
  in_parts(WRITES_NEW, function(...) call('MSET', ...) end)
  for queue, entries in pairs(FRESH) do
    local key = index('Q', queue)
    in_parts(entries, function(...) call('ZADD', key, ...) end)
    call('ZADD', P .. 'ready', 0, queue)
    know_queue(queue)
    count_above(queue, 'o:', #entries / 2)
    stirred(queue)
  end
  FRESH, WRITES_NEW = {}, {}
end

local function holder_of(key)
  local holder = call('GET', P .. 'u:' .. key)
  if not holder then return nil end
  local until_ = unpack_bytes('<d', holder)
  if until_ ~= NONE and until_ <= NOW then return nil end
  return sub(holder, 9)
end

local function conflict(unique, follow_up)
  local holder = unique and holder_of(unique[1])
  if not holder then return CREATED end
  local other = load(holder)
  if not other or follow_up or other.state >= RUNNING then return DUPLICATE, holder end
  if unique[4] == 1 then return REPLACED, holder end
  if unique[4] == 2 then return RESCHEDULED, holder end
  return DUPLICATE, holder
end

-- Give a job that does not run another due time; what waits goes on waiting.
local function reschedule(J, due)
  touch(J)
  if J.state == WAITING then
    J.due = due
    J.version = J.version + 1
    changed(J.id, false)
    return
  end
  leave(J)
  J.paid = false
  if J.keyed then slack(key_line(J).name) end
  if due > NOW then return to_schedule(J, due) end
  J.due = due
  arrive(J)
end

local function covers(queue, other)
  return queue == other or sub(other, 1, #queue + 1) == queue .. '.'
end

-- Whether a job may come in.
local function may_come(new, follow_up)
  local status, holder = conflict(new.x.u, follow_up)
  if status == RESCHEDULED then reschedule(load(holder), new.due) end
  if status == DUPLICATE or status == RESCHEDULED then
    bury(new.id, status, holder)
    return status, holder
  end
  local other = status == REPLACED and load(holder)
  if new.bound and not follow_up then
    local held = open_jobs(new.queue)
    -- The job that makes room does not count.
    if other and covers(new.queue, other.queue) then held = held - 1 end
    if held >= new.bound then return FULL end
  end
  if other then withdraw(other) end
  return status, holder
end

local function hold_unique(J, unique)
  if not unique then return end
  local until_ = unique[2] == 2 and NOW + unique[3] or NONE
  local value_ = pack('<d', until_) .. J.id
  if until_ ~= NONE and not MANUAL then
    call('SET', P .. 'u:' .. unique[1], value_, 'PX', whole(unique[3] * 2000 + 1))
  else
    call('SET', P .. 'u:' .. unique[1], value_)
  end
end

local function join_members(J)
  local line = key_line(J)
  local slots = extra_of(J).s or 1
  line.members = line.members + 1
  if slots > line.slots then slack(line.name) end
  line.slots = slots
  return line
end

-- Make a job that is not plain, and put it where it belongs; what it waits for is looked at later.
local function create(new)
  local J = {
    id = new.id, prio = new.prio, seq = next_seq(), created = NOW, queue = new.queue, x = new.x,
  }
  young(J)
  flagged(J, new.flags)
  J.extra, J.due, J.expires = new.extra, new.due, new.expires
  J.rest = string.char(#new.queue) .. new.queue .. new.body
  JOBS[J.id] = J
  if new.payload ~= '' then call('SET', P .. 'p:' .. J.id, new.payload) end
  if new.x.o then call('ZADD', P .. 'o:' .. new.x.o, J.seq, J.id) end
  hold_unique(J, new.x.u)
  watch_expiry(J)
  know_queue(J.queue)
  count_above(J.queue, 'o:', 1)
  local line = J.keyed and join_members(J)
  if #new.after > 0 then
    J.after = new.near
    in_parts(new.after, function(...) call('SADD', P .. 'w:' .. J.id, ...) end)
    shift(J, WAITING)
    ADDED[#ADDED + 1] = J
  elseif J.due > NOW then
    to_schedule(J, J.due)
  elseif line and (line.used >= line.slots or waiting_in(line) > 0) then
    park(J, line, 1)
  else
    to_queue(J)
  end
  J.version = 0
  return J
end

-- See which of the jobs that it waits for have ended already.
local function look_back(J)
  local waits = P .. 'w:' .. J.id
  for _, id in ipairs(J.after) do
    local other = load(id)
    if other and not is_final(other.state) then
      call('ZADD', P .. 'd:' .. id, J.seq, J.id)
      other.awaited = true
      touch(other)
    else
      local tomb = not other and tomb_of(id)
      local state = other and other.state or tomb and tomb.state
      if state ~= SUCCEEDED and J.x.N ~= 2 then
        set_fact(J, 'failed', id)
        fail_dependant(J)
        return
      end
      call('SREM', waits, id)
    end
  end
  if call('EXISTS', waits) == 0 then arrive(J) end
end

local function known(id)
  local J = load(id)
  if J then
    local of = fact(J, 'of')
    return of and REPLACED or EXISTS, of
  end
  local tomb = tomb_of(id)
  if tomb then return tomb.pushed, tomb.of end
end

local function answer(answers, status, of)
  answers[#answers + 1] = of and of ~= '' and status .. of or tostring(status)
end

local function take_plain(id, head, body)
  local prio = string.byte(head)
  if prio > 127 then prio = prio - 256 end
  local seq = next_seq()
  local at = #WRITES_NEW
  WRITES_NEW[at + 1] = P .. 'j:' .. id
  WRITES_NEW[at + 2] =
    FIRST .. sub(head, 1, 1) .. pack('<I6', seq) .. CREATED_NOW .. sub(head, 2) .. body
  JOBS[id] = nil
  local queue = sub(head, 3)
  local entries = FRESH[queue]
  if not entries then
    entries = {}
    FRESH[queue] = entries
  end
  at = #entries
  entries[at + 1], entries[at + 2] = format('%d', seq - prio * PRIORITY), id
end

-- The ids in one argument, each behind its length, and those of them that are of this shard.
local function ids_in(bytes)
  local ids, near, at = {}, {}, 1
  while at < #bytes do
    local low, high = string.byte(bytes, at, at + 1)
    local length = low + 256 * (high % 128)
    local id = sub(bytes, at + 2, at + 1 + length)
    ids[#ids + 1] = id
    if high < 128 then near[#near + 1] = id end
    at = at + 2 + length
  end
  return ids, near
end

local function take_special(id, at, answers, follow_up)
  add_fresh()
  local extra, bound = ARGV[at + 9], ARGV[at + 8]
  local new = {
    id = id, body = ARGV[at + 2], queue = ARGV[at + 3], prio = tonumber(ARGV[at + 4]),
    flags = tonumber(ARGV[at + 5]), due = instant(ARGV[at + 6]), expires = instant(ARGV[at + 7]),
    bound = bound ~= '' and tonumber(bound), extra = extra, payload = ARGV[at + 10],
    x = extra ~= '' and cmsgpack.unpack(extra) or {},
  }
  new.after, new.near = ids_in(ARGV[at + 11])
  local status, of = may_come(new, follow_up)
  answer(answers, status, of)
  if status == CREATED or status == REPLACED then
    local J = create(new)
    if status == REPLACED then set_fact(J, 'of', of) end
  end
end

-- Whether any of the ids may be known, or is there twice.
local function doubtful(at, number)
  local keys, seen, twice = {}, {}, false
  local job, tomb = P .. 'j:', P .. 't:'
  for i = 1, 2 * number, 2 do
    local id = ARGV[at]
    keys[i], keys[i + 1] = job .. id, tomb .. id
    twice = twice or seen[id] or JOBS[id]
    seen[id] = true
    at = at + (string.byte(ARGV[at + 1]) == SPECIAL and 12 or 3)
  end
  local there = 0
  in_parts(keys, function(...) there = there + call('EXISTS', ...) end)
  return twice or there > 0
end

-- Take so many jobs in; the answers.
local function arrivals(at, number, follow_up)
  local answers, doubt = {}, doubtful(at, number)
  for _ = 1, number do
    local id, head = ARGV[at], ARGV[at + 1]
    local special = string.byte(head) == SPECIAL
    local status, of
    if doubt then
      add_fresh()
      status, of = known(id)
    end
    if status then
      answer(answers, status, of)
    elseif special then
      take_special(id, at, answers, follow_up)
    else
      take_plain(id, head, ARGV[at + 2])
      answers[#answers + 1] = '0'
    end
    at = at + (special and 12 or 3)
  end
  add_fresh()
  for _, J in ipairs(ADDED) do
    -- One that came after it may have taken its place.
    if J.state == WAITING then look_back(J) end
  end
  ADDED = {}
  if SEQ then call('SET', P .. 'seq', whole(SEQ)) end
  return answers
end
