// Playwright drives Chromium over the dashboard of a proxy with 200 services. Arguments: Chromium, the
// proxy's binary, a folder, and three free ports: the upstream's, outbound, admin. With
// DASHBOARD_PICTURE=FILE it also takes the picture that README.md shows.
import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";
import { require } from "./packages.mjs";

const { chromium } = require("playwright-core");
const [browserPath, binary, folder, ...ports] = process.argv.slice(2);
const [upstreamPort, outboundPort, adminPort] = ports.map(Number);
const base = `http://127.0.0.1:${adminPort}/`;
const tell = (what, expected, got) => console.log([what, expected, got].join("\t").replaceAll("\n", " "));

/** Longest wait for what should show at the next look, in milliseconds. */
const BOUND = 20_000;
const SERVICES = 200;
const SPOKEN = ["cart", "payment", "inventory", "catalog", "search", "users", "shipping", "pricing", "reviews", "mail", "ledger", "stock"];
const NAMES = [...SPOKEN, ...Array.from({ length: SERVICES - SPOKEN.length }, (_, index) => `service-${String(index).padStart(3, "0")}`)];

// --- the service behind all names ---

let isBroken = false;
const tries = new Map();

const upstream = http.createServer((request, answer) => {
  const flaky = request.url.startsWith("/flaky");
  const seen = (tries.get(request.url) ?? 0) + 1;
  tries.set(request.url, seen);
  const fails = (isBroken && request.headers.host === "payment") || (flaky && seen === 1);
  setTimeout(() => answer.writeHead(fails ? 503 : 200).end("x"), 2 + Math.random() * 8);
});

function call(service, url) {
  return new Promise((resolve, reject) => {
    const sent = http.get({ host: "127.0.0.1", port: outboundPort, path: url, headers: { Host: service }, agent: false }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode));
    });
    sent.on("error", reject);
  });
}

// --- the proxy ---

const config = path.join(folder, "mesh.yaml");
const service = (name) => `  ${name}:\n    endpoints: {static: [127.0.0.1:${upstreamPort}]}\n`;
fs.writeFileSync(config, `version: v1
service: order-service
workers: 2
accessLog: off
drain: {quiet: 10ms, timeout: 1s}
outbound: {listen: 127.0.0.1:${outboundPort}, unknown: deny}
admin: {listen: 127.0.0.1:${adminPort}}
defaults:
  timeout: 2s
  retries: {maxRetries: 2, backoff: {base: 20ms, max: 50ms}}
  bulkhead: {maxConcurrent: 50, maxWait: 100ms}
services:
${service("payment")}    retries: off
    circuitBreaker: {trip: {consecutiveFailures: 3}, openFor: {base: 5s, max: 5s}, halfOpen: {successes: 1}}
${NAMES.filter((name) => name !== "payment").map(service).join("")}`);

let proxy;

