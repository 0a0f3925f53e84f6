-- ARGV[4] is the number of jobs, which follow as in arrivals.lua. Gives an answer for each: the
-- number of its status, and the id of the job in question when that is another.
--@ include arrivals
local answers = arrivals(5, tonumber(ARGV[4]), false)
fail_dependants(ADVANCE)
done()
return with_fates(answers)
