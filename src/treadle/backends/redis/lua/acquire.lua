-- ARGV: 4 id for the permit, 5 id of the ticket, old or new, 6 lease, 7 asks in msgpack. Gives
-- [1, fence] or [0, seconds after which to ask again].
--
--   g:<permit>  hash: holds, fence       x:<ticket>  hash: number (its arrival), lines
--   fences, arrivals  counters
--@ include gate
local PERMIT, TICKET, LEASE = ARGV[4], ARGV[5], tonumber(ARGV[6])
local ASKS = cmsgpack.unpack(ARGV[7])
local TURN, TURN_MAX, UNUSED = 0.05, 1, 5

local function line_names()
  local names, seen = {}, {}
  for _, ask in ipairs(ASKS) do
    local name = 'limit:' .. ask[2]
    if not seen[name] then names[#names + 1] = name end
    seen[name] = true
  end
  return names
end

-- How many others are before a request, in the longest of its lines.
local function ahead(names, number)
  local most = 0
  for _, name in ipairs(names) do
    local to = number and '(' .. number or '+inf'
    most = math.max(most, call('ZCOUNT', P .. 'lt:' .. name, '-inf', to))
  end
  return most
end

-- Spend the rates if everything conforms; else the seconds after which to ask again.
local function take()
  for _, hold in ipairs(holds_of(ASKS)) do
    if slots_line(hold).used + hold.units > hold.slots then return TURN end
  end
  return RATE.spend(spends_of(ASKS), false) - NOW
end

local function grant()
  local holds = {}
  for i, hold in ipairs(holds_of(ASKS)) do
    local line = slots_line(hold)
    line.used = line.used + hold.units
    holds[i] = { line.name, hold.units }
  end
  local fence = call('INCR', P .. 'fences')
  call('HSET', P .. 'g:' .. PERMIT, 'holds', cmsgpack.pack(holds), 'fence', fence)
  call('ZADD', P .. 'permits', ticks(NOW + LEASE), 'g' .. PERMIT)
  return { 1, tostring(fence) }
end

local function queue_up(names)
  local number = call('INCR', P .. 'arrivals')
  call('HSET', P .. 'x:' .. TICKET, 'number', number, 'lines', cmsgpack.pack(names))
  for _, ask in ipairs(ASKS) do
    local line = line_of('limit:' .. ask[2], ask[1] == 1 and ask[3] or 0)
    call('ZADD', P .. 'lt:' .. line.name, number, TICKET)
  end
end

local function acquire()
  advance()
  local names = line_names()
  local number = call('HGET', P .. 'x:' .. TICKET, 'number')
  local others = ahead(names, number)
  local delay = others > 0 and math.min(TURN_MAX, TURN * others) or take()
  if delay <= 0 then
    if number then drop_place(TICKET, cmsgpack.unpack(call('HGET', P .. 'x:' .. TICKET, 'lines'))) end
    return grant()
  end
  if not number then queue_up(names) end
  call('ZADD', P .. 'permits', ticks(NOW + math.max(UNUSED, 2 * delay)), 't' .. TICKET)
  return { 0, format('%.17g', delay) }
end

local before = call('HGET', P .. 'g:' .. PERMIT, 'fence')
if before then return { 1, before } end
local answer = acquire()
done()
return with_fates(answer)
