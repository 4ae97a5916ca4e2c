/**
 * Keeps `protocols/` pure: bytes, values and state machines only, so that anyone can lift a folder out of it. Fails with
 * file:line for everything that would tie it to Node, to the daemon, to a package, to a clock or to randomness.
 */
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

const project = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');

/** Names that bring in a clock, chance, the host or output. */
const forbidden = new Set(
  (
    'Date performance crypto process setTimeout setInterval setImmediate clearTimeout clearInterval clearImmediate ' +
    'queueMicrotask console Buffer fetch globalThis global require XMLHttpRequest WebSocket Worker'
  ).split(' '),
);

/** After these words a slash begins a regular expression. */
const beforeExpression = new Set(
  'return typeof case in of instanceof new delete void throw do else await yield'.split(' '),
);

/** Words, strings and punctuation with their lines; comments, and the text within strings, are gone. */
export function tokens(source) {
  const found = [];
  let line = 1;
  let at = 0;
  const templates = []; // depth of braces at which each open `${` ends
  let depth = 0;
  const push = (type, value) => found.push({ type, value, line });
  const skip = (count) => {
    for (let i = 0; i < count; i++) if (source[at++] === '\n') line++;
  };
  const template = () => {
    // at: after a backquote or after the brace that ends a `${`
    while (at < source.length) {
      if (source[at] === '\\') skip(2);
      else if (source[at] === '`') {
        skip(1);
        return;
      } else if (source.startsWith('${', at)) {
        skip(2);
        templates.push(depth++);
        return;
      } else skip(1);
    }
  };
  while (at < source.length) {
    const rest = source.slice(at, at + 2);
    const char = source[at];
    if (/\s/.test(char)) skip(1);
    else if (rest === '//') skip(Math.max(0, `${source}\n`.indexOf('\n', at) - at));
    else if (rest === '/*')
      skip(source.indexOf('*/', at + 2) < 0 ? source.length - at : source.indexOf('*/', at + 2) + 2 - at);
    else if (char === "'" || char === '"') {
      let end = at + 1;
      while (end < source.length && source[end] !== char && source[end] !== '\n')
        end += source[end] === '\\' ? 2 : 1;
      push('string', source.slice(at + 1, end));
      skip(end + 1 - at);
    } else if (char === '`') {
      push('string', undefined);
      skip(1);
      template();
    } else if (/[\p{L}\p{N}_$#]/u.test(char)) {
      const word = /^[\p{L}\p{N}_$#]+/u.exec(source.slice(at, at + 200))[0];
      push('word', word);
      skip(word.length);
    } else if (char === '/') {
      const before = found.at(-1);
      const divides =
        before !== undefined &&
        (before.type === 'string' ||
          (before.type === 'word' && !beforeExpression.has(before.value)) ||
          [')', ']', '}'].includes(before.value));
      if (divides) {
        push('mark', '/');
        skip(1);
      } else {
        let end = at + 1;
        let inClass = false;
        while (end < source.length && source[end] !== '\n' && (inClass || source[end] !== '/')) {
          if (source[end] === '\\') end++;
          else if (source[end] === '[') inClass = true;
          else if (source[end] === ']') inClass = false;
          end++;
        }
        push('string', undefined);
        skip(end + 1 - at);
      }
    } else {
      if (char === '{') depth++;
      if (char === '}') depth--;
      if (char === '}' && templates.at(-1) === depth) {
        templates.pop();
        skip(1);
        template();
      } else {
        push('mark', char);
        skip(1);
      }
    }
  }
  return found;
}

/** What is wrong with one file of `folder` (the root of the pure code): lines `file:line: why`. */
export function impurities(file, source, folder) {
  const list = tokens(source);
  const wrong = [];
  const name = path.relative(path.dirname(folder), file);
  const report = (token, why) => wrong.push(`${name}:${token.line}: ${why}`);
  list.forEach((token, i) => {
    const before = list[i - 1];
    const after = list[i + 1];
    if (token.type === 'string' && token.value !== undefined) {
      const called = before?.value === '(' && list[i - 2]?.value === 'import';
      if (!called && !(before?.type === 'word' && (before.value === 'from' || before.value === 'import')))
        return;
      if (token.value.startsWith('node:')) report(token, `imports ${token.value}; protocols/ does no I/O`);
      else if (!/^\.\.?\//.test(token.value))
        report(token, `imports the package ${token.value}; protocols/ depends on nothing`);
      else if (path.relative(folder, path.resolve(path.dirname(file), token.value)).startsWith('..')) {
        report(token, `imports ${token.value}, which is outside protocols/`);
      }
      return;
    }
    if (token.type !== 'word') return;
    if (token.value === 'import' && after?.value === '(' && list[i + 2]?.type !== 'string') {
      report(token, 'imports by a computed name');
    }
    if (before?.value === '.' && list[i - 2]?.value !== '.') {
      if (token.value === 'random' && list[i - 2]?.value === 'Math')
        report(token, 'uses Math.random; pass chance in as an input');
      return; // a member of something else
    }
    if (!forbidden.has(token.value)) return;
    // A key or a member of that name is somebody's own: { process: 1 }, { console?: x }, process(input) { in a class.
    const isKey =
      (after?.value === ':' || (after?.value === '?' && list[i + 2]?.value === ':')) &&
      '{,;('.includes(before?.value ?? '');
    if (!isKey) report(token, `uses ${token.value}; protocols/ has no clock, no chance, no host: pass it in`);
  });
  return wrong;
}

function* sources(folder) {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* sources(file);
    else if (/\.[cm]?[jt]s$/.test(entry.name)) yield file;
  }
}

if (process.argv[1] && fs.realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const folder = path.resolve(process.argv[2] ?? path.join(project, 'protocols'));
  const wrong = [...sources(folder)].flatMap((file) =>
    impurities(file, fs.readFileSync(file, 'utf8'), folder),
  );
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) {
    console.error(`protocols/ is not pure: ${wrong.length} place${wrong.length > 1 ? 's' : ''}`);
    process.exitCode = 1;
  }
}
