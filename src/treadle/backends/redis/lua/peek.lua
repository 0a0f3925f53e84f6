-- ARGV: 4 … the names of a claim, see serving.lua. Gives [1 when there is something to claim,
-- suspects: 2 for some that no claim has seen, 1 for others, seconds until anything happens by
-- itself or ""]. When there is nothing it says that somebody waits.
--@ include drains
--@ include coming
--@ include serving
read_names(4)
advance()
local ready, suspects = claimable(), 0
if first_suspect() then suspects = call('EXISTS', P .. 'fresh') + 1 end
done()
local seconds = next_event()
if not ready then call('SET', P .. 'idle', 1) end
return with_fates({ ready and 1 or 0, suspects, seconds })
