-- ARGV: 4 number of jobs, which follow as in arrivals.lua, and then letters, see posting.lua: the
-- follow-ups of a job of another shard.
--@ include posting
--@ include arrivals
arrivals(5, tonumber(ARGV[4]), true)
fail_dependants(ADVANCE)
done()
return with_fates(1)