async function start() {
  proxy = spawn(binary, ["run", config], { stdio: ["ignore", "ignore", "ignore"] });
  const end = Date.now() + BOUND;
  for (;;) {
    const answer = await fetch(`${base}ready`).catch(() => null);
    if (answer?.ok) return;
    if (Date.now() > end) throw new Error("the proxy is not ready");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function stop() {
  const ended = once(proxy, "exit");
  proxy.kill("SIGTERM");
  await ended;
}

// --- the browser ---

const complaints = [];
let isDown = false;

async function open(browser, width, height, colorScheme) {
  const page = await browser.newPage({ viewport: { width, height }, colorScheme });
  page.setDefaultTimeout(BOUND);
  page.on("console", (message) => {
    // While the proxy is down the browser itself complains of every request.
    if (["error", "warning"].includes(message.type()) && !isDown) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return page;
}

const breakerOf = (page, name) => page.locator(`tr:has(a[href="#/service/${name}"]) td.breaker`);
const until = (locator) => locator.waitFor().then(() => "yes");

async function list(page) {
  await page.goto(base);
  await until(page.getByText("live", { exact: true }));
  tell("200 services are listed", SERVICES, await page.locator("table.services tbody tr").count());
  await page.getByRole("searchbox").fill("service-18");
  await until(page.getByText("8 of 200 services"));
  tell("the filter leaves what it names", 8, await page.locator("table.services tbody tr").count());
  await page.getByRole("searchbox").fill("");
  const first = await page.evaluate(async () => {
    const row = document.querySelector("table.services tbody tr");
    await new Promise((resolve) => setTimeout(resolve, 4500));
    return row.isConnected;
  });
  tell("rows stay and are changed in place", true, first);
  await page.getByRole("button", { name: "Service", exact: true }).click();
  tell("a column is sorted by its head", "ascending", await page.locator("th.name[aria-sort]").getAttribute("aria-sort"));
  await page.getByRole("button", { name: "Trouble first" }).click();
}

async function breaker(page) {
  isBroken = true;
  for (let calls = 0; calls < 6; calls++) await call("payment", "/charge");
  tell("a breaker that opens shows", "yes", await until(breakerOf(page, "payment").filter({ hasText: /^open/ })));
  tell("trouble comes first", "payment", await page.locator("table.services tbody th").first().textContent());
  isBroken = false;
  await new Promise((resolve) => setTimeout(resolve, 5200));
  const end = Date.now() + BOUND;
  while ((await call("payment", "/charge")) !== 200 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 200));
  tell("a breaker that closes shows", "yes", await until(breakerOf(page, "payment").filter({ hasText: /^closed/ })));
}

async function forcing(page) {
  await page.locator('a[href="#/service/cart"]').first().click();
  await page.getByRole("heading", { name: "cart", exact: true }).waitFor();
  await page.getByRole("button", { name: "Force open" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("button", { name: "Cancel" }).click();
  tell("a breaker is not forced without a yes", 200, await call("cart", "/"));
  await page.getByRole("button", { name: "Force open" }).click();
  await dialog.getByRole("button", { name: "Force open" }).click();
  tell("a forced breaker shows", "yes", await until(page.getByText("forced open")));
  tell("a forced breaker refuses", 503, await call("cart", "/"));
  await page.getByRole("button", { name: "Automatic" }).click();
  await dialog.getByRole("button", { name: "Automatic" }).click();
  await until(page.locator("[data-force=auto][aria-pressed=true]"));
  tell("a breaker that was given back works", 200, await call("cart", "/"));
  tell("both charts are drawn", 2, await page.locator(".plot canvas").count());
}

async function story(page) {
  await call("inventory", "/flaky/42");
  await page.goto(`${base}#/`);
  await page.locator(".calls a", { hasText: "/flaky/42" }).click();
  await page.getByRole("heading", { name: "GET /flaky/42" }).waitFor();
  tell("the story of a retried call has its attempts", 2, await page.locator(".attempts > li").count());
  tell("the story shows the back-off", 1, await page.locator(".part.backoff").count());
  tell("the story names a line of the configuration", true, (await page.locator("code.place", { hasText: /mesh\.yaml:\d+/ }).count()) > 0);
  const address = page.url();
  await page.goto("about:blank");
  await page.goto(address);
  tell("a link leads to the same call", "yes", await until(page.getByRole("heading", { name: "GET /flaky/42" })));
}

async function looks(browser) {
  for (const colours of ["light", "dark"]) {
    for (const [width, height] of [[390, 844], [1440, 900]]) {
      const page = await open(browser, width, height, colours);
      for (const place of ["", "#/service/payment"]) {
        await page.goto(base + place);
        await until(page.getByText("live", { exact: true }));
        const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        tell(`${colours}, ${width} px, ${place || "/"}: as wide as the window`, true, excess <= 0);
        tell(`${colours}, ${width} px, ${place || "/"}: text stands out from its ground`, true, (await contrast(page)) >= 4.5);
      }
      await page.close();
    }
  }
}

/** The contrast of text on cards, as WCAG counts it: the least of what is said quietly and what is said plainly. */
function contrast(page) {
  return page.evaluate(() => {
    const light = (colour) => {
      const [red, green, blue] = colour.match(/[\d.]+/g).slice(0, 3).map((value) => value / 255).map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ratio = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const colourOf = (node, key) => light(getComputedStyle(node)[key]);
    const ground = colourOf(document.querySelector(".card"), "backgroundColor");
    const texts = [document.body, ...document.querySelectorAll(".quiet, main a")].map((node) => ratio(colourOf(node, "color"), ground));
    const pills = [...document.querySelectorAll(".pill")].map((node) => ratio(colourOf(node, "color"), colourOf(node, "backgroundColor")));
    return Math.min(...texts, ...pills);
  });
}

async function restart(page) {
  await page.goto(`${base}#/`);
  await until(page.getByText("live", { exact: true }));
  isDown = true;
  await stop();
  tell("a proxy that is gone shows", "yes", await until(page.getByText("proxy unreachable, retrying")));
  await start();
  tell("the page goes on by itself", "yes", await until(page.getByText("live", { exact: true })));
  isDown = false;
  tell("after a restart all services are there", SERVICES, await page.locator("table.services tbody tr").count());
}

/** Two minutes of traffic with some faults, then the picture while it goes on. */
async function picture(browser, file) {
  const page = await open(browser, 1280, 760, "light");
  let isOver = false;
  const traffic = SPOKEN.map(async (name, place) => {
    for (let turn = 0; !isOver; turn++) {
      const isFlaky = turn % (40 + 7 * place) === 11;
      const calls = Array.from({ length: 1 + (place % 4) }, (_, index) => call(name, isFlaky && index === 0 ? `/flaky/${name}-${turn}` : `/items/${turn}`));
      await Promise.all(calls);
      await new Promise((resolve) => setTimeout(resolve, name === "payment" ? 400 : 20));
    }
  });
  await new Promise((resolve) => setTimeout(resolve, 100_000));
  isBroken = true;
  await new Promise((resolve) => setTimeout(resolve, 12_000));
  await page.goto(`${base}#/`);
  await page.locator(".calls a").first().waitFor();
  await page.screenshot({ path: file });
  isBroken = false;
  isOver = true;
  await Promise.all(traffic);
  await page.close();
}

upstream.listen(upstreamPort, "127.0.0.1");
await once(upstream, "listening");
await start();
const quietly = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const browser = await chromium.launch({ executablePath: browserPath, args: quietly.split(" ") });
try {
  const page = await open(browser, 1440, 900, "light");
  if (process.env.DASHBOARD_PICTURE) await picture(browser, process.env.DASHBOARD_PICTURE);
  await list(page);
  await breaker(page);
  await forcing(page);
  await story(page);
  await looks(browser);
  await restart(page);
  tell("nothing on the console", "", complaints.join("; "));
} finally {
  await browser.close();
  proxy.kill("SIGKILL");
  upstream.close();
}
console.log("end");
process.exit(0);
