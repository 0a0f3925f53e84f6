-- How jobs end, what becomes of those that wait for them, and how they are removed.
--
--   t:<id>        tombstone: pushed, state or 255, fence, nonce, at, and the other job's id
--   cascade       list: waiting jobs that are to fail
--   ft:<task>     failed jobs of a task by arrival; ftasks is the set of those tasks
--@ include moves
local MAX_FAILED, REQUEST_TTL = tonumber(ARGV[2]), tonumber(ARGV[3])
local CREATED, EXISTS, DUPLICATE, REPLACED, RESCHEDULED, FULL = 0, 1, 2, 3, 4, 5
local TOMB, NO_STATE = '<BBI4c8d', 255
local KEPT = { [SUCCEEDED] = 3600, [FAILED] = 604800, [CANCELLED] = 86400 }
-- Before the byte of a shard and an id there, in place of the id of a job that waits for another.
local AWAY = '\0\0'
local remove, finish
-- What became of jobs by themselves: id, task, queue, state, cause or "", number of the attempt that
-- ended with it or 0, crashes, the job that it waited for or "".
local FATES = {}

local function bury(id, pushed, of, state, fence, nonce)
  local tomb = pack(TOMB, pushed, state or NO_STATE, fence or 0, nonce or NO_NONCE, NOW) .. (of or '')
  if MANUAL then
    call('SET', P .. 't:' .. id, tomb)
  else
    -- What counts is the instant in it; this only takes it away.
    call('SET', P .. 't:' .. id, tomb, 'PX', whole(REQUEST_TTL * 2000 + 1))
  end
end

local function tomb_of(id)
  local text_ = call('GET', P .. 't:' .. id)
  if not text_ then return nil end
  local tomb = { text = text_ }
  tomb.pushed, tomb.state, tomb.fence, tomb.nonce, tomb.at = unpack_bytes(TOMB, text_)
  tomb.of = sub(text_, 23)
  return NOW < tomb.at + REQUEST_TTL and tomb or nil
end

local function keep_of(J)
  local keep = extra_of(J).K
  return keep and keep[J.state - SUCCEEDED + 1] or KEPT[J.state]
end

-- A negative time is for ever.
local function keep(J)
  local seconds = keep_of(J)
  if seconds == 0 then return remove(J, true) end
  if seconds > 0 then call('ZADD', P .. 'kept', ticks(J.finished + seconds), J.id) end
end

local function trim_failed()
  while call('ZCARD', P .. 'failed') > MAX_FAILED do
    local oldest = call('ZRANGE', P .. 'failed', 0, 0)[1]
    local J = load(sub(oldest, 13))
    if J then remove(J, true) else call('ZREM', P .. 'failed', oldest) end
  end
end

local function free(J)
  if J.unique then
    local key = P .. 'u:' .. extra_of(J).u[1]
    local holder = call('GET', key)
    if holder and sub(holder, 9) == J.id and unpack_bytes('<d', holder) == NONE then
      call('DEL', key)
    end
  end
  if J.keyed then
    local line = key_line(J)
    line.members = line.members - 1
    if J.lined then
      call('ZREM', P .. 'lb:' .. line.name, J.id)
      J.lined = false
    end
    slack(line.name)
  end
end

-- Tell a job how one ended that it waits for.
local function dependency_ended(J, id, state)
  if call('SISMEMBER', P .. 'w:' .. J.id, id) == 0 then return end
  if state ~= SUCCEEDED and extra_of(J).N ~= 2 then
    -- The first of them that failed is why, however many do before it is told.
    if not fact(J, 'failed') then
      set_fact(J, 'failed', id)
      call('RPUSH', P .. 'cascade', J.id)
    end
    return
  end
  call('SREM', P .. 'w:' .. J.id, id)
  if call('EXISTS', P .. 'w:' .. J.id) == 1 then
    J.version = J.version + 1
    touch(J)
    changed(J.id, false)
  else
    arrive(J)
  end
end

