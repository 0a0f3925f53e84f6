-- When anything happens by itself next.
--@ include advance
local function next_event()
  local at = earliest({ 'due', 'leased', 'expiring', 'permits', 'cellsdue' })
  if RULES then
    for _, rule in ipairs(call('HVALS', P .. 'rules')) do
      local until_ = cmsgpack.unpack(rule)[2]
      if until_ > NOW then at = math.min(at, until_) end
    end
  end
  return at < math.huge and format('%.17g', math.max(0, at - NOW)) or ''
end
