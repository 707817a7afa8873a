// One problem: question, reference, choice of each rule, clusters and their candidates.
'use strict';

const METHODS = {
  box: 'in the last box',
  boxes: 'in the last boxes, which are joined',
  heading: 'under the last heading "Answer"',
  hash: 'after the last ####',
  tag: 'in the last <answer> tag',
  phrase: 'after the last phrase that states an answer',
  final_sentence: 'the value of the final sentence; nothing announces it',
  last_number: 'the last number',
  last_line: 'the value of the last line',
};

function formatNumber(value) {
  if (value === null || value === undefined) return '';
  return Math.abs(value) >= 100 ? value.toFixed(1) : value.toPrecision(3);
}

function verdict(isCorrect) {
  if (isCorrect === null) return makeElement('span', {class: 'unknown'}, 'no label');
  return makeElement('span', {class: isCorrect ? 'right' : 'wrong'}, isCorrect ? '✓ right' : '✗ wrong');
}

// Returns the clusters [{answer, members, isCorrect, weight, best}], largest first, then the rest.
function makeClusters(candidates) {
  const byNumber = new Map();
  for (const candidate of candidates) {
    const number = candidate.cluster ?? -1;
    if (!byNumber.has(number)) byNumber.set(number, []);
    byNumber.get(number).push(candidate);
  }
  const clusters = [...byNumber].map(([number, members]) => {
    const scores = members.map((member) => member.score).filter((score) => score !== null);
    const labels = new Set(members.map((member) => member.is_correct));
    return {
      number,
      members,
      answer: number < 0 ? null : members[0].answer,
      labels: [...labels],
      weight: scores.length ? scores.reduce((sum, score) => sum + score, 0) : null,
      best: scores.length ? Math.max(...scores) : null,
    };
  });
  return clusters.sort((a, b) =>
    (a.number < 0) - (b.number < 0) || b.members.length - a.members.length ||
    a.members[0].index - b.members[0].index);
}

function renderAnswer(answer) {
  if (answer === null || answer === undefined) return makeElement('i', {}, 'no answer');
  const isFormula = /[\\^_{}]/.test(answer) && !answer.includes('$');
  const element = renderText(isFormula ? `$${answer.trim()}$` : answer);
  element.classList.add('answer');
  return element;
}

// Returns the table of rules: the chosen answer of each, and whether it is right.
function renderRules(source, entry, chosen, candidates) {
  const lines = source.index.rows.map(([name, kind], column) => {
    const value = entry.values[column], index = chosen[column];
    let outcome = makeElement('span', {}, `${(100 * value).toFixed(0)}%`);
    if (value === 0 || value === 1) outcome = verdict(value === 1);
    let choice = '';
    if (index !== null && index !== undefined) {
      const open = () => openCandidate(source, index);
      choice = makeElement('button', {class: 'link', onclick: open}, `candidate ${index}`);
    }
    const answer = choice ? renderAnswer(candidates[index].answer) : '';
    return makeElement('tr', {}, makeElement('td', {}, showHidden(name)), makeElement('td', {}, kind),
      makeElement('td', {}, outcome), makeElement('td', {}, answer), makeElement('td', {}, choice));
  });
  const head = ['rule', 'kind', 'result', 'chosen answer', ''].map((name) => makeElement('th', {}, name));
  const table = makeElement('table', {class: 'rules'}, makeElement('thead', {}, makeElement('tr', {}, head)),
    makeElement('tbody', {}, lines));
  return makeElement('div', {class: 'rules-box'}, table);
}

function renderCandidate(source, candidate, chosenBy) {
  const scoreName = source.index.score_name;
  const facts = [
    makeElement('b', {}, `candidate ${candidate.index}`), verdict(candidate.is_correct),
    candidate.score === null ? null : `${scoreName} ${formatNumber(candidate.score)}`,
    candidate.log_prob === null ? null : `log-prob ${formatNumber(candidate.log_prob)}`,
    candidate.how === null ? null : makeElement(
      'span', {class: 'how', title: METHODS[candidate.how] ?? ''}, `found by ${candidate.how}`),
    candidate.finished === false ? makeElement('span', {class: 'cut'}, 'cut at the length limit') : null,
    chosenBy.length ? makeElement('span', {class: 'chosen'}, `chosen by ${chosenBy.join(', ')}`) : null,
  ];
  const details = makeElement('details', {
    class: 'candidate', 'data-source': sources.indexOf(source), 'data-index': candidate.index,
    ontoggle: () => { if (details.open) fillCandidate(details, candidate); },
  }, makeElement('summary', {}, facts.filter((fact) => fact !== null).map((fact) => makeElement('span', {}, fact))));
  return details;
}

