-- ARGV: 4 about how many tasks to look at, 5 where to go on; "0" from the beginning. Gives [where to go
-- on, or "0" at the end, [task, failed jobs], …]; a task may come twice.
--@ include base
local cursor, tasks = unpack(call('SSCAN', P .. 'ftasks', ARGV[5], 'COUNT', ARGV[4]))
local answer = { cursor }
for i, task in ipairs(tasks) do answer[i + 1] = { task, call('ZCARD', P .. 'ft:' .. task) } end
return answer
