-- ARGV: 4 a queue, with its subqueues; "*" for all, 5 how many to look at, 6 the name after which to
-- go on; "" from the beginning. Gives [the name to go on after, or "" at the end,
-- [queue, numbers by state …], …].
--@ include queues
local QUEUE, MOST, AFTER = ARGV[4], tonumber(ARGV[5]), ARGV[6]
local answer = { '' }

local function count(name)
  local numbers = { name }
  for k, letter in ipairs(ALL_STATES) do numbers[k + 1] = call('ZCARD', index(letter, name)) end
  answer[#answer + 1] = numbers
end

local from, to = '-', '+'
if QUEUE ~= '*' then
  from, to = '[' .. QUEUE .. '.', '(' .. QUEUE .. '/'
  if AFTER == '' then count(QUEUE) end
end
if AFTER ~= '' then from = '(' .. AFTER end
local names = call('ZRANGEBYLEX', P .. 'queues', from, to, 'LIMIT', 0, MOST)
for _, name in ipairs(names) do count(name) end
if #names == MOST then answer[1] = names[MOST] end
return answer
