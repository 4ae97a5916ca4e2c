/**
 * `npm run mutate [-- PATH...]`: does a test fail for every small mistake in the codecs and machines of `protocols/`? Changes
 * them in one place at a time and runs the tests that pass there. What no test notices must stand in docs/mutants.md, with why.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { startVitest } from 'vitest/node';
import { mutantsOf } from './mutate/mutants.mjs';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const FOLDERS = ['octets', 'ethernet', 'lldp-codec', 'lldp-agent', 'evb', 'ecp', 'vdp'];
const TESTS = ['/test/{octets,lldp,evb,ecp,vdp}/*.test.ts', '/test/cli/draft-codec.test.ts'];
const LIST = 'docs/mutants.md';

const USAGE = `usage: npm run mutate -- [PATH]...

Changes the codecs and machines in one place at a time and runs the tests that
pass there: every mutant has to make one fail, or to stand in ${LIST}
with the reason. PATH: a file or folder below protocols/; without one all of
${FOLDERS.join(', ')}.

Exit status: 0 when no other mutant survives, 1 when one does or a test fails
without any, 2 for a wrong path.
`;

const key = ({ file, where, before, after }) => [file, where, before.join(' '), after.join(' ')].join('\n');
const plural = (count, noun) => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** What docs/mutants.md accepts: under the heading of a file blocks of changes, each behind `@@` and where it is. */
function acceptedMutants(text) {
  const list = [];
  let file;
  for (const [, heading, block] of text.matchAll(/^## `(.+)`$|^```diff\n([\s\S]*?)^```$/gm)) {
    if (heading !== undefined) {
      file = heading;
      continue;
    }
    for (const change of block.split(/^@@/m).slice(1)) {
      const [where, ...lines] = change.split('\n');
      const signed = (sign) =>
        lines.filter((line) => line.startsWith(sign)).map((line) => line.slice(1).trim());
      list.push({ file, where: where.trim(), before: signed('-'), after: signed('+') });
    }
  }
  return list;
}

/** Every mutant of the files, and their instrumented text. */
function instrument(files) {
  const mutants = [];
  const texts = new Map();
  for (const file of files) {
    const found = mutantsOf(file, fs.readFileSync(path.join(root, file), 'utf8'), 1 + mutants.length);
    mutants.push(...found.mutants);
    texts.set(path.join(root, file), found.code);
  }
  return { mutants, texts };
}

/** What became of each mutant, by id: killed, survived or uncovered. */
async function run(mutants, texts) {
  const parts = Math.min(2, os.availableParallelism());
  const plugin = {
    name: 'mutants',
    enforce: 'pre',
    transform: (code, id) =>
      texts.get(id) ??
      (id.endsWith('/mutate/tests.mjs') ? code.replace(`'__TESTS__'`, JSON.stringify(TESTS)) : undefined),
  };
  const about = mutants.map(({ id, file, isStatic }) => ({ id, file, isStatic }));
  const projects = Array.from({ length: parts }, (_, part) => ({
    plugins: [plugin],
    test: {
      name: `part ${part}`,
      root,
      include: ['tools/mutate/tests.mjs'],
      pool: 'forks',
      provide: { mutation: { part, parts, mutants: about } },
    },
  }));
  const vitest = await startVitest('test', [], {
    root,
    config: false,
    watch: false,
    silent: true,
    reporters: [{}],
    maxWorkers: parts,
    projects,
  });
  const outcome = {};
  const failures = vitest.state.getUnhandledErrors().map((error) => error.message);
  for (const module of vitest.state.getTestModules()) {
    failures.push(...module.errors().map((error) => error.message));
    for (const one of module.children.allTests()) {
      const meta = one.meta();
      Object.assign(outcome, meta.outcome);
      failures.push(...(meta.damaged ?? []).map((name) => `a mutant damaged what tests share: ${name}`));
      if (one.result().state === 'failed')
        failures.push(`fails without a mutant: ${one.fullName}: ${one.result().errors[0].message}`);
    }
  }
  await vitest.close();
  return { outcome, failures: [...new Set(failures)] };
}

function report(mutants, outcome, accepted) {
  const isAccepted = new Set(accepted.map(key));
  const living = mutants.filter(({ id }) => outcome[id] !== 'killed');
  const news = living.filter((mutant) => !isAccepted.has(key(mutant)));
  for (const { id, file, line, where, before, after } of news) {
    console.log(
      `${file}:${line}${where && `, ${where}`}${outcome[id] === 'uncovered' ? ' (no test gets there)' : ''}`,
    );
    for (const text of before) console.log(`  - ${text}`);
    for (const text of after) console.log(`  + ${text}`);
  }
  if (news.length > 0) console.log('');
  const width = Math.max(...mutants.map(({ file }) => file.length));
  console.log(`${''.padEnd(width)}  mutants  killed  accepted  survive`);
  for (const file of new Set(mutants.map((mutant) => mutant.file))) {
    const count = (list) => list.filter((mutant) => mutant.file === file).length;
    const [all, alive, fresh] = [count(mutants), count(living), count(news)];
    const columns = [
      String(all).padStart(9),
      String(all - alive).padStart(8),
      String(alive - fresh).padStart(10),
    ];
    console.log(`${file.padEnd(width)}${columns.join('')}${String(fresh).padStart(9)}`);
  }
  const alive = new Set(living.map(key));
  const stale = accepted.filter((entry) => !alive.has(key(entry)));
  for (const { file, where, before, after } of stale) {
    console.log(`\n${LIST}: ${file}, ${where}: this is no survivor (any more):`);
    for (const text of before) console.log(`  - ${text}`);
    for (const text of after) console.log(`  + ${text}`);
  }
  console.log(
    `\n${plural(mutants.length, 'mutant')}: ${mutants.length - living.length} killed, ` +
      `${living.length - news.length} accepted in ${LIST}, ${news.length} survive`,
  );
  return news.length === 0 && stale.length === 0;
}

const words = process.argv.slice(2);
if (words.includes('--help') || words.includes('-h')) {
  process.stdout.write(USAGE);
  process.exit(0);
}
os.setPriority(10);
const asked = words.map((name) => path.relative(root, path.resolve(name)));
const all = FOLDERS.flatMap((folder) =>
  fs.readdirSync(path.join(root, 'protocols', folder)).map((name) => `protocols/${folder}/${name}`),
);
const files = all.filter(
  (file) => asked.length === 0 || asked.some((name) => file === name || file.startsWith(`${name}/`)),
);
if (files.length === 0) {
  console.error(`evbd mutate: ${words.join(' ')}: nothing to change there; see npm run mutate -- --help`);
  process.exit(2);
}
const { mutants, texts } = instrument(files);
const { outcome, failures } = await run(mutants, texts);
for (const failure of failures) console.error(`evbd mutate: ${failure}`);
const listed = fs.existsSync(path.join(root, LIST)) ? fs.readFileSync(path.join(root, LIST), 'utf8') : '';
const accepted = acceptedMutants(listed).filter(({ file }) => files.includes(file));
const isClean = report(mutants, outcome, accepted);
process.exit(isClean && failures.length === 0 ? 0 : 1);
