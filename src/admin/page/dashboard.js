// The page: which view is shown, and the clock that asks for news.

import { force, overview } from "/page/api.js";
import { el, setAttribute, setPill, setText } from "/page/dom.js";
import { ago, count } from "/page/format.js";
import { ServiceView } from "/page/service.js";
import { ServicesView } from "/page/services.js";
import { StoryView } from "/page/story.js";

/** Time between two looks, in milliseconds. */
const LOOK_EVERY_MS = 2000;

const byId = (id) => document.getElementById(id);

let view = null;
let timer = null;
let looks = 0;

// --- views ---

function viewOf(hash) {
  const [, kind, ...rest] = hash.split("/");
  const name = decodeSafely(rest.join("/"));
  if (kind === "service" && name) return new ServiceView(name, askToForce);
  if (kind === "call" && name) return new StoryView(name);
  return new ServicesView();
}

function decodeSafely(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function navigate() {
  // A link to a place in the page is none to a view.
  if (view && location.hash && !location.hash.startsWith("#/")) return;
  const isFirst = view === null;
  view?.close();
  view = viewOf(location.hash);
  byId("main").replaceChildren(view.node);
  window.scrollTo(0, 0);
  if (!isFirst) byId("main").focus({ preventScroll: true });
  look();
}

// --- the clock ---

/** Asks for everything that is shown. A look that was overtaken by a newer one shows nothing. */
async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  const mine = ++looks;
  const asked = view;
  try {
    const [common, own] = await Promise.all([overview(), asked.load()]);
    if (mine !== looks) return;
    renderHead(common.config);
    asked.render(common, own);
    document.title = `${asked.title()}${common.config.service} · Outrigger`;
    setPill(byId("link"), "live", "good");
    setAttribute(document.body, "data-stale", null);
  } catch (error) {
    if (mine !== looks) return;
    // A mistake of this page must not look like one of the proxy.
    if (error instanceof ReferenceError || error instanceof RangeError) console.error(error);
    setPill(byId("link"), "proxy unreachable, retrying", "bad");
    setAttribute(document.body, "data-stale", true);
  }
  timer = setTimeout(look, LOOK_EVERY_MS);
}

// --- the head ---

const head = {
  application: el("b", {}),
  version: el("span", { class: "quiet" }),
  readiness: el("span", { class: "pill" }),
  config: el("span", { class: "quiet config" }),
};
byId("head").append(head.application, head.readiness, head.version, head.config);

function renderHead(config) {
  const tone = { ready: "good", starting: "warn", draining: "warn" }[config.readiness] ?? "quiet";
  setText(head.application, config.service || "unnamed application");
  setPill(head.readiness, config.readiness, tone);
  setText(head.version, `${config.outrigger}, up ${ago(config.startedAt)}`);
  setText(head.config, `configuration ${config.version.slice(0, 8)}, ${ago(config.loadedAt)} old`);
  setAttribute(head.config, "title", config.version);
  const isRejected = config.lastReload === "rejected" && config.lastRejected !== null;
  notice("rejected", isRejected ? config.lastRejected.problems : [], "bad", (number) => `The last reload was rejected ${ago(config.lastRejected.at)} ago with ${count(number, "problem")}; the configuration before stays in force.`);
  notice("warnings", config.warnings, "warn", (number) => `${count(number, "warning")} of the configuration`);
}

/** A line that opens to a list; nothing when the list is empty. */
function notice(name, lines, tone, title) {
  let node = byId(`notice-${name}`);
  if (lines.length === 0) return node?.remove();
  if (!node) {
    node = el("details", { class: "notice", id: `notice-${name}`, "data-tone": tone }, el("summary", {}), el("ul", {}));
    byId("notices").append(node);
  }
  setText(node.firstChild, title(lines.length));
  const text = lines.join("\n");
  if (node.dataset.lines !== text) {
    node.dataset.lines = text;
    node.lastChild.replaceChildren(...lines.map((line) => el("li", {}, line)));
  }
  return undefined;
}

// --- forcing a breaker ---

/** Asks first: the change is felt by every call at once. */
function askToForce(service, state, title, text, label) {
  const [dialog, yes, problem] = [byId("ask"), byId("ask-yes"), byId("ask-error")];
  setText(byId("ask-title"), title);
  setText(byId("ask-text"), text);
  setText(yes, label);
  setAttribute(yes, "data-tone", state === "open" ? "bad" : null);
  problem.hidden = true;
  yes.onclick = async (event) => {
    event.preventDefault();
    yes.disabled = true;
    try {
      await force(service, state);
      dialog.close();
      look();
    } catch (error) {
      setText(problem, `It was not done: ${error.message}`);
      problem.hidden = false;
    } finally {
      yes.disabled = false;
    }
  };
  dialog.showModal();
}

// --- start ---

window.addEventListener("hashchange", navigate);
document.addEventListener("visibilitychange", look);
navigate();
