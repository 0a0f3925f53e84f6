-- Moves time forward. Gives 1 when there is more to move on.
--@ include drains
--@ include advance
local more = advance()
done()
return more and 1 or 0
