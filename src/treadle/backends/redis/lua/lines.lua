-- Lines in front of a key ("key:<key>") or of a bounded number of slots ("limit:<key>").
--
--   l:<line>   hash: slots, used, woken (units meant for jobs that were woken), members (jobs of a
--              key that are not final)
--   lw:<line>  jobs that wait, by place       lb:<line>  jobs that later ordered ones must not pass
--   lk:<line>  hash: woken job -> units:queue lt:<line>  tickets of the worker door, by arrival
--   lines      set: lines with woken jobs
--@ include queues
local LINES, SLACK = {}, {}

local function line_of(name, slots)
  local line = LINES[name]
  if not line then
    local values = call('HMGET', P .. 'l:' .. name, 'slots', 'used', 'woken', 'members')
    line = {
      name = name, slots = tonumber(values[1]), used = tonumber(values[2] or 0),
      woken = tonumber(values[3] or 0), members = tonumber(values[4] or 0),
    }
    LINES[name] = line
  end
  if not line.slots and slots then
    line.slots = slots
    -- Should nobody take a place in it, it is forgotten again.
    SLACK[#SLACK + 1] = name
  end
  return line.slots and line
end

local function slack(name)
  SLACK[#SLACK + 1] = name
end

local function key_line(J)
  local x = extra_of(J)
  return line_of('key:' .. x.k, x.s or 1)
end

local function waiting_in(line)
  return call('ZCARD', P .. 'lw:' .. line.name)
end

local function line_place(J)
  return J.seq - (J.ordered and 0 or J.prio) * PRIORITY
end

local function join_line(line, J, need)
  set_fact(J, 'parked', line.name)
  set_fact(J, 'need', whole(need))
  call('ZADD', P .. 'lw:' .. line.name, line_place(J), J.id)
end

local function leave_line(line, J)
  set_fact(J, 'parked', nil)
  call('ZREM', P .. 'lw:' .. line.name, J.id)
end

-- Let later ordered jobs of its key wait for it.
local function join_key(J)
  if J.keyed and not J.lined then
    J.lined = true
    touch(J)
    call('ZADD', P .. 'lb:' .. key_line(J).name, J.seq, J.id)
  end
end

local first_of
do
  local function blocks(J)
    if J.state == SCHEDULED then return J.tries > 0 or J.paid end
    return J.state == QUEUED or J.state == RUNNING or fact(J, 'parked') ~= nil
  end

  -- The earliest job of a key that ordered ones must not pass.
  first_of = function(line)
    while true do
      local id = call('ZRANGE', P .. 'lb:' .. line.name, 0, 0)[1]
      if not id then return nil end
      local J = load(id)
      if J and blocks(J) then return J end
      call('ZREM', P .. 'lb:' .. line.name, id)
      if J then
        J.lined = false
        touch(J)
      end
    end
  end
end

local function wake_up(line, J, units)
  call('HSET', P .. 'lk:' .. line.name, J.id, whole(units) .. ':' .. J.queue)
  call('SADD', P .. 'lines', line.name)
  line.woken = line.woken + units
  set_fact(J, 'woken', line.name)
end

-- Nothing is meant for a woken job any longer.
local function unwake(name, id)
  local said = call('HGET', P .. 'lk:' .. name, id)
  if not said then return end
  local line = line_of(name)
  call('HDEL', P .. 'lk:' .. name, id)
  if line then line.woken = line.woken - tonumber(string.match(said, '^%d+')) end
  if call('EXISTS', P .. 'lk:' .. name) == 0 then call('SREM', P .. 'lines', name) end
end

local function forget_line(line)
  local idle = line.used == 0 and line.woken == 0 and line.members == 0
    and call('EXISTS', P .. 'lw:' .. line.name, P .. 'lt:' .. line.name) == 0
  if idle then
    line.slots = nil
    call('DEL', P .. 'lb:' .. line.name)
  end
end

local function flush_lines()
  for name, line in pairs(LINES) do
    if line.slots then
      call('HSET', P .. 'l:' .. name, 'slots', whole(line.slots), 'used', whole(line.used),
        'woken', whole(line.woken), 'members', whole(line.members))
    else
      call('DEL', P .. 'l:' .. name)
    end
  end
end
