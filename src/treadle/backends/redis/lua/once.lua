-- Requests that are not idempotent by themselves carry a name, under which their answer is kept for
-- as long as they may be repeated: y:<name>.
--@ include base
local function answered(name)
  return call('GET', P .. 'y:' .. name)
end

local function answer_once(name, text_)
  call('SET', P .. 'y:' .. name, text_, 'PX', 120000)
  return text_
end
