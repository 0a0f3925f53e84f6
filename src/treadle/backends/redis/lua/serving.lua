-- Which queues a claim is served from, and in what turn. Arguments from `at` on: the number of
-- queues and their names, the number of those excluded and their names; what comes after them is
-- the caller's.
--
--   turns     hash: name in a claim -> queue that was served last
--   suspects  set: queues with suspects; fresh: there are some that no claim has seen
--@ include queues
local SERVED, PLACES, OVERLAPPING = {}, {}, false

local function read_names(at)
  local number = tonumber(ARGV[at])
  for i = at + 1, at + number do
    local name = ARGV[i]
    if not PLACES[name] then
      SERVED[#SERVED + 1] = name
      PLACES[name] = #SERVED
    end
  end
  OVERLAPPING = #SERVED > 1
  at = at + number + 1
  local excluded = tonumber(ARGV[at])
  for i = at + 1, at + excluded do
    PLACES[ARGV[i]] = 0
    OVERLAPPING = true
  end
  return at + excluded + 1
end

-- Index of the name that serves a queue: the longest that covers it; 0 when none does.
local function served_by(queue)
  if PLACES[queue] then return PLACES[queue] end
  for _, name in ipairs(above(queue)) do
    if PLACES[name] then return PLACES[name] end
  end
  return PLACES['*'] or 0
end

local function eligible(queue, number)
  return (not OVERLAPPING or served_by(queue) == number) and (not RULES or room(queue) > 0)
end

-- Add the queues between two bounds until so many are found.
local function scan(from, to, number, need, found)
  local chunk = need + 16
  while #found < need do
    local names = call('ZRANGEBYLEX', P .. 'ready', from, to, 'LIMIT', 0, chunk)
    for _, name in ipairs(names) do
      if eligible(name, number) then found[#found + 1] = name end
    end
    if #names < chunk then return end
    from = '(' .. names[#names]
  end
end

-- Queues with jobs under one name, beginning after the one that was served last; at least `need`
-- where there are as many.
local function members(number, last, need)
  local name, found = SERVED[number], {}
  local all = name == '*'
  local from, to = all and '-' or '[' .. name .. '.', all and '+' or '(' .. name .. '/'
  local function own()
    if not all and call('ZSCORE', P .. 'ready', name) and eligible(name, number) then
      found[#found + 1] = name
    end
  end
  if not last then
    own()
    scan(from, to, number, need, found)
  elseif last == name then
    scan(from, to, number, need, found)
    own()
  else
    scan('(' .. last, to, number, need, found)
    own()
    if #found < need then scan(from, '[' .. last, number, need, found) end
  end
  return found
end

-- Whether there is something to claim.
local function claimable()
  for number in ipairs(SERVED) do
    if #members(number, nil, 1) > 0 then return true end
  end
  return false
end

-- The first suspect that a claim may have: its id; or nil.
local function first_suspect()
  local best, id
  for _, queue in ipairs(call('SMEMBERS', P .. 'suspects')) do
    local number = served_by(queue)
    local head = call('ZRANGE', index('X', queue), 0, 0, 'WITHSCORES')
    if number > 0 and head[1] and room(queue) > 0 then
      local score = tonumber(head[2])
      if not best or number < best[1] or (number == best[1] and score < best[2]) then
        best, id = { number, score }, head[1]
      end
    end
  end
  return id
end
