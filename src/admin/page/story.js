// The story of a call: what was tried, what was waited for, which line of the configuration decided.

import { find } from "/page/api.js";
import { outcomeWords, requestLine } from "/page/calls.js";
import { el, pill, setText } from "/page/dom.js";
import { bytes, clock, count, ms, words } from "/page/format.js";

/** The parts of an attempt, in the order of time. */
const PARTS = [["queue", "in the queue"], ["connect", "connecting"], ["wait", "waiting for the answer"], ["reply", "reply"], ["backoff", "back-off"]];

/** A place in a file, as it stands in what is told. */
const PLACE = /([\w./-]+\.ya?ml:\d+)/g;

/** From when to when each part of an attempt lasted, in milliseconds from the start of the call. */
function partsOf(attempt, story, isLast) {
  const queued = attempt.startedMs + attempt.queuedMs;
  const connected = attempt.connectedMs ?? (attempt.endpoint && attempt.fault && attempt.sent === "no" ? attempt.endedMs : queued);
  const parts = [["queue", attempt.startedMs, queued], ["connect", queued, connected], ["wait", connected, attempt.endedMs]];
  if (attempt.backOffMs > 0) parts.push(["backoff", attempt.endedMs, attempt.endedMs + attempt.backOffMs]);
  if (isLast && attempt.status && !attempt.fault) parts.push(["reply", attempt.endedMs, story.durationMs]);
  return parts.filter(([, from, to]) => to > from);
}

function waterfall(story) {
  const rows = story.attempts.map((attempt, index) => [attempt, partsOf(attempt, story, index === story.attempts.length - 1)]);
  const ends = rows.flatMap(([, parts]) => parts.map(([, , to]) => to));
  let end = Math.max(story.durationMs, ...ends, 0.01);
  const hasDeadline = story.deadlineMs !== null && story.deadlineMs <= end * 1.5;
  if (hasDeadline) end = Math.max(end, story.deadlineMs * 1.02);
  const share = (at) => `${((at / end) * 100).toFixed(3)}%`;
  const lines = rows.map(([attempt, parts], index) => row(attempt, parts, index, share, hasDeadline && story.deadlineMs));
  return el("div", { class: "waterfall" }, axis(end, share), el("ol", { class: "attempts" }, ...lines), legend(rows, hasDeadline && story));
}

function axis(end, share) {
  const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => {
    const mark = el("span", {}, ms(end * part));
    mark.style.left = share(end * part);
    return mark;
  });
  return el("div", { class: "axis", "aria-hidden": true }, ...marks);
}

function row(attempt, parts, index, share, deadline) {
  const bars = parts.map(([name, from, to]) => {
    const title = PARTS.find(([part]) => part === name)[1];
    const bar = el("span", { class: `part ${name}`, title: `${title}: ${ms(to - from)}` });
    bar.style.left = share(from);
    bar.style.width = share(to - from);
    return bar;
  });
  if (deadline) {
    const line = el("span", { class: "deadline" });
    line.style.left = share(deadline);
    bars.push(line);
  }
  const [result, tone] = resultWords(attempt);
  const spoken = parts.map(([name, from, to]) => `${PARTS.find(([part]) => part === name)[1]} ${ms(to - from)}`).join(", ");
  return el("li", {},
    el("div", { class: "attempt" }, el("b", {}, String(index + 1)), el("code", {}, attempt.endpoint ?? "nowhere"), pill(result, tone)),
    el("div", { class: "track", role: "img", "aria-label": spoken || "no time at all" }, ...bars),
    el("p", { class: "quiet" }, factsOf(attempt).join(" · ")));
}

function resultWords(attempt) {
  if (attempt.fault) return [words(attempt.fault), "bad"];
  const tone = { success: "good", failure: "bad", neutral: "quiet" }[attempt.verdict] ?? "quiet";
  return [attempt.status ? String(attempt.status) : attempt.verdict ?? "no answer", tone];
}

function factsOf(attempt) {
  const facts = [];
  const { breaker } = attempt;
  if (breaker) facts.push(`breaker ${words(breaker.state)}${breaker.forced ? ", forced" : ""}${breaker.refused ? ", refused" : ""} (generation ${breaker.generation})`);
  if (attempt.queuedMs > 0) facts.push(`queued ${ms(attempt.queuedMs)}`);
  if (attempt.endpoint) facts.push(`${attempt.pick ? `picked: ${words(attempt.pick)}, ` : ""}${attempt.reused ? "open connection" : "new connection"}`);
  if (attempt.sent && attempt.fault) facts.push(`sent: ${attempt.sent}`);
  if (attempt.verdict) facts.push(`verdict: ${attempt.verdict}${attempt.slow ? ", slow" : ""}`);
  if (attempt.decision) facts.push(attempt.decision.startsWith("skipped_") ? `not retried: ${words(attempt.decision.slice(8))}` : words(attempt.decision));
  if (attempt.backOffMs > 0) facts.push(`after ${ms(attempt.backOffMs)}`);
  if (attempt.budgetLeft !== null) facts.push(`budget ${attempt.budgetLeft.toFixed(1)} left`);
  if (attempt.deadlineLeftMs !== null) facts.push(`${ms(attempt.deadlineLeftMs)} to the deadline`);
  return facts;
}

