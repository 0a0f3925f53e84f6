-- ARGV: 4 queue, 5 bound. Gives [1 when the queue is below it, seconds until anything happens by
-- itself or ""]. When there is no room it says that somebody waits.
--@ include drains
--@ include coming
advance()
local free_ = open_jobs(ARGV[4]) < tonumber(ARGV[5])
if not free_ then call('SET', P .. 'roomy', 1, 'PX', 60000) end
done()
return with_fates({ free_ and 1 or 0, next_event() })
