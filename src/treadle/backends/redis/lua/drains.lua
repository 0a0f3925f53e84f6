-- A server without memory refuses a script whose first write needs some. What takes work off it
-- begins with a write that needs none.
--@ include base
call('DEL', P .. 'none')
