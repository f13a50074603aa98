// Asks the admin API. Every answer is as of now: nothing is kept here.

/** Longest wait for one answer. A proxy that is busy still answers: the API has a thread of its own. */
const WAIT_MAX_MS = 5000;

/** The proxy answered, but not with what was asked for. */
export class Refused extends Error {}

async function ask(path, options) {
  const answer = await fetch(path, { ...options, cache: "no-store", signal: AbortSignal.timeout(WAIT_MAX_MS) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(body.message ?? `${path}: status ${answer.status}`);
  return body;
}

/** One page of JSON. */
export function get(path) {
  return ask(path, {});
}

/** One page of JSON, or null where the proxy says no: a part may be off. */
export async function find(path) {
  try {
    return await ask(path, {});
  } catch (error) {
    if (error instanceof Refused) return null;
    throw error;
  }
}

/** Forces a breaker: `open`, `closed` or `auto`. */
export function force(service, state) {
  return ask(`/services/${encodeURIComponent(service)}/breaker?state=${state}`, { method: "POST" });
}

/** What every view shows. */
export async function overview() {
  const [services, config, history] = await Promise.all([get("/services"), get("/config"), get("/history")]);
  const latest = new Map(history.services.map((point) => [point.name, point]));
  return { services: services.services.map((service) => withLatest(service, latest, history.everyS)), config };
}

/** A service with its last interval: calls a second, share of errors, quantiles, and how much trouble it is in. */
function withLatest(service, latest, everyS) {
  const point = latest.get(service.name);
  const calls = point ? point.success + point.failure + point.refused + point.cancelled : 0;
  const errors = point ? point.failure + point.refused : 0;
  const now = {
    rate: calls / everyS,
    retries: (point?.retries ?? 0) / everyS,
    errors: calls ? errors / calls : 0,
    p50: calls ? point.p50 : null,
    p99: calls ? point.p99 : null,
    p999: calls ? point.p999 : null,
  };
  return { ...service, now, trouble: trouble(service, now) };
}

/** 3: calls don't get through; 2: many fail or wait; 1: worth a look; 0: well. */
function trouble(service, now) {
  const { breaker, bulkhead, endpoints } = service;
  const penalised = endpoints.filter((endpoint) => endpoint.penalised).length;
  if (breaker && breaker.state !== "closed") return 3;
  if (penalised > 0 && penalised === endpoints.length) return 3;
  if (bulkhead && (bulkhead.queued > 0 || bulkhead.inFlight >= bulkhead.maxConcurrent)) return 2;
  if (now.errors >= 0.05) return 2;
  return now.errors > 0 || penalised > 0 || breaker?.forced || service.budget?.tokens < 1 ? 1 : 0;
}
