// Numbers and times as people read them.

/** Milliseconds, to three digits. */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 10_000) return `${(value / 1000).toFixed(1)} s`;
  if (value >= 1000) return `${(value / 1000).toFixed(2)} s`;
  if (value >= 100) return `${value.toFixed(0)} ms`;
  if (value >= 10) return `${value.toFixed(1)} ms`;
  return `${value === 0 ? "0" : value.toFixed(2)} ms`;
}

/** Calls per second. */
export function rate(value) {
  if (value === 0) return "0";
  if (value >= 10_000) return `${(value / 1000).toFixed(1)}k`;
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

/** A share from 0 to 1. */
export function percent(share) {
  if (share === 0) return "0 %";
  if (share < 0.001) return "< 0.1 %";
  return share >= 0.1 ? `${(share * 100).toFixed(0)} %` : `${(share * 100).toFixed(1)} %`;
}

/** A number and its noun. */
export function count(number, one, many = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** The time of day of a moment in seconds of Unix time. */
export function clock(unix, withMillis = false) {
  const date = new Date(unix * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return withMillis ? `${text}.${String(date.getMilliseconds()).padStart(3, "0")}` : text;
}

/** How long ago that was, roughly. */
export function ago(unix) {
  const seconds = Math.max(0, Date.now() / 1000 - unix);
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return count(Math.floor(seconds / 86_400), "day");
}

/** Bytes. */
export function bytes(number) {
  if (number < 1024) return `${number} B`;
  return number < 1_048_576 ? `${(number / 1024).toFixed(1)} KiB` : `${(number / 1_048_576).toFixed(1)} MiB`;
}

/** A word of the API, such as `half_open`, as words. */
export function words(name) {
  return name.replaceAll("_", " ");
}