// Renders the text of a candidate when it is opened, and again when the view changes.
function fillCandidate(details, candidate) {
  const isSource = document.body.classList.contains('source');
  if (details.dataset.shown === String(isSource)) return;
  details.dataset.shown = isSource;
  details.querySelector('.body')?.remove();
  const body = makeElement('div', {class: 'body'}, renderText(candidate.solution, candidate.marks, isSource));
  if (candidate.answer !== null && candidate.how !== null) {
    const where = candidate.marks.length ? (METHODS[candidate.how] ?? '') : 'not located in the text';
    body.append(makeElement('p', {class: 'where'}, 'Answer ', renderAnswer(candidate.answer), ` — ${where}.`));
  }
  details.append(body);
}

function renderCluster(source, cluster, total, chosen, isOpen) {
  const rulesOf = new Map();
  chosen.forEach((index, column) => {
    const names = rulesOf.get(index) ?? [];
    rulesOf.set(index, [...names, showHidden(source.index.rows[column][0])]);
  });
  const share = 100 * cluster.members.length / total;
  const facts = [
    makeElement('span', {class: 'size'}, `${cluster.members.length} of ${total}`,
      makeElement('span', {class: 'bar'}, makeElement('span', {style: `width:${share}%`}))),
    cluster.answer === null ? makeElement('i', {}, 'no answer') : renderAnswer(cluster.answer),
    ...cluster.labels.map(verdict),
    cluster.weight === null ? null :
      `sum ${formatNumber(cluster.weight)}, largest ${formatNumber(cluster.best)}`,
  ];
  const members = cluster.members.map((member) =>
    renderCandidate(source, member, rulesOf.get(member.index) ?? []));
  const element = makeElement('details', {class: 'cluster', open: isOpen},
    makeElement('summary', {}, facts.filter(Boolean).map((fact) => makeElement('span', {}, fact))), members);
  return element;
}

// Shows a problem; `sourceName` chooses the file or run where there are several.
async function showProblem(problem, sourceName) {
  const view = document.getElementById('problem');
  const part = [...problem.parts].find(([source]) => source.name === sourceName) ?? [...problem.parts][0];
  const [source, entry] = part;
  let loaded;
  try {
    loaded = await loadCandidates(source, entry);
  } catch (error) {
    view.replaceChildren(makeElement('p', {class: 'wrong'}, `${error.message}. Copy the whole folder of the report.`));
    return;
  }
  if (state.get('problem') !== problem.id) return;  // another one was chosen in the meantime
  const {solution, chosen, candidates} = loaded;
  const tabs = [...problem.parts.keys()].map((other) => makeElement(
    'button', {class: other === source ? 'tab current' : 'tab', onclick: () => selectSource(other)}, showHidden(other.name)));
  const clusters = makeClusters(candidates);
  view.replaceChildren(
    makeElement('h2', {}, showHidden(problem.id)),
    makeElement('p', {class: 'facts'}, [entry.subject, entry.level].filter(Boolean).map(showHidden).join(', ')),
    renderText(entry.question),
    makeElement('p', {class: 'reference'}, 'Reference answer ', renderAnswer(entry.answer)),
    solution ? makeElement('details', {}, makeElement('summary', {}, 'Reference solution'), renderText(solution)) : '',
    makeElement('div', {class: 'tabs'}, sources.length > 1 ? tabs : []),
    renderRules(source, entry, chosen, candidates),
    ...clusters.map((cluster, i) => renderCluster(source, cluster, candidates.length, chosen, i === 0)));
  document.querySelector('.cluster .candidate')?.setAttribute('open', '');
  view.scrollTop = 0;
}

// Opens a candidate, its cluster, and scrolls to it.
function openCandidate(source, index) {
  const place = `[data-source="${sources.indexOf(source)}"][data-index="${index}"]`;
  const element = document.querySelector(`.candidate${place}`);
  element.closest('.cluster').open = true;
  element.open = true;
  element.scrollIntoView({block: 'center'});
}
