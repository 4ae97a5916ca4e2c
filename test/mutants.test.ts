import { describe, expect, test } from 'vitest';
// @ts-expect-error a plain script
import { mutantsOf } from '../tools/mutate/mutants.mjs';

interface Mutant {
  id: number;
  where: string;
  before: string[];
  after: string[];
  isStatic: boolean;
}

/** `f` of a source, with one mutant in force or none. */
function build(source: string, active = 0): { f: (...inputs: unknown[]) => unknown; mutants: Mutant[] } {
  const { mutants, code } = mutantsOf('source.ts', source) as { mutants: Mutant[]; code: string };
  let now = 0;
  const again: (() => void)[] = [];
  const f = new Function('__mutant', '__reevaluate', `${code}; return f;`)(
    (id: number) => id === now,
    (evaluate: () => void) => again.push(evaluate),
  );
  now = active;
  for (const evaluate of again) evaluate();
  return { f, mutants };
}

/** What `f` returns for the inputs under each mutant, by what the mutant makes of the line. */
function outcomes(source: string, ...inputs: unknown[]): Record<string, unknown> {
  return Object.fromEntries(
    build(source).mutants.map(({ id, after }) => [after.join(' '), build(source, id).f(...inputs)]),
  );
}

describe('mutants of a source', () => {
  test('none in force: it does what it did', () => {
    const source = `
      const LIMITS = [1, 2];
      function f(a, b) {
        let n = 0;
        if (a < LIMITS[0] && b) n++;
        else n = 7;
        return [n, ...(b ? ['x'] : [])];
      }`;
    const { f } = build(source);
    expect([f(0, true), f(1, true), f(0, false)]).toEqual([[1, 'x'], [7, 'x'], [7]]);
  });

  test('each does what its line says', () => {
    expect(outcomes('function f(a, b) {\nreturn a <= 3 || b === 0;\n}', 4, 0)).toEqual({
      'return true;': true,
      'return false;': false,
      'return b === 0;': true,
      'return a <= 3;': false,
      'return a < 3 || b === 0;': true,
      'return a <= 4 || b === 0;': true,
      'return a <= 2 || b === 0;': true,
      'return a <= 3 || b === 1;': false,
    });
  });

  test('a statement before else, a case, a constant, a list', () => {
    expect(outcomes('let n = 5;\nfunction f(a) {\nif (a) n = a;\nelse n++;\nreturn n;\n}', 3)).toMatchObject({
      'if (true) n = a;': 3,
      'if (false) n = a;': 6,
      'if (a)': 5,
      'let n = 6;': 3,
    });
    expect(outcomes("function f(a) {\nswitch (a) {\ncase 'x':\nreturn [a];\n}\n}", 'x')).toEqual({
      'case never:': undefined,
      'return [];': [],
    });
    expect(outcomes('const N = 3;\nfunction f() {\nreturn N;\n}')).toEqual({
      'const N = 4;': 4,
      'const N = 2;': 2,
    });
  });

  test('where, and what is computed as the module is evaluated', () => {
    const { mutants } = build(
      'const N = [1].map((n) => n + 1);\nclass C { m() { return 1; } }\nconst f = () => 2;',
    );
    expect(mutants.map(({ where, isStatic }) => [where, isStatic])).toEqual([
      ...Array(6).fill(['', true]),
      ...Array(2).fill(['C.m', false]),
      ...Array(2).fill(['', false]),
    ]);
  });

  test('texts for people stay', () => {
    expect(build("function f() { return new RangeError('no') && 'two words'; }").mutants.length).toBe(4);
  });
});
