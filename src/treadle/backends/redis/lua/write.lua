-- ARGV: 4 name of the request, 5 number of writes, and for each: key, version that must be there or
-- "", value ("" deletes, else "=" and the value), seconds or "", rule ("" for a cell that is none,
-- "-" for none any longer, else msgpack as in queues.lua). Gives 1, or 0 when nothing was written.
--@ include drains
--@ include advance
--@ include cells
--@ include once

-- What was meant for jobs of queues that are now paused is for others.
local function look_again()
  for _, name in ipairs(call('SMEMBERS', P .. 'lines')) do
    local woken = call('HGETALL', P .. 'lk:' .. name)
    for i = 1, #woken, 2 do
      if room(string.match(woken[i + 1], ':(.*)$')) <= 0 then
        unwake(name, woken[i])
        local J = load(woken[i])
        if J then set_fact(J, 'woken', nil) end
        slack(name)
      end
    end
  end
end

local function version_of(key)
  local cell = cell_of(key)
  return cell and cell[1] or 0
end

local function put(key, value_, seconds, rule)
  local version = version_of(key) + 1
  drop_cell(key)
  if value_ ~= '' then
    local until_ = seconds ~= '' and NOW + tonumber(seconds) or NONE
    call('SET', P .. 'c:' .. key, pack(CELL, version, until_) .. sub(value_, 2))
    call('ZADD', P .. 'cells', 0, key)
    if until_ ~= NONE then call('ZADD', P .. 'cellsdue', ticks(until_), key) end
  end
  if rule ~= '' and rule ~= '-' then call('HSET', P .. 'rules', sub(key, 7), rule) end
  if rule ~= '' then
    RULE[sub(key, 7)] = nil
    return true
  end
end

local function write()
  for i = 6, 5 + 5 * tonumber(ARGV[5]), 5 do
    if ARGV[i + 1] ~= '' and tonumber(ARGV[i + 1]) ~= version_of(ARGV[i]) then return '0' end
  end
  local rules = false
  for i = 6, 5 + 5 * tonumber(ARGV[5]), 5 do
    if put(ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]) then rules = true end
  end
  RULES = call('EXISTS', P .. 'rules') == 1
  if rules then
    look_again()
    stirred()
  end
  return '1'
end

local before = answered(ARGV[4])
if before then return before end
local answer = write()
done()
return answer_once(ARGV[4], answer)
