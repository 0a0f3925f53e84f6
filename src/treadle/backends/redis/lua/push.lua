-- ARGV: 4 number of jobs, 5 "1" when who pushes the one job will wait for its end; and the jobs as in
-- arrivals.lua. Gives an answer for each: the number of its status, and the id of the job in question
-- when that is another.
--@ include arrivals
local answers = arrivals(6, tonumber(ARGV[4]), false)
if ARGV[5] == '1' and answers[1] == '0' then call('ZADD', P .. 'ends', NOW + WATCH, ARGV[6]) end
fail_dependants(ADVANCE)
done()
return with_fates(answers)
