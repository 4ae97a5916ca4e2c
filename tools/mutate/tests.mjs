/**
 * A vitest file that holds every test of the pure code, and one more: it runs them again with each mutant in force. What it
 * finds goes to the main process in `meta`.
 */
import fc from 'fast-check';
import { expect, inject, TestRunner, test } from 'vitest';

/** Calls of `__mutant` that a test may make beyond ten times what it makes without a mutant: then it runs in circles. */
const PATIENCE = 100_000;

const { part, parts, mutants } = inject('mutation');
const reevaluations = [];
let active = 0;
let calls = 0;
let patience = Number.POSITIVE_INFINITY;
let seen = new Set();

globalThis.__mutant = (id) => {
  if (++calls > patience) throw new Error('runs in circles');
  seen?.add(id);
  return id === active;
};
globalThis.__reevaluate = (again) => reevaluations.push(again);

// The first counterexample is enough; the same numbers in each run.
fc.configureGlobal({ endOnFailure: true, seed: 802_1 });

await Promise.all(Object.values(import.meta.glob('__TESTS__')).map((load) => load()));
/** What runs while the modules load computes what is computed once, too. */
const atLoad = seen;

const files = new Map();
for (const { id, file } of mutants) files.set(id, file);

test('mutants', { timeout: 0 }, async ({ task }) => {
  const tests = [...leaves(task.file.tasks)]
    .filter((other) => other !== task)
    .map((other) => {
      // Each run would wait for an abort of its own.
      other.context.signal.addEventListener = () => {};
      return { name: other.fullTestName, run: TestRunner.getTestFn(other) };
    });
  expect(tests.length).toBeGreaterThan(0);
  for (const one of tests) {
    seen = new Set();
    calls = 0;
    const begin = performance.now();
    await one.run();
    one.duration = performance.now() - begin;
    one.calls = calls;
    one.covers = seen;
    one.files = new Set([...seen].map((id) => files.get(id)));
  }
  seen = undefined;
  tests.sort((a, b) => a.duration - b.duration);

  const outcome = {};
  for (const { id, file, ...mutant } of mutants) {
    if (id % parts !== part) continue;
    const isStatic = mutant.isStatic || atLoad.has(id);
    // What is computed once may be used anywhere: those who use its file are asked first.
    const candidates = isStatic
      ? [...tests.filter((one) => one.files.has(file)), ...tests.filter((one) => !one.files.has(file))]
      : tests.filter((one) => one.covers.has(id));
    outcome[id] = candidates.length === 0 ? 'uncovered' : 'survived';
    active = id;
    if (isStatic) reevaluate();
    for (const one of candidates) {
      if (await passes(one)) continue;
      outcome[id] = 'killed';
      break;
    }
    active = 0;
    if (isStatic) reevaluate();
  }
  patience = Number.POSITIVE_INFINITY;
  task.meta.outcome = outcome;
  // A mutant that damaged what tests share would have killed others in vain.
  task.meta.damaged = [];
  for (const one of tests) if (!(await passes(one))) task.meta.damaged.push(one.name);
});

function reevaluate() {
  try {
    for (const again of reevaluations) again();
  } catch {
    // A module that does not even load with this mutant: its tests notice.
  }
}

async function passes({ run, calls: usual }) {
  patience = 10 * usual + PATIENCE;
  calls = 0;
  try {
    await run();
    return true;
  } catch {
    return false;
  }
}

function* leaves(tasks) {
  for (const task of tasks) {
    if (task.type === 'test') yield task;
    else yield* leaves(task.tasks);
  }
}
