-- Moves time forward. Gives 1 when there is more to move on.
--@ include drains
--@ include advance
local more = advance()
done()
return with_fates(more and 1 or 0)
