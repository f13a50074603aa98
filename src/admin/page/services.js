// The first view: every service in one table, those in trouble first, and the latest faults beside it.

import { find } from "/page/api.js";
import { CallList } from "/page/calls.js";
import { Keyed, el, pill, setAttribute, setPill, setText } from "/page/dom.js";
import { count, ms, percent, rate, words } from "/page/format.js";

/** Faults and retries shown beside the table. */
const CALLS_SHOWN = 40;

/** Columns: title, class, what it is sorted by (greater first; names and states the other way round). */
const COLUMNS = [
  ["Service", "name", (service) => service.name],
  ["Breaker", "breaker", (service) => -breakerRank(service.breaker)],
  ["Bulkhead", "bulkhead", (service) => (service.bulkhead ? service.bulkhead.inFlight / service.bulkhead.maxConcurrent + service.bulkhead.queued : -1)],
  ["Budget", "budget", (service) => service.budget?.tokens ?? -1],
  ["Endpoints", "endpoints", (service) => penalised(service)],
  ["Calls/s", "rate", (service) => service.now.rate],
  ["Errors", "errors", (service) => service.now.errors],
  ["p50", "p50", (service) => service.now.p50 ?? -1],
  ["p99", "p99", (service) => service.now.p99 ?? -1],
  ["p99.9", "p999", (service) => service.now.p999 ?? -1],
];

const NOTES = {
  Budget: "retries that the budget allows now; none is known before the first call",
  "Calls/s": "calls that ended in the last 5 s",
  Errors: "share of failures and refusals in the last 5 s",
  p50: "half of the calls of the last 5 s were faster",
  p99: "99 % of the calls of the last 5 s were faster",
  "p99.9": "99.9 % of the calls of the last 5 s were faster",
};

function breakerRank(breaker) {
  if (!breaker) return -1;
  return { closed: 0, half_open: 2, open: 3 }[breaker.state] + (breaker.forced ? 0.5 : 0);
}

function penalised(service) {
  return service.endpoints.filter((endpoint) => endpoint.penalised).length;
}

/** What a breaker is, in a few words, and how bad that is. */
export function breakerWords(breaker) {
  if (!breaker) return ["off", "quiet"];
  const tone = { closed: "good", half_open: "warn", open: "bad" }[breaker.state];
  if (breaker.forced) return [`forced ${breaker.forced}`, breaker.forced === "open" ? "bad" : "warn"];
  const observed = breaker.mode === "observe" ? ", observed" : "";
  const left = breaker.state === "open" && breaker.openLeftMs > 0 ? `, ${Math.ceil(breaker.openLeftMs / 1000)} s` : "";
  return [`${words(breaker.state)}${left}${observed}`, tone];
}

/** The bar of a bulkhead. */
export class Fill {
  constructor() {
    this.meter = el("meter", { min: 0, "aria-label": "places taken" });
    this.text = el("span", {});
    this.node = el("span", { class: "fill" }, this.meter, this.text);
  }

  update(bulkhead) {
    setAttribute(this.meter, "hidden", !bulkhead);
    if (!bulkhead) return setText(this.text, "off");
    const { inFlight, maxConcurrent, queued } = bulkhead;
    setAttribute(this.meter, "max", maxConcurrent);
    setAttribute(this.meter, "high", maxConcurrent * 0.8);
    setAttribute(this.meter, "optimum", 0);
    setAttribute(this.meter, "value", inFlight);
    return setText(this.text, `${inFlight}/${maxConcurrent}${queued ? ` +${queued} queued` : ""}`);
  }
}

class Row {
  constructor(service) {
    this.breaker = pill("", "quiet");
    this.fill = new Fill();
    this.cells = new Map(COLUMNS.slice(3).map(([, name]) => [name, el("td", { class: name })]));
    const link = el("a", { href: `#/service/${encodeURIComponent(service.name)}` }, service.name);
    this.node = el("tr", {}, el("th", { scope: "row", class: "name" }, link), el("td", { class: "breaker" }, this.breaker),
      el("td", { class: "bulkhead" }, this.fill.node), ...this.cells.values());
  }

  update(service) {
    const { now, budget, endpoints, breaker } = service;
    const bad = penalised(service);
    setAttribute(this.node, "data-trouble", service.trouble);
    setPill(this.breaker, ...breakerWords(breaker));
    this.fill.update(service.bulkhead);
    const text = {
      budget: budget ? budget.tokens.toFixed(0) : "–",
      endpoints: bad ? `${endpoints.length}, ${bad} penalised` : endpoints.length ? String(endpoints.length) : "–",
      rate: rate(now.rate),
      errors: now.rate ? percent(now.errors) : "–",
      p50: ms(now.p50),
      p99: ms(now.p99),
      p999: ms(now.p999),
    };
    for (const [name, cell] of this.cells) setText(cell, text[name]);
    setAttribute(this.cells.get("errors"), "data-tone", now.errors >= 0.05 ? "bad" : now.errors > 0 ? "warn" : null);
    setAttribute(this.cells.get("endpoints"), "data-tone", bad ? "warn" : null);
  }
}

