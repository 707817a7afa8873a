// The list of problems, the controls and the keyboard.
'use strict';

const ROW_HEIGHT = 46;  // pixels; browser.css has the same
let shown = [];  // the problems that pass the filters

function fillSelect(name, values) {
  const select = document.getElementById(name);
  select.replaceChildren(makeElement('option', {value: ''}, select.dataset.all),
    ...values.map((value) => makeElement('option', {value}, showHidden(value))));
  select.hidden = values.length === 0;
}

function fillControls() {
  fillSelect('subject', distinct('subject'));
  fillSelect('level', distinct('level'));
  const keys = rows.map((row) => row.key);
  fillSelect('better', keys);
  fillSelect('than', keys);
  if (sources.length === 1) {  // the name of the only file says nothing
    for (const name of ['better', 'than']) {
      rows.forEach((row, i) => { document.getElementById(name).options[i + 1].textContent = showHidden(row.name); });
    }
  }
  fillSelect('which', Object.keys(CONDITIONS));
  fillSelect('how', distinctMethods());
  fillSelect('order', Object.keys(ORDERS).slice(1));
  for (const name of CONTROLS) {
    document.getElementById(name).addEventListener('input', (event) => {
      setState({[name]: event.target.value});
      applyFilters();
    });
  }
}

function showControls() {
  for (const name of CONTROLS) document.getElementById(name).value = state.get(name) ?? '';
}

// Filters the list; keeps the current problem if it is still in it.
function applyFilters() {
  shown = filteredProblems();
  const count = document.getElementById('count');
  count.textContent = `${shown.length.toLocaleString('en')} of ${problems.length.toLocaleString('en')} problems`;
  document.getElementById('rows').style.height = `${shown.length * ROW_HEIGHT}px`;
  const index = shown.findIndex((problem) => problem.id === state.get('problem'));
  if (shown.length === 0) {
    document.getElementById('problem').replaceChildren(makeElement('p', {}, 'No problem passes these filters.'));
  } else {
    select(Math.max(index, 0));
  }
  renderList();
}

// Draws the visible part of the list.
function renderList() {
  const list = document.getElementById('list'), box = document.getElementById('rows');
  const first = Math.max(0, Math.floor(list.scrollTop / ROW_HEIGHT) - 5);
  const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / ROW_HEIGHT) + 10);
  const lines = [];
  for (let i = first; i < last; i++) {
    const problem = shown[i], {entry} = problem;
    const isCurrent = problem.id === state.get('problem');
    const share = `${entry.right}/${entry.candidates}`;
    lines.push(makeElement('div', {
      class: isCurrent ? 'row current' : 'row', style: `top:${i * ROW_HEIGHT}px`, role: 'option',
      'aria-selected': String(isCurrent), onclick: () => { select(i); renderList(); },
    }, makeElement('span', {class: 'id'}, showHidden(problem.id)),
    makeElement('span', {class: 'share', title: 'right candidates'}, share),
    makeElement('span', {class: 'question'}, showHidden(entry.question.slice(0, 120)))));
  }
  box.replaceChildren(...lines);
}

// Shows the problem at a position of the list.
function select(index) {
  const problem = shown[index];
  if (!problem) return;
  setState({problem: problem.id});
  const list = document.getElementById('list'), top = index * ROW_HEIGHT;
  if (top < list.scrollTop) list.scrollTop = top;
  if (top + ROW_HEIGHT > list.scrollTop + list.clientHeight) {
    list.scrollTop = top + ROW_HEIGHT - list.clientHeight;
  }
  return showProblem(problem, state.get('file'));
}

function selectSource(source) {
  setState({file: source.name});
  const problem = shown.find((each) => each.id === state.get('problem'));
  showProblem(problem, source.name);
}

function move(step) {
  const index = shown.findIndex((problem) => problem.id === state.get('problem'));
  select(Math.min(Math.max(index + step, 0), shown.length - 1));
  renderList();
}

// Switches between rendered formulas and the text as the model wrote it.
function toggleSource() {
  document.body.classList.toggle('source');
  for (const details of document.querySelectorAll('.candidate[open]')) {
    details.open = false;
    details.open = true;
  }
}

function openAll() {
  for (const details of document.querySelectorAll('.cluster')) details.open = true;
  const closed = [...document.querySelectorAll('.candidate:not([open])')];
  const all = closed.length ? closed : document.querySelectorAll('.candidate');
  for (const details of all) details.open = closed.length > 0;
}

const KEYS = {
  j: () => move(1), n: () => move(1), ArrowDown: () => move(1),
  k: () => move(-1), p: () => move(-1), ArrowUp: () => move(-1),
  '/': () => document.getElementById('q').focus(),
  s: toggleSource,
  o: openAll,
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === 'Escape') document.activeElement.blur();
  const isTyping = ['INPUT', 'SELECT'].includes(event.target.tagName);
  const action = KEYS[event.key];
  if (isTyping || !action) return;
  event.preventDefault();
  action();
}

async function start() {
  try {
    await loadIndices();
  } catch (error) {
    document.getElementById('count').textContent = `${error.message}. Copy the whole folder of the report.`;
    return;
  }
  readHash();
  fillControls();
  showControls();
  applyFilters();
  document.getElementById('list').addEventListener('scroll', renderList);
  document.getElementById('reset').addEventListener('click', () => {
    setState(Object.fromEntries(CONTROLS.map((name) => [name, ''])));
    showControls();
    applyFilters();
  });
  document.getElementById('source').addEventListener('click', toggleSource);
  document.getElementById('open').addEventListener('click', openAll);
  document.addEventListener('keydown', onKey);
  window.addEventListener('hashchange', () => { readHash(); showControls(); applyFilters(); });
  window.addEventListener('resize', renderList);
  document.body.dataset.ready = 'true';
}

start();
