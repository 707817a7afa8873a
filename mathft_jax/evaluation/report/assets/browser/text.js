// Text of models and data files as DOM nodes: formulas by KaTeX, everything else as text nodes.
// Nothing here parses HTML, so no text can become an element or a script.
'use strict';

// Formulas as the grader reads them: a dollar sign opens before a non-blank, and closes behind one
// and before no digit, so that prices are not formulas.
const FORMULA = new RegExp(
  [
    String.raw`\$\$([^]+?)\$\$`,
    String.raw`\\\[([^]+?)\\\]`,
    String.raw`\\\(([^]+?)\\\)`,
    String.raw`(?<![\\\d])\$(?![\s$])((?:\\[^]|[^$\n\\])*?(?<!\s))\$(?!\d)`,
    String.raw`(\\begin\{(align\*?|aligned|alignat\*?|array|bmatrix|cases|equation\*?|gather\*?|` +
      String.raw`matrix|pmatrix|vmatrix)\}[^]+?\\end\{\6\})`,
  ].join('|'),
  'g');
const DRAWING = /\[asy\][^]*?\[\/asy\]/g;
const MAX_FORMULA = 4000;  // characters; longer ones are shown as text
const KATEX_OPTIONS = {
  throwOnError: false,
  strict: 'ignore',
  trust: false,  // no links, images or HTML attributes in formulas
  maxSize: 20,  // em
  maxExpand: 500,
};
// Controls, and marks that change the direction of text.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

// Returns an element with attributes and children; strings become text nodes.
function makeElement(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child);
  }
  return element;
}

// Returns text with visible escapes instead of hidden characters.
function showHidden(text) {
  return text.replace(HIDDEN, (c) => '\\u' + c.charCodeAt(0).toString(16).padStart(4, '0'));
}

// Returns [{start, end, tex, display}] of the formulas of a text, boxes outside of formulas included.
function findFormulas(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(FORMULA)) {
    found.push(...findBareBoxes(text, end, match.index));
    end = match.index + match[0].length;
    const tex = match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[5];
    const display = match[3] === undefined && match[4] === undefined;
    found.push({start: match.index, end, tex, display});
  }
  found.push(...findBareBoxes(text, end, text.length));
  return found;
}

// Returns the \boxed{...} between two positions, which models often write without dollar signs.
function findBareBoxes(text, from, to) {
  const found = [];
  let start = text.indexOf('\\boxed{', from);
  while (start >= 0 && start < to) {
    let depth = 0, end = start + 6;
    for (; end < to; end++) {
      if (text[end] === '\\') end++;
      else if (text[end] === '{') depth++;
      else if (text[end] === '}' && --depth === 0) break;
    }
    if (end >= to) break;
    found.push({start, end: end + 1, tex: text.slice(start, end + 1), display: false});
    start = text.indexOf('\\boxed{', end + 1);
  }
  return found;
}

// Returns a formula as an element, or its source where KaTeX cannot read it.
function renderFormula({tex, display}, source) {
  const element = makeElement(display ? 'div' : 'span', {class: 'formula'});
  if (tex.length > MAX_FORMULA) return makeElement('code', {}, showHidden(source));
  try {
    katex.render(tex, element, {...KATEX_OPTIONS, displayMode: display});
  } catch (error) {  // such as a stack overflow from deep nesting
    return makeElement('code', {title: String(error)}, showHidden(source));
  }
  return element;
}

// Returns text nodes and <mark> elements of text[start, end); marks are [start, end] of the text.
function renderPlain(text, start, end, marks) {
  const nodes = [];
  for (const drawing of text.slice(start, end).matchAll(DRAWING)) {
    const from = start + drawing.index, to = from + drawing[0].length;
    const code = makeElement('details', {}, makeElement('summary', {}, 'Drawing (Asymptote)'), showHidden(drawing[0]));
    return [...renderPlain(text, start, from, marks), code, ...renderPlain(text, to, end, marks)];
  }
  for (const [from, to] of marks) {
    if (to <= start || from >= end) continue;
    nodes.push(showHidden(text.slice(start, Math.max(from, start))));
    const found = text.slice(Math.max(from, start), Math.min(to, end));
    nodes.push(makeElement('mark', {}, showHidden(found)));
    start = Math.min(to, end);
  }
  nodes.push(showHidden(text.slice(start, end)));
  return nodes;
}

// Returns an element with the text: formulas rendered unless `asSource`, marked spans highlighted.
function renderText(text, marks = [], asSource = false) {
  const box = makeElement('div', {class: 'text'});
  let end = 0;
  for (const formula of asSource ? [] : findFormulas(text)) {
    box.append(...renderPlain(text, end, formula.start, marks));
    end = formula.end;
    const element = renderFormula(formula, text.slice(formula.start, end));
    if (marks.some(([from, to]) => from < formula.end && to > formula.start)) {
      element.classList.add('found');
    }
    box.append(element);
  }
  box.append(...renderPlain(text, end, text.length, marks));
  return box;
}