export class ServicesView {
  constructor() {
    this.sort = null;
    this.filter = "";
    this.services = [];
    this.tiles = new Map(["calls a second", "errors", "breakers not closed", "calls queued"].map((title) => [title, el("dd", {})]));
    this.body = el("tbody", {});
    this.rows = new Keyed(this.body, (service) => new Row(service));
    this.shown = el("p", { class: "quiet", role: "status" });
    this.calls = new CallList("No faults and no retries are remembered.");
    this.heads = COLUMNS.map(([title, name]) => this.head(title, name));
    this.node = el("div", { class: "split" }, this.table(), this.aside());
  }

  title() {
    const bad = this.services.filter((service) => service.trouble >= 2).length;
    return bad ? `(${bad}) ` : "";
  }

  async load() {
    return find(`/explain?limit=${CALLS_SHOWN}`);
  }

  render({ services }, explained) {
    this.services = services;
    this.renderTiles();
    this.renderRows();
    this.calls.show(explained?.stories ?? [], explained === null);
  }

  close() {}

  table() {
    const filter = el("input", { type: "search", placeholder: "Filter services", "aria-label": "Filter services", autocomplete: "off", spellcheck: "false",
      oninput: (event) => { this.filter = event.target.value.trim().toLowerCase(); this.renderRows(); } });
    const trouble = el("button", { type: "button", onclick: () => this.sortBy(null) }, "Trouble first");
    this.troubleButton = trouble;
    return el("section", { "aria-labelledby": "services-title" },
      el("dl", { class: "tiles" }, ...[...this.tiles].map(([title, value]) => el("div", {}, el("dt", {}, title), value))),
      el("div", { class: "bar" }, el("h1", { id: "services-title" }, "Services"), filter, trouble, this.shown),
      el("div", { class: "card scroll" }, el("table", { class: "services" }, el("thead", {}, el("tr", {}, ...this.heads)), this.body)));
  }

  aside() {
    return el("aside", { "aria-labelledby": "calls-title" },
      el("div", { class: "bar" }, el("h2", { id: "calls-title" }, "Latest faults and retries")), el("div", { class: "card" }, this.calls.node));
  }

  head(title, name) {
    return el("th", { scope: "col", class: name },
      el("button", { type: "button", title: NOTES[title] ?? null, onclick: () => this.sortBy(name) }, title));
  }

  /** A second click turns the order round; the third is trouble first again. */
  sortBy(name) {
    if (name === null || this.sort?.name !== name) this.sort = name && { name, turned: false };
    else this.sort = this.sort.turned ? null : { name, turned: true };
    this.renderRows();
  }

  renderTiles() {
    const sum = (value) => this.services.reduce((total, service) => total + value(service), 0);
    const calls = sum((service) => service.now.rate);
    const errors = sum((service) => service.now.rate * service.now.errors);
    const notClosed = sum((service) => (service.breaker && service.breaker.state !== "closed" ? 1 : 0));
    const queued = sum((service) => service.bulkhead?.queued ?? 0);
    const share = calls ? errors / calls : 0;
    this.tile("calls a second", rate(calls), null);
    this.tile("errors", calls ? percent(share) : "–", share >= 0.05 ? "bad" : share > 0 ? "warn" : null);
    this.tile("breakers not closed", String(notClosed), notClosed ? "bad" : null);
    this.tile("calls queued", String(queued), queued ? "warn" : null);
  }

  tile(title, text, tone) {
    setText(this.tiles.get(title), text);
    setAttribute(this.tiles.get(title), "data-tone", tone);
  }

  renderRows() {
    const found = this.services.filter((service) => service.name.toLowerCase().includes(this.filter));
    found.sort(this.order());
    this.rows.show(found, (service) => service.name);
    setText(this.shown, found.length === this.services.length ? count(found.length, "service") : `${found.length} of ${count(this.services.length, "service")}`);
    setAttribute(this.troubleButton, "aria-pressed", String(this.sort === null));
    COLUMNS.forEach(([, name], index) => {
      const sorted = this.sort?.name === name;
      const rising = sorted && (name === "name") !== this.sort.turned;
      setAttribute(this.heads[index], "aria-sort", sorted ? (rising ? "ascending" : "descending") : null);
    });
  }

  /** Equal rows stay in the order of their names, so that they don't jump about. */
  order() {
    const byName = (one, other) => (one.name < other.name ? -1 : one.name > other.name ? 1 : 0);
    if (this.sort === null) return (one, other) => other.trouble - one.trouble || byName(one, other);
    const turn = this.sort.turned ? -1 : 1;
    if (this.sort.name === "name") return (one, other) => turn * byName(one, other);
    const [, , key] = COLUMNS.find(([, name]) => name === this.sort.name);
    const sign = this.sort.name === "breaker" ? -turn : turn;
    return (one, other) => sign * (key(other) - key(one)) || byName(one, other);
  }
}
