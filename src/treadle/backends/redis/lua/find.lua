-- ARGV: 4 where to look, 5 … 8 see merge.lua, 9 "1" to be given places only, 10 … of
--   i  these ids      u  the holder of a unique key      o  a flow      t  failed jobs of these tasks
--   q  a queue with its subqueues ("*" for all), 11 letters of states, 12 how many queues to look at,
--      13 the name after which to go on; "" from the beginning
-- Gives [the name to go on after, or "" at the end, the number of the newest job, [id, number of its
-- arrival, …], [jobs as in shown.lua]]; the jobs only where nothing is left to look at and more than places is
-- asked for. Or nothing but 1 when time is behind.
--@ include drains
--@ include merge
--@ include shown
local KIND, PLACES, OF = ARGV[4], ARGV[9] == '1', ARGV[10]

-- Names of the next queues that a name covers.
local function covered(most, after)
  if OF == '*' then
    return call('ZRANGEBYLEX', P .. 'queues', after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, most)
  end
  local from = after == '' and '[' .. OF .. '.' or '(' .. after
  return call('ZRANGEBYLEX', P .. 'queues', from, '(' .. OF .. '/', 'LIMIT', 0, most)
end

local function add_queue(sources, queue)
  for letter in string.gmatch(ARGV[11], '.') do
    add_index(sources, index(letter, queue), SCORES[letter])
  end
end

-- The indexes of queues, and the name after which to go on. A queue may have many priorities, each of
-- which is a source; so those are counted, too.
local function of_queues(sources)
  local most, after = tonumber(ARGV[12]), ARGV[13]
  if after == '' and OF ~= '*' then add_queue(sources, OF) end
  local names = covered(most, after)
  for i, name in ipairs(names) do
    add_queue(sources, name)
    if i == most or #sources >= most * #ALL_STATES then return name end
  end
  return ''
end

local function sources_of()
  local sources, next_name = {}, ''
  if KIND == 'o' then
    add_index(sources, P .. 'o:' .. OF)
  elseif KIND == 't' then
    for i = 10, #ARGV do add_index(sources, P .. 'ft:' .. ARGV[i]) end
  else
    next_name = of_queues(sources)
  end
  return sources, next_name
end

local function named()
  local jobs, found = {}, {}
  if KIND == 'u' then
    local holder = call('GET', P .. 'u:' .. OF)
    local until_ = holder and unpack_bytes('<d', holder)
    local ids = {}
    for i = 11, #ARGV do ids[ARGV[i]] = true end
    if holder and (until_ == NONE or until_ > NOW) and (#ARGV == 10 or ids[sub(holder, 9)]) then
      jobs[1] = load(sub(holder, 9)) or nil
    end
  else
    local seen = {}
    for i = 10, #ARGV do
      local J = not seen[ARGV[i]] and load(ARGV[i])
      seen[ARGV[i]] = true
      if J then jobs[#jobs + 1] = J end
    end
  end
  table.sort(jobs, before)
  for _, J in ipairs(jobs) do
    local beyond = not CURSOR or (OLDEST and J.seq > CURSOR) or (not OLDEST and J.seq < CURSOR)
    if beyond and #found < COUNT then found[#found + 1] = { id = J.id, seq = J.seq } end
  end
  return found
end

local function find()
  local next_name, found = '', nil
  if KIND == 'i' or KIND == 'u' then
    found = named()
  else
    local sources
    sources, next_name = sources_of()
    found = merged(sources)
  end
  local places, jobs = {}, {}
  for _, one in ipairs(found) do
    places[#places + 1], places[#places + 2] = one.id, whole(one.seq)
    if next_name == '' and not PLACES then
      local J = load(one.id)
      jobs[#jobs + 1] = J and shown(J) or ''
    end
  end
  return { next_name, call('GET', P .. 'seq') or '0', places, jobs }
end

local behind = advance()
done()
return with_fates(behind and 1 or find())
