-- ARGV: 4 … keys; one that ends in * stands for all with that prefix. Gives [key, version, value, …]
-- and for sessions [nonce in hex, info, opened, until, …].
--@ include cells
local SESSION = 'session:'
local found, sessions = {}, {}

local function add(key)
  local cell = cell_of(key)
  if cell then
    found[#found + 1] = key
    found[#found + 1] = whole(cell[1])
    found[#found + 1] = cell[2]
  end
end

local function add_session(name)
  local values = call('HMGET', P .. 's:' .. name, 'info', 'opened', 'until')
  if values[1] and tonumber(values[3]) > NOW then
    sessions[#sessions + 1] = name
    for i = 1, 3 do sessions[#sessions + 1] = values[i] end
  end
end

for i = 4, #ARGV do
  local key = ARGV[i]
  if sub(key, -1) ~= '*' then
    add(key)
    if sub(key, 1, #SESSION) == SESSION then add_session(sub(key, #SESSION + 1)) end
  else
    local prefix = sub(key, 1, -2)
    local from, to = '[' .. prefix, '(' .. prefix .. '\255'
    if prefix == '' then from, to = '-', '+' end
    for _, name in ipairs(call('ZRANGEBYLEX', P .. 'cells', from, to)) do add(name) end
    if sub(SESSION, 1, #prefix) == prefix or sub(prefix, 1, #SESSION) == SESSION then
      for _, name in ipairs(call('ZRANGEBYSCORE', P .. 'sessions', '(' .. format('%.17g', NOW), '+inf')) do
        if sub(SESSION .. name, 1, #prefix) == prefix then add_session(name) end
      end
    end
  end
end
return { found, sessions }
