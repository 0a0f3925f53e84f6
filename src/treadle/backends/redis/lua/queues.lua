-- Queues: which there are, and their jobs by state.
--
--   q:<S>:<queue>  jobs by arrival; those queued (Q) and the suspects among them (X) by place
--   queues, ready  names of the queues with any jobs, and of those with some to claim
--   below          hash: o:<queue> and r:<queue> are the open and the running jobs of its subqueues
--   rules          hash: queue -> msgpack [paused, until, max_running]
--@ include record
local PRIORITY = 2 ^ 46
local SCORES = { Q = true, X = true }
local ALL_STATES = { 'W', 'S', 'Q', 'X', 'R', 'D', 'F', 'C' }
local RULES = call('EXISTS', P .. 'rules') == 1
local TOUCHED, ABOVE, RULE = {}, {}, {}

local function place(J)
  return J.seq - J.prio * PRIORITY
end

local function stamped(J)
  return format('%012x', J.seq) .. J.id
end

-- The queues that cover this one, nearest first.
local function above(queue)
  local found = ABOVE[queue]
  if not found then
    found = {}
    local name = string.match(queue, '^(.*)%.[^.]*$')
    while name do
      found[#found + 1] = name
      name = string.match(name, '^(.*)%.[^.]*$')
    end
    ABOVE[queue] = found
  end
  return found
end

local function count_above(queue, kind, number)
  if number ~= 0 then
    for _, name in ipairs(above(queue)) do
      call('HINCRBY', P .. 'below', kind .. name, number)
    end
  end
end

local function index(at, queue)
  return P .. 'q:' .. at .. ':' .. queue
end

local function is_final(state)
  return state >= SUCCEEDED
end

-- Jobs of a queue run no longer: under a rule others may have their places.
local function count_ended(queue, number)
  count_above(queue, 'r:', -number)
  if RULES then stirred(queue) end
end

-- Take a job out of the index of its state.
local function unlist(J)
  local at = J.at
  if not at then return end
  call('ZREM', index(at, J.queue), J.id)
  TOUCHED[J.queue] = true
  if at == 'S' then
    call('ZREM', P .. 'due', stamped(J))
  elseif at == 'Q' then
    if call('EXISTS', index('Q', J.queue)) == 0 then call('ZREM', P .. 'ready', J.queue) end
  elseif at == 'X' then
    if call('EXISTS', index('X', J.queue)) == 0 then call('SREM', P .. 'suspects', J.queue) end
  elseif at == 'R' then
    call('ZREM', P .. 'leased', J.id)
    count_ended(J.queue, 1)
  end
  J.at = nil
end

-- Write a state down, in the job and in what is counted by it.
local function shift(J, state)
  unlist(J)
  J.state = state
  local at = index_of(J)
  J.at = at
  call('ZADD', index(at, J.queue), SCORES[at] and place(J) or J.seq, J.id)
  if at == 'Q' then
    call('ZADD', P .. 'ready', 0, J.queue)
  elseif at == 'X' then
    call('SADD', P .. 'suspects', J.queue)
    call('SET', P .. 'fresh', 1)
  elseif at == 'R' then
    count_above(J.queue, 'r:', 1)
  elseif is_final(state) then
    count_above(J.queue, 'o:', -1)
    freed(J.queue)
  end
  J.version = J.version + 1
  touch(J)
  changed(J.id, is_final(state))
end

-- A queue with jobs, also of subqueues only, is found by its name.
local function know_queue(queue)
  call('ZADD', P .. 'queues', 0, queue)
end

-- Forget the queues of which nothing is left, so that a queue per tenant costs nothing.
local function forget_queues()
  for queue in pairs(TOUCHED) do
    local keys = {}
    for i, at in ipairs(ALL_STATES) do keys[i] = index(at, queue) end
    if call('EXISTS', unpack(keys)) == 0 then
      call('ZREM', P .. 'queues', queue)
      for _, name in ipairs(above(queue)) do
        if call('HGET', P .. 'below', 'o:' .. name) == '0' then
          call('HDEL', P .. 'below', 'o:' .. name, 'r:' .. name)
        end
      end
    end
  end
end

-- Jobs that are not final, with those of subqueues.
local function open_jobs(queue)
  local number = tonumber(call('HGET', P .. 'below', 'o:' .. queue) or 0)
  for _, at in ipairs({ 'W', 'S', 'Q', 'X', 'R' }) do
    number = number + call('ZCARD', index(at, queue))
  end
  return number
end

local room
do
  local function rule_of(queue)
    if RULE[queue] == nil then
      local stored = call('HGET', P .. 'rules', queue)
      RULE[queue] = stored and cmsgpack.unpack(stored) or false
    end
    return RULE[queue]
  end

  local function own_room(queue)
    local rule = rule_of(queue)
    if not rule then return math.huge end
    if rule[1] and (rule[2] == NONE or NOW < rule[2]) then return 0 end
    if rule[3] < 0 then return math.huge end
    local running = tonumber(call('HGET', P .. 'below', 'r:' .. queue) or 0)
      + call('ZCARD', index('R', queue))
    return math.max(0, rule[3] - running)
  end

  -- Jobs that may be claimed of a queue, by its rules and those above it.
  room = function(queue)
    if not RULES then return math.huge end
    local least = own_room(queue)
    for _, name in ipairs(above(queue)) do least = math.min(least, own_room(name)) end
    return least
  end
end
