// Data of the page: an index of all problems at once, texts of candidates in chunks on demand.
// Both are script files that call addIndex and addChunk: pages on disk cannot fetch other files.
'use strict';

const sources = JSON.parse(document.getElementById('sources').textContent);
const problems = [];  // of all sources, each once
const rows = [];  // {key, source, column}: the rows of the tables of all sources

// Loads a script of a source. Resolves when it has run.
function loadScript(source, name) {
  const pending = source.scripts ??= new Map();
  if (!pending.has(name)) {
    pending.set(name, new Promise((resolve, reject) => {
      const script = document.createElement('script');
      script.dataset.source = sources.indexOf(source);
      script.src = `${source.folder}/${name}`;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${script.src} is missing`));
      document.head.append(script);
    }));
  }
  return pending.get(name);
}

function currentSource() {
  return sources[Number(document.currentScript.dataset.source)];
}

function addIndex(index) {
  currentSource().index = index;
}

function addChunk(number, chunk) {
  (currentSource().chunks ??= new Map()).set(number, chunk);
}

// Loads the indices of all sources and joins their problems by id.
async function loadIndices() {
  await Promise.all(sources.map((source) => loadScript(source, `${source.prefix}.index.js`)));
  const byId = new Map();
  for (const source of sources) {
    source.index.rows.forEach(([name, kind], column) => {
      rows.push({key: `${source.name}: ${name}`, name, kind, source, column});
    });
    for (const entry of source.index.problems) {
      let problem = byId.get(entry.id);
      if (!problem) {
        problem = {id: entry.id, entry, parts: new Map()};
        byId.set(entry.id, problem);
        problems.push(problem);
      }
      problem.parts.set(source, entry);
    }
  }
}

// Returns {solution, chosen, candidates} of a problem in one source.
async function loadCandidates(source, entry) {
  const [number, position] = entry.place;
  await loadScript(source, `${source.prefix}.${String(number).padStart(4, '0')}.js`);
  const {solution, chosen, candidates} = source.chunks.get(number)[position];
  const fields = source.index.candidate_fields;
  const objects = candidates.map((values, index) => {
    const candidate = {index};
    fields.forEach((field, i) => { candidate[field] = values[i]; });
    return candidate;
  });
  return {solution, chosen, candidates: objects};
}

// Returns the value of a row on a problem, 0 to 1; undefined if the source lacks the problem.
function valueOf(row, problem) {
  return problem.parts.get(row.source)?.values[row.column];
}
