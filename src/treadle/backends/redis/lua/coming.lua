-- When anything happens by itself next; the instant of the next job may be known.
--@ include advance
local function next_event(soonest)
  local at = soonest or earliest({ 'due', 'leased' })
  at = math.min(at, earliest({ 'expiring', 'permits', 'cellsdue' }))
  if RULES then
    for _, rule in ipairs(call('HVALS', P .. 'rules')) do
      local until_ = cmsgpack.unpack(rule)[2]
      if until_ > NOW then at = math.min(at, until_) end
    end
  end
  return at < math.huge and format('%.17g', math.max(0, at - NOW)) or ''
end
