// Elements made by hand: whatever a model wrote becomes a text node and is never read as markup.

/** An element with attributes (`null` leaves one out) and children, which are elements or text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null).map((child) => child.nodeType ? child : String(child)));
  return element;
}

/** Text of a model or a user, in its own language and direction, as it was written. */
export function quote(tag, text, language, attributes = {}) {
  const given = { ...attributes, dir: "auto", lang: language, class: `text ${attributes.class ?? ""}`.trim() };
  return make(tag, given, text);
}

export const byId = (id) => document.getElementById(id);

export const count = (number) => number.toLocaleString("en");
