-- ARGV: 4 where to look, 5 cursor or "", 6 "1" for the oldest first, 7 how many, 8 … of
--   i  these ids      u  the holder of a unique key      o  a flow      t  failed jobs of these tasks
--   q  a queue with its subqueues ("*" for all), 9 letters of states
-- Gives jobs by arrival beyond the cursor, see shown.lua; or nothing but 1 when time is behind.
--@ include drains
--@ include shown
local KIND, CURSOR, OLDEST, COUNT = ARGV[4], tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7])

-- Keys of the queues that a name covers.
local function covered(name)
  if name == '*' then return call('ZRANGE', P .. 'queues', 0, -1) end
  local found = call('ZRANGEBYLEX', P .. 'queues', '[' .. name .. '.', '(' .. name .. '/')
  if call('ZSCORE', P .. 'queues', name) then found[#found + 1] = name end
  return found
end

-- What is sorted by place is as many sources as it has priorities.
local function add_lanes(sources, key)
  local from = '-inf'
  while true do
    local head = call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[2] then return end
    local low = math.floor(tonumber(head[2]) / PRIORITY) * PRIORITY
    sources[#sources + 1] = { key = key, low = low, high = low + PRIORITY }
    from = low + PRIORITY
  end
end

local function sources_of()
  local sources = {}
  if KIND == 'o' then
    sources[1] = { key = P .. 'o:' .. ARGV[8], low = 0, high = PRIORITY }
  elseif KIND == 't' then
    for i = 8, #ARGV do
      sources[#sources + 1] = { key = P .. 'ft:' .. ARGV[i], low = 0, high = PRIORITY }
    end
  else
    for _, queue in ipairs(covered(ARGV[8])) do
      for letter in string.gmatch(ARGV[9], '.') do
        if SCORES[letter] then
          add_lanes(sources, index(letter, queue))
        else
          sources[#sources + 1] = { key = index(letter, queue), low = 0, high = PRIORITY }
        end
      end
    end
  end
  return sources
end

-- Have the next jobs of a source at hand; false at its end.
local function fill(source, chunk)
  if source.over then return false end
  local reply
  if OLDEST then
    local from = source.last and '(' .. format('%.17g', source.last + source.low) or source.low
    reply = call('ZRANGEBYSCORE', source.key, from, '(' .. format('%.17g', source.high),
      'WITHSCORES', 'LIMIT', 0, chunk)
  else
    local from = '(' .. format('%.17g', source.last and source.last + source.low or source.high)
    reply = call('ZREVRANGEBYSCORE', source.key, from, source.low, 'WITHSCORES', 'LIMIT', 0, chunk)
  end
  source.over = #reply < 2 * chunk
  source.reply, source.at = reply, 1
  if #reply == 0 then return false end
  source.last = tonumber(reply[#reply]) - source.low
  source.seq = tonumber(reply[2]) - source.low
  return true
end

local function step(source, chunk)
  source.at = source.at + 2
  if source.at > #source.reply then return fill(source, chunk) end
  source.seq = tonumber(source.reply[source.at + 1]) - source.low
  return true
end

local function before(one, other)
  if OLDEST then return one.seq < other.seq end
  return one.seq > other.seq
end

-- Put the first of a heap where it belongs.
local function sink(heap)
  local at, size = 1, #heap
  while true do
    local child = 2 * at
    if child > size then return end
    if child < size and before(heap[child + 1], heap[child]) then child = child + 1 end
    if not before(heap[child], heap[at]) then return end
    heap[at], heap[child] = heap[child], heap[at]
    at = child
  end
end

local function merged()
  local sources, heap, found = sources_of(), {}, {}
  local chunk = math.min(COUNT, math.max(4, math.ceil(2 * COUNT / math.max(1, #sources))))
  for _, source in ipairs(sources) do
    source.last = CURSOR
    if fill(source, chunk) then heap[#heap + 1] = source end
  end
  table.sort(heap, before)
  while #heap > 0 and #found < COUNT do
    local source = heap[1]
    found[#found + 1] = source.reply[source.at]
    if not step(source, chunk) then
      heap[1] = heap[#heap]
      heap[#heap] = nil
    end
    sink(heap)
  end
  return found
end

local function named()
  local jobs, found = {}, {}
  if KIND == 'u' then
    local holder = call('GET', P .. 'u:' .. ARGV[8])
    local until_ = holder and unpack_bytes('<d', holder)
    local ids = {}
    for i = 9, #ARGV do ids[ARGV[i]] = true end
    if holder and (until_ == NONE or until_ > NOW) and (#ARGV == 8 or ids[sub(holder, 9)]) then
      jobs[1] = load(sub(holder, 9)) or nil
    end
  else
    local seen = {}
    for i = 8, #ARGV do
      local J = not seen[ARGV[i]] and load(ARGV[i])
      seen[ARGV[i]] = true
      if J then jobs[#jobs + 1] = J end
    end
  end
  table.sort(jobs, before)
  for _, J in ipairs(jobs) do
    local beyond = not CURSOR or (OLDEST and J.seq > CURSOR) or (not OLDEST and J.seq < CURSOR)
    if beyond and #found < COUNT then found[#found + 1] = J.id end
  end
  return found
end

local behind = advance()
done()
if behind then return with_fates(1) end
local answer = {}
for _, id in ipairs((KIND == 'i' or KIND == 'u') and named() or merged()) do
  local J = load(id)
  if J then answer[#answer + 1] = shown(J) end
end
return with_fates(answer)
