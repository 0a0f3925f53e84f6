-- A job: j:<id> is one string, a header of fixed width and what does not change.
--
--   1 state  2-3 flags  4 priority  5-10 seq  11-18 created          of every job
--   then, of a job that was claimed or is special in some way (flag GROWN):
--   19 version  23 fence  27 nonce  35 tries  37 crashes  39 releases  41 due  49 expires
--   57 started  65 finished  73 until  81 aside  89 settled fence  93 settled nonce
--   101 length of extra (2)  103 length of the result (4)  107 length of the holder (2)
--   109 holder, extra, result
--   then, of every job: length of the queue (1), queue, body
--
-- The body is the caller's own: it is never looked into but for the task, which begins behind its
-- first three bytes. Extra is what the store has to know of a special job, in msgpack. A result is "" or "=" and itself or
-- ">", when it is in r:<id>. What cannot be a job is put aside as z:<id> when it is met.
--@ include notify
local WAITING, SCHEDULED, QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = 0, 1, 2, 3, 4, 5, 6
local LETTERS = { [0] = 'W', 'S', 'Q', 'R', 'D', 'F', 'C' }
local OWN, INLINE, NO_NONCE = '<I4I4c8HHHddddddI4c8HI4H', 1024, string.rep('\0', 8)
-- Jobs that this script has looked at; written back by flush.
local JOBS = {}
local touch, young, index_of, flagged, load, text, extra_of, task_of, fact, set_fact, set_result, flush
do
  local GROWN, EXTRA, KEYED, ASKS, UNIQUE, ORDERED, ONCE, SUSPECT = 1, 2, 4, 8, 16, 32, 64, 128
  local CANCEL, REPORTED, PAID, LINED, FACTS, APART, AWAITED = 256, 512, 1024, 2048, 4096, 8192, 16384
  local COMMON, DIRTY = '<BHbI6d', {}

  touch = function(J)
    if not J.dirty then
      J.dirty = true
      DIRTY[#DIRTY + 1] = J
    end
  end

  local function grown(J, record)
    local extra, result, holder
    J.version, J.fence, J.nonce, J.tries, J.crashes, J.releases, J.due, J.expires, J.started,
    J.finished, J.until_, J.aside, J.sfence, J.snonce, extra, result, holder =
      unpack_bytes(OWN, record, 19)
    local at = 109
    J.holder = sub(record, at, at + holder - 1)
    at = at + holder
    J.extra = sub(record, at, at + extra - 1)
    at = at + extra
    J.result = sub(record, at, at + result - 1)
    return at + result
  end

  young = function(J)
    J.version, J.fence, J.nonce, J.tries, J.crashes, J.releases = 0, 0, NO_NONCE, 0, 0, 0
    J.due, J.expires, J.started, J.finished, J.until_, J.aside = NONE, NONE, NONE, NONE, NONE, NONE
    J.sfence, J.snonce, J.holder, J.extra, J.result = 0, NO_NONCE, '', '', ''
  end

  index_of = function(J)
    if J.state == QUEUED and J.suspect then return 'X' end
    return LETTERS[J.state]
  end

  flagged = function(J, flags)
    J.flags = flags
    J.keyed, J.asks = band(flags, KEYED) > 0, band(flags, ASKS) > 0
    J.unique, J.ordered, J.once = band(flags, UNIQUE) > 0, band(flags, ORDERED) > 0, band(flags, ONCE) > 0
    J.suspect, J.cancel = band(flags, SUSPECT) > 0, band(flags, CANCEL) > 0
    J.reported, J.paid = band(flags, REPORTED) > 0, band(flags, PAID) > 0
    J.lined, J.facts = band(flags, LINED) > 0, band(flags, FACTS) > 0
    J.apart, J.awaited = band(flags, APART) > 0, band(flags, AWAITED) > 0
    J.plain = not (J.keyed or J.asks or J.unique)
  end

  local function parse(id, record)
    local J, flags = { id = id }, nil
    J.state, flags, J.prio, J.seq, J.created = unpack_bytes(COMMON, record)
    flagged(J, flags)
    local at = 19
    if band(flags, GROWN) > 0 then at = grown(J, record) else young(J) end
    local length = string.byte(record, at)
    J.queue = sub(record, at + 1, at + length)
    J.rest = sub(record, at)
    J.body = at + length + 1
    J.at = index_of(J)
    return J
  end

  -- Whether a job can be made of these bytes. Something else than a script may have written them.
  local function is_sound(record)
    local size, at = #record, 19
    if size < at or string.byte(record) > CANCELLED then return false end
    local flags = unpack_bytes('<H', record, 2)
    if band(flags, GROWN) > 0 then
      if size < 109 then return false end
      local extra, result, holder = unpack_bytes('<HI4H', record, 101)
      at = 109 + extra + result + holder
      if at > size then return false end
      if extra > 0 then
        local read, x = pcall(cmsgpack.unpack, sub(record, 109 + holder, 108 + holder + extra))
        if not read or type(x) ~= 'table' or (band(flags, KEYED) > 0 and not x.k)
          or (band(flags, ASKS) > 0 and not x.a) or (band(flags, UNIQUE) > 0 and not x.u) then
          return false
        end
      elseif band(flags, KEYED + ASKS + UNIQUE) > 0 then
        return false
      end
    end
    return at + string.byte(record, at) + 5 <= size
  end

  load = function(id)
    local J = JOBS[id]
    if J == nil then
      local record = call('GET', P .. 'j:' .. id)
      if record and not is_sound(record) then
        -- Kept for people to look at; its places are dropped where they are met.
        call('RENAME', P .. 'j:' .. id, P .. 'z:' .. id)
        record = false
      end
      J = record and parse(id, record)
      JOBS[id] = J
    end
    return J
  end

  text = function(J)
    local flags = band(J.flags, EXTRA + KEYED + ASKS + UNIQUE + ORDERED + ONCE + APART) + GROWN
    if J.suspect then flags = flags + SUSPECT end
    if J.cancel then flags = flags + CANCEL end
    if J.reported then flags = flags + REPORTED end
    if J.paid then flags = flags + PAID end
    if J.lined then flags = flags + LINED end
    if J.facts then flags = flags + FACTS end
    if J.awaited then flags = flags + AWAITED end
    return pack(COMMON, J.state, flags, J.prio, J.seq, J.created)
      .. pack(OWN, J.version, J.fence, J.nonce, J.tries, J.crashes, J.releases, J.due, J.expires,
        J.started, J.finished, J.until_, J.aside, J.sfence, J.snonce, #J.extra, #J.result, #J.holder)
      .. J.holder .. J.extra .. J.result .. J.rest
  end

  -- What the store knows of a special job.
  extra_of = function(J)
    if not J.x then J.x = J.extra ~= '' and cmsgpack.unpack(J.extra) or {} end
    return J.x
  end

  -- Task of a job: the text at the beginning of its body, in msgpack.
  task_of = function(J)
    local at = string.byte(J.rest) + 5
    local first = string.byte(J.rest, at)
    if first < 0xc0 then return sub(J.rest, at + 1, at + first - 0xa0) end
    if first == 0xd9 then return sub(J.rest, at + 2, at + 1 + string.byte(J.rest, at + 1)) end
    local high, low = string.byte(J.rest, at + 1, at + 2)
    return sub(J.rest, at + 3, at + 2 + high * 256 + low)
  end

  fact = function(J, name)
    if not J.facts then return nil end
    if not J.f then
      J.f = {}
      local pairs_ = call('HGETALL', P .. 'f:' .. J.id)
      for i = 1, #pairs_, 2 do J.f[pairs_[i]] = pairs_[i + 1] end
    end
    return J.f[name]
  end

  set_fact = function(J, name, value)
    if fact(J, name) == value then return end
    J.facts, J.f = true, J.f or {}
    J.f[name] = value
    J.changes = J.changes or {}
    J.changes[name] = true
    touch(J)
  end

  local function write_facts(J)
    for name in pairs(J.changes) do
      if J.f[name] == nil then
        call('HDEL', P .. 'f:' .. J.id, name)
      else
        call('HSET', P .. 'f:' .. J.id, name, J.f[name])
      end
    end
  end

  set_result = function(J, result)
    if #result > INLINE then
      call('SET', P .. 'r:' .. J.id, sub(result, 2))
      result = '>'
    end
    J.result = result
  end

  flush = function()
    for _, J in ipairs(DIRTY) do
      if J.gone then
        call('DEL', P .. 'j:' .. J.id, P .. 'f:' .. J.id, P .. 'a:' .. J.id, P .. 'p:' .. J.id,
          P .. 'r:' .. J.id, P .. 'w:' .. J.id)
      else
        if J.changes then write_facts(J) end
        call('SET', P .. 'j:' .. J.id, text(J))
      end
    end
  end
end
--@ enclose
