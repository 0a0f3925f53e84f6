-- Small versioned values: c:<key> is version, until, value; cells has all keys, cellsdue those with
-- a time.
--@ include base
local CELL = '<I6d'

local function cell_of(key)
  local bytes = call('GET', P .. 'c:' .. key)
  if not bytes then return nil end
  local version, until_ = unpack_bytes(CELL, bytes)
  if until_ ~= NONE and NOW >= until_ then return nil end
  return { version, sub(bytes, 15) }
end
