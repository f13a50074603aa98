// A list of calls, newest first; each leads to its story.

import { Keyed, el, pill, setAttribute, setText } from "/page/dom.js";
import { ago, clock, count, ms, words } from "/page/format.js";

/** How a call ended, in a word, and how bad that is. */
export function outcomeWords(story) {
  const tone = { success: "good", failure: "bad", refused: "bad", cancelled: "quiet" }[story.outcome] ?? "quiet";
  const retried = story.outcome === "success" && story.attempts.length > 1;
  if (retried) return ["retried", "warn"];
  return [story.outcome === "success" ? "success" : words(story.reason || story.outcome), tone];
}

/** The request in one line. */
export function requestLine(story) {
  return story.method ? `${story.method} ${story.path}` : `${story.protocol} to ${story.host}`;
}

class Row {
  constructor(story) {
    this.age = el("time", { datetime: new Date(story.startedUnix * 1000).toISOString(), title: clock(story.startedUnix, true) });
    const tries = story.attempts.length > 1 ? count(story.attempts.length, "attempt") : null;
    const status = story.status ? `${story.status}` : null;
    const facts = [status, tries, ms(story.durationMs)].filter((fact) => fact !== null).join(" · ");
    const link = el("a", { href: `#/call/${story.traceId}` },
      el("span", { class: "call-top" }, el("b", {}, story.service || story.host || "unrouted"), pill(...outcomeWords(story)), this.age),
      el("span", { class: "call-line" }, requestLine(story)), el("span", { class: "quiet" }, facts));
    this.node = el("li", {}, link);
    this.story = story;
  }

  update() {
    setText(this.age, `${ago(this.story.startedUnix)} ago`);
  }
}

export class CallList {
  constructor(nothing) {
    this.list = el("ol", { class: "calls" });
    this.rows = new Keyed(this.list, (story) => new Row(story));
    this.none = el("p", { class: "quiet none" });
    this.nothing = nothing;
    this.node = el("div", {}, this.none, this.list);
  }

  show(stories, isOff = false) {
    this.rows.show(stories, (story) => `${story.traceId}${story.spanId}`);
    setText(this.none, isOff ? "Explanations are off." : this.nothing);
    setAttribute(this.none, "hidden", stories.length > 0);
  }
}
