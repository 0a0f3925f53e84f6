-- ARGV: 4 the cell of a rule. Gives the number of letters so far, the seconds that it is kept or "", and
-- "" or "=" and its value.
--@ include cells
local bytes = cell_of(ARGV[4]) and call('GET', P .. 'c:' .. ARGV[4])
local seq = call('GET', P .. 'outseq') or '0'
if not bytes then return { seq, '', '' } end
local _, until_ = unpack_bytes(CELL, bytes)
return { seq, until_ ~= NONE and format('%.17g', until_ - NOW) or '', '=' .. sub(bytes, 15) }
