import { describe, expect, it } from 'vitest';
// @ts-expect-error a plain script
import { impurities } from '../../tools/purity.mjs';

const folder = '/x/protocols';
const found = (source: string): string[] => impurities(`${folder}/vdp/index.ts`, source, folder);

describe('the purity of protocols/', () => {
  it.each([
    ["import fs from 'node:fs';", 'imports node:fs'],
    ["import type { Daemon } from '../../src/model.ts';", 'outside protocols/'],
    ["export * from 'valibot';", 'imports the package valibot'],
    ["const x = await import('yaml');", 'imports the package yaml'],
    ['const x = await import(name);', 'imports by a computed name'],
    ['const x = Date.now();', 'uses Date'],
    ['const x = new Date();', 'uses Date'],
    ['f(performance.now());', 'uses performance'],
    ['const x = Math.random();', 'uses Math.random'],
    ['process.exit();', 'uses process'],
    ['setTimeout(f, 1);', 'uses setTimeout'],
    ['queueMicrotask(f);', 'uses queueMicrotask'],
    ['console.log(1);', 'uses console'],
    ['function f(x: Buffer) {}', 'uses Buffer'],
    ['globalThis.x = 1;', 'uses globalThis'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: source text
    ['const x = `a ${Date.now()} b`;', 'uses Date'],
    ['const x = a / b / Date.now();', 'uses Date'],
    ['const x = [...process.argv];', 'uses process'],
  ])('rejects %s', (source, why) => {
    const lines = found(`\n${source}\n`);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('protocols/vdp/index.ts:2: ');
    expect(lines[0]).toContain(why);
  });

  it.each([
    "import { toHex } from '../octets/index.ts';",
    '// Date.now(), process, setTimeout\n/* console.log */',
    'const x = \'Date.now()\' + "process";',
    'const x = `setTimeout`;',
    'const x = /Date.now\\/[/]process/.test(y);',
    'interface X { process: string; console?: number }',
    'const x = { process: 1 }; y.process(); y?.fetch;',
    'const x = Math.floor(1.5);',
  ])('lets %s pass', (source) => {
    expect(found(source)).toEqual([]);
  });
});