-- Post to a job of another shard how one ended that it waits for, see posting.lua and
-- sharded/letters.py.
local function post_end(who, id, state)
  local name, text_ = 'e' .. call('INCR', P .. 'outseq'), 'e' .. sub(who, 1, 1) .. string.char(state)
  for _, one in ipairs({ sub(who, 2), id }) do
    text_ = text_ .. string.char(#one % 256, math.floor(#one / 256)) .. one
  end
  call('HSET', P .. 'outbox', name, pack('<d', NOW) .. text_)
  call('ZADD', P .. 'out', ticks(NOW), name)
end

-- Tell those that wait for a job how it ended.
local function ended(J, state)
  if not J.awaited then return end
  J.awaited = false
  for _, id in ipairs(call('ZRANGE', P .. 'd:' .. J.id, 0, -1)) do
    if sub(id, 1, 2) == AWAY then
      post_end(sub(id, 3), J.id, state)
    else
      local other = load(id)
      if other then dependency_ended(other, J.id, state) end
    end
  end
  call('DEL', P .. 'd:' .. J.id)
end

local function no_expiry(J)
  if J.expires ~= NONE then
    call('ZREM', P .. 'expiring', stamped(J))
    J.expires = NONE
    touch(J)
  end
end

-- End a job that has left its place, and free what it held for its whole life.
finish = function(J, state, cause, fault)
  J.finished, J.cancel = NOW, false
  set_fact(J, 'cause', cause)
  set_fact(J, 'fault', fault)
  no_expiry(J)
  shift(J, state)
  J.suspect = false
  if not J.plain then free(J) end
  if state == FAILED then
    call('ZADD', P .. 'failed', NOW, stamped(J))
    call('ZADD', P .. 'ft:' .. task_of(J), J.seq, J.id)
    call('SADD', P .. 'ftasks', task_of(J))
  end
  keep(J)
  if state == FAILED then trim_failed() end
  ended(J, state)
end

-- Take a final job out of what finds it by its state.
local function unindex(J)
  unlist(J)
  call('ZREM', P .. 'kept', J.id)
  if J.state == FAILED then
    call('ZREM', P .. 'failed', stamped(J))
    local task = task_of(J)
    call('ZREM', P .. 'ft:' .. task, J.id)
    if call('EXISTS', P .. 'ft:' .. task) == 0 then call('SREM', P .. 'ftasks', task) end
  end
end

-- Forget a final job, leaving a tombstone, which says how it ended if it did.
remove = function(J, did_end)
  unindex(J)
  local flow = extra_of(J).o
  if flow then call('ZREM', P .. 'o:' .. flow, J.id) end
  local of = fact(J, 'of')
  bury(J.id, of and REPLACED or EXISTS, of, did_end and J.state, J.sfence, J.snonce)
  J.gone = true
  JOBS[J.id] = false
  touch(J)
  changed(J.id, true)
end

-- Remove a job that does not run and has not ended; for those that wait it failed.
local function withdraw(J)
  leave(J)
  no_expiry(J)
  J.finished = NOW
  shift(J, CANCELLED)
  free(J)
  remove(J, false)
  ended(J, CANCELLED)
end

-- Have told that a job has ended by itself, or has crashed.
local function fated(J, cause, attempt, waited)
  FATES[#FATES + 1] = {
    J.id, task_of(J), J.queue, J.state, cause or '', attempt or 0, J.crashes, waited or '',
  }
end

-- End a waiting job, one of whose dependencies did not succeed.
local function fail_dependant(J)
  local waited, cause = fact(J, 'failed'), nil
  leave(J)
  if extra_of(J).N == 1 then
    finish(J, CANCELLED)
  else
    cause = 'dependency'
    finish(J, FAILED, cause)
  end
  fated(J, cause, nil, waited)
end

-- Pass failures on to at most so many of those that waited; whether there are more.
local function fail_dependants(most)
  while most > 0 do
    local id = call('LPOP', P .. 'cascade')
    if not id then break end
    local J = load(id)
    if J and J.state == WAITING and call('EXISTS', P .. 'w:' .. id) == 1 then
      most = most - 1
      fail_dependant(J)
    end
  end
  wake_lines()
  return most == 0 and call('EXISTS', P .. 'cascade') == 1
end

-- The end of every script that writes.
local function done()
  wake_lines()
  flush_lines()
  flush()
  forget_queues()
  tell()
end

-- The answer of a script, with what became of jobs by themselves.
local function with_fates(answer)
  if #FATES == 0 then return answer end
  return { 'fates', answer, FATES }
end
