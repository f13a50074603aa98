-- wrk: each request goes to another one of 1,000 services.
local prepared, at = {}, 0
function init()
  for n = 1, 1000 do
    local host = n == 1 and "payment-service" or string.format("service-%d", n)
    prepared[n] = wrk.format("GET", "/", {Host = host})
  end
end
function request()
  at = at % 1000 + 1
  return prepared[at]
end
