// One service: its charts, its breaker, its endpoints, its latest faults.

import { find, get } from "/page/api.js";
import { CallList } from "/page/calls.js";
import { Chart } from "/page/charts.js";
import { Keyed, arrange, el, pill, setAttribute, setPill, setText } from "/page/dom.js";
import { count, ms, percent, rate } from "/page/format.js";
import { Fill, breakerWords } from "/page/services.js";

/** Seconds of points kept: what the proxy keeps, so that a restart of it leaves the past in view. */
const KEPT_S = 600;

const RATES = [["success", "good", "success"], ["failure", "bad", "failure"], ["refused", "warn", "refused"], ["cancelled", "quiet", "cancelled"], ["retries", "accent", "retries"]];
const QUANTILES = [["p50", "good", "p50"], ["p99", "warn", "p99"], ["p99.9", "bad", "p999"]];

const FORCES = [
  ["auto", "Automatic", "Give the breaker back", "It opens and closes by itself again."],
  ["open", "Force open", "Force the breaker open", "Every call is refused at once until it is given back."],
  ["closed", "Force closed", "Force the breaker closed", "No call is refused by it, however many fail, until it is given back."],
];

class EndpointRow {
  constructor(endpoint) {
    this.state = pill("", "quiet");
    this.inFlight = el("td", {});
    this.node = el("tr", {}, el("th", { scope: "row" }, el("code", {}, endpoint.address)), this.inFlight, el("td", {}, this.state));
  }

  update(endpoint) {
    setText(this.inFlight, String(endpoint.inFlight));
    setPill(this.state, endpoint.penalised ? "penalised" : "in turn", endpoint.penalised ? "warn" : "good");
  }
}

export class ServiceView {
  constructor(name, force) {
    this.name = name;
    this.force = force;
    this.kept = new Map();
    this.rates = new Chart("Calls a second, by outcome", RATES, rate);
    this.latency = new Chart("Latency of calls", QUANTILES, ms);
    this.facts = new Map(["Calls/s", "Errors", "Retries/s", "p99", "Budget", "Connections"].map((title) => [title, el("dd", {})]));
    this.calls = new CallList("No fault and no retry of this service is remembered.");
    this.state = pill("", "quiet");
    this.stateNote = el("span", { class: "quiet" });
    this.fill = new Fill();
    this.endpointRows = el("tbody", {});
    this.endpoints = new Keyed(this.endpointRows, (endpoint) => new EndpointRow(endpoint));
    this.certificates = el("ul", {});
    this.certificateCard = el("section", { class: "card pad" }, el("h2", {}, "Certificates"), this.certificates);
    this.gone = el("p", { class: "notice", "data-tone": "warn", hidden: true }, "No service of this name is in the configuration.");
    this.node = this.layout();
  }

  title() {
    return `${this.name} · `;
  }

  async load() {
    const name = encodeURIComponent(this.name);
    const [history, explained] = await Promise.all([get(`/history?service=${name}`), find(`/explain?service=${name}&limit=20`)]);
    return { history, explained };
  }

  render({ services }, { history, explained }) {
    const service = services.find((one) => one.name === this.name);
    setAttribute(this.gone, "hidden", Boolean(service));
    if (service) this.renderFacts(service);
    this.renderCharts(history);
    this.calls.show(explained?.stories ?? [], explained === null);
  }

  close() {
    this.rates.close();
    this.latency.close();
  }

  layout() {
    this.buttons = FORCES.map(([state, label, title, text]) =>
      el("button", { type: "button", "data-force": state, onclick: () => this.force(this.name, state, `${title} of ${this.name}?`, text, label) }, label));
    const endpoints = el("table", { class: "plain" },
      el("thead", {}, el("tr", {}, ...["Endpoint", "In flight", "State"].map((title) => el("th", { scope: "col" }, title)))), this.endpointRows);
    return el("div", {},
      el("p", { class: "back" }, el("a", { href: "#/" }, "← All services")), el("h1", {}, this.name), this.gone,
      el("dl", { class: "tiles small" }, ...[...this.facts].map(([title, value]) => el("div", {}, el("dt", {}, title), value))),
      el("div", { class: "pair" }, this.rates.node, this.latency.node),
      el("div", { class: "pair" },
        el("div", {},
          el("section", { class: "card pad" }, el("h2", {}, "Circuit breaker"), el("p", { class: "line" }, this.state, this.stateNote),
            el("div", { class: "buttons", role: "group", "aria-label": "Breaker" }, ...this.buttons)),
          el("section", { class: "card pad" }, el("h2", {}, "Bulkhead"), this.fill.node),
          el("section", { class: "card pad" }, el("h2", {}, "Endpoints"), endpoints), this.certificateCard),
        el("section", {}, el("div", { class: "card" }, el("h2", { class: "inset" }, "Latest faults and retries"), this.calls.node))));
  }

  renderFacts(service) {
    const { now, breaker, budget, connections } = service;
    const text = {
      "Calls/s": rate(now.rate),
      Errors: now.rate ? percent(now.errors) : "–",
      "Retries/s": rate(now.retries),
      p99: ms(now.p99),
      Budget: budget ? count(Math.floor(budget.tokens), "retry", "retries") : "–",
      Connections: `${connections.active} + ${connections.idle} idle`,
    };
    for (const [title, node] of this.facts) setText(node, text[title]);
    setPill(this.state, ...breakerWords(breaker));
    setText(this.stateNote, breaker ? `${breaker.failures} of ${count(breaker.calls, "call")} failed in its window, ${breaker.consecutive} in a row; generation ${breaker.generation}` : "");
    for (const button of this.buttons) {
      setAttribute(button, "disabled", !breaker);
      setAttribute(button, "aria-pressed", String(Boolean(breaker) && (breaker.forced ?? "auto") === button.dataset.force));
    }
    this.fill.update(service.bulkhead);
    this.endpoints.show(service.endpoints, (endpoint) => endpoint.address);
    this.renderCertificates(service.certificates);
  }

  renderCertificates(certificates) {
    setAttribute(this.certificateCard, "hidden", certificates.length === 0);
    const line = ({ certificate, expiresUnix }) => {
      const days = Math.floor((expiresUnix - Date.now() / 1000) / 86_400);
      const tone = days < 0 ? "bad" : days < 30 ? "warn" : "good";
      return el("li", {}, `${certificate} `, pill(days < 0 ? "expired" : `${count(days, "day")} left`, tone), ` ${new Date(expiresUnix * 1000).toISOString().slice(0, 10)}`);
    };
    const lines = certificates.map(line);
    if (lines.map((one) => one.textContent).join() !== this.certificates.textContent) arrange(this.certificates, lines);
  }

  renderCharts({ everyS, points }) {
    for (const point of points) {
      const calls = point.success + point.failure + point.refused + point.cancelled;
      const each = Object.fromEntries(RATES.map(([, , key]) => [key, point[key] / everyS]));
      const quantiles = Object.fromEntries(QUANTILES.map(([, , key]) => [key, calls ? point[key] : null]));
      this.kept.set(point.at, { at: point.at, ...each, ...quantiles });
    }
    const newest = Math.max(...this.kept.keys());
    for (const at of this.kept.keys()) if (at < newest - KEPT_S) this.kept.delete(at);
    const kept = [...this.kept.values()].sort((one, other) => one.at - other.at);
    this.rates.update(kept, everyS);
    this.latency.update(kept, everyS);
  }
}
