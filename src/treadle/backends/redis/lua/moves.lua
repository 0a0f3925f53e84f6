-- How a job moves between the states that are not final, one arrow each.
--@ include lines
local PARK_MAX = 100

-- Take a job that does not run out of the place where it stands; a shift follows.
local function leave(J)
  if J.state == QUEUED then
    local name = fact(J, 'woken')
    if name then
      unwake(name, J.id)
      -- The next may have what this one was woken for.
      slack(name)
      set_fact(J, 'woken', nil)
    end
  elseif J.state == WAITING then
    local name = fact(J, 'parked')
    if name then
      leave_line(line_of(name), J)
    else
      call('DEL', P .. 'w:' .. J.id)
    end
  end
end

local function to_queue(J)
  shift(J, QUEUED)
  join_key(J)
  stirred(J.queue)
end

local function to_schedule(J, due)
  J.due = due
  shift(J, SCHEDULED)
  local head = call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
  call('ZADD', P .. 'due', ticks(due), stamped(J))
  -- Who waits may have to wake sooner.
  if not head[2] or due < tonumber(head[2]) / TICKS then stirred() end
  join_key(J)
end

local function park(J, line, need)
  shift(J, WAITING)
  join_line(line, J, need)
  join_key(J)
  -- It may have come to stand before those that kept the line waiting.
  slack(line.name)
end

-- Put a job that waited for something else where it belongs now.
local function arrive(J)
  if J.due > NOW then return to_schedule(J, J.due) end
  if J.keyed then
    local line = key_line(J)
    if line.used >= line.slots then return park(J, line, 1) end
  end
  to_queue(J)
end

local function release_units(holds)
  for _, hold in ipairs(holds) do
    local line = line_of(hold[1])
    if line then
      line.used = line.used - hold[2]
      slack(hold[1])
    end
  end
end

local wake_lines
do
  local function next_in(line)
    local id = call('ZRANGE', P .. 'lw:' .. line.name, 0, 0)[1]
    local J = id and load(id)
    if id and not J then
      call('ZREM', P .. 'lw:' .. line.name, id)
      return next_in(line)
    end
    if J and J.ordered and sub(line.name, 1, 4) == 'key:' then
      -- It has to wait for the earliest, which may stand behind it by its priority.
      J = first_of(line)
    end
    return J and fact(J, 'parked') == line.name and J or nil
  end

  local function wake(line)
    local woken = 0
    while line.slots - line.used - line.woken > 0 and woken < PARK_MAX do
      local J = next_in(line)
      if not J then return end
      local need = math.min(tonumber(fact(J, 'need')), line.slots)
      if need > line.slots - line.used - line.woken then return end
      leave_line(line, J)
      woken = woken + 1
      if J.due > NOW then
        to_schedule(J, J.due)
      else
        -- What waits in a paused queue must not keep the units from the others.
        if room(J.queue) > 0 then wake_up(line, J, need) end
        to_queue(J)
      end
    end
  end

  -- Let the first of each line that has free units compete for them.
  wake_lines = function()
    while #SLACK > 0 do
      local line = line_of(table.remove(SLACK))
      if line then
        wake(line)
        forget_line(line)
      end
    end
  end
end
