-- ARGV: 4 a queue, with its subqueues; "*" for all. Gives [[queue, numbers by state …], …] and
-- [[task, failed], …].
--@ include queues
local names
if ARGV[4] == '*' then
  names = call('ZRANGE', P .. 'queues', 0, -1)
else
  names = call('ZRANGEBYLEX', P .. 'queues', '[' .. ARGV[4] .. '.', '(' .. ARGV[4] .. '/')
  names[#names + 1] = ARGV[4]
end
local queues, tasks = {}, {}
for i, name in ipairs(names) do
  local numbers = { name }
  for k, letter in ipairs(ALL_STATES) do numbers[k + 1] = call('ZCARD', index(letter, name)) end
  queues[i] = numbers
end
for i, task in ipairs(call('SMEMBERS', P .. 'ftasks')) do
  tasks[i] = { task, call('ZCARD', P .. 'ft:' .. task) }
end
return { queues, tasks }
