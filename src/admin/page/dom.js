// Small helpers for the document. Nodes are made once and changed in place, and only where something
// differs: two hundred rows every two seconds must not cost a layout each.

/** Makes an element. Keys of `attributes` are attributes, `on…` keys are listeners; null leaves one out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Sets the text of a node that holds nothing else. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Sets or removes an attribute. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) {
    node.setAttribute(name, value);
  }
}

/** Gives `parent` these children in this order, and moves only those that stand elsewhere. */
export function arrange(parent, children) {
  const focused = document.activeElement;
  let place = parent.firstChild;
  for (const child of children) {
    if (child === place) place = place.nextSibling;
    else parent.insertBefore(child, place);
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
  // A row that moved would have lost the focus of the keyboard.
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** Keeps one node per key: makes those that are new, changes all, drops the rest, in the order given. */
export class Keyed {
  constructor(parent, make) {
    this.parent = parent;
    this.make = make;
    this.kept = new Map();
  }

  show(items, keyOf) {
    const now = new Map();
    for (const item of items) {
      const key = keyOf(item);
      const row = this.kept.get(key) ?? this.make(item);
      row.update(item);
      now.set(key, row);
    }
    this.kept = now;
    arrange(this.parent, [...now.values()].map((row) => row.node));
  }
}

/** A word in a coloured frame. The word tells what the colour tells. */
export function pill(text, tone) {
  return el("span", { class: "pill", "data-tone": tone }, text);
}

/** Changes a pill. */
export function setPill(node, text, tone) {
  setText(node, text);
  setAttribute(node, "data-tone", tone);
}
