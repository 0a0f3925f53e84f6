-- The jobs of many indexes by arrival. Of a source, which is an index or a part of one, some are
-- fetched at a time; a heap has the sources with their next job.
-- ARGV: 5 cursor or "", 6 "1" for the oldest first, 7 how many, 8 the last that may be given or "".
--@ include queues
local CURSOR, OLDEST, COUNT, LAST = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7]), tonumber(ARGV[8])
local before, add_index, merged
do
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

  add_index = function(sources, key, by_place)
    if by_place then return add_lanes(sources, key) end
    sources[#sources + 1] = { key = key, low = 0, high = PRIORITY }
  end

  -- Have the next jobs of a source at hand; false at its end.
  local function fill(source, chunk)
    if source.over then return false end
    local low, reply = source.low, nil
    if OLDEST then
      local from = source.last and '(' .. format('%.17g', source.last + low) or low
      local to = LAST and LAST + low or '(' .. format('%.17g', source.high)
      reply = call('ZRANGEBYSCORE', source.key, from, to, 'WITHSCORES', 'LIMIT', 0, chunk)
    else
      local from = '(' .. format('%.17g', source.last and source.last + low or source.high)
      local to = LAST and LAST + low or low
      reply = call('ZREVRANGEBYSCORE', source.key, from, to, 'WITHSCORES', 'LIMIT', 0, chunk)
    end
    source.over = #reply < 2 * chunk
    source.reply, source.at = reply, 1
    if #reply == 0 then return false end
    source.last = tonumber(reply[#reply]) - low
    source.seq = tonumber(reply[2]) - low
    return true
  end

  local function step(source, chunk)
    source.at = source.at + 2
    if source.at > #source.reply then return fill(source, chunk) end
    source.seq = tonumber(source.reply[source.at + 1]) - source.low
    return true
  end

  before = function(one, other)
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

  -- The first jobs of all sources, as { id, seq }.
  merged = function(sources)
    local heap, found = {}, {}
    local chunk = math.min(COUNT, math.max(4, math.ceil(2 * COUNT / math.max(1, #sources))))
    for _, source in ipairs(sources) do
      source.last = CURSOR
      if fill(source, chunk) then heap[#heap + 1] = source end
    end
    table.sort(heap, before)
    while #heap > 0 and #found < COUNT do
      local source = heap[1]
      found[#found + 1] = { id = source.reply[source.at], seq = source.seq }
      if not step(source, chunk) then
        heap[1] = heap[#heap]
        heap[#heap] = nil
      end
      sink(heap)
    end
    return found
  end
end
