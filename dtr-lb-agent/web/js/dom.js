// Elements, made and changed without ever parsing text as HTML: whatever a replica's answer says stays text.

/** Makes an element. `props`: attributes, `class`, `text`, `data-…`, `on…` handlers; `null` and `false` are left out. */
export function el(name, props = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text only if it is another: a selection or a screen reader is not disturbed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Brings the children of `parent` into line with `items`: keeps the element of each key, makes and removes others. `make(item)`
 * returns `{element, update(item)}`. The returned map holds them by key.
 */
export function sync(parent, views, items, keyOf, make) {
  const wanted = new Set(items.map(keyOf));
  for (const [key, view] of views) {
    if (!wanted.has(key)) {
      view.element.remove();
      view.remove?.();
      views.delete(key);
    }
  }
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    if (!views.has(key)) views.set(key, make(item));
    const { element } = views.get(key);
    const place = before ? before.nextSibling : parent.firstChild;
    if (place !== element) parent.insertBefore(element, place);
    before = element;
    views.get(key).update(item);
  }
  return views;
}

/** Reads it out to those who do not see it. */
export function announce(words) {
  const news = document.getElementById("news");
  news.append(el("p", { text: words }));
  while (news.children.length > 5) news.firstChild.remove();
}
