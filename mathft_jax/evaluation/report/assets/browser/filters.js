// Filters: their state is the hash of the address, so that links and reloads keep it.
'use strict';

const CONTROLS = ['q', 'subject', 'level', 'better', 'than', 'which', 'how', 'order'];
// Conditions on the candidates of a problem, in any source.
const CONDITIONS = {
  'some candidate without an answer': (e) => e.unanswered > 0,
  'no candidate with an answer': (e) => e.unanswered === e.candidates,
  'some candidate cut at the length limit': (e) => e.cut > 0,
  'right and wrong candidates': (e) => e.right > 0 && e.right < e.candidates,
  'no right candidate': (e) => e.right === 0,
  'only right candidates': (e) => e.right === e.candidates,
  'right candidates, majority wrong': (e) => e.right > 0 && e.majority === 0,
  'two verdicts in one cluster': (e) => e.two_verdicts,
};
const ORDERS = {
  'as in the file': null,
  'fewest right candidates first': (p) => p.entry.right / p.entry.candidates,
  'most right candidates first': (p) => -p.entry.right / p.entry.candidates,
  'most clusters first': (p) => -p.entry.clusters,
};

const state = new Map();

function readHash() {
  state.clear();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) state.set(name, value);
}

// Changes the state and the address; '' removes a name.
function setState(changes) {
  for (const [name, value] of Object.entries(changes)) {
    if (value) state.set(name, value);
    else state.delete(name);
  }
  const hash = new URLSearchParams([...state]).toString();
  history.replaceState(null, '', hash ? `#${hash}` : location.pathname);
}

// Returns the distinct values of a field of the problems in natural order.
function distinct(field) {
  const values = new Set(problems.map((problem) => problem.entry[field]).filter(Boolean));
  return [...values].sort(new Intl.Collator('en', {numeric: true}).compare);
}

function distinctMethods() {
  const methods = new Set();
  for (const problem of problems) {
    for (const entry of problem.parts.values()) entry.how.forEach((how) => methods.add(how));
  }
  return [...methods].sort();
}

// Returns the problems that pass all filters, in the chosen order.
function filteredProblems() {
  const words = (state.get('q') ?? '').toLowerCase().split(/\s+/).filter(Boolean);
  const rowOf = new Map(rows.map((row) => [row.key, row]));
  const better = rowOf.get(state.get('better')), than = rowOf.get(state.get('than'));
  const condition = CONDITIONS[state.get('which')];
  const how = state.get('how');

  const kept = problems.filter((problem) => {
    const {entry} = problem, parts = [...problem.parts.values()];
    if (state.has('subject') && entry.subject !== state.get('subject')) return false;
    if (state.has('level') && entry.level !== state.get('level')) return false;
    if (condition && !parts.some(condition)) return false;
    if (how && !parts.some((part) => part.how.includes(how))) return false;
    if (!isBetter(problem, better, than)) return false;
    return words.every((word) => searchText(problem).includes(word));
  });
  const key = ORDERS[state.get('order')];
  return key ? kept.sort((a, b) => key(a) - key(b)) : kept;
}

// Returns whether one row is better than another; alone, `better` is right and `than` is wrong.
function isBetter(problem, better, than) {
  const high = better && valueOf(better, problem), low = than && valueOf(than, problem);
  if ((better && high === undefined) || (than && low === undefined)) return false;
  if (better && than) return high > low;
  return (!better || high === 1) && (!than || low === 0);
}

function searchText(problem) {
  if (problem.searchText === undefined) {
    const {id, question, answer} = problem.entry;
    const answers = [...problem.parts.values()].flatMap((part) => part.answers);
    problem.searchText = [id, question, answer, ...answers].join('\n').toLowerCase();
  }
  return problem.searchText;
}
