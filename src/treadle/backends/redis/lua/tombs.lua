-- ARGV: 4 … ids. Gives the tombstone of each, see endings.lua, or "".
--@ include endings
local answer = {}
for i = 4, #ARGV do
  local tomb = tomb_of(ARGV[i])
  answer[#answer + 1] = tomb and tomb.text or ''
end
return answer
