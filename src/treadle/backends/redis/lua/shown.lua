-- A job as it is shown: [id, record, payload kept apart, result kept apart, facts, attempts, ids it
-- waits for], with "" and empty lists for what there is not.
--@ include advance
local function shown(J)
  local record = J.dirty and text(J) or call('GET', P .. 'j:' .. J.id)
  local facts = {}
  fact(J, '')
  for name, said in pairs(J.f or {}) do
    facts[#facts + 1] = name
    facts[#facts + 1] = said
  end
  return {
    J.id, record, J.apart and call('GET', P .. 'p:' .. J.id) or '',
    J.result == '>' and call('GET', P .. 'r:' .. J.id) or '', facts,
    J.facts and call('LRANGE', P .. 'a:' .. J.id, 0, -1) or {},
    J.state == WAITING and call('SMEMBERS', P .. 'w:' .. J.id) or {},
  }
end
