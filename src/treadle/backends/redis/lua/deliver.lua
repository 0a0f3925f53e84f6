-- ARGV: 4 … for each end of a job of another shard: who waits for it, its id, the state in which it
-- ended. What is told twice is heard once.
--@ include drains
--@ include advance
for i = 4, #ARGV, 3 do
  local J = load(ARGV[i])
  if J then dependency_ended(J, ARGV[i + 1], tonumber(ARGV[i + 2])) end
end
fail_dependants(ADVANCE)
done()
return with_fates(1)
