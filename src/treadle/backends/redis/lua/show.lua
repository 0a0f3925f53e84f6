-- ARGV: 4 … ids. Gives for each its job as in shown.lua, or "" when it is gone; or nothing but 1 when time
-- is behind.
--@ include drains
--@ include shown
local behind = advance()
done()
if behind then return with_fates(1) end
local answer = {}
for i = 4, #ARGV do
  local J = load(ARGV[i])
  answer[#answer + 1] = J and shown(J) or ''
end
return with_fates(answer)