function legend(rows, deadline) {
  const present = new Set(rows.flatMap(([, parts]) => parts.map(([name]) => name)));
  const items = PARTS.filter(([name]) => present.has(name)).map(([name, title]) => el("li", {}, el("span", { class: `swatch ${name}` }), title));
  if (deadline) items.push(el("li", {}, el("span", { class: "swatch line" }), `deadline, ${ms(deadline.deadlineMs)}${deadline.callersDeadline ? ", the caller's own" : ""}`));
  return el("ul", { class: "legend" }, ...items);
}

/** What is told, each place in a file marked. */
function told(text) {
  const lines = text.trimEnd().split("\n").map((line) => {
    const pieces = line.split(PLACE).map((piece, index) => (index % 2 ? el("code", { class: "place" }, piece) : piece));
    return el("p", {}, ...pieces);
  });
  return el("div", { class: "told" }, ...lines);
}

function facts(story) {
  const rows = [
    ["Service", story.service && el("a", { href: `#/service/${encodeURIComponent(story.service)}` }, story.service), story.serviceAt],
    ["Route", story.route, story.routeAt],
    ["Host", story.host],
    ["Started", clock(story.startedUnix, true)],
    ["Duration", ms(story.durationMs)],
    ["First byte", story.firstByteMs === null ? null : ms(story.firstByteMs)],
    ["Deadline", story.deadlineMs === null ? null : `${ms(story.deadlineMs)}${story.callersDeadline ? ", the caller's own" : ""}`],
    ["Queued", story.queuedMs > 0 ? ms(story.queuedMs) : null],
    ["Protocol", story.protocol],
    ["gRPC status", story.grpcStatus === null ? null : String(story.grpcStatus)],
    ["Reply", bytes(story.replyBytes)],
    ["Trace", el("code", {}, story.traceId)],
    ["Request id", story.requestId && el("code", {}, story.requestId)],
    ["Exported", story.export && words(story.export)],
  ];
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return el("dl", { class: "facts" }, ...shown.map(([title, value, at]) => el("div", {}, el("dt", {}, title), el("dd", {}, value, at ? el("code", { class: "place" }, at) : null))));
}

function rules(policy) {
  const rows = policy.map(({ key, value, at }) => el("tr", {}, el("th", { scope: "row" }, el("code", {}, key)), el("td", {}, el("code", {}, String(value))), el("td", {}, el("code", { class: "place" }, at ?? ""))));
  const head = el("tr", {}, ...["Key", "Value", "Where"].map((title) => el("th", { scope: "col" }, title)));
  return el("details", { class: "card pad" }, el("summary", {}, "The policy of this call"), el("div", { class: "scroll" }, el("table", { class: "plain" }, el("thead", {}, head), el("tbody", {}, ...rows))));
}

function tell(story) {
  const { cause } = story;
  const decided = cause && el("p", { class: "cause" }, "Decided by ", el("code", {}, `${cause.key}: ${cause.value}`), cause.at ? " at " : null, cause.at ? el("code", { class: "place" }, cause.at) : null, cause.layer ? ` (${cause.layer})` : null);
  return el("article", {},
    el("div", { class: "bar" }, el("h1", { class: "request" }, requestLine(story)), pill(...outcomeWords(story)), story.status ? pill(String(story.status), "quiet") : null),
    story.message ? el("p", { class: "lead" }, story.message) : null, decided,
    el("section", { class: "card pad" }, el("h2", {}, story.attempts.length ? count(story.attempts.length, "attempt") : "No attempt was made"), story.attempts.length ? waterfall(story) : null),
    el("div", { class: "pair" }, el("section", { class: "card pad" }, el("h2", {}, "The story"), told(story.told ?? "")), el("section", { class: "card pad" }, el("h2", {}, "The call"), facts(story))),
    story.policy?.length ? rules(story.policy) : null);
}

export class StoryView {
  constructor(id) {
    this.id = id;
    this.note = el("p", { class: "quiet" }, "Looking for the call.");
    this.place = el("div", {});
    this.node = el("div", {}, el("p", { class: "back" }, el("a", { href: "#/" }, "← All services")), this.note, this.place);
    this.done = false;
  }

  title() {
    return "A call · ";
  }

  /** What has happened does not change: it is asked for until it is found. */
  async load() {
    return this.done ? null : ((await find(`/explain?id=${encodeURIComponent(this.id)}&all=1`)) ?? { stories: [] });
  }

  render(common, explained) {
    if (this.done) return;
    const { stories } = explained;
    this.done = stories.length > 0;
    setText(this.note, stories.length > 1 ? `${count(stories.length, "call")} of this trace, newest first.` : this.done ? "" : "This call is not remembered: newer ones took its place, or the proxy was restarted.");
    this.place.replaceChildren(...stories.map(tell));
  }

  close() {}
}
